"""What learners with a projector have in common."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cptools.core.algorithms.base import Algorithm, Backbone, in_groups, unit
from cptools.core.checks import check_whole
from cptools.core.encoders.heads import initialize


class Projected(Algorithm):
    """A learner whose embeddings are the unit projections of its features.

    Args:
        encoder: backbone with `feature_dim`.
        head: networks of the head by name, `projector` among them.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights of all of these.
    """

    def __init__(
        self,
        encoder: Backbone,
        head: Mapping[str, nn.Module],
        *,
        bn_groups: int,
        generator: torch.Generator,
    ):
        super().__init__()
        check_whole("bn_groups", bn_groups, 1)
        self.encoder, self.head = encoder, nn.ModuleDict(head)
        initialize(self, generator)
        self.bn_groups = bn_groups

    def _project(self, view: Tensor) -> Tensor:
        z: Tensor = self.head["projector"](self.encoder(view))
        return z

    def embed(self, view: Tensor) -> Tensor:
        """Unit projections [B, D]."""
        return unit(self._project(view))

    def projections(self, *views: Tensor) -> list[Tensor]:
        """Projections [B, D] of each view, as they are, one view after the other."""
        return [in_groups(self._project, view, self.groups) for view in views]
