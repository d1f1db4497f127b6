"""The plain textbook losses of contrastive learning.

Legend: N pairs of views, D embedding dimension, K negatives in the queue.
All embeddings are L2-normalized by the caller and the losses compute in float32, also inside
autocast.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(*views: Tensor, temperature: float) -> Tensor:
    """NT-Xent, the InfoNCE loss of SimCLR (Chen et al. 2020, equation 1 and algorithm 1).

    Each of the V N embeddings has V - 1 positives, the other views of its image; each positive is
    told from all embeddings but its own (with more than two views: Khosla et al. 2020, equation 2,
    without labels).

    Args:
        views: V times the unit embeddings of a view [N, D], V at least 2.
        temperature: tau, greater than 0.

    Returns:
        Scalar: mean cross-entropy over the V N (V - 1) positives, in nats.
    """
    z = torch.cat(views).float()  # [V N, D]
    num = len(views[0])
    with torch.autocast(z.device.type, enabled=False):
        logits = z @ z.T / temperature  # [V N, V N]
    logits.fill_diagonal_(-torch.inf)
    itself = torch.arange(len(z), device=z.device)
    return torch.stack(
        [F.cross_entropy(logits, itself.roll(shift * num)) for shift in range(1, len(views))]
    ).mean()


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


def info_nce_in_batch(q: Tensor, k: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE whose negatives are the other keys of the batch (Oord et al. 2018, equation 4).

    Args:
        q: unit queries [N, D].
        k: unit keys [N, D]; the positive of a query is the key of its row.
        temperature: tau, greater than 0.

    Returns:
        Scalar: mean cross-entropy over the N queries, in nats.
    """
    with torch.autocast(q.device.type, enabled=False):
        logits = q.float() @ k.float().T / temperature  # [N, N]
    return F.cross_entropy(logits, torch.arange(len(q), device=q.device))


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
