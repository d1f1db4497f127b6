"""Whether a dataset looks poisoned, judged by its images and labels alone.

Without clean data a perturbation cannot be subtracted, so what is measured is where clean images
have little of their own: fine detail, and color in flat places. Two signals:

- *Agreement.* Poison made for labels is a shortcut from noise to class (Yu et al., Availability
  attacks create shortcuts, KDD 2022; He, Zha and Katabi, ICLR 2023, figure 5), so the noise of two
  images of a class is alike. The fine detail of two clean images of a class is not: where an
  edge lies differs from image to image. The measure is the mean inner product of the fine
  detail of two images of one class, less that of two classes, as a share of its energy: the
  intraclass correlation of Fisher. It does not depend on the number of images. Its spread
  without any shortcut comes from permuted labels.
- *Color of noise.* Poison covers flat places too, where clean images have next to no detail in
  color, and there its spectrum can be read. Random noise is white; noise that was learned for an
  encoder to see survives cropping and resizing and so is stronger at lower frequencies.

Detail is measured in two channels of color and one of brightness, orthonormal, in gray levels: the
coefficients of the cosine transform of the whole image above a fraction of the highest
frequency. Matrix completion's own remainder, image minus its part of low rank, shows less: the
part of low rank takes most of the shortcut along.

Captions and frames, whose edges are at one place in all images, are left out of the agreement; see
`overlay`.

The limits below were set on 133 benign and 267 poisoned small datasets; the man page of cp-probe
says how often they err.

N images of H x W, C classes, D coefficients.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cptools.core.checks import check_images, check_labels
from cptools.core.evaluation.overlay import fill, find_overlay
from cptools.core.random import stream

AGREEMENT = 0.002  # limit: clean images reach 0.0014
DEVIATIONS = 4.0  # of the null by permutation, that an agreement must exceed as well
PERMUTATIONS = 50
MARKED = 4.0  # deviations from other classes' images at which one image is marked
NOISY = 2.5  # gray levels of white noise at which an image is noisy
NOISY_SHARE = 0.03  # of the images: clean ones, 0.003
STRUCTURE = 0.2  # limit: structured noise as a share of white noise; twice the best image's
STRUCTURE_ENERGY = 3.0  # and at least this, in squared gray levels

PARTS = 4  # that `audit` yields
PATCH = 8  # pixels on the side of the places that are called flat
_STEP, _FLATTEST = 4, 4  # between places, and how many of them stand for an image
_RESTLESS = 1e9  # unrest of a place that does not count
_LEAST = 10  # images that tell a spread, or the color of noise
_COLOR_CUT, _GRAY_CUT = 0.2, 0.4  # fractions of the highest frequency
_SPREAD = 0.1  # gray levels: detail that varies less is rounding
_NOTHING = 1e-6  # mean energy of detail that is none: gray images have it in color
_PIXELS = 1 << 18  # of the images transformed at a time


@dataclass(frozen=True)
class Agreement:
    """How alike the fine detail of two images of a class is.

    Attributes:
        value: Mean inner product within classes less between classes, as a share of the mean
            energy; about 0 for clean images, C / (C - 1) where all of a class have the same.
        deviation: Standard deviation of `value` under permuted labels.
        by_class: The same of each class; 0 for a class of fewer than two images.
        evidence: float64 [N], how far each image goes along with the others of its class, in
            standard deviations of images of other classes.
    """

    value: float
    deviation: float
    by_class: tuple[float, ...]
    evidence: Tensor

    @property
    def score(self) -> float:
        """`value` in units of its limit; the labels tell something from 1 on."""
        if not self.deviation:
            return 0.0
        return max(0.0, min(self.value / AGREEMENT, self.value / (DEVIATIONS * self.deviation)))


@dataclass(frozen=True)
class FlatNoise:
    """Noise in color where images are flat.

    Attributes:
        levels: float32 [N], root mean square of the white part of each image, in gray levels.
        share: Images of `NOISY` levels or more, in [0, 1].
        white: Of those, root mean square of the white part; 0 if they are too few.
        color: Energy at lower frequencies as a multiple of the white part's; 1 is white.
    """

    levels: Tensor
    share: float
    white: float
    color: float

    @property
    def score(self) -> float:
        """How structured the noise is in units of the limit; suspicious from 1 on."""
        if not self.white:
            return 0.0
        limit = max(STRUCTURE, STRUCTURE_ENERGY / self.white**2)
        return max(0.0, min(self.share / NOISY_SHARE, (self.color - 1) / limit))


@dataclass(frozen=True)
class Overlay:
    """What lies over the images; see `overlay`.

    Attributes:
        share: Of all pixels.
    """

    share: float

    @property
    def score(self) -> float:
        """It speaks for nothing."""
        return 0.0


@dataclass(frozen=True)
class Audit:
    """What is found in a dataset.

    Attributes:
        color: Agreement of detail in color.
        gray: Agreement of detail in brightness.
        noise: Noise in flat places.
        overlay: Share of the pixels that a caption or frame covers, which is left out.
    """

    color: Agreement
    gray: Agreement
    noise: FlatNoise
    overlay: float = 0.0

    @classmethod
    def of(cls, parts: Iterable[Overlay | Agreement | FlatNoise]) -> "Audit":
        """From what `audit` yields."""
        parts = list(parts)
        (overlay,) = (part for part in parts if isinstance(part, Overlay))
        color, gray = (part for part in parts if isinstance(part, Agreement))
        (noise,) = (part for part in parts if isinstance(part, FlatNoise))
        return cls(color, gray, noise, overlay.share)

    @property
    def agreement(self) -> Agreement:
        """The more telling of the two."""
        return max(self.color, self.gray, key=lambda part: part.score)

    @property
    def score(self) -> float:
        """The strongest signal in units of its limit."""
        return max(self.agreement.score, self.noise.score)

    @property
    def verdict(self) -> str:
        """`poisoned`, `suspicious`, `noisy` or `inconspicuous`."""
        if self.agreement.score >= 1:
            return "poisoned"
        if self.noise.score >= 1:
            return "suspicious"
        return "noisy" if self.noise.share >= NOISY_SHARE else "inconspicuous"

    @property
    def evidence(self) -> Tensor:
        """What speaks against each image, in units of the limit for one image: float64 [N]."""
        along = torch.maximum(self.color.evidence, self.gray.evidence) / MARKED
        return torch.maximum(along, self.noise.levels.double() / NOISY)


def audit(
    images: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    seed: int = 0,
    device: torch.device | None = None,
) -> Iterator[Overlay | Agreement | FlatNoise]:
    """Look for poison.

    Args:
        images: uint8 [N, 3, H, W], H and W at least 8.
        labels: int64 [N] in 0 .. C - 1. Of a single class the agreements are 0.
        num_classes: C.
        seed: Of the permutations.
        device: Where to compute.

    Yields:
        The `PARTS` parts of an `Audit`, in its order.

    Raises:
        ValueError: There are no images, or they are too small.
    """
    if not len(images) or min(images.shape[-2:]) < PATCH:
        raise ValueError(
            f"an audit needs images of at least {PATCH} x {PATCH} pixels; make them larger"
        )
    check_images(images)
    check_labels(labels, images, num_classes=num_classes)
    covered = find_overlay(images, labels, num_classes)
    yield Overlay(float(covered.double().mean((1, 2))[labels].mean()))
    seen = _uncovered(images, labels, covered)
    for channels, cut in (((1, 2), _COLOR_CUT), ((0,), _GRAY_CUT)):
        yield agreement(
            fine_detail(seen, channels, cut, device), labels.to(device), num_classes, seed=seed
        )
    yield flat_noise(images, device, covered=covered[labels] if covered.any() else None)


def _uncovered(images: Tensor, labels: Tensor, covered: Tensor) -> Tensor:
    """The images without what lies over those of each class, bool [C, H, W]."""
    if not covered.any():
        return images
    images = images.clone()
    for label, where in enumerate(covered):
        rows = torch.nonzero(labels == label).squeeze(1)
        if where.any() and len(rows):
            for part in rows.split(_block(images)):
                images[part] = fill(images[part], where)
    return images


def opponent(images: Tensor) -> Tensor:
    """Brightness and two channels of color, orthonormal: [N, 3, H, W] to float32 [N, 3, H, W]."""
    axes = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], device=images.device)
    axes /= axes.norm(dim=1, keepdim=True)
    return torch.einsum("oc,nchw->nohw", axes, images.float())


def cosines(size: int, device: torch.device | None = None) -> Tensor:
    """The orthonormal cosine transform (DCT-II) as a matrix, float32 [size, size]."""
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    place = torch.arange(size, dtype=torch.float64) + 0.5
    matrix = torch.cos(math.pi / size * frequency * place) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.float().to(device)


def fine_detail(
    images: Tensor, channels: tuple[int, ...], cut: float, device: torch.device | None = None
) -> Tensor:
    """Standardized coefficients of high frequency.

    Args:
        images: uint8 [N, 3, H, W].
        channels: Of `opponent`.
        cut: Lowest frequency that counts, as a fraction of the highest, the diagonal one.
        device: Where the result is to be.

    Returns:
        float32 [N, D], each column of mean 0 and of variance 1, or less where the detail is hardly
        more than rounding.
    """
    height, width = images.shape[-2:]
    rows, columns = cosines(height, device), cosines(width, device)
    down, right = torch.arange(height) / height, torch.arange(width) / width
    fine = (torch.hypot(down[:, None], right) >= cut * math.sqrt(2)).to(device)
    detail = torch.empty(len(images), len(channels) * int(fine.sum()), device=device)
    block = _block(images)
    for part, place in zip(images.split(block), detail.split(block), strict=True):
        transformed = rows @ opponent(part.to(device))[:, list(channels)] @ columns.T
        place.copy_(transformed[..., fine].flatten(1))
    detail -= detail.mean(0)
    detail /= torch.linalg.vector_norm(detail, dim=0) / math.sqrt(len(detail)) + _SPREAD
    return detail


def agreement(detail: Tensor, labels: Tensor, num_classes: int, *, seed: int = 0) -> Agreement:
    """Measure how alike the detail of two images of a class is.

    Args:
        detail: float32 [N, D] of mean 0.
        labels: int64 [N] in 0 .. C - 1, on the same device.
        num_classes: C.
        seed: Of the permutations.

    Returns:
        All zeros where there are no two classes, no class of two images, or no detail.
    """
    num = len(detail)
    counts = torch.bincount(labels, minlength=num_classes).double()
    pairs = counts * (counts - 1)
    other_pairs = (counts * (num - counts)).sum()
    energy: Tensor = torch.linalg.vector_norm(detail, dim=1).double().square()
    total = energy.sum()
    if not (pairs.sum() and other_pairs and total > _NOTHING * detail.numel()):
        return Agreement(0.0, 0.0, (0.0,) * num_classes, torch.zeros(num, dtype=torch.float64))

    def inner(labels: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of detail by class, and their inner products with themselves."""
        sums = detail.new_zeros(num_classes, detail.shape[1]).index_add_(0, labels, detail)
        return sums, sums.double().square().sum(1)

    def shares(within: Tensor, pairs: Tensor, between: Tensor) -> Tensor:
        return (within / pairs.clamp(min=1) - between / other_pairs) * num / total

    def overall(squares: Tensor) -> Tensor:
        between = -squares.sum()  # the sum over all classes is 0
        return shares(squares.sum() - total, pairs.sum(), between)

    sums, squares = inner(labels)
    own_energy = torch.zeros_like(counts).index_add_(0, labels, energy)
    by_class = shares(squares - own_energy, pairs, -squares.sum()).where(pairs > 0, 0.0)
    generator = stream(seed, "audit")
    null = torch.stack(
        [
            overall(inner(labels[torch.randperm(num, generator=generator).to(labels.device)])[1])
            for _ in range(PERMUTATIONS)
        ]
    )
    return Agreement(
        float(overall(squares)),
        float(null.std()),
        tuple(by_class.tolist()),
        _evidence(detail, labels, sums, energy).cpu(),
    )


def _evidence(detail: Tensor, labels: Tensor, sums: Tensor, energy: Tensor) -> Tensor:
    """`Agreement.evidence`: cosines with the sum of the class, standardized by other classes'.

    Their spread is taken to be no less than that of random directions. 0 for an image that is
    alone in its class, and where other classes have too few.
    """
    inner = (detail @ sums.T).double()  # [N, C]
    squares = sums.double().square().sum(1)
    tiny = 1e-12
    cosine = inner / (energy[:, None] * squares).sqrt().clamp(min=tiny)
    own = labels[:, None]
    member = torch.zeros_like(cosine, dtype=torch.bool).scatter_(1, own, True)
    counts = member.sum(0)
    others = len(detail) - counts
    mean = cosine.masked_fill(member, 0.0).sum(0) / others.clamp(min=1)
    variance = (cosine - mean).masked_fill(member, 0.0).square().sum(0) / others.clamp(min=1)
    variance.clamp_(min=1 / detail.shape[1])
    # An image's own share is taken out of its class, or it would agree with itself.
    ours = inner.gather(1, own).squeeze(1)
    rest = (squares[labels] - 2 * ours + energy).clamp(min=0)
    alike = (ours - energy) / (energy * rest).sqrt().clamp(min=tiny)
    deviations = (alike - mean[labels]) / variance[labels].sqrt()
    return deviations.masked_fill(((counts < 2) | (others < _LEAST))[labels], 0.0)


def flat_noise(
    images: Tensor, device: torch.device | None = None, *, covered: Tensor | None = None
) -> FlatNoise:
    """Measure noise in color in the flattest places of each image.

    Places are patches of 8 x 8 pixels; flat is what has little energy at the lowest frequencies.
    In these places white noise is the energy at the highest frequencies, and its color is told
    from frequencies between, of the flattest quarter of the noisy images, so that what images
    have of their own counts little.

    Args:
        images: uint8 [N, 3, H, W], H and W at least 8.
        device: Where to compute.
        covered: bool [N, H, W], pixels that do not count, as far as others are there.
    """
    if covered is None:
        covered = torch.zeros_like(images[:, 0], dtype=torch.bool)
    basis = cosines(PATCH, device)
    steps = torch.arange(PATCH, device=device)
    diagonal = steps[:, None] + steps  # 0 .. 14
    lowest, low = (diagonal >= 1) & (diagonal <= 2), (diagonal >= 1) & (diagonal <= 3)
    middle, high = (diagonal >= 3) & (diagonal <= 5), diagonal >= 9
    found = []
    blocks = (one.split(_block(images)) for one in (images, covered))
    for part, out in zip(*blocks, strict=True):
        patches = opponent(part.to(device)).unfold(2, PATCH, _STEP).unfold(3, PATCH, _STEP)
        energy = (basis @ patches @ basis.T).square().flatten(2, 3)  # [n, 3, places, 8, 8]
        gray, color = energy[:, 0], energy[:, 1:].mean(1)
        unrest = gray[..., low].mean(-1) + 4 * color[..., lowest].mean(-1)
        hidden = out.to(device).unfold(1, PATCH, _STEP).unfold(2, PATCH, _STEP).flatten(1, 2)
        unrest = unrest.masked_fill(hidden.flatten(2).any(2), _RESTLESS)
        least, places = unrest.topk(min(_FLATTEST, unrest.shape[1]), dim=1, largest=False)
        bands = [color[..., band].mean(-1).gather(1, places).mean(1) for band in (middle, high)]
        found.append(torch.stack([least.mean(1), *bands]).cpu())
    unrest, medium, white = torch.cat(found, 1)
    levels = white.sqrt()
    noisy = levels >= NOISY
    share = float(noisy.double().mean())
    if int(noisy.sum()) < _LEAST:
        return FlatNoise(levels, share, 0.0, 1.0)
    flat = noisy & (unrest <= unrest[noisy].quantile(0.25))
    return FlatNoise(
        levels,
        share,
        float(white[flat].mean().sqrt()),
        float(medium[flat].sum() / white[flat].sum()),
    )


def _block(images: Tensor) -> int:
    """How many images are transformed at a time."""
    return max(1, _PIXELS // images[0, 0].numel())
