"""JPEG as libjpeg does it, with a gradient.

All of it is linear but for two roundings: of the coefficients, by the quantization tables, and of
the pixels that are decoded. Both round forwards and pass the gradient straight through, as if they
did nothing (Bengio et al. 2013), for the true slope of a rounding is zero. What comes before and
after is a matrix for the rows and one for the columns: the border is continued to whole blocks,
color halved, and blocks are transformed; back, color is enlarged by a triangle filter.
Left out are libjpeg's roundings in between, to 8 bits of color and of the fixed point transform.

Letters: L pixels of an axis, K coefficients of it, a multiple of 8.
"""

import math
from functools import cache

import torch
from torch import Tensor

from cptools.core.degradations.linear import by_axes

_BLOCK = 8
# ITU-T T.81, annex K.1: luminance and chrominance.
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
)  # fmt: skip
# JFIF: luma, and blue and red difference, of red, green and blue.
_TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)


def jpeg(x: Tensor, quality: float) -> Tensor:
    """Compress and decompress: blocks of 8 pixels, color at half the resolution (4:2:0).

    Args:
        x: float [B, 3, H, W] in [0, 1].
        quality: libjpeg's, a whole number from 1 to 100.

    Returns:
        [B, 3, H, W] in [0, 1], whole gray levels. The gradient is that of quantization that does
        nothing: that of x but for the color that is lost to the halving, and none where a decoded
        value is cut off at 0 or 255.
    """
    to_ycc = torch.tensor(_TO_YCC, dtype=torch.float64).to(x)
    back = torch.tensor(_TO_YCC, dtype=torch.float64).inverse().to(x)
    ycc = torch.einsum("dc,bchw->bdhw", to_ycc, x * 255 - 128)  # both ends are levels less 128
    ycc = straight_round(ycc)
    luma = _coded(ycc[:, :1], _quantization(_LUMA, quality), is_halved=False)
    chroma = _coded(ycc[:, 1:], _quantization(_CHROMA, quality), is_halved=True)
    rgb = torch.einsum("dc,bchw->bdhw", back, torch.cat([luma, chroma], 1)) + 128
    return straight_round(rgb).clamp(0, 255) / 255


def straight_round(x: Tensor) -> Tensor:
    """Rounded, with the gradient of x itself."""
    return x + (x.round() - x).detach()


def _quantization(table: tuple[int, ...], quality: float) -> Tensor:
    """The step of each coefficient of a block, float64 [8, 8] (libjpeg's jpeg_quality_scaling)."""
    percent = int(5000 / quality) if quality < 50 else 200 - 2 * int(quality)
    steps = [min(max((step * percent + 50) // 100, 1), 255) for step in table]
    return torch.tensor(steps, dtype=torch.float64).view(_BLOCK, _BLOCK)


def _coded(planes: Tensor, steps: Tensor, *, is_halved: bool) -> Tensor:
    """Planes [B, C, H, W], transformed, quantized and transformed back."""
    height, width = planes.shape[-2:]
    down, up = _row_maps(height, is_halved=is_halved)
    along, back = _column_maps(width, is_halved=is_halved)
    coefficients = by_axes(planes, down, along)
    blocks = (len(down) // _BLOCK, len(along) // _BLOCK)
    step = steps.tile(blocks).to(planes)
    return by_axes(straight_round(coefficients / step) * step, up, back)


@cache
def _row_maps(length: int, *, is_halved: bool) -> tuple[Tensor, Tensor]:
    """From rows to coefficients [K, L], and back [L, K]; what is halved is continued afterwards."""
    few = math.ceil(length / 2) if is_halved else length
    whole = _whole_blocks(few)
    made = _continued(few, whole)
    if is_halved:
        made = made @ _halved(few) @ _continued(length, 2 * few)
    return _blocks(whole) @ made, _back(length, few, whole)


@cache
def _column_maps(length: int, *, is_halved: bool) -> tuple[Tensor, Tensor]:
    """From columns to coefficients [K, L], and back [L, K]; continued first, then halved."""
    few = math.ceil(length / 2) if is_halved else length
    whole = _whole_blocks(few)
    made = _halved(whole) @ _continued(length, 2 * whole) if is_halved else _continued(few, whole)
    return _blocks(whole) @ made, _back(length, few, whole)


def _back(length: int, few: int, whole: int) -> Tensor:
    """From coefficients to the pixels of an axis, [L, K]."""
    pixels = _blocks(whole).mT[:few]
    return pixels if few == length else _doubled(few)[:length] @ pixels


def _whole_blocks(length: int) -> int:
    return math.ceil(length / _BLOCK) * _BLOCK


def _blocks(length: int) -> Tensor:
    """The cosine transform of each block of an axis, orthogonal, float64 [K, K]."""
    place = torch.arange(_BLOCK, dtype=torch.float64)
    waves = (torch.pi / _BLOCK * (place + 0.5) * place[:, None]).cos() / 2
    waves[0] /= math.sqrt(2)
    blocks: Tensor = torch.block_diag(*[waves] * (length // _BLOCK))
    return blocks


def _continued(length: int, wanted: int) -> Tensor:
    """The last pixel again and again, [wanted, length]."""
    source = torch.arange(wanted).clamp_(max=length - 1)
    return torch.eye(length, dtype=torch.float64)[source]


def _halved(few: int) -> Tensor:
    """Means of two pixels, [few, 2 few]."""
    return torch.eye(few, dtype=torch.float64).repeat_interleave(2, 1) / 2


def _doubled(few: int) -> Tensor:
    """libjpeg's "fancy" enlargement, three quarters of the nearer pixel: [2 few, few]."""
    near = torch.arange(2 * few) // 2
    if few <= 2:  # too small for it
        return torch.eye(few, dtype=torch.float64)[near]
    other = (near + torch.tensor((-1, 1)).repeat(few)).clamp_(0, few - 1)
    eye = torch.eye(few, dtype=torch.float64)
    return 0.75 * eye[near] + 0.25 * eye[other]
