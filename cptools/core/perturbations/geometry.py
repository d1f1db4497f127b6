"""Where pixels come from: shifts, turns and warps. What comes from outside an image is black."""

import math

import torch
from torch import Tensor

from cptools.core.perturbations.draws import Draws
from cptools.core.perturbations.pixels import sample, smooth_noise, to_bits, to_scale, unit


def translate(images: Tensor, *, pixels: float) -> Tensor:
    """Shift to the right.

    CIFAR-10-P "Translate".

    Args:
        images: uint8 [N, 3, H, W].
        pixels: How far at 32 pixels, negative to the left; rounded to whole pixels.
    """
    width = images.shape[-1]
    source = torch.arange(width, device=images.device) - round(pixels * unit(images))
    shifted = images[..., source.clamp(0, width - 1)]
    return shifted * ((source >= 0) & (source < width))


def rotate(images: Tensor, *, degrees: float) -> Tensor:
    """Rotate clockwise about the middle.

    CIFAR-10-P "Rotate": torchvision's `affine` of a Pillow image. (The release of its day turned
    about a point half a pixel to the lower right; later ones, and this, about the middle.)

    Args:
        images: uint8 [N, 3, H, W].
        degrees: Clockwise.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return to_bits(_about_middle(to_scale(images), ((cos, sin), (-sin, cos))))


def scale(images: Tensor, *, factor: float) -> Tensor:
    """Enlarge or shrink about the middle.

    CIFAR-10-P "Scale".

    Args:
        images: uint8 [N, 3, H, W].
        factor: Above 0.
    """
    return to_bits(scale_about_middle(to_scale(images), factor))


def shear(images: Tensor, *, degrees: float) -> Tensor:
    """Slant vertical lines, the middle row staying where it is.

    CIFAR-10-P "Shear": torchvision's `affine`. (The release of its day also shrank the height, by
    the cosine of the angle; later ones, and this, do not.)

    Args:
        images: uint8 [N, 3, H, W].
        degrees: Between a slanted and a vertical line.
    """
    slant = math.tan(math.radians(degrees))
    return to_bits(_about_middle(to_scale(images), ((1, slant), (0, 1))))


def scale_about_middle(x: Tensor, factor: float) -> Tensor:
    """Float64 [N, C, H, W], enlarged by a factor."""
    return _about_middle(x, ((1 / factor, 0), (0, 1 / factor)))


def _about_middle(x: Tensor, back: tuple[tuple[float, float], tuple[float, float]]) -> Tensor:
    """A linear map about the middle, as Pillow transforms with bilinear interpolation.

    Within the image its outermost pixels go on to its edges; outside it is black at once.

    Args:
        x: float64 [N, C, H, W].
        back: The map's inverse, on columns counted from the middle to the right, rows down.
    """
    height, width = x.shape[-2:]
    column, row = _places(height, width, device=x.device)
    column, row = column - (width - 1) / 2, row - (height - 1) / 2
    (a, b), (c, d) = back
    places = (a * column + b * row + (width - 1) / 2, c * column + d * row + (height - 1) / 2)
    is_inside = torch.ones_like(column)
    for place, length in zip(places, (width, height), strict=True):
        is_inside *= (place >= -0.5) & (place < length - 0.5)
    return sample(x, places, "nearest") * is_inside


def _places(height: int, width: int, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Column and row of every pixel, float64 [H, W] each."""
    row = torch.arange(height, device=device, dtype=torch.float64)
    column = torch.arange(width, device=device, dtype=torch.float64)
    return column.expand(height, width), row.unsqueeze(1).expand(height, width)


def tilt(images: Tensor, *, degrees: float) -> Tensor:
    """Turn the image in space, about both of its axes, and look at it from its diagonal's length.

    CIFAR-10-P "Tilt": OpenCV's `warpPerspective`, for which the middle lies half a pixel to the
    lower right, and black is interpolated with. The script sets the image one pixel behind the
    plane it is turned in, so that it is a little smaller even at 0 degrees.

    Args:
        images: uint8 [N, 3, H, W].
        degrees: Both angles.
    """
    height, width = images.shape[-2:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    far, behind = math.hypot(height, width), unit(images)
    seen = torch.tensor(
        [
            [far * cos, 0, -far * sin * behind],
            [-far * sin**2, far * cos, -far * sin * cos * behind],
            [sin * cos, sin, cos**2 * behind + far],
        ],
        dtype=torch.float64,
    )  # from a point counted from the middle, turned about y, then x, to its place times its depth
    column, row = _places(height, width, device=images.device)
    column, row = column - width / 2, row - height / 2
    x, y, depth = (a * column + b * row + c for a, b, c in torch.linalg.inv(seen).tolist())
    places = (x / depth + width / 2, y / depth + height / 2)
    return to_bits(sample(to_scale(images), places, "black"))


def elastic_transform(
    images: Tensor, *, strength: float, sigma: float, corner: float, draws: Draws
) -> Tensor:
    """Move three points of the image, and all else with them; then let every pixel wander a bit.

    CIFAR-10-C `elastic_transform`, after Simard, Steinkraus and Platt (ICDAR 2003). First an affine
    map that moves three corners of a square at the middle, then uniform displacements, smoothed.

    Args:
        images: uint8 [N, 3, H, W].
        strength: Of the displacements before they are smoothed, as a share of the shorter side.
        sigma: Standard deviation of the smoothing, likewise.
        corner: How far the corners move down and along at most, likewise.
        draws: Of the images.
    """
    num, _, height, width = images.shape
    side = min(height, width)
    column, row = _places(height, width, device=images.device)
    moved = draws.between(-corner * side, corner * side, 3, 2)
    back = _affine_of_points(moved, height, width).view(num, 9, 1, 1).unbind(1)
    places = (
        back[0] * column + back[1] * row + back[2],
        back[3] * column + back[4] * row + back[5],
    )
    x = sample(to_scale(images), places, "mirror")
    noise = draws.between(-1, 1, 2, height, width)
    wandering = smooth_noise(noise, 32 * sigma, side / 32, reach=3, border="twin")
    along, down = wandering.mul_(strength * side).unbind(1)
    return to_bits(sample(x, (column + along, row + down), "twin"))


def _affine_of_points(moved: Tensor, height: int, width: int) -> Tensor:
    """Back from where an affine map took three corners of the middle square: [N, 3, 3].

    Args:
        moved: how far it moved each corner along and down, float64 [N, 3, 2].
        height: of the image.
        width: of the image.
    """
    x, y, half = width // 2, height // 2, max(min(height, width) // 3, 1)
    corners = torch.tensor(
        [[x + half, x + half, x - half], [y + half, y - half, y - half], [1, 1, 1]],
        dtype=torch.float64,
        device=moved.device,
    )  # each corner a column
    taken = corners.repeat(len(moved), 1, 1)
    taken[:, :2] += moved.mT
    back: Tensor = corners @ torch.linalg.inv(taken)
    return back
