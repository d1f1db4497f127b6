"""What the views are compared with: torchvision on PIL images, and plain slow formulas."""

import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image
from torch import Tensor

from cptools.core.views import ViewParams

PIL_OPERATIONS = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
NAMES = ("brightness", "contrast", "saturation", "hue")


def pictures(num: int, height: int, width: int, seed: int) -> Tensor:
    """Smooth color fields with edges and noise, some of them nearly gray, as uint8 [B,3,H,W]."""
    generator = torch.Generator().manual_seed(seed)
    field = torch.rand(num, 3, 4, 4, generator=generator)
    field[::4] = field[::4].mean(1, keepdim=True) + 0.05 * (field[::4] - 0.5)
    smooth = torch.nn.functional.interpolate(field, (height, width), mode="bicubic")
    smooth[:, :, height // 3 : height // 2, width // 4 : width // 2] = torch.rand(
        num, 3, 1, 1, generator=generator
    )
    noise = 0.03 * torch.randn(num, 3, height, width, generator=generator)
    return ((1.2 * smooth - 0.1 + noise).clamp(0, 1) * 255).round().to(torch.uint8)


def to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def from_pil(image: Image.Image) -> Tensor:
    """Gray levels as float64 [3, H, W]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).double()


def pil_crop(image: Image.Image, params: ViewParams, i: int, size: int) -> Image.Image:
    box = [int(values[i]) for values in (params.top, params.left, params.height, params.width)]
    image = F.resized_crop(image, *box, [size, size])
    return F.hflip(image) if params.flip[i] else image


def pil_view(image: Image.Image, params: ViewParams, i: int, size: int) -> Tensor:
    """The whole view with torchvision, before normalization: gray levels [3, S, S]."""
    image = pil_crop(image, params, i, size)
    if params.jitter[i]:
        for number in params.order[i].tolist():
            image = PIL_OPERATIONS[number](image, float(params.factors[i, number]))
    if params.gray[i]:
        image = F.rgb_to_grayscale(image, 3)
    return from_pil(image)


def _luma(x: Tensor) -> Tensor:
    return 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]


def _hue(x: Tensor, shift: float) -> Tensor:
    """The hexcone formula V - C max(0, min(k, 4 - k, 1)), k = (n + h) mod 6, n = 5, 3, 1."""
    high, low = x.amax(0), x.amin(0)
    chroma = high - low
    first = x.argmax(0)
    red, green, blue = x
    difference = torch.where(
        first == 0, green - blue, torch.where(first == 1, blue - red, red - green)
    )
    hue = 2 * first + difference / chroma.where(chroma > 0, 1)
    channels = []
    for n in (5, 3, 1):
        k = torch.remainder(n + hue + 6 * shift, 6)
        channels.append(high - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels)


def plain_jitter(x: Tensor, applied: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Color jitter by the book, one image [3, P] after the other."""
    images = []
    for i, source in enumerate(x):
        image = source
        for number in order[i].tolist() if applied[i] else ():
            factor = float(factors[i, number])
            if number == 0:
                image = (factor * image).clamp(0, 1)
            elif number == 1:
                image = (factor * image + (1 - factor) * _luma(image).mean()).clamp(0, 1)
            elif number == 2:
                image = (factor * image + (1 - factor) * _luma(image)).clamp(0, 1)
            else:
                image = _hue(image, factor)
        images.append(image)
    return torch.stack(images)
