"""Augmented adversarial poisons (AAP; Wang, Zhu, Gao, NeurIPS 2024), algorithm 2, targeted.

Adversarial poisons whose classifier and whose noise see the images through augmentations of
contrastive strength s (see `aue`); the authors take s = 0.4 for CIFAR-10 and 0.8 for CIFAR-100.
"""

from collections.abc import Mapping
from typing import Any

import torch

from cptools.core.poisons.adversarial import ReferencePGD, by_reference, next_class
from cptools.core.poisons.base import Problem


def aap(problem: Problem, values: Mapping[str, Any]) -> ReferencePGD:
    """Targeted noise under the recipe's augmentations; it starts at zero or at `problem.init`."""
    start = torch.zeros(problem.shape)
    return by_reference(problem, start, values, next_class(problem.num_classes))
