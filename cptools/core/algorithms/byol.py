"""BYOL (Grill et al. 2020): an online network predicts the projections of a momentum target."""

import torch
from torch import Tensor

from cptools.core.algorithms.base import Backbone, in_groups, unit
from cptools.core.algorithms.losses import byol_regression
from cptools.core.algorithms.momentum import Momentum
from cptools.core.encoders.heads import mlp_bn


class BYOL(Momentum):
    """BYOL with both directions summed: 2 - 2 cos for (a, b) plus the same for (b, a).

    The official code moves the target twice an iteration, between the two directions, so that
    its m = 0.999 acts like 0.998 a step; here it moves once, and m means what it says. The
    official dual branch flag has no effect on BYOL (its loss detaches the target); here the
    gradient really flows.

    Args:
        encoder: backbone with `feature_dim`.
        hidden: width of projector and predictor.
        dim: dimension of the projection.
        momentum: m of the target network, constant.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights.
    """

    def __init__(
        self,
        encoder: Backbone,
        *,
        hidden: int = 4096,
        dim: int = 256,
        momentum: float = 0.999,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        head = {
            "projector": mlp_bn(encoder.feature_dim, hidden, dim),
            "predictor": mlp_bn(dim, hidden, dim),
        }
        super().__init__(encoder, head, momentum=momentum, bn_groups=bn_groups, generator=generator)

    def _predict(self, view: Tensor) -> Tensor:
        return unit(self.head["predictor"](self._project(view)))

    def loss(
        self, view_a: Tensor, view_b: Tensor, *, labels: Tensor | None = None, dual: bool = False
    ) -> Tensor:
        """Sum over both directions of 2 - 2 cos(prediction, target)."""
        p_a = in_groups(self._predict, view_a, self.groups)
        p_b = in_groups(self._predict, view_b, self.groups)
        z_a, z_b = self.momentum_embeddings(view_a, view_b, dual=dual)
        return byol_regression(p_a, z_b) + byol_regression(p_b, z_a)
