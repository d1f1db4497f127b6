"""VICReg (Bardes, Ponce, LeCun, ICLR 2022): variance, invariance and covariance of two views."""

import torch
from torch import Tensor
from torch.nn import functional as F

from cptools.core.algorithms.base import Backbone
from cptools.core.algorithms.projected import Projected
from cptools.core.checks import check_number
from cptools.core.encoders.heads import expander

EPSILON = 1e-4  # of the standard deviation, equation 2
GAMMA = 1.0  # the standard deviation that is aimed at, equation 1


class VICReg(Projected):
    """VICReg, equation 6: lambda s(Z, Z') + mu (v(Z) + v(Z')) + nu (c(Z) + c(Z')).

    The invariance s is the mean over images and dimensions of the squared difference, as in
    algorithm 1 of the paper, to which its weights belong; equation 5 does not divide by the
    dimension. The official code (facebookresearch/vicreg) halves the variance terms; here they are
    summed, as in the paper.

    Args:
        encoder: backbone with `feature_dim`.
        hidden: width of the expander.
        dim: dimension of the embedding.
        invariance_weight: lambda.
        variance_weight: mu.
        covariance_weight: nu.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights.
    """

    def __init__(
        self,
        encoder: Backbone,
        *,
        hidden: int = 2048,
        dim: int = 2048,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        head = {"projector": expander(encoder.feature_dim, hidden, dim)}
        super().__init__(encoder, head, bn_groups=bn_groups, generator=generator)
        check_number("invariance_weight", invariance_weight)
        check_number("variance_weight", variance_weight)
        check_number("covariance_weight", covariance_weight)
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight

    def loss(
        self, view_a: Tensor, view_b: Tensor, *, labels: Tensor | None = None, dual: bool = False
    ) -> Tensor:
        """The weighted sum of the three terms; there is one branch: `dual` changes nothing."""
        z_a, z_b = (z.float() for z in self.projections(view_a, view_b))
        return (
            self.invariance_weight * F.mse_loss(z_a, z_b)
            + self.variance_weight * (variance(z_a) + variance(z_b))
            + self.covariance_weight * (covariance(z_a) + covariance(z_b))
        )


def variance(z: Tensor) -> Tensor:
    """Mean over the dimensions of how far the deviation of z [N, D] is below 1 (equation 1)."""
    return F.relu(GAMMA - (z.var(dim=0) + EPSILON).sqrt()).mean()


def covariance(z: Tensor) -> Tensor:
    """Sum of the squared covariances of z [N, D] off the diagonal, over D (equations 3 and 4)."""
    centered = z - z.mean(dim=0)
    with torch.autocast(z.device.type, enabled=False):
        matrix = centered.T @ centered / (len(z) - 1)  # [D, D]
    off = matrix.square().sum() - matrix.diagonal().square().sum()
    return off / z.shape[1]
