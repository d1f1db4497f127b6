"""Hypocritical perturbations (HYPO; Tao et al., NeurIPS 2021): the noise that helps a classifier.

Their P2: a classifier learns the clean images; then the noise of each image goes down its
cross-entropy to the image's OWN class, so that whoever trains on it has nothing left to learn from
the image. As in their code the noise is made for the images as they are, without augmentation.
Their P4, the same with one perturbation a class, is not here. Their classifier is a VGG-16, where
the recipe has the ResNet-18 of the other attacks.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from cptools.core.algorithms.supervised import Supervised
from cptools.core.poisons.adversarial import Objective, ReferencePGD, by_reference
from cptools.core.poisons.base import Problem
from cptools.core.training import Learner
from cptools.core.views import DrawsViews
from cptools.core.views.recipe import normalize


def own_class(problem: Problem) -> Objective:
    """Cross-entropy of the poisoned images, without views, to their class."""

    def objective(
        learner: Learner, noisy: Tensor, y: Tensor, _: DrawsViews, __: torch.Generator
    ) -> Tensor:
        classifier = cast("Supervised", learner.algorithm)
        x = normalize(noisy, problem.mean, problem.std)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=learner.bf16):
            return F.cross_entropy(classifier.classify(x).float(), y)

    return objective


def hypocritical(problem: Problem, values: Mapping[str, Any]) -> ReferencePGD:
    """Hypocritical perturbations; they start at zero or at `problem.init`."""
    return by_reference(problem, torch.zeros(problem.shape), values, own_class(problem))
