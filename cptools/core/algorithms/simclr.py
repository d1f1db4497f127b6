"""SimCLR (Chen et al. 2020): two views through one encoder, NT-Xent."""

import torch
from torch import Tensor

from cptools.core.algorithms.base import Backbone, jointly
from cptools.core.algorithms.objectives import OF_VIEWS, named
from cptools.core.algorithms.projected import Projected
from cptools.core.checks import check_number
from cptools.core.encoders.heads import mlp


class SimCLR(Projected):
    """SimCLR; batch norm sees both views of a batch jointly, as in the official code.

    Args:
        encoder: backbone with `feature_dim`.
        hidden: width of the projection head.
        dim: dimension of the embedding.
        temperature: tau of NT-Xent and InfoNCE.
        objective: a key of OF_VIEWS.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights.
    """

    def __init__(
        self,
        encoder: Backbone,
        *,
        hidden: int = 512,
        dim: int = 128,
        temperature: float = 0.5,
        objective: str = "nt-xent",
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        head = {"projector": mlp(encoder.feature_dim, hidden, dim)}
        super().__init__(encoder, head, bn_groups=bn_groups, generator=generator)
        check_number("temperature", temperature, above=True)
        self.objective, self.temperature = named(objective, OF_VIEWS), temperature

    def loss(self, *views: Tensor, labels: Tensor | None = None, dual: bool = False) -> Tensor:
        """The objective; there is no momentum branch, so `dual` changes nothing."""
        return self.objective(*self.embeddings(*views), temperature=self.temperature)

    def embeddings(self, *views: Tensor) -> tuple[Tensor, ...]:
        """Unit embeddings [B, D] of each view, passed jointly."""
        return jointly(self.embed, views, self.groups)
