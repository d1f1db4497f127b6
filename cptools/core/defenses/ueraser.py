"""The augmentations of UEraser, far outside of the ball of a poison, drawn for each image.

Qin, Gao, Zhao, Ye and Xu (Learning the unlearnable: adversarial augmentations suppress unlearnable
example attacks, 2023, section 4): plasma brightness, plasma contrast and channel shuffle, each with
probability 1/2, then TrivialAugment. One draw a step is their UEraser-Lite; the worst of several
draws by the loss, UEraser itself, is the algorithm `ueraser`. Constants are those of their code
(lafeat/ueraser), which calls kornia. Here as there a plasma is a fractal by the diamond-square
algorithm, one a channel. What differs: TrivialAugment's operation is drawn for each image, as
Müller and Hutter (ICCV 2021) define it, where that code draws one for the batch; its strength is
drawn for each operation and batch; rotations, shears and shifts go both ways.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torchvision.transforms import functional as F

from cptools.core.checks import check_images, check_number

ROUGHNESS = (0.3, 0.7)
PROBABILITY = 0.5
OPERATIONS = (
    "identity", "autocontrast", "equalize", "rotate", "posterize", "solarize", "color", "contrast",
    "brightness", "sharpness", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip


def ueraser(images: Tensor, *, intensity: float, generator: Generator) -> Tensor:
    """Draw the augmentations of UEraser for each image.

    Args:
        images: uint8 [N, C, H, W], C 3 or 1.
        intensity: Greatest strength of the plasma brightness, on the pixel scale 0 to 1; the
            least is half of it.
        generator: On the CPU; advances.

    Returns:
        uint8 [N, C, H, W].
    """
    check_images(images, channels=None, empty=True)
    check_number("intensity", intensity)
    if not len(images):
        return images.clone()
    x = images.float() / 255
    num, device = len(x), images.device

    def chosen() -> Tensor:
        return (torch.rand(num, 1, 1, 1, generator=generator) < PROBABILITY).to(device)

    strength = intensity * (0.5 + 0.5 * torch.rand(num, 1, 1, 1, generator=generator)).to(device)
    brightness = strength * (2 * _plasmas(x, generator) - 1)
    x = torch.where(chosen(), (x + brightness).clamp(0, 1), x)
    contrast = 4 * _plasmas(x, generator)
    x = torch.where(chosen(), ((x - 0.5) * contrast + 0.5).clamp(0, 1), x)
    channels = x.shape[1]
    order = torch.rand(num, channels, generator=generator).argsort(1).to(device)
    shuffled = x.gather(1, order.view(num, channels, 1, 1).expand_as(x))
    x = torch.where(chosen(), shuffled, x)
    return trivial_augment((255 * x).round().to(torch.uint8), generator)


def _plasmas(x: Tensor, generator: Generator) -> Tensor:
    """A plasma for each channel of each image, as x, in [0, 1]."""
    num, channels, height, width = x.shape
    low, high = ROUGHNESS
    roughness = low + (high - low) * torch.rand(num, 1, generator=generator)
    depth = max(max(height, width) - 2, 0).bit_length()
    maps = diamond_square(roughness.repeat(1, channels).view(-1), depth, generator)
    return maps[:, :height, :width].reshape(x.shape).to(x.device)


def diamond_square(roughness: Tensor, depth: int, generator: Generator) -> Tensor:
    """Fractals: the diamond-square algorithm (Fournier, Fussell and Carpenter, 1982).

    Corners are uniform in [0, 1]. At each level, of scale s = roughness^level, a new point is
    (1 - s) times the mean of its neighbors and s times a uniform number: first the centers of
    squares, of four corners, then the middles of edges, of the three or four points next to them.

    Args:
        roughness: [M] in [0, 1], of each fractal; 0 is bilinear.
        depth: Levels.
        generator: On the CPU; advances.

    Returns:
        float32 [M, 2^depth + 1, 2^depth + 1] in [0, 1], on the CPU.
    """
    num = len(roughness)
    grid = torch.rand(num, 2, 2, generator=generator)
    for level in range(1, depth + 1):
        side = 2 * grid.shape[1] - 1
        scale = (roughness**level).view(-1, 1, 1)
        noise = torch.rand(num, side, side, generator=generator)
        new = torch.zeros(num, side, side)
        new[:, ::2, ::2] = grid
        corners = grid[:, 1:, 1:] + grid[:, 1:, :-1] + grid[:, :-1, 1:] + grid[:, :-1, :-1]
        new[:, 1::2, 1::2] = (1 - scale) * corners / 4 + scale * noise[:, 1::2, 1::2]
        wide = torch.nn.functional.pad(new, (1, 1, 1, 1))
        around = wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:]
        count = torch.full((side, side), 4.0)
        count[0] = count[-1] = count[:, 0] = count[:, -1] = 3.0
        middles = (1 - scale) * around / count + scale * noise
        new[:, ::2, 1::2], new[:, 1::2, ::2] = middles[:, ::2, 1::2], middles[:, 1::2, ::2]
        grid = new
    return grid


def trivial_augment(images: Tensor, generator: Generator) -> Tensor:
    """TrivialAugment (Müller and Hutter, ICCV 2021): one operation for each image.

    Args:
        images: uint8 [N, C, H, W], C 3 or 1.
        generator: On the CPU; advances.

    Returns:
        uint8 [N, C, H, W]; what lies outside of an image is black.
    """
    drawn = torch.randint(len(OPERATIONS), (len(images),), generator=generator)
    strengths = torch.rand(len(OPERATIONS), generator=generator).tolist()
    result = images.clone()
    for number, (name, strength) in enumerate(zip(OPERATIONS, strengths, strict=True)):
        rows = (drawn == number).nonzero().squeeze(1).to(images.device)
        if len(rows):
            result[rows] = apply_operation(images[rows], name, strength)
    return result


def apply_operation(images: Tensor, name: str, strength: float) -> Tensor:
    """An operation of TrivialAugment, in the ranges of kornia's, but 4 to 8 bits for posterize.

    Args:
        images: uint8 [N, C, H, W].
        name: Of OPERATIONS.
        strength: In [0, 1]; of what goes both ways, 1/2 is the image as it is.
    """
    height, width = images.shape[2:]
    way = 2 * strength - 1
    affine = {
        "rotate": (30 * way, (0, 0), (0.0, 0.0)),
        "shear_x": (0.0, (0, 0), (_degrees(0.3 * way), 0.0)),
        "shear_y": (0.0, (0, 0), (0.0, _degrees(0.3 * way))),
        "translate_x": (0.0, (round(0.5 * way * width), 0), (0.0, 0.0)),
        "translate_y": (0.0, (0, round(0.5 * way * height)), (0.0, 0.0)),
    }
    if name in affine:
        angle, shift, shear = affine[name]
        moved: Tensor = F.affine(images, angle, [*shift], 1.0, [*shear])
        return moved
    factor = 1 + 0.9 * way
    others: dict[str, Callable[[], Tensor]] = {
        "identity": lambda: images,
        "autocontrast": lambda: F.autocontrast(images),
        "equalize": lambda: F.equalize(images),
        "posterize": lambda: F.posterize(images, 8 - round(4 * strength)),
        "solarize": lambda: F.solarize(images, 255 * strength),
        "color": lambda: F.adjust_saturation(images, factor),
        "contrast": lambda: F.adjust_contrast(images, factor),
        "brightness": lambda: F.adjust_brightness(images, factor),
        "sharpness": lambda: F.adjust_sharpness(images, factor),
    }
    return others[name]()


def _degrees(tangent: float) -> float:
    """The angle of a shear, in degrees."""
    return float(torch.rad2deg(torch.atan(torch.tensor(tangent))))
