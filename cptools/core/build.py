"""From the names and numbers of a recipe to views, algorithms and learners."""

from collections.abc import Mapping
from typing import Any

import torch

from cptools.core.algorithms import ALGORITHMS
from cptools.core.algorithms.base import Algorithm, Backbone
from cptools.core.encoders import ENCODERS
from cptools.core.lazy import load
from cptools.core.random import stream
from cptools.core.training import Learner
from cptools.core.views import Views

# Option of the tools -> argument of the algorithm's constructor.
ALGORITHM_OPTIONS = {
    "head_hidden": "hidden",
    "head_dim": "dim",
    "temperature": "temperature",
    "ema": "momentum",
    "queue_size": "queue_size",
    "bn_groups": "bn_groups",
}
JITTER = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation, hue (CP appendix A)


def build_views(
    values: Mapping[str, Any],
    *,
    size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Views:
    """Views of a recipe for images of a dataset."""
    strength = values["jitter"]
    brightness, contrast, saturation, hue = (strength * factor for factor in JITTER)
    if hue > 0.5:
        raise ValueError(f"--jitter {strength} turns hue by more than half a circle; at most 5")
    return Views(
        size=size,
        mean=mean,
        std=std,
        scale=(values["crop_area"], 1.0),
        flip=values["flip_prob"],
        jitter=(brightness, contrast, saturation, hue),
        jitter_p=values["jitter_prob"],
        gray_p=values["gray_prob"],
        pad=values["pad"],
    )


def build_encoder(name: str, width: int) -> Backbone:
    """A backbone; its weights are drawn by the algorithm that takes it."""
    encoder: Backbone = load(ENCODERS[name])(width)
    return encoder


def build_algorithm(
    alg: str, values: Mapping[str, Any], *, num_classes: int, seed: int, role: str = "victim"
) -> Algorithm:
    """An algorithm with fresh weights, by a recipe's values; for `num_classes` where it has any.

    The role, "attacker" or "victim", keeps the two from starting at the same weights where their
    seeds are equal: the attacker cannot know the victim's initialization (CP section 3).
    """
    options = {
        argument: values[option]
        for option, argument in ALGORITHM_OPTIONS.items()
        if option in values
    }
    kind = load(ALGORITHMS[alg])
    if kind.needs_classes:
        options["num_classes"] = num_classes
    algorithm: Algorithm = kind(
        build_encoder(values["encoder"], values["width"]),
        generator=stream(seed, role, "weights"),
        **options,
    )
    return algorithm


def build_learner(
    alg: str,
    values: Mapping[str, Any],
    *,
    num_classes: int,
    device: torch.device,
    bf16: bool,
    seed: int,
    role: str = "victim",
) -> Learner:
    """An algorithm on its device with its optimizer, by a recipe's values."""
    algorithm = build_algorithm(alg, values, num_classes=num_classes, seed=seed, role=role)
    algorithm = algorithm.to(device).to(memory_format=torch.channels_last)
    return Learner(
        algorithm,
        optimizer=values["optimizer"],
        lr=values["lr"],
        min_lr=values["min_lr"],
        weight_decay=values["weight_decay"],
        momentum=values["momentum"],
        loss_scale=values["loss_scale"],
        bf16=bf16,
    )
