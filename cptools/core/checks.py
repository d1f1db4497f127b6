"""What a caller may hand in, checked where it enters, so that nothing wrong goes on in silence.

Messages name a parameter in backticks, as docstrings do; the command line shows it as its option.
"""

import math
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

_BYTES = "give bytes, of floats in [0, 1] (255 * images).round().to(torch.uint8)"


def to_float(images: Tensor) -> Tensor:
    """uint8 [.., H, W] in 0..255 to new float32 in [0, 1].

    Raises:
        ValueError: the images are not uint8: floats may be in [0, 1] already, or normalized.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"expected images as uint8 in 0..255, got {images.dtype}; {_BYTES}")
    return images.float().div_(255)


def check_images(
    images: Tensor, what: str = "images", *, channels: int | None = 3, empty: bool = False
) -> None:
    """Raise `ValueError` unless these are images as stored: uint8 [N, C, H, W].

    Args:
        images: what was handed in.
        what: their name in the message.
        channels: C; None for any.
        empty: whether there may be none.
    """
    _check_tensor(images, what)
    fits = images.ndim == 4 and channels in (None, images.shape[1])
    fits = fits and (empty or images.numel() > 0)
    if images.dtype != torch.uint8 or not fits:
        hint = _BYTES if fits else "give a batch of one image or more, channels first"
        raise ValueError(
            f"expected {what} as uint8 [N, {channels or 'C'}, H, W], got {images.dtype}"
            f" {list(images.shape)}; {hint}"
        )


def check_labels(
    labels: Tensor,
    images: Tensor,
    what: str = "labels",
    *,
    num_classes: int | None = None,
    several: bool = False,
) -> None:
    """Raise `ValueError` unless these are the classes of the images, int64 [N] in 0 .. C - 1.

    Args:
        labels: what was handed in.
        images: [N, ...], what they are the classes of.
        what: their name in the message.
        num_classes: C; None for any.
        several: whether L labelings will do, int64 [N, L].
    """
    _check_tensor(labels, what)
    shapes = (1, 2) if several else (1,)
    if labels.dtype != torch.int64 or labels.ndim not in shapes or len(labels) != len(images):
        raise ValueError(
            f"expected {what} as int64 [{len(images)}], one an image, got {labels.dtype}"
            f" {list(labels.shape)}; give labels.long(), one for each of the images"
        )
    if labels.device != images.device:
        raise ValueError(
            f"images are on {images.device} but {what} on {labels.device}; move one to the other"
        )
    low, high = (int(end) for end in labels.aminmax())
    most = math.inf if num_classes is None else num_classes - 1
    if low < 0 or high > most:
        limits = "0 on" if num_classes is None else f"0 to {most}"
        raise ValueError(
            f"expected {what} from {limits}, got {low} to {high}; number the classes from 0"
        )


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Raise `ValueError` unless this is a whole number from `low` on, to `high` if there is one."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        limits = f"from {low} on" if high is None else f"from {low} to {high}"
        raise ValueError(f"`{name}` is {value!r}; give a whole number {limits}")


def check_number(
    name: str, value: Any, low: float = 0.0, high: float = math.inf, *, above: bool = False
) -> None:
    """Raise `ValueError` unless this is a finite number from `low` (or `above` it) to `high`."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not low <= value <= high or math.isinf(value) or (above and value == low):
        least = f"above {low:g}" if above else f"of at least {low:g}"
        most = "" if math.isinf(high) else f" and at most {high:g}"
        raise ValueError(f"`{name}` is {value!r}; give a number {least}{most}")


def check_normalization(mean: Any, std: Any) -> None:
    """Raise `ValueError` unless mean and std are three numbers each, std above 0."""
    for name, values, above in (("mean", mean, False), ("std", std, True)):
        if len(values) != 3:
            raise ValueError(f"`{name}` has {len(values)} numbers; give one for each of 3 channels")
        for value in values:
            check_number(name, value, 0.0, math.inf if above else 1.0, above=above)


def _check_tensor(value: Any, what: str) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(
            f"expected {what} as a torch.Tensor, got {type(value).__name__}; give"
            " torch.as_tensor(...)"
        )
