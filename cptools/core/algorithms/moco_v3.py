"""MoCo v3 (Chen, Xie, He, ICCV 2021): symmetric InfoNCE over the momentum keys of the batch."""

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
from cptools.core.algorithms.losses import info_nce_in_batch
from cptools.core.checks import check_number, check_whole
from cptools.core.encoders.heads import initialize, mlp_bn, mlp_bn2


class MoCoV3(Algorithm):
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

    has_momentum = True

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
        super().__init__()
        check_number("temperature", temperature, above=True)
        check_number("momentum", momentum, 0, 1)
        check_whole("bn_groups", bn_groups, 1)
        self.encoder = encoder
        self.head = nn.ModuleDict(
            {
                "projector": mlp_bn2(encoder.feature_dim, hidden, dim),
                "predictor": mlp_bn(dim, hidden, dim),
            }
        )
        initialize(self, generator)
        self.key_encoder = deepcopy(self.encoder).requires_grad_(False)
        self.key_projector = deepcopy(self.head["projector"]).requires_grad_(False)
        self.temperature, self.momentum = temperature, momentum
        self.bn_groups = bn_groups

    def embed(self, view: Tensor) -> Tensor:
        """Unit projections [B, D] of the online network."""
        return unit(self.head["projector"](self.encoder(view)))

    def _query(self, view: Tensor) -> Tensor:
        return unit(self.head["predictor"](self.head["projector"](self.encoder(view))))

    def _key(self, view: Tensor) -> Tensor:
        return unit(self.key_projector(self.key_encoder(view)))

    def loss(
        self, view_a: Tensor, view_b: Tensor, *, labels: Tensor | None = None, dual: bool = False
    ) -> Tensor:
        """Sum over both directions of 2 tau InfoNCE."""
        tau = self.temperature
        q_a = in_groups(self._query, view_a, self.groups)
        q_b = in_groups(self._query, view_b, self.groups)
        with branch_gradient(dual):
            k_a = in_groups(self._key, view_a, self.groups)
            k_b = in_groups(self._key, view_b, self.groups)
        there = info_nce_in_batch(q_a, k_b, temperature=tau)
        return 2 * tau * (there + info_nce_in_batch(q_b, k_a, temperature=tau))

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the key encoder."""
        ema_update(self.key_encoder, self.encoder, self.momentum)
        ema_update(self.key_projector, self.head["projector"], self.momentum)
