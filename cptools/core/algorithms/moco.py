"""MoCo v2 (He et al. 2020; Chen et al. 2020c): a momentum encoder and a queue of negatives."""

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
from cptools.core.algorithms.objectives import WITH_QUEUE, named
from cptools.core.checks import check_number, check_whole
from cptools.core.encoders.heads import initialize, mlp


class MoCo(Algorithm):
    """MoCo v2 with one direction: queries from view a, keys from view b.

    On one device batch norm sees the whole batch, where shuffling it would change nothing; CP's
    victims used batch norm synchronized over all GPUs, which is the same.

    Args:
        encoder: backbone with `feature_dim`.
        hidden: width of the projection head.
        dim: dimension of the embedding.
        temperature: tau of InfoNCE.
        objective: a key of WITH_QUEUE.
        momentum: m of the key encoder, moved once an optimizer step.
        queue_size: number K of negatives; more than the dataset holds would contain every
            image several times, each a false negative of itself.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights and of the queue's first content.
    """

    has_momentum = True
    queue: Tensor

    def __init__(
        self,
        encoder: Backbone,
        *,
        hidden: int = 512,
        dim: int = 128,
        temperature: float = 0.2,
        momentum: float = 0.99,
        queue_size: int = 4096,
        objective: str = "infonce",
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        super().__init__()
        check_number("temperature", temperature, above=True)
        check_number("momentum", momentum, 0, 1)
        check_whole("queue_size", queue_size, 1)
        check_whole("bn_groups", bn_groups, 1)
        self.encoder = encoder
        self.head = nn.ModuleDict({"projector": mlp(encoder.feature_dim, hidden, dim)})
        initialize(self, generator)
        self.key_encoder = deepcopy(self.encoder).requires_grad_(False)
        self.key_head = deepcopy(self.head).requires_grad_(False)
        self.objective, self.temperature = named(objective, WITH_QUEUE), temperature
        self.momentum = momentum
        self.bn_groups = bn_groups
        self.register_buffer("queue", unit(torch.randn(queue_size, dim, generator=generator)))
        self.keys: Tensor | None = None

    def embed(self, view: Tensor) -> Tensor:
        """Unit queries [B, D]."""
        return unit(self.head["projector"](self.encoder(view)))

    def _keys(self, view: Tensor) -> Tensor:
        return unit(self.key_head["projector"](self.key_encoder(view)))

    def loss(
        self, view_a: Tensor, view_b: Tensor, *, labels: Tensor | None = None, dual: bool = False
    ) -> Tensor:
        """The objective of q = f(a), k = f_m(b) against the queue."""
        q = in_groups(self.embed, view_a, self.groups)
        with branch_gradient(dual):
            k = in_groups(self._keys, view_b, self.groups)
        self.keys = k.detach()
        return self.objective(q, k, self.queue, temperature=self.temperature)

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the key encoder; the keys of the step just made enter the queue's front."""
        ema_update(self.key_encoder, self.encoder, self.momentum)
        ema_update(self.key_head, self.head, self.momentum)
        assert self.keys is not None
        self.queue = torch.cat([self.keys, self.queue])[: len(self.queue)]
        self.keys = None
