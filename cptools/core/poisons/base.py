"""What every attack is given, and what it is to whoever runs it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from cptools.core.build import build_learner, build_views
from cptools.core.checks import (
    check_images,
    check_labels,
    check_normalization,
    check_whole,
    to_float,
)
from cptools.core.degradations.views import surviving
from cptools.core.epsilon import Epsilon, parse_epsilon
from cptools.core.settings import Settings
from cptools.core.training import Learner, batch_number, with_prefix, without_prefix
from cptools.core.views import DrawsViews


def rows_of(labels: Tensor, mode: str) -> Tensor:
    """Row of delta that is applied to each image, int64 [N]: its label, or its own number.

    Args:
        labels: int64 [N].
        mode: `class` or `sample`.

    Raises:
        ValueError: there is no such mode.
    """
    _check_mode(mode)
    return labels if mode == "class" else torch.arange(len(labels), device=labels.device)


@dataclass(frozen=True)
class Problem:
    """Min over theta, min over delta (CP equation 1): the images to poison and the budget for it.

    N images, C classes, K rows of the delta: C in mode `class`, N in mode `sample`.

    Attributes:
        images: clean images, uint8 [N, 3, H, W], on the device of the work.
        labels: their classes, int64 [N], on the same device.
        num_classes: C.
        mean: per-channel mean of the normalization, in [0, 1].
        std: per-channel standard deviation of the normalization.
        mode: `class`, one row of delta a class, or `sample`, one an image.
        epsilon: L-infinity radius in [0, 1], such as "8/255" or 8 / 255; a Fraction from then on.
        seed: of everything random.
        init: where the delta starts, float32 [K, 3, H, W] in [-1, 1], units of epsilon; None for
            the attack's own start.
        bf16: compute networks in bfloat16.
        weights: that the attacker's encoder starts from in place of the seed's, by name.

    Raises:
        ValueError: images, labels or delta are not of these kinds, or a value is out of range.
    """

    images: Tensor
    labels: Tensor
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mode: str
    epsilon: Epsilon
    seed: int = 0
    init: Tensor | None = None
    bf16: bool = False
    weights: Mapping[str, Tensor] | None = None

    def __post_init__(self) -> None:
        """Refuse what no poison can be made of; hold epsilon as a Fraction."""
        check_images(self.images)
        check_whole("num_classes", self.num_classes, 1)
        check_labels(self.labels, self.images, num_classes=self.num_classes)
        check_normalization(self.mean, self.std)
        _check_mode(self.mode)
        check_whole("seed", self.seed, 0)
        object.__setattr__(self, "epsilon", parse_epsilon(self.epsilon))
        if self.init is not None:
            _check_start(self.init, self.shape)

    @cached_property
    def rows(self) -> Tensor:
        """Row of delta that is applied to each image, int64 [N]."""
        return rows_of(self.labels, self.mode)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the delta, [K, 3, H, W]."""
        num = self.num_classes if self.mode == "class" else len(self.images)
        _, channels, height, width = self.images.shape
        return num, channels, height, width

    def batch(self, number: int, batch_size: int, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """A batch of an endless walk through shuffled epochs, from the clean images.

        Args:
            number: of the batch in the walk, counted from 0.
            batch_size: B; at most N images are used.
            name: of the walk; another name is another order.

        Returns:
            Clean images, float32 [B, 3, H, W] in [0, 1], their labels, int64 [B], and the row of
            delta that is applied to each, int64 [B].
        """
        num = len(self.images)
        index = batch_number(
            number, num=num, batch_size=min(batch_size, num), seed=self.seed, name=name
        ).to(self.images.device)
        return to_float(self.images[index]), self.labels[index], self.rows[index]

    def start(self, own: Tensor) -> Tensor:
        """A copy of where the delta starts: `init`, or else the attack's own start."""
        start = own if self.init is None else self.init
        return start.to(self.images.device, torch.float32, copy=True)


def _check_mode(mode: str) -> None:
    if mode not in ("class", "sample"):
        raise ValueError(f"there is no mode {mode!r}; give `mode=class` or `mode=sample`")


def _check_start(delta: Tensor, shape: tuple[int, ...]) -> None:
    if delta.shape != shape or not delta.is_floating_point():
        raise ValueError(
            f"expected the start of the noise as float {list(shape)}, got {delta.dtype}"
            f" {list(delta.shape)}; give a delta made for these images and this mode"
        )
    if not bool((delta.abs() <= 1).all()):
        raise ValueError(
            "the start of the noise is not in [-1, 1] everywhere; give it in units of epsilon"
        )


@dataclass(frozen=True)
class Round:
    """What a round of work ended with.

    Attributes:
        round: counted from 1.
        model_loss: mean over its encoder steps; NaN where it had none.
        noise_loss: mean over its noise steps; NaN where it had none.
    """

    round: int
    model_loss: float = math.nan
    noise_loss: float = math.nan

    @property
    def loss(self) -> float:
        """Loss of the noise, or of the model where no noise was learned."""
        return self.model_loss if math.isnan(self.noise_loss) else self.noise_loss


class Poisoning(Protocol):
    """An attack at work: resumable, a round at a time.

    Attributes:
        delta: the poison so far, float32 [K, 3, H, W] in [-1, 1], units of epsilon.
        total: rounds from the start to the end, at most.
        round: rounds done.
    """

    delta: Tensor
    round: int

    @property
    def total(self) -> int:
        """Rounds from the start to the end, at most."""

    def run(self) -> Iterator[Round]:
        """Do the rounds that are left, one yield each."""

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a checkpoint needs."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Carry on after the rounds that `state` was taken at."""


def progress(work: Poisoning) -> dict[str, Tensor]:
    """What a checkpoint keeps of any attack, beside its learners."""
    return with_prefix("poison", {"delta": work.delta, "round": torch.tensor(work.round)})


def restore_progress(work: Poisoning, tensors: dict[str, Tensor]) -> None:
    """Inverse of `progress`."""
    kept = without_prefix("poison", tensors)
    work.delta.copy_(kept["delta"])
    work.round = int(kept["round"])


def attacker(problem: Problem, alg: str, values: Mapping[str, Any]) -> tuple[Learner, DrawsViews]:
    """The attacker's learner, a key of ALGORITHMS, and its views, by the settings of a recipe."""
    settings, size = cast("Settings", values), problem.shape[-1]
    learner = build_learner(
        alg,
        settings,
        num_classes=problem.num_classes,
        mean=problem.mean,
        std=problem.std,
        device=problem.images.device,
        bf16=problem.bf16,
        seed=problem.seed,
        role="attacker",
        size=size,
        weights=problem.weights,
    )
    views = build_views(settings, size=size, mean=problem.mean, std=problem.std)
    return learner, surviving(views, values.get("survive", ""))
