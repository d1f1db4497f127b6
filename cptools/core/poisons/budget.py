"""The poison budget: what a delta may change, as floats for training and as integers to publish.

A delta is kept in units of epsilon, in [-1, 1] (He, Zha and Katabi, ICLR 2023, section 4): the
poisoned image is clamp(x + epsilon * delta, 0, 1), and epsilon bounds the L-infinity norm on the
[0, 1] pixel scale. Epsilon is a `Fraction`, because floor(255 * epsilon), the number of gray levels
a pixel may move, is not safe in floats.

N images, K rows of delta, [C, H, W] the shape of one image.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from cptools.core.epsilon import Epsilon, levels, parse_epsilon

_CHUNK = 1 << 22  # elements handled at a time: 1365 images of 32 x 32, about 40 MB of temporaries


def project(delta: Tensor) -> Tensor:
    """Project a delta, in units of epsilon, onto the L-infinity ball: clamp to [-1, 1]."""
    return delta.clamp(-1, 1)


def pgd_step(delta: Tensor, gradient: Tensor, *, step_size: float) -> Tensor:
    """A projected gradient step down a loss: Pi(delta - alpha sign(gradient)).

    Args:
        delta: in [-1, 1], units of epsilon.
        gradient: of the loss to delta, of its shape.
        step_size: alpha, in units of epsilon.
    """
    return project(delta - step_size * gradient.sign())


def perturb(x: Tensor, delta: Tensor, epsilon: Epsilon) -> Tensor:
    """Poison float images; gradients flow to `x` and `delta` where the image stays in [0, 1].

    The delta is not clamped here: torch's clamp has no gradient at its ends, where projected
    gradient descent puts much of a delta, and none of that could ever come back. Nor is the image
    clamped so, but by maximum and minimum, whose slope at exactly 0 and 1 is a half: else noise
    that starts at zero would never leave black and white pixels.

    Args:
        x: Images [N, C, H, W] in [0, 1].
        delta: One row an image (or a row that broadcasts), in [-1, 1], units of epsilon.
        epsilon: L-infinity radius on the [0, 1] scale, such as "8/255".

    Returns:
        clamp(x + epsilon * delta, 0, 1), shape of `x`.
    """
    poisoned = x + float(parse_epsilon(epsilon)) * delta
    return poisoned.maximum(poisoned.new_zeros(())).minimum(poisoned.new_ones(()))


def poison_uint8(images: Tensor, delta: Tensor, rows: Tensor, epsilon: Epsilon) -> Tensor:
    """Poison stored images: clamp(round(clean + 255 * epsilon * delta), 0, 255), bounded exactly.

    The offset is rounded to the nearest level (ties to even, so that delta and -delta give opposite
    offsets) and then clipped to +-floor(255 * epsilon) as an integer.

    Args:
        images: Clean uint8 images [N, C, H, W].
        delta: [K, C, H, W], float32 or float16, in units of epsilon; values outside [-1, 1] count
            as the nearest end.
        rows: int64 [N], the row of delta of each image: the labels for a class-wise delta,
            0 .. N - 1 for a sample-wise one.
        epsilon: L-infinity radius on the [0, 1] scale.

    Returns:
        A new uint8 tensor [N, C, H, W] on the device of `images`, with
        |poisoned - clean| <= floor(255 * epsilon) at every pixel.

    Raises:
        ValueError: A dtype or shape does not fit, or a row is outside 0 .. K - 1.
    """
    radius = parse_epsilon(epsilon)
    _check_images(images, "images")
    if delta.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"delta is made for images of shape {_dims(delta.shape[1:])}, "
            f"but these are {_dims(images.shape[1:])}"
        )
    if rows.dtype != torch.int64 or rows.shape != images.shape[:1]:
        raise ValueError(
            f"expected one int64 row number for each of {len(images)} images, "
            f"got {rows.dtype} of shape {_dims(rows.shape)}"
        )
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= len(delta)):
        raise ValueError(
            f"delta has rows 0 to {len(delta) - 1}, "
            f"but rows {int(rows.min())} to {int(rows.max())} are asked for"
        )
    scale, most = float(255 * radius), levels(radius)
    poisoned = torch.empty_like(images)
    rows = rows.to(delta.device)
    for part in _chunks(images):
        offset = project(delta[rows[part]].to(images.device, torch.float32)).mul_(scale).round_()
        # The integer clip makes the bound exact where 255 * epsilon is not whole: 7.65 rounds to 8.
        moved = offset.to(torch.int16).clamp_(-most, most).add_(images[part])
        poisoned[part] = moved.clamp_(0, 255).to(torch.uint8)
    return poisoned


def check_bound(clean: Tensor, poisoned: Tensor, epsilon: Epsilon) -> None:
    """Check that no pixel moved by more than floor(255 * epsilon) gray levels.

    Args:
        clean: uint8 images [N, C, H, W].
        poisoned: uint8 images of the same shape.
        epsilon: L-infinity radius on the [0, 1] scale.

    Raises:
        ValueError: The bound does not hold; the message names the worst pixel. Or the shapes or
            dtypes differ.
    """
    radius = parse_epsilon(epsilon)
    _check_images(clean, "clean images")
    _check_images(poisoned, "poisoned images")
    if clean.shape != poisoned.shape:
        raise ValueError(
            f"clean images have shape {_dims(clean.shape)}, poisoned ones {_dims(poisoned.shape)}"
        )
    most, worst, where = levels(radius), -1, 0
    for part in _chunks(clean):
        moved = (poisoned[part].to(clean.device, torch.int16) - clean[part]).abs_().flatten()
        position = int(moved.argmax())
        if int(moved[position]) > worst:
            worst = int(moved[position])
            where = part.start * clean[0].numel() + position
    if worst > most:
        index = []
        for size in reversed(clean.shape):
            where, remainder = divmod(where, size)
            index.append(remainder)
        image, channel, row, column = reversed(index)
        before = int(clean[image, channel, row, column])
        after = int(poisoned[image, channel, row, column])
        raise ValueError(
            f"poison exceeds its bound: image {image}, channel {channel}, row {row}, column "
            f"{column} went from {before} to {after}, {worst} levels where epsilon {radius} "
            f"allows {most}"
        )


def _check_images(images: Tensor, what: str) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            f"expected {what} as uint8 [N, C, H, W], got {images.dtype} {_dims(images.shape)}"
        )


def _chunks(images: Tensor) -> Iterator[slice]:
    """Slices of images that hold about `_CHUNK` elements each; none without elements."""
    if images.numel():
        step = max(1, _CHUNK // images[0].numel())
        for start in range(0, len(images), step):
            yield slice(start, start + step)


def _dims(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if shape else "none"
