"""Random noise in the ball: the poison that nothing was learned for, the control of every table."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def random_noise(shape: Sequence[int], generator: Generator) -> Tensor:
    """Draw a delta uniformly from the L-infinity ball ("Random Noise", CP table 1).

    Args:
        shape: [K, C, H, W]: number of images, or of classes for class-wise noise, and one image's.
        generator: Where the randomness comes from; the delta is made on its device.

    Returns:
        float32 [K, C, H, W], independent and uniform in [-1, 1), in units of epsilon.
    """
    delta = torch.rand(tuple(shape), generator=generator, device=generator.device)
    return delta.mul_(2).sub_(1)
