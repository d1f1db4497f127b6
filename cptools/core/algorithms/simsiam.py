"""SimSiam (Chen and He 2021): a network predicts its own projection of the other view."""

import torch
from torch import Tensor

from cptools.core.algorithms.base import Backbone, in_groups, unit
from cptools.core.algorithms.losses import negative_cosine
from cptools.core.algorithms.projected import Projected
from cptools.core.encoders.heads import mlp_bn, mlp_bn3


class SimSiam(Projected):
    """SimSiam, algorithm 1: D(p_a, stopgrad(z_b)) / 2 + D(p_b, stopgrad(z_a)) / 2.

    There is no momentum branch; the branch whose gradient is stopped plays its part, and `dual`
    lets the gradient of the poison flow through it.

    Args:
        encoder: backbone with `feature_dim`.
        hidden: width of the projector; the predictor's is a quarter of it.
        dim: dimension of the projection.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights.
    """

    def __init__(
        self,
        encoder: Backbone,
        *,
        hidden: int = 2048,
        dim: int = 2048,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        head = {
            "projector": mlp_bn3(encoder.feature_dim, hidden, dim),
            "predictor": mlp_bn(dim, max(1, hidden // 4), dim),
        }
        super().__init__(encoder, head, bn_groups=bn_groups, generator=generator)

    def loss(
        self, view_a: Tensor, view_b: Tensor, *, labels: Tensor | None = None, dual: bool = False
    ) -> Tensor:
        """Mean of both directions of the negative cosine of prediction and projection."""
        z_a, z_b = self.projections(view_a, view_b)
        p_a = unit(in_groups(self.head["predictor"], z_a, self.groups))
        p_b = unit(in_groups(self.head["predictor"], z_b, self.groups))
        if not dual:
            z_a, z_b = z_a.detach(), z_b.detach()
        return (negative_cosine(p_a, unit(z_b)) + negative_cosine(p_b, unit(z_a))) / 2
