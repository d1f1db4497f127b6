"""The objectives that `loss` names, of two views and against a queue.

Beside InfoNCE and NT-Xent (in `losses`) there are three that draw an embedding to its positive and
away from its negatives otherwise. Each is a function of cosine similarities, of N embeddings to
their positives [N] and to their K negatives [N, K], in float32; they have no temperature.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from cptools.core.algorithms.losses import info_nce, info_nce_in_batch, nt_xent


def hinge(positive: Tensor, negative: Tensor) -> Tensor:
    """Hinge of margin 1 to the nearest negative (Saunshi et al. 2019, definition 2.3)."""
    return F.relu(1 + negative.amax(dim=1) - positive).mean()


def align_uniform(positive: Tensor, negative: Tensor) -> Tensor:
    """Alignment plus uniformity (Wang and Isola 2020, section 4.2; alpha = 2, t = 2, weight 1).

    The squared distance of unit vectors is 2 - 2 cos.
    """
    alignment = (2 - 2 * positive).mean()
    uniformity = (-2 * (2 - 2 * negative)).exp().mean().log()
    return alignment + uniformity


def cosine_loss(positive: Tensor, _: Tensor) -> Tensor:
    """Negative cosine similarity alone: nothing keeps the embeddings apart."""
    return -positive.mean()


def symmetric_infonce(z_a: Tensor, z_b: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE of each view against the other: negatives are the other images in the other view."""
    there = info_nce_in_batch(z_a, z_b, temperature=temperature)
    return (there + info_nce_in_batch(z_b, z_a, temperature=temperature)) / 2


def against_batch(z_a: Tensor, z_b: Tensor) -> tuple[Tensor, Tensor]:
    """Similarities to positives [2 N] and negatives [2 N, 2 N - 2]: other images, in both views.

    Args:
        z_a: unit embeddings [N, D] of one view.
        z_b: unit embeddings [N, D] of the other.
    """
    num, device = len(z_a), z_a.device
    z = torch.cat([z_a, z_b]).float()
    with torch.autocast(device.type, enabled=False):
        similarity = z @ z.T
    image = torch.arange(num, device=device).repeat(2)
    other_view = torch.arange(2 * num, device=device).roll(num)
    positive = similarity.gather(1, other_view[:, None]).squeeze(1)
    return positive, similarity[image[:, None] != image].view(2 * num, -1)


def against_queue(q: Tensor, k: Tensor, queue: Tensor) -> tuple[Tensor, Tensor]:
    """Similarities of queries [N, D] to their keys [N, D] and to a queue of negatives [K, D]."""
    q, k, queue = q.float(), k.float(), queue.float()
    with torch.autocast(q.device.type, enabled=False):
        return (q * k).sum(dim=1), q @ queue.T


def _bare(
    objective: Callable[[Tensor, Tensor], Tensor],
    similarities: Callable[..., tuple[Tensor, Tensor]],
) -> Callable[..., Tensor]:
    """An objective of embeddings, which looks at no temperature."""

    def loss(*embeddings: Tensor, temperature: float) -> Tensor:
        return objective(*similarities(*embeddings))

    return loss


_BARE = {"hinge": hinge, "align-uniform": align_uniform, "cosine": cosine_loss}

OF_VIEWS: dict[str, Callable[..., Tensor]] = {
    "nt-xent": nt_xent,
    "infonce": symmetric_infonce,
    **{name: _bare(objective, against_batch) for name, objective in _BARE.items()},
}
"""Of the unit embeddings of two views [N, D] (of any number, nt-xent) and a temperature."""

WITH_QUEUE: dict[str, Callable[..., Tensor]] = {
    "infonce": info_nce,
    **{name: _bare(objective, against_queue) for name, objective in _BARE.items()},
}
"""Of unit queries and keys [N, D], a queue of negatives [K, D] and a temperature."""


def named(name: str, objectives: dict[str, Callable[..., Tensor]]) -> Callable[..., Tensor]:
    """The objective of this name.

    Raises:
        ValueError: there is none among these.
    """
    if name not in objectives:
        raise ValueError(f"the loss {name} does not apply here; give {', '.join(objectives)}")
    return objectives[name]
