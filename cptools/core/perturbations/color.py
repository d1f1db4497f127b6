"""Value, saturation and contrast."""

import torch
from torch import Tensor

from cptools.core.perturbations.pixels import to_bits, to_scale


def brightness(images: Tensor, *, shift: float) -> Tensor:
    """Shift V of hue, saturation and value.

    CIFAR-10-C `brightness`, CIFAR-10-P "Brightness". V is the largest channel, and hue and
    saturation hold if all channels keep their ratios.

    Args:
        images: uint8 [N, 3, H, W].
        shift: Of V, on the scale 0 to 1.
    """
    x = to_scale(images)
    value = x.amax(1, keepdim=True)
    shifted = (value + shift).clamp_(0, 1)
    return to_bits(torch.where(value > 0, x * (shifted / value), shifted))


def saturate(images: Tensor, *, factor: float, shift: float) -> Tensor:
    """Scale and shift S of hue, saturation and value.

    CIFAR-10-C `saturate`. S is the share of V by which the smallest channel falls short of it. Gray
    has hue 0, as in scikit-image: a shift makes it red.

    Args:
        images: uint8 [N, 3, H, W].
        factor: Of S.
        shift: Of S, afterwards.
    """
    x = to_scale(images)
    value = x.amax(1, keepdim=True)
    short = value - x
    most = short.amax(1, keepdim=True)
    saturation = torch.where(most > 0, most / value, 0)
    wanted = (saturation * factor + shift).clamp_(0, 1)
    red = torch.tensor([0.0, 1, 1], dtype=x.dtype, device=x.device).view(3, 1, 1)
    shape = torch.where(most > 0, short / most, red)  # 0 in the largest channel, 1 in the smallest
    return to_bits(value * (1 - wanted * shape))


def contrast(images: Tensor, *, factor: float) -> Tensor:
    """Bring every channel nearer to its mean over the image.

    CIFAR-10-C `contrast`.

    Args:
        images: uint8 [N, 3, H, W].
        factor: Of the distance to the mean.
    """
    height, width = images.shape[-2:]
    mean = images.sum((2, 3), keepdim=True).double() / (255 * height * width)
    return to_bits((to_scale(images) - mean) * factor + mean)
