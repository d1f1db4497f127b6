"""Entangled features (EntF; Wen et al., ICLR 2023): noise against adversarial training.

A reference classifier trains adversarially on the clean images, so that its features are those that
adversarial training can use. Then the noise of each image either pushes its features away from the
mean of its class, or pulls them to the nearest mean of another class (their section 3.1): classes
become entangled in what a robust victim sees. The distance is squared, which turns no sign of a
gradient. The learning rate follows a cosine where the released code divides it by ten twice.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cptools.core.checks import to_float
from cptools.core.evaluation.frozen import encode, frozen
from cptools.core.poisons.adversarial import ReferencePGD, by_reference
from cptools.core.poisons.base import Problem
from cptools.core.poisons.budget import project
from cptools.core.random import stream
from cptools.core.training import Learner
from cptools.core.views import DrawsViews
from cptools.core.views.recipe import normalize


def centroids(problem: Problem, learner: Learner, batch_size: int) -> Tensor:
    """Mean feature of the clean images of each class, without views.

    Args:
        problem: the images.
        learner: of the reference classifier.
        batch_size: images at a time.

    Returns:
        float32 [C, D]; not a number where a class has no images.
    """
    encoder, parts = learner.algorithm.encoder, []
    with frozen(encoder):
        for images in problem.images.split(batch_size):
            x = normalize(to_float(images), problem.mean, problem.std)
            parts.append(encode(encoder, x, bf16=learner.bf16))
    features = torch.cat(parts)
    members = torch.nn.functional.one_hot(problem.labels, problem.num_classes).float()
    return (members.T @ features) / members.sum(0).unsqueeze(1)


def entanglement(features: Tensor, labels: Tensor, means: Tensor, towards: str) -> Tensor:
    """What the noise makes small.

    Args:
        features: of poisoned images, float [B, D].
        labels: int64 [B].
        means: features of the classes, float [C, D].
        towards: "push" from the own class, or "pull" to the nearest other.

    Returns:
        Mean over the images of the squared distance, negative of "push"; a scalar.
    """
    distances = (features.unsqueeze(1) - means).square().sum(2)  # [B, C]
    if towards == "push":
        return -distances.gather(1, labels.unsqueeze(1)).mean()
    own = torch.nn.functional.one_hot(labels, len(means)).bool()
    others = distances.masked_fill(own | distances.isnan(), torch.inf)
    return others.min(1).values.mean()


def entangled(problem: Problem, values: Mapping[str, Any]) -> ReferencePGD:
    """Entangling noise; it starts normal, cut off at the ball, or at `problem.init`.

    Args:
        problem: what to poison.
        values: a recipe's, with `entangle`, push or pull.

    Raises:
        ValueError: there is only one class.
    """
    if problem.num_classes < 2:
        raise ValueError("features of one class have none to entangle with; give two classes")
    means: list[Tensor] = []  # of the trained reference, once it is

    def objective(
        learner: Learner, noisy: Tensor, y: Tensor, views: DrawsViews, rng: torch.Generator
    ) -> Tensor:
        if not means:
            means.append(centroids(problem, learner, values["batch_size"]))
        view = views(noisy, rng)
        with torch.autocast(view.device.type, torch.bfloat16, enabled=learner.bf16):
            features = learner.algorithm.encoder(view).float()
        return entanglement(features, y, means[0], values["entangle"])

    start = project(torch.randn(problem.shape, generator=stream(problem.seed, "delta")))
    return by_reference(problem, start, values, objective, alg="advsupervised")
