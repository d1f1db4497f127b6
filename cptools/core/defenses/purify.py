"""Purification by a denoiser: noise that hides the poison, and a network that takes it away again.

After AVATAR (Dolatabadi, Erfani and Leckie, The devil's advocate: shattering the illusion of
unexploitable data using diffusion models, SaTML 2024), which sends poisoned images some way into a
diffusion model of clean images and back. That model is large and of clean images; here a small
denoiser is trained in seconds, on trusted images where there are any and otherwise on the suspected
ones. A poison that is the same in many images is part of what such a network learns and stays, so
that without trusted images little is to be expected of it; see the man page for measurements.

The network is shaped after FFDNet (Zhang, Zuo and Zhang, 2018): at half the resolution, told the
strength of the noise, it estimates the clean image. Sampling is that of DDIM (Song, Meng and Ermon,
2021) in the form of Karras et al. (2022): from noise of strength sigma down to none in equal steps.
"""

from itertools import pairwise

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from cptools.core.checks import check_images, check_number, check_whole, to_float
from cptools.core.encoders.heads import initialize
from cptools.core.random import on_device

BATCH, LAYERS, LR = 64, 5, 2e-3  # of the denoiser; ours


class Denoiser(nn.Module):
    """The clean image, estimated from a noisy one and the strength of its noise.

    Args:
        channels: of the images.
        width: channels inside.
        generator: source of the initial weights.
    """

    def __init__(self, channels: int, width: int, generator: Generator):
        super().__init__()
        widths = [4 * channels + 1, *[width] * (LAYERS - 1), 4 * channels]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        initialize(self, generator)
        with torch.no_grad():
            last: Tensor = next(self.layers[-1].parameters())
            last.zero_()  # mid gray, at first

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Images [B, C, H, W] in about [0, 1], of noise of standard deviation sigma [B]."""
        height, width = x.shape[2:]
        even = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
        y = F.pixel_unshuffle(even - 0.5, 2)
        level = sigma.view(-1, 1, 1, 1).expand(-1, 1, *y.shape[2:])
        y = torch.cat([y, level], dim=1)
        for layer in self.layers[:-1]:
            y = F.relu(layer(y))
        clean: Tensor = F.pixel_shuffle(self.layers[-1](y), 2) + 0.5
        return clean[:, :, :height, :width]


def train_denoiser(
    images: Tensor, *, sigma: float, epochs: int, width: int, generator: Generator
) -> Denoiser:
    """Train a denoiser for noise of strength 0 to sigma.

    Args:
        images: uint8 [N, C, H, W] to learn from.
        sigma: Standard deviation of the strongest noise, on the pixel scale 0 to 1.
        epochs: Passes over the images.
        width: Channels inside.
        generator: On the CPU; advances.

    Returns:
        The denoiser, in eval mode.
    """
    check_images(images, channels=None)
    check_whole("epochs", epochs, 1)
    check_whole("width", width, 1)
    check_number("sigma", sigma)
    device = images.device
    denoiser = Denoiser(images.shape[1], width, generator).to(device)
    optimizer = torch.optim.AdamW(denoiser.parameters(), LR)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for _ in range(epochs):
            for rows in torch.randperm(len(images), generator=generator).split(BATCH):
                x = to_float(images[rows.to(device)])
                x = torch.where(
                    torch.rand(len(x), 1, 1, 1, generator=generator).to(device) < 0.5, x, x.flip(3)
                )
                level = sigma * torch.rand(len(x), generator=generator).to(device)
                noisy = x + level.view(-1, 1, 1, 1) * _normal(x, generator)
                loss = F.mse_loss(denoiser(noisy, level), x)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
    return denoiser.eval()


@torch.no_grad()
def purify(
    images: Tensor,
    *,
    sigma: float,
    steps: int,
    epochs: int,
    width: int,
    learned: Denoiser,
    generator: Generator,
) -> Tensor:
    """Add noise of strength sigma, and take it away in steps.

    A step from strength s to t keeps the estimate d of the clean image and t / s of what it is
    not: d + t / s (x - d).

    Args:
        images: uint8 [N, C, H, W].
        sigma: Standard deviation of the noise, on the pixel scale 0 to 1.
        steps: From there to none, at least 1.
        epochs: Of the training that `learned` had.
        width: Of `learned`.
        learned: What `train_denoiser` returned.
        generator: On the CPU; advances.

    Returns:
        uint8 [N, C, H, W].
    """
    check_images(images, channels=None, empty=True)
    check_whole("steps", steps, 1)
    check_number("sigma", sigma)
    if not sigma or not len(images):
        return images.clone()
    x = to_float(images)
    x = x + sigma * _normal(x, generator)
    for step in range(steps, 0, -1):
        level = torch.full((len(x),), sigma * step / steps, device=x.device)
        clean = learned(x, level)
        x = clean + (step - 1) / step * (x - clean)
    return (255 * x).round_().clamp_(0, 255).to(torch.uint8)


def _normal(x: Tensor, generator: Generator) -> Tensor:
    return torch.randn(x.shape, generator=on_device(generator, x.device), device=x.device)
