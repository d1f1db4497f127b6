"""Transferable unlearnable examples (TUE; Ren et al., ICLR 2023): noise for both kinds of learning.

Contrastive noise whose noise steps also make its classes separable, by the class-wise separability
discriminant (CSD, their equation 4): the spread of the noise within two classes over the distance
of their centers. The released code cuts the spread off from the gradient (it rebuilds it as a
constant) and bounds the noise by 9 instead of 8 levels; here the gradient takes both parts.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cptools.core.checks import check_number
from cptools.core.poisons.base import Problem
from cptools.core.poisons.contrastive import AlternatingPoisoning, alternating
from cptools.core.poisons.noise import random_noise
from cptools.core.random import stream


def csd(noise: Tensor, labels: Tensor) -> Tensor:
    """Mean of (d_i + d_j) / |c_i - c_j| over the pairs of classes in a batch: lower is apart.

    Args:
        noise: float [B, ...].
        labels: int64 [B].

    Returns:
        Scalar, at least 0; 0 where the batch has fewer than two classes. d_i is the mean distance
        of the noise of class i to its center c_i.
    """
    flat = noise.flatten(1)
    present, row = labels.unique(return_inverse=True)
    if len(present) < 2:
        return flat.sum() * 0
    members = torch.nn.functional.one_hot(row).to(flat.dtype)  # [B, M]
    share = members / members.sum(0)
    centers = share.T @ flat  # [M, D]
    # The small number keeps the root's gradient finite where a class has one member.
    distance = ((flat - centers[row]).square().sum(1) + 1e-12).sqrt()  # [B]
    spread = share.T @ distance  # [M]
    first, second = torch.triu_indices(len(present), len(present), 1, device=noise.device)
    apart = ((centers[first] - centers[second]).square().sum(1) + 1e-12).sqrt()
    return ((spread[first] + spread[second]) / apart).mean()


def tue(problem: Problem, values: Mapping[str, Any]) -> AlternatingPoisoning:
    """Contrastive noise that is separable by class.

    Args:
        problem: what to poison; the noise starts uniform in the ball, or at its `init`.
        values: a recipe's, with `branch` and `csd_weight`.
    """
    weight = values["csd_weight"]
    check_number("csd_weight", weight)
    return alternating(
        problem,
        "simclr",
        random_noise(problem.shape, stream(problem.seed, "delta")),
        values,
        penalty=lambda noise, labels: weight * csd(noise, labels),
    )
