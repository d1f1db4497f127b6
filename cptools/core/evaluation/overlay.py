"""Captions, watermarks and frames: what lies over images, found where pixels never change.

An edge of a caption is at one place in all images, and how strong it is depends on what it lies on,
which depends on the class: detail that images of a class share, and no poison. Poison made for
labels differs between classes, so pixels that are the same in nearly all images of all classes
have none; neither has a bar of one color along a border, as letterboxes have, even if it is that
of one class.

N images of H x W, C classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_SAMPLE = 256  # images that stand for all, or for a class
_LEAST = 10  # images that tell what is common
_SAME = 3.0  # gray levels; JPEG changes flat places so much
_MANY = 200  # images that tell how much a pixel varies
_AROUND = 4  # pixels on each side
_LESS = 0.88  # as much as around it, a pixel varies where something half opaque lies over it
_VARIED = 12.0  # gray levels; poison of 8/255 on black varies less, by class
_SHARE = 0.95  # of the images, in which a pixel or a bar is the same
_MOST = 0.75  # of the pixels; more than that is no overlay
_MARGIN = 2  # pixels, for antialiasing and JPEG
_STEPS = 100  # that make a filled place smooth


def find_overlay(images: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Where an overlay covers the images of each class.

    Args:
        images: uint8 [N, 3, H, W].
        labels: int64 [N] in 0 .. C - 1.
        num_classes: C.

    Returns:
        bool [C, H, W], with a margin; all false for a class that it would cover nearly
        whole.
    """
    height, width = images.shape[-2:]
    found = torch.zeros(num_classes, height, width, dtype=torch.bool)
    if len(images) >= _LEAST:
        found |= _unchanging(_some(images, torch.arange(len(images))))
    for label in range(num_classes):
        rows = torch.nonzero(labels == label).squeeze(1)
        if len(rows) >= _LEAST:
            part = _some(images, rows)
            down = _bars(part)
            right = _bars(part.transpose(2, 3))
            found[label] |= down[:, None] | right
    wide = F.max_pool2d(found[:, None].float(), 2 * _MARGIN + 1, 1, _MARGIN)[:, 0] > 0
    return wide & (wide.float().mean((1, 2)) <= _MOST)[:, None, None]


def fill(images: Tensor, covered: Tensor) -> Tensor:
    """Images whose covered pixels are taken from around them, smoothly.

    Args:
        images: uint8 [N, 3, H, W].
        covered: bool [H, W], not all true.

    Returns:
        uint8 [N, 3, H, W].
    """
    known = (~covered).float()[None, None]
    kernel = torch.ones(1, 1, 3, 3)
    pixels = images.float().flatten(0, 1)[:, None] * known
    while not known.all():
        weight = F.conv2d(known, kernel, padding=1)
        around = F.conv2d(pixels, kernel, padding=1) / weight.clamp(min=1)
        pixels = torch.where(known > 0, pixels, around)
        known = (weight > 0).float()
    for _ in range(_STEPS):  # towards a harmonic function, which has no edge where it begins
        wide = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
        beside = wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]
        above = wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1]
        pixels = torch.where(covered, (beside + above) / 4, pixels)
    return pixels.round().to(torch.uint8).reshape(images.shape)


def _some(images: Tensor, rows: Tensor) -> Tensor:
    """Evenly spaced of these rows, float32."""
    step = -(-len(rows) // _SAMPLE)
    return images[rows[::step]].float()


def _unchanging(images: Tensor) -> Tensor:
    """Pixels that are the same in nearly all images, or vary less than around them, bool [H, W]."""
    off = (images - images.median(0).values).abs().amax(1)
    same = (off <= _SAME).float().mean(0) >= _SHARE
    if len(images) < _MANY:
        return same
    spread = images.std(0).mean(0)
    wide = F.pad(spread[None, None], (_AROUND,) * 4, mode="replicate")
    side = 2 * _AROUND + 1
    around = F.unfold(wide, side).median(1).values.view_as(spread)
    return same | ((spread < _LESS * around) & (around >= _VARIED))


def _bars(images: Tensor) -> Tensor:
    """Rows along the upper and the lower border of one color in nearly all images, bool [H]."""
    color = images.mean(3, keepdim=True).median(0).values
    off = (images - color).abs().amax((1, 3))
    plain = ((off <= _SAME).float().mean(0) >= _SHARE).long()
    return (plain.cumprod(0) + plain.flip(0).cumprod(0).flip(0)) > 0
