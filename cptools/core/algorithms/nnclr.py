"""NNCLR (Dwibedi et al., ICCV 2021): the positive is the nearest neighbor among earlier images."""

import torch
from torch import Tensor

from cptools.core.algorithms.base import Backbone, in_groups, unit
from cptools.core.algorithms.losses import info_nce_in_batch
from cptools.core.algorithms.projected import Projected
from cptools.core.checks import check_number, check_whole
from cptools.core.encoders.heads import mlp_bn, mlp_bn3


class NNCLR(Projected):
    """NNCLR, algorithm 1: L(NN(z_a, Q), p_b) / 2 + L(NN(z_b, Q), p_a) / 2.

    NN(z, Q) is the projection of an earlier image, in the support set Q, that is nearest to z; it
    is to find the prediction of the other view of z's image among those of the batch. Neighbors are
    constants: the gradient flows through the predictions alone, those of both views, and `dual`
    changes nothing. The projections of the first view enter Q, once an optimizer step.

    The paper's support set holds 98,304 of ImageNet's 1.3 million images. One that holds as many as
    there are training images lets an image find itself, as it was an epoch ago.

    Args:
        encoder: backbone with `feature_dim`.
        hidden: width of the projector; the predictor's is twice that.
        dim: dimension of the projection.
        temperature: tau of InfoNCE.
        queue_size: size of the support set.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights and of the support set's first content.
    """

    queue: Tensor

    def __init__(
        self,
        encoder: Backbone,
        *,
        hidden: int = 2048,
        dim: int = 256,
        temperature: float = 0.1,
        queue_size: int = 65536,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        head = {
            "projector": mlp_bn3(encoder.feature_dim, hidden, dim),
            "predictor": mlp_bn(dim, 2 * hidden, dim),
        }
        super().__init__(encoder, head, bn_groups=bn_groups, generator=generator)
        check_number("temperature", temperature, above=True)
        check_whole("queue_size", queue_size, 1)
        self.temperature = temperature
        self.register_buffer("queue", unit(torch.randn(queue_size, dim, generator=generator)))
        self.keys: Tensor | None = None

    @torch.no_grad()
    def _neighbors(self, z: Tensor) -> Tensor:
        """Of unit projections [N, D], the nearest of the support set [N, D]."""
        with torch.autocast(z.device.type, enabled=False):
            return self.queue[(z @ self.queue.T).argmax(dim=1)]

    def loss(
        self, view_a: Tensor, view_b: Tensor, *, labels: Tensor | None = None, dual: bool = False
    ) -> Tensor:
        """Mean of both directions of InfoNCE between neighbors and predictions."""
        z_a, z_b = self.projections(view_a, view_b)
        p_a = unit(in_groups(self.head["predictor"], z_a, self.groups))
        p_b = unit(in_groups(self.head["predictor"], z_b, self.groups))
        z_a, z_b = unit(z_a.detach()), unit(z_b.detach())
        self.keys = z_a
        there = info_nce_in_batch(self._neighbors(z_a), p_b, temperature=self.temperature)
        back = info_nce_in_batch(self._neighbors(z_b), p_a, temperature=self.temperature)
        return (there + back) / 2

    @torch.no_grad()
    def after_step(self) -> None:
        """The projections of the step just made enter the support set's front."""
        assert self.keys is not None
        self.queue = torch.cat([self.keys, self.queue])[: len(self.queue)]
        self.keys = None
