"""Random noise in the ball: the poison that nothing was learned for, the control of every table."""

import torch
from torch import Generator, Tensor


def random_noise(num: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
    """Draw a delta uniformly from the L-infinity ball ("Random Noise", CP table 1).

    Args:
        num: Number of rows K: the number of images, or of classes for class-wise noise.
        shape: Channels, height and width of one image.
        generator: Where the randomness comes from; the delta is made on its device.

    Returns:
        float32 [K, C, H, W], independent and uniform in [-1, 1), in units of epsilon.
    """
    delta = torch.rand((num, *shape), generator=generator, device=generator.device)
    return delta.mul_(2).sub_(1)
