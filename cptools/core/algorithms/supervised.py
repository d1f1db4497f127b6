"""Supervised learning: one view, a linear classifier, cross-entropy (the victims of CP table 4)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.algorithms.base import Algorithm, Backbone, in_groups, unit
from cptools.core.checks import check_whole
from cptools.core.encoders.heads import initialize


class Supervised(Algorithm):
    """A classifier on the backbone's features, both trained by labels.

    Args:
        encoder: backbone with `feature_dim`.
        num_classes: C.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights.
    """

    num_views = 1
    needs_classes = True

    def __init__(
        self,
        encoder: Backbone,
        *,
        num_classes: int,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        super().__init__()
        check_whole("num_classes", num_classes, 1)
        check_whole("bn_groups", bn_groups, 1)
        self.encoder, self.num_classes = encoder, num_classes
        self.head = nn.ModuleDict({"classifier": nn.Linear(encoder.feature_dim, num_classes)})
        initialize(self, generator)
        self.bn_groups = bn_groups

    def embed(self, view: Tensor) -> Tensor:
        """Unit features [B, D]."""
        return unit(self.encoder(view))

    def classify(self, view: Tensor) -> Tensor:
        """Logits [B, C]."""
        logits: Tensor = self.head["classifier"](self.encoder(view))
        return logits

    def loss(self, view: Tensor, *, labels: Tensor, dual: bool = False) -> Tensor:
        """Mean cross-entropy, in nats; there is one branch, so `dual` changes nothing."""
        return F.cross_entropy(in_groups(self.classify, view, self.groups).float(), labels)
