"""Augmented unlearnable examples (AUE; Wang, Zhu, Gao, NeurIPS 2024), algorithm 1.

Error-minimizing noise whose classifier sees the images through augmentations of contrastive
strength, so that it poisons supervised and contrastive learning alike. Of strength s: crops of at
least 1 - 0.9 s of the area, color jitter of 0.4 s (hue 0.1 s) with probability 0.8 s, grayscale
with probability 0.2 s; the authors take s = 0.6 for CIFAR-10 and 1 for CIFAR-100.
"""

from collections.abc import Mapping
from typing import Any

import torch

from cptools.core.poisons.base import Problem
from cptools.core.poisons.contrastive import AlternatingPoisoning, alternating


def aue(problem: Problem, values: Mapping[str, Any]) -> AlternatingPoisoning:
    """Error-minimizing noise under the recipe's augmentations, for a fixed number of rounds.

    Args:
        problem: what to poison; the noise starts at zero, or at its `init`.
        values: a recipe's, whose views are of strength s.
    """
    return alternating(problem, "supervised", torch.zeros(problem.shape), values)
