"""MoCo v3 (Chen, Xie, He, ICCV 2021): symmetric InfoNCE over the momentum keys of the batch."""

import torch
from torch import Tensor

from cptools.core.algorithms.base import Backbone, in_groups, unit
from cptools.core.algorithms.losses import info_nce_in_batch
from cptools.core.algorithms.momentum import Momentum
from cptools.core.checks import check_number
from cptools.core.encoders.heads import mlp_bn, mlp_bn2


class MoCoV3(Momentum):
    """MoCo v3, algorithm 1: ctr(q_a, k_b) + ctr(q_b, k_a), ctr = 2 tau InfoNCE; no queue.

    Queries go through a predictor, keys come from the momentum encoder; negatives are the other
    keys of the batch. Heads are the official code's for ResNets (facebookresearch/moco-v3): two
    layers each, the projector with a last batch norm without scale and shift. The momentum m is
    constant, as in MoCo and BYOL here; that code, and solo-learn, let it rise to 1 on half a
    cosine.

    Args:
        encoder: backbone with `feature_dim`.
        hidden: width of projector and predictor.
        dim: dimension of the embedding.
        temperature: tau.
        momentum: m of the key encoder, moved once an optimizer step.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights.
    """

    def __init__(
        self,
        encoder: Backbone,
        *,
        hidden: int = 4096,
        dim: int = 256,
        temperature: float = 0.2,
        momentum: float = 0.99,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        head = {
            "projector": mlp_bn2(encoder.feature_dim, hidden, dim),
            "predictor": mlp_bn(dim, hidden, dim),
        }
        super().__init__(encoder, head, momentum=momentum, bn_groups=bn_groups, generator=generator)
        check_number("temperature", temperature, above=True)
        self.temperature = temperature

    def _query(self, view: Tensor) -> Tensor:
        return unit(self.head["predictor"](self._project(view)))

    def loss(
        self, view_a: Tensor, view_b: Tensor, *, labels: Tensor | None = None, dual: bool = False
    ) -> Tensor:
        """Sum over both directions of 2 tau InfoNCE."""
        tau = self.temperature
        q_a = in_groups(self._query, view_a, self.groups)
        q_b = in_groups(self._query, view_b, self.groups)
        k_a, k_b = self.momentum_embeddings(view_a, view_b, dual=dual)
        there = info_nce_in_batch(q_a, k_b, temperature=tau)
        return 2 * tau * (there + info_nce_in_batch(q_b, k_a, temperature=tau))
