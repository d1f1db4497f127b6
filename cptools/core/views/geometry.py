"""Random resized crop and flip as two small matrix products a sample, with PIL's filter.

Letters: ``B`` batch, ``C`` channels, ``H W`` image, ``S`` output size.
"""

import math

import torch
from torch import Tensor

TRIES = 10  # torchvision RandomResizedCrop.get_params


def crop_boxes(
    uniforms: Tensor,
    *,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Turns uniform numbers into crop boxes, distributed as torchvision's RandomResizedCrop.

    Ten tries an image: the first box that fits is taken, and the central crop of the nearest
    allowed aspect ratio where none does.

    Args:
        uniforms: float64 [B, 22] in [0, 1): ten areas, ten aspect ratios, top, left.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        scale: Bounds of the crop's area as a fraction of the image's.
        ratio: Bounds of width / height; the logarithm is uniform.

    Returns:
        top, left, height and width of the crops in pixels, each int64 [B].
    """
    area, log_ratio = uniforms[:, :TRIES], uniforms[:, TRIES : 2 * TRIES]
    area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * log_ratio)
    widths = torch.sqrt(area * aspect).round().long()  # half to even, as Python's round
    heights = torch.sqrt(area / aspect).round().long()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)  # the first maximum
    found = fits.gather(1, first).squeeze(1)
    fallback_height, fallback_width = _central_crop(height, width, ratio)
    crop_width = widths.gather(1, first).squeeze(1).where(found, fallback_width)
    crop_height = heights.gather(1, first).squeeze(1).where(found, fallback_height)
    room_down, room_right = height - crop_height, width - crop_width
    top = (uniforms[:, 2 * TRIES] * (room_down + 1)).long()
    left = (uniforms[:, 2 * TRIES + 1] * (room_right + 1)).long()
    top = top.where(found, room_down // 2)
    left = left.where(found, room_right // 2)
    return top, left, crop_height, crop_width


def _central_crop(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """The largest box whose aspect ratio is nearest to the image's and allowed: height, width."""
    if width / height < min(ratio):
        return round(width / min(ratio)), width
    if width / height > max(ratio):
        return height, round(height * max(ratio))
    return height, width


def resize_matrices(
    start: Tensor, length: Tensor, flip: Tensor | None, *, source: int, size: int
) -> Tensor:
    """The linear maps that cut ``[start, start + length)`` and resize it as PIL's BILINEAR does.

    A triangle filter with half-pixel centers, as wide as the scale where that shrinks
    (antialias), cut off at the borders of the crop and normalized: Pillow's
    ``src/libImaging/Resample.c``, ``precompute_coeffs``.

    Args:
        start: First pixel of the crop along this axis, [B].
        length: Pixels of the crop along this axis, [B], at least 1.
        flip: Where 1, the output is mirrored; 0 or 1, [B], or None for nowhere.
        source: Pixels of the image along this axis.
        size: Pixels of the output, S.

    Returns:
        float32 [B, S, source]; every row sums to 1.
    """
    start, length = start.float().view(-1, 1), length.float().view(-1, 1)
    steps = length / size
    support = steps.clamp(min=1.0)
    out = torch.arange(size, device=start.device, dtype=torch.float32) + 0.5
    if flip is not None:
        out = out + flip.float().view(-1, 1) * (size - 2 * out)
    centers = out * steps / support  # [B, S], in units of the support, from the start of the crop
    pixels = torch.arange(source, device=start.device, dtype=torch.float32) - start
    outside = (pixels < 0) | (pixels >= length)
    pixels = ((pixels + 0.5) / support).masked_fill(outside, torch.inf)  # [B, source]
    weights = pixels.unsqueeze(1) - centers.unsqueeze(2)
    weights = weights.abs_().neg_().add_(1.0).clamp_(min=0.0)
    return weights.div_(weights.sum(dim=2, keepdim=True))


def resized_crop(x: Tensor, boxes: Tensor, *, size: int) -> Tensor:
    """Cuts a box out of each image, resizes it to a square and mirrors some.

    Equals ``torchvision.transforms.functional.resized_crop`` with PIL images and bilinear
    interpolation, up to PIL's rounding to 8 bits after each axis. Linear in ``x``.

    Args:
        x: float [B, C, H, W], any range.
        boxes: Top, left, height and width in pixels, and whether to mirror left and right
            afterwards (0 or 1), int64 [5, B], on the device of ``x``.
        size: S.

    Returns:
        [B, C, S, S], of the type of ``x``, contiguous.
    """
    num, channels, rows, columns = x.shape
    top, left, height, width, flip = boxes
    vertical = resize_matrices(top, height, None, source=rows, size=size).to(x.dtype)
    horizontal = resize_matrices(left, width, flip, source=columns, size=size).to(x.dtype)
    y = torch.bmm(x.reshape(num, channels * rows, columns), horizontal.transpose(1, 2))
    return torch.matmul(vertical.unsqueeze(1), y.view(num, channels, rows, size))
