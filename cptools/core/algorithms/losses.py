"""The plain textbook losses of contrastive learning.

Legend: N pairs of views, D embedding dimension, K negatives in the queue.
All embeddings are L2-normalized by the caller and the losses compute in float32, also inside
autocast.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(z_a: Tensor, z_b: Tensor, *, temperature: float) -> Tensor:
    """NT-Xent, the InfoNCE loss of SimCLR (Chen et al. 2020, equation 1 and algorithm 1).

    Each of the 2N embeddings has one positive, its other view, and 2N - 2 negatives.

    Args:
        z_a: unit embeddings of the first views [N, D].
        z_b: unit embeddings of the second views [N, D].
        temperature: tau, greater than 0.

    Returns:
        Scalar: mean cross-entropy over the 2N embeddings, in nats.
    """
    z = torch.cat([z_a, z_b]).float()  # [2N, D]
    num = len(z_a)
    with torch.autocast(z.device.type, enabled=False):
        logits = z @ z.T / temperature  # [2N, 2N]
    logits.fill_diagonal_(-torch.inf)
    positives = torch.arange(2 * num, device=z.device).roll(num)
    return F.cross_entropy(logits, positives)


def info_nce(q: Tensor, k: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE against a queue of negatives (He et al. 2020, equation 1).

    Args:
        q: unit queries [N, D].
        k: unit keys, the positives [N, D].
        queue: unit keys of earlier batches, the negatives [K, D].
        temperature: tau, greater than 0.

    Returns:
        Scalar: mean cross-entropy over the N queries, in nats.
    """
    q, k, queue = q.float(), k.float(), queue.float()
    positive = (q * k).sum(dim=1, keepdim=True)  # [N, 1]
    with torch.autocast(q.device.type, enabled=False):
        logits = torch.cat([positive, q @ queue.T], dim=1) / temperature  # [N, 1 + K]
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))


def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """Negative cosine similarity, -cos (Chen and He 2021, equation 1).

    Args:
        p: unit predictions [N, D].
        z: unit projections of the other view [N, D].

    Returns:
        Scalar mean over the N pairs, in [-1, 1].
    """
    return -(p.float() * z.float()).sum(dim=1).mean()


def byol_regression(p: Tensor, z: Tensor) -> Tensor:
    """Squared distance of unit vectors, 2 - 2 cos (Grill et al. 2020, equation 2).

    Args:
        p: unit predictions of the online branch [N, D].
        z: unit projections of the target branch [N, D].

    Returns:
        Scalar mean over the N pairs, in [0, 4].
    """
    return (2 - 2 * (p.float() * z.float()).sum(dim=1)).mean()
