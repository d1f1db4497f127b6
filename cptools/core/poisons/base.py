"""What every attack is given, and what it is to whoever runs it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


def rows_of(labels: Tensor, mode: str) -> Tensor:
    """Row of the delta that each image wears, int64 [N]: its label, or its own number.

    Args:
        labels: int64 [N].
        mode: `class` or `sample`.
    """
    return labels if mode == "class" else torch.arange(len(labels), device=labels.device)


@dataclass(frozen=True)
class Task:
    """The pictures to poison and the budget for it.

    N images, C classes, K rows of the delta: C in mode `class`, N in mode `sample`.

    Attributes:
        images: clean images, uint8 [N, 3, H, W], on the device of the work.
        labels: their classes, int64 [N], on the same device.
        num_classes: C.
        mean: per-channel mean of the normalization, in [0, 1].
        std: per-channel standard deviation of the normalization.
        mode: `class`, one row of delta a class, or `sample`, one an image.
        epsilon: L-infinity radius in [0, 1].
        seed: of everything random.
        init: where the delta starts, float32 [K, 3, H, W] in [-1, 1], units of epsilon; None for
            the attack's own start.
        bf16: compute networks in bfloat16.
    """

    images: Tensor
    labels: Tensor
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mode: str
    epsilon: float
    seed: int = 0
    init: Tensor | None = None
    bf16: bool = False

    @property
    def rows(self) -> Tensor:
        """Row of the delta that each image wears, int64 [N]."""
        return rows_of(self.labels, self.mode)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the delta, [K, 3, H, W]."""
        num = self.num_classes if self.mode == "class" else len(self.images)
        _, channels, height, width = self.images.shape
        return num, channels, height, width

    def start(self, own: Tensor) -> Tensor:
        """A copy of where the delta starts: `init`, or else the attack's own start."""
        start = own if self.init is None else self.init
        return start.to(self.images.device, torch.float32, copy=True)


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
