"""Mixup and CutMix without mixed labels: each image keeps the larger share, and so its label.

Against poisons applied by label or by image, a second image on top dilutes what is shared. The
share is drawn from Beta(alpha, alpha) as in the two papers, and the larger of it and its rest goes
to the image. Partners are a random permutation of the images given.
"""

import numpy as np
import torch
from torch import Generator, Tensor

from cptools.core.checks import check_images, check_number
from cptools.core.defenses.boxes import random_boxes


def mixup(images: Tensor, *, alpha: float, generator: Generator) -> Tensor:
    """Blend each image with another: share x + (1 - share) x' (Zhang et al., ICLR 2018).

    Args:
        images: uint8 [N, C, H, W].
        alpha: Both parameters of the Beta distribution, above 0; near 0 most stay as they are.
        generator: On the CPU; advances.

    Returns:
        uint8 [N, C, H, W], rounded to nearest.
    """
    check_images(images, channels=None, empty=True)
    share, partner = _draw(len(images), alpha, generator)
    weight = share.to(images.device).view(-1, 1, 1, 1)
    others = images[partner.to(images.device)]
    return torch.lerp(others.float(), images.float(), weight).round_().to(torch.uint8)


def cutmix(images: Tensor, *, alpha: float, generator: Generator) -> Tensor:
    """Paste a rectangle of another image at its own place (Yun et al., ICCV 2019).

    Its sides are sqrt(1 - share) of the image's, its center is any pixel, and what lies outside is
    lost.

    Args:
        images: uint8 [N, C, H, W].
        alpha: Both parameters of the Beta distribution, above 0.
        generator: On the CPU; advances.

    Returns:
        uint8 [N, C, H, W].
    """
    check_images(images, channels=None, empty=True)
    num, _, height, width = images.shape
    share, partner = _draw(num, alpha, generator)
    sides = torch.tensor([[height], [width]]) * (1 - share).sqrt()
    patch = random_boxes(sides.long(), height=height, width=width, generator=generator)
    return torch.where(patch.to(images.device), images[partner.to(images.device)], images)


def _draw(num: int, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Share of each image, float32 [N] in [0.5, 1], and its partner, int64 [N]; on the CPU."""
    check_number("alpha", alpha, above=True)
    seed = int(torch.randint(2**62, (), generator=generator))
    share = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, num)).float()
    return torch.maximum(share, 1 - share), torch.randperm(num, generator=generator)
