"""From the names and numbers of a recipe to views, algorithms and learners."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import torch

from cptools.core.algorithms import ALGORITHMS
from cptools.core.algorithms.base import Algorithm, Backbone
from cptools.core.encoders import ENCODERS
from cptools.core.encoders.lab import PREFIX, LabEncoder
from cptools.core.epsilon import parse_epsilon
from cptools.core.knobs import KNOBS
from cptools.core.lazy import load
from cptools.core.random import stream
from cptools.core.training import Learner
from cptools.core.views import Views

# Option of the tools -> argument of the algorithm's constructor.
ALGORITHM_OPTIONS = {
    "head_hidden": "hidden",
    "head_dim": "dim",
    "temperature": "temperature",
    "loss": "objective",
    "ema": "momentum",
    "queue_size": "queue_size",
    "bn_groups": "bn_groups",
    "adv_epsilon": "epsilon",
    "adv_steps": "steps",
    "adv_step_size": "step_size",
    "ce_weight": "ce_weight",
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
    used = values["views"].split(",")

    def probability(augmentation: str) -> float:
        return float(values[f"{augmentation}_prob"]) if augmentation in used else 0.0

    return Views(
        size=size,
        mean=mean,
        std=std,
        scale=(values["crop_area"] if "crop" in used else 1.0, 1.0),
        flip=probability("flip"),
        jitter=(brightness, contrast, saturation, hue),
        jitter_p=probability("jitter"),
        gray_p=probability("gray"),
        blur_p=probability("blur"),
        pad=values["pad"],
        shared=tuple(filter(None, values["share_views"].split(","))),
    )


def build_encoder(name: str, width: int) -> Backbone:
    """A backbone; its weights are drawn by the algorithm that takes it.

    Args:
        name: a key of ENCODERS; with the prefix lab- two such networks of half the width, of
            lightness and of color.
        width: channels of the first stage.
    """
    make = load(ENCODERS[name.removeprefix(PREFIX)])
    if name.startswith(PREFIX):
        half = max(1, width // 2)
        return LabEncoder(make(half), make(half))
    encoder: Backbone = make(width)
    return encoder


def build_algorithm(
    alg: str,
    values: Mapping[str, Any],
    *,
    num_classes: int | tuple[int, ...],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    seed: int,
    role: str = "victim",
) -> Algorithm:
    """An algorithm with fresh weights, by a recipe's values.

    Args:
        alg: a key of ALGORITHMS.
        values: a recipe's.
        num_classes: of the labels, or of each labeling where there are several; algorithms that
            look at no labels do not take it.
        mean: per-channel mean of the normalization, in [0, 1]; of adversarial training alone.
        std: per-channel standard deviation of the normalization; of adversarial training alone.
        seed: of the initial weights.
        role: "attacker" or "victim"; keeps the two from starting at the same weights where their
            seeds are equal: the attacker cannot know the victim's initialization (CP section 3).

    Raises:
        ValueError: views are to share what an algorithm of one view cannot.
    """
    options = {
        argument: _number(option, values[option])
        for option, argument in ALGORITHM_OPTIONS.items()
        if option in values
    }
    kind = load(ALGORITHMS[alg])
    if kind.num_views == 1 and values.get("share_views"):
        raise ValueError(f"--share-views does not apply to --alg {alg}, which sees one view")
    if kind.needs_classes:
        options["num_classes"] = num_classes
    if kind.needs_pixels:
        options |= {"mean": mean, "std": std}
    algorithm: Algorithm = kind(
        build_encoder(kind.encoder_prefix + values["encoder"], values["width"]),
        generator=stream(seed, role, "weights"),
        **options,
    )
    return algorithm


def _number(option: str, value: Any) -> Any:
    """The number that a setting is: fractions are kept as text."""
    return float(parse_epsilon(value)) if KNOBS[option].kind is Fraction else value


def build_learner(
    alg: str,
    values: Mapping[str, Any],
    *,
    num_classes: int | tuple[int, ...],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
    bf16: bool,
    seed: int,
    role: str = "victim",
) -> Learner:
    """An algorithm on its device with its optimizer, by a recipe's values."""
    algorithm = build_algorithm(
        alg, values, num_classes=num_classes, mean=mean, std=std, seed=seed, role=role
    )
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
