"""MoCo v2 (He et al. 2020; Chen et al. 2020c): a momentum encoder and a queue of negatives."""

import torch
from torch import Tensor

from cptools.core.algorithms.base import Backbone, in_groups, unit
from cptools.core.algorithms.momentum import Momentum
from cptools.core.algorithms.objectives import WITH_QUEUE, named
from cptools.core.checks import check_number, check_whole
from cptools.core.encoders.heads import mlp


class MoCo(Momentum):
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
        head = {"projector": mlp(encoder.feature_dim, hidden, dim)}
        super().__init__(encoder, head, momentum=momentum, bn_groups=bn_groups, generator=generator)
        check_number("temperature", temperature, above=True)
        check_whole("queue_size", queue_size, 1)
        self.objective, self.temperature = named(objective, WITH_QUEUE), temperature
        self.register_buffer("queue", unit(torch.randn(queue_size, dim, generator=generator)))
        self.keys: Tensor | None = None

    def loss(
        self, view_a: Tensor, view_b: Tensor, *, labels: Tensor | None = None, dual: bool = False
    ) -> Tensor:
        """The objective of q = f(a), k = f_m(b) against the queue."""
        q = in_groups(self.embed, view_a, self.groups)
        (k,) = self.momentum_embeddings(view_b, dual=dual)
        self.keys = k.detach()
        return self.objective(q, k, self.queue, temperature=self.temperature)

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the key encoder; the keys of the step just made enter the queue's front."""
        super().after_step()
        assert self.keys is not None
        self.queue = torch.cat([self.keys, self.queue])[: len(self.queue)]
        self.keys = None
