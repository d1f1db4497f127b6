"""BYOL (Grill et al. 2020): an online network predicts the projections of a momentum target."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cptools.core.algorithms.base import (
    Algorithm,
    Backbone,
    branch_gradient,
    ema_update,
    in_groups,
    unit,
)
from cptools.core.algorithms.losses import byol_regression
from cptools.core.checks import check_number, check_whole
from cptools.core.encoders.heads import initialize, mlp_bn


class BYOL(Algorithm):
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

    has_momentum = True

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
        super().__init__()
        check_number("momentum", momentum, 0, 1)
        check_whole("bn_groups", bn_groups, 1)
        self.encoder = encoder
        self.head = nn.ModuleDict(
            {
                "projector": mlp_bn(encoder.feature_dim, hidden, dim),
                "predictor": mlp_bn(dim, hidden, dim),
            }
        )
        initialize(self, generator)
        self.target_encoder = deepcopy(encoder).requires_grad_(False)
        self.target_projector = deepcopy(self.head["projector"]).requires_grad_(False)
        self.momentum = momentum
        self.bn_groups = bn_groups

    def embed(self, view: Tensor) -> Tensor:
        """Unit projections [B, D] of the online network."""
        return unit(self.head["projector"](self.encoder(view)))

    def _predict(self, view: Tensor) -> Tensor:
        return unit(self.head["predictor"](self.head["projector"](self.encoder(view))))

    def _target(self, view: Tensor) -> Tensor:
        return unit(self.target_projector(self.target_encoder(view)))

    def loss(
        self, view_a: Tensor, view_b: Tensor, *, labels: Tensor | None = None, dual: bool = False
    ) -> Tensor:
        """Sum over both directions of 2 - 2 cos(prediction, target)."""
        p_a = in_groups(self._predict, view_a, self.groups)
        p_b = in_groups(self._predict, view_b, self.groups)
        with branch_gradient(dual):
            z_a = in_groups(self._target, view_a, self.groups)
            z_b = in_groups(self._target, view_b, self.groups)
        return byol_regression(p_a, z_b) + byol_regression(p_b, z_a)

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the target network."""
        ema_update(self.target_encoder, self.encoder, self.momentum)
        ema_update(self.target_projector, self.head["projector"], self.momentum)
