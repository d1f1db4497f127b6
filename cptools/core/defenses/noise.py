"""Random noise on the images, the first defense of CP table 8."""

import torch
from torch import Generator, Tensor

from cptools.core.checks import check_images, check_number
from cptools.core.random import on_device


def gaussian_noise(images: Tensor, *, sigma: float, generator: Generator) -> Tensor:
    """Add white noise to every channel of every pixel.

    He, Zha and Katabi (ICLR 2023, section 6b and table 8: "Random Noise", small and large) control
    "the standard deviation of the white noise"; the two values are missing from the text that could
    be had.

    Args:
        images: uint8 [N, C, H, W].
        sigma: Standard deviation on the pixel scale 0 to 1.
        generator: On the CPU, of the noise or of the seed of a GPU's; advances.

    Returns:
        uint8 [N, C, H, W], rounded to nearest and clamped.
    """
    check_images(images, channels=None, empty=True)
    check_number("sigma", sigma)
    device = images.device
    noise = torch.randn(images.shape, generator=on_device(generator, device), device=device)
    noisy: Tensor = noise.mul_(255 * sigma).add_(images).round_().clamp_(0, 255)
    return noisy.to(torch.uint8)
