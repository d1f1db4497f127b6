"""SupCon, supervised contrastive learning (Khosla et al., NeurIPS 2020): classes are positives."""

from typing import Any

import torch
from torch import Tensor

from cptools.core.algorithms.base import Backbone
from cptools.core.algorithms.simclr import SimCLR


class SupCon(SimCLR):
    """SimCLR whose positives are all views of images of the same class: L_out, equation 2.

    The loss is the mean over the anchors, of which the paper takes the sum. The official code
    (HobbitLong/SupContrast) multiplies it by tau / 0.07 (`loss_scale`).

    Args:
        encoder: backbone with `feature_dim`.
        num_classes: of the labels.
        options: of `SimCLR`.
    """

    needs_classes = True

    def __init__(self, encoder: Backbone, *, num_classes: int, **options: Any):
        super().__init__(encoder, **options)
        self.num_classes = num_classes

    def loss(self, *views: Tensor, labels: Tensor, dual: bool = False) -> Tensor:  # type: ignore[override]
        """L_out of all views; there is one branch: `dual` changes nothing."""
        return sup_con(*self.embeddings(*views), labels=labels, temperature=self.temperature)


def sup_con(*views: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """L_out (Khosla et al. 2020, equation 2), the mean over the V N anchors.

    Of an anchor: the mean over its positives, all other embeddings of its class, of the
    cross-entropy of telling the positive from all embeddings but the anchor.

    Args:
        views: V times the unit embeddings of a view [N, D], V at least 2.
        labels: int64 [N], of the images.
        temperature: tau, greater than 0.

    Returns:
        Scalar, in nats.
    """
    z = torch.cat(views).float()  # [V N, D]
    classes = labels.repeat(len(views))
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    with torch.autocast(z.device.type, enabled=False):
        logits = (z @ z.T / temperature).masked_fill(itself, -torch.inf)  # [V N, V N]
    is_positive = (classes[:, None] == classes) & ~itself
    log_prob = logits.log_softmax(dim=1).masked_fill(~is_positive, 0)
    return -(log_prob.sum(dim=1) / is_positive.sum(dim=1)).mean()
