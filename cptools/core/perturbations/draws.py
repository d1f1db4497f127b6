"""Random numbers that belong to an image: the same whichever images are worked on beside it."""

import math

import torch
from torch import Tensor

from cptools.core.random import stream


def _signed(word: int) -> int:
    """A 64-bit word as torch's int64 holds it."""
    return word - (1 << 64) if word >> 63 else word


_STEP = _signed(0x9E3779B97F4A7C15)
_MIX = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)))


class Draws:
    """A stream of random numbers for each image: SplitMix64, started at the image's key.

    Steele, Lea and Flood (Fast splittable pseudorandom number generators, OOPSLA 2014), figure 17.
    The numbers are a function of the key and their place in the stream, so that all images draw at
    once, on any device. Real numbers are float64, so that what is made of them rounds to the same 8
    bits wherever they were computed.
    """

    def __init__(self, keys: Tensor) -> None:
        """Start at the keys, int64 [N]."""
        self._keys = keys
        self._used = 0

    @classmethod
    def of(cls, rows: Tensor, seed: int, *path: str | int) -> "Draws":
        """The streams of some rows of a dataset.

        Args:
            rows: int64 [N], at least 0; the row of a key in the stream of (seed, path).
            seed: of the command.
            path: what the numbers are for.
        """
        num = int(rows.max()) + 1 if len(rows) else 0
        keys = torch.randint(2**63 - 1, (num,), generator=stream(seed, *path))
        return cls(keys.to(rows.device)[rows])

    def fork(self, number: int) -> "Draws":
        """Streams of their own for each number, of the same images; this one does not advance."""
        return Draws(_mix(_mix(self._keys) + number))

    def pick(self, chosen: Tensor | slice) -> "Draws":
        """The streams of some of the images, int64 [n], bool [N] or a slice, from here on."""
        some = Draws(self._keys[chosen])
        some._used = self._used
        return some

    def bits(self, num: int) -> Tensor:
        """Advance by `num` random 64-bit words an image: int64 [N, num]."""
        first = self._used + 1
        places = torch.arange(first, first + num, device=self._keys.device)
        self._used += num
        return _mix(self._keys.unsqueeze(1) + places * _STEP)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1): float64 [N, *shape]."""
        words = _shift(self.bits(math.prod(shape)), 11)
        return words.double().mul_(2.0**-53).view(-1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, by the method of Box and Muller: float64 [N, *shape]."""
        num = math.prod(shape)
        words = self.bits(-(-num // 2))
        radius = _shift(words, 32).double().add_(1).mul_(2.0**-32).log_().mul_(-2).sqrt_()
        angle = (words & 0xFFFFFFFF).double().mul_(2 * math.pi * 2.0**-32)
        both = torch.cat((angle.cos() * radius, angle.sin_() * radius), dim=1)
        return both[:, :num].reshape(-1, *shape)

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform in [low, high): float64 [N, *shape]."""
        return self.uniform(*shape).mul_(high - low).add_(low)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Uniform among low, ..., high - 1: int64 [N, *shape]."""
        return self.between(low, high, *shape).floor_().long()


def _shift(words: Tensor, by: int) -> Tensor:
    """Shift right, zeros coming in from the left."""
    return (words >> by) & ((1 << (64 - by)) - 1)


def _mix(words: Tensor) -> Tensor:
    for by, factor in _MIX:
        words = (words ^ _shift(words, by)).mul_(factor)
    return words ^ _shift(words, 31)
