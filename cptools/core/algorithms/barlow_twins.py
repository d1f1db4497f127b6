"""Barlow Twins (Zbontar et al., ICML 2021): the cross-correlation of two views is the identity."""

import torch
from torch import Tensor
from torch.nn import functional as F

from cptools.core.algorithms.base import Backbone
from cptools.core.algorithms.projected import Projected
from cptools.core.checks import check_number
from cptools.core.encoders.heads import expander


class BarlowTwins(Projected):
    """Barlow Twins, equation 1: sum (1 - C_ii)^2 + lambda sum of C_ij^2 off the diagonal.

    C is the cross-correlation of the projections of the two views over the batch, equation 2. Its
    variances have an epsilon of 1e-5, as the batch norm without scale and shift by which the
    official code (facebookresearch/barlowtwins) normalizes; that code takes running statistics in
    evaluation mode, this always the batch's. Algorithm 1 of the paper divides by N what it has
    normalized by a variance over N - 1, so that its C_ii reaches only (N - 1) / N; here it reaches
    1, as in equation 2. The official code multiplies the loss by 0.024 (`loss_scale`).

    Args:
        encoder: backbone with `feature_dim`.
        hidden: width of the projector.
        dim: dimension of the projection.
        redundancy_weight: lambda, of the terms off the diagonal.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights.
    """

    def __init__(
        self,
        encoder: Backbone,
        *,
        hidden: int = 2048,
        dim: int = 2048,
        redundancy_weight: float = 0.005,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        head = {"projector": expander(encoder.feature_dim, hidden, dim)}
        super().__init__(encoder, head, bn_groups=bn_groups, generator=generator)
        check_number("redundancy_weight", redundancy_weight)
        self.redundancy_weight = redundancy_weight

    def loss(
        self, view_a: Tensor, view_b: Tensor, *, labels: Tensor | None = None, dual: bool = False
    ) -> Tensor:
        """Redundancy reduction of the two views; there is one branch: `dual` changes nothing."""
        z_a, z_b = self.projections(view_a, view_b)
        return redundancy(z_a, z_b, weight=self.redundancy_weight)


def redundancy(z_a: Tensor, z_b: Tensor, *, weight: float) -> Tensor:
    """The loss of Barlow Twins (equations 1 and 2).

    Args:
        z_a: projections [N, D] of one view, as they are.
        z_b: projections [N, D] of the other.
        weight: lambda.

    Returns:
        A scalar; a sum over the D^2 correlations.
    """
    z_a, z_b = (F.batch_norm(z.float(), None, None, training=True) for z in (z_a, z_b))
    with torch.autocast(z_a.device.type, enabled=False):
        correlation = z_a.T @ z_b / len(z_a)  # [D, D]
    diagonal = correlation.diagonal()
    on = (1 - diagonal).square().sum()
    return on + weight * (correlation.square().sum() - diagonal.square().sum())
