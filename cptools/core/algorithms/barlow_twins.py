"""Barlow Twins (Zbontar et al., ICML 2021): the cross-correlation of two views is the identity."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.algorithms.base import Algorithm, Backbone, in_groups, unit
from cptools.core.checks import check_number, check_whole
from cptools.core.encoders.heads import expander, initialize


class BarlowTwins(Algorithm):
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
        super().__init__()
        check_number("redundancy_weight", redundancy_weight)
        check_whole("bn_groups", bn_groups, 1)
        self.encoder = encoder
        self.head = nn.ModuleDict({"projector": expander(encoder.feature_dim, hidden, dim)})
        initialize(self, generator)
        self.redundancy_weight = redundancy_weight
        self.bn_groups = bn_groups

    def _project(self, view: Tensor) -> Tensor:
        z: Tensor = self.head["projector"](self.encoder(view))
        return z

    def embed(self, view: Tensor) -> Tensor:
        """Unit projections [B, D]."""
        return unit(self._project(view))

    def loss(
        self, view_a: Tensor, view_b: Tensor, *, labels: Tensor | None = None, dual: bool = False
    ) -> Tensor:
        """Redundancy reduction of the two views; there is one branch: `dual` changes nothing."""
        z_a = in_groups(self._project, view_a, self.groups)
        z_b = in_groups(self._project, view_b, self.groups)
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
