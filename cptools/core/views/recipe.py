"""The recipe of the random views of contrastive learning, their parameters and their making."""

import math
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from cptools.core.views import blur, color, geometry


class DrawsViews(Protocol):
    """Whatever draws random views of images: `Views`, or `Views` with a defense before them."""

    def __call__(self, x: Tensor, generator: torch.Generator, copies: int = 1) -> Tensor:
        """One random view of each image: [B, 3, H, W] in [0, 1] to [B, 3, S, S], normalized.

        `x` holds `copies` times the same images, one batch after the other.
        """

    def weak(self) -> "DrawsViews":
        """The same with flips and shifts alone."""

    def local(self, size: int, area: float) -> "DrawsViews":
        """The same of smaller parts of the images, in other pixels; see `Views.local`."""


AUGMENTATIONS = {
    "crop": ("top", "left", "height", "width"),
    "flip": ("flip",),
    "jitter": ("jitter", "order", "factors"),
    "gray": ("gray",),
    "blur": ("sigma",),
}
"""The fields of `ViewParams` that an augmentation has, by its name."""


@dataclass(frozen=True)
class ViewParams:
    """The random parameters of one view of each of ``B`` images; small tensors on the CPU.

    Attributes:
        top: First row of the crop, of the padded image, int64 [B].
        left: First column of the crop, of the padded image, int64 [B].
        height: Rows of the crop, int64 [B].
        width: Columns of the crop, int64 [B].
        flip: Whether the crop is mirrored left to right, bool [B].
        jitter: Whether color jitter is applied, bool [B].
        order: Operation at each position, int64 [B, 4], a permutation in each row: 0 brightness,
            1 contrast, 2 saturation, 3 hue.
        factors: Factor of each operation in the order of their numbers, float32 [B, 4].
        gray: Whether the image becomes gray, bool [B].
        sigma: Strength of the blur in pixels, float32 [B]; 0 for none.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor
    jitter: Tensor
    order: Tensor
    factors: Tensor
    gray: Tensor
    sigma: Tensor

    def __len__(self) -> int:
        return len(self.top)

    def __getitem__(self, rows: slice | Tensor) -> "ViewParams":
        """The parameters of some of the images."""
        return ViewParams(*(getattr(self, field.name)[rows] for field in fields(self)))

    def share(self, augmentations: tuple[str, ...], copies: int) -> "ViewParams":
        """The same in all copies of an image, of some augmentations: the first copy's.

        Args:
            augmentations: Keys of `AUGMENTATIONS`.
            copies: How many batches of the same images there are, one after the other.
        """
        names = [field for name in augmentations for field in AUGMENTATIONS[name]]
        first = self[slice(0, len(self) // copies)]
        return replace(self, **{n: torch.cat([getattr(first, n)] * copies) for n in names})


@dataclass(frozen=True)
class Views:
    """Random resized crop, flip, color jitter, grayscale, normalize: as torchvision's on PIL.

    Batched, each image with its own parameters, and differentiable to the images almost
    everywhere. Equal to torchvision's transforms of PIL images up to rounding to 8 bits between
    the operations.

    Attributes:
        size: Side of the square output in pixels.
        mean: Mean of each channel in [0, 1], taken off at the end.
        std: Standard deviation of each channel, divided by at the end.
        scale: Bounds of the crop's area as a fraction of the image's.
        ratio: Bounds of the crop's width / height.
        flip: Probability of mirroring.
        jitter: Strength of brightness, contrast, saturation (factor within 1 +- strength, not
            below 0) and hue (shift within +- strength of a circle, at most 0.5).
        jitter_p: Probability of color jitter.
        gray_p: Probability of grayscale.
        pad: Pixels of black around the image, from which a window of the image's own size is cut
            at random before all else: torchvision's RandomCrop(padding), the augmentation of
            supervised learning.
        blur_p: Probability of Gaussian blur, with a standard deviation of 0.1 to 2 pixels.
        shared: Augmentations whose random parameters all views of an image share; those of the
            others are drawn for each view.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_p: float = 0.8
    gray_p: float = 0.2
    pad: int = 0
    blur_p: float = 0.0
    shared: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses what no view can be made of.

        Raises:
            ValueError: If a field is out of range.
        """
        if self.size < 1:
            raise ValueError(f"size must be at least 1, not {self.size}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != 3:
                raise ValueError(f"{name} must be three numbers, one a channel")
        values = (*self.mean, *self.std, *self.scale, *self.ratio, *self.jitter)
        if not all(map(math.isfinite, values)):
            raise ValueError(f"mean, std, scale, ratio and jitter must be finite, not {values}")
        for name in self.shared:
            if name not in AUGMENTATIONS:
                raise ValueError(f"shared must be of {', '.join(AUGMENTATIONS)}, not {name!r}")
        if self.pad < 0:
            raise ValueError(f"pad must not be negative, not {self.pad}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, not {self.std}")
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two positive numbers in order, not {low}, {high}")
        for name in ("flip", "jitter_p", "gray_p", "blur_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability, not {getattr(self, name)}")
        if min(self.jitter) < 0 or self.jitter[3] > 0.5:
            raise ValueError(f"jitter must not be negative, nor hue above 0.5, not {self.jitter}")

    def draw(self, num: int, height: int, width: int, generator: torch.Generator) -> ViewParams:
        """Draws the parameters of one view of each image.

        The random numbers used do not depend on the recipe: a weaker one with the same generator
        sees the same crops.

        Args:
            num: Number of images, B.
            height: Height of the images in pixels.
            width: Width of the images in pixels.
            generator: On the CPU; advances.

        Returns:
            The parameters, on the CPU.
        """
        crops = 2 * geometry.TRIES + 2
        uniforms = torch.rand(num, crops + 11, generator=generator, dtype=torch.float64)
        top, left, rows, columns = geometry.crop_boxes(
            uniforms[:, :crops], height=height, width=width, scale=self.scale, ratio=self.ratio
        )
        if self.pad:  # drawn afterwards, so that recipes without padding see the numbers they saw
            shift = torch.randint(2 * self.pad + 1, (2, num), generator=generator)
            top, left = top + shift[0], left + shift[1]
        sigma = torch.zeros(num)
        if self.blur_p:  # as well
            chance, strength = torch.rand(2, num, generator=generator)
            least, most = blur.SIGMA
            sigma = torch.where(chance < self.blur_p, least + (most - least) * strength, 0.0)
        flip, jitter, gray = uniforms[:, crops : crops + 3].unbind(1)
        strength = torch.tensor(self.jitter, dtype=torch.float64)
        center = torch.tensor((1.0, 1.0, 1.0, 0.0), dtype=torch.float64)
        low = center - strength
        low[:3].clamp_(min=0)
        factors = low + (center + strength - low) * uniforms[:, crops + 7 :]
        return ViewParams(
            top=top,
            left=left,
            height=rows,
            width=columns,
            flip=flip < self.flip,
            jitter=jitter < self.jitter_p,
            order=uniforms[:, crops + 3 : crops + 7].argsort(dim=1),
            factors=factors.float(),
            gray=gray < self.gray_p,
            sigma=sigma,
        )

    def apply(self, x: Tensor, params: ViewParams) -> Tensor:
        """Makes the view of each image that the parameters describe.

        Args:
            x: float32 or float64 [B, 3, H, W] in [0, 1].
            params: From :meth:`draw`, for images of this height and width.

        Returns:
            [B, 3, S, S] of the same type, normalized.

        Raises:
            ValueError: If ``x`` is no batch of float32 or float64 color images, or its length is
                not that of the parameters.
        """
        if x.ndim != 4 or x.shape[1] != 3 or x.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"views need float32 or float64 images [B, 3, H, W], not {x.dtype} {list(x.shape)}"
            )
        if len(x) != len(params):
            raise ValueError(f"{len(x)} images, but the parameters of {len(params)} views")

        num, device, dtype = len(x), x.device, x.dtype
        with color.full_precision(device):
            boxes = torch.stack(
                (params.top, params.left, params.height, params.width, params.flip)
            ).to(device, non_blocking=True)
            padded = nn.functional.pad(x, (self.pad,) * 4) if self.pad else x
            y = geometry.resized_crop(padded, boxes, size=self.size)
            if bool(params.jitter.any()):
                plan = color.plan_jitter(
                    params.jitter, params.order, params.factors, device=device, dtype=dtype
                )
                y = color.jitter(y.view(num, 3, -1), plan).view(y.shape)
            if bool(params.gray.any()):
                y = _gray_and_normalize(y, params.gray, self.mean, self.std)
            else:
                y = normalize(y, self.mean, self.std)
            # Blur keeps what is constant: it may come after the normalization.
            return blur.blur(y, params.sigma) if bool(params.sigma.any()) else y

    def __call__(self, x: Tensor, generator: torch.Generator, copies: int = 1) -> Tensor:
        """Draws parameters and applies them: one random view of each image."""
        params = self.draw(len(x), x.shape[2], x.shape[3], generator)
        return self.apply(x, params.share(self.shared, copies))

    def weak(self) -> "Views":
        """Flips, and shifts by up to an eighth of the size (4 pixels of 32), and nothing else."""
        return replace(
            self, scale=(1.0, 1.0), jitter_p=0.0, gray_p=0.0, blur_p=0.0, pad=self.size // 8
        )

    def local(self, size: int, area: float) -> "Views":
        """The same of smaller parts of the images: the local views of multi-crop.

        Args:
            size: Side of the output in pixels, at most that of these views.
            area: Smallest area of a crop, as a fraction of the image's; the largest is the
                smallest of these views.

        Raises:
            ValueError: If these views are smaller than `size`, or their crops than `area`.
        """
        largest = self.scale[0]
        if size > self.size:
            raise ValueError(
                f"local views of {size} pixels do not fit views of {self.size}; give"
                f" `local_size={self.size}` or less"
            )
        if area > largest:
            raise ValueError(
                f"`local_area` {area} is above {largest}, the smallest area of the other crops;"
                " give a smaller one, or a larger `crop_area`"
            )
        return replace(self, size=size, scale=(area, largest))


def draw_views(
    views: DrawsViews, x: Tensor, num: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Draws of views of x [B, 3, H, W] in [0, 1]: `num` batches [B, 3, S, S].

    They are independent, but for what `Views.shared` names.
    """
    return views(torch.cat([x] * num), generator, num).chunk(num)


def normalize(
    x: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Tensor:
    """``(x - mean) / std`` of each channel.

    Args:
        x: float [B, 3, H, W].
        mean: Mean of each channel.
        std: Standard deviation of each channel.

    Returns:
        Of the shape and type of ``x``.
    """
    scale = 1 / torch.tensor(std, dtype=torch.float64)
    shift = -torch.tensor(mean, dtype=torch.float64) * scale
    scale = scale.to(x.device, x.dtype, non_blocking=True).view(1, 3, 1, 1)
    shift = shift.to(x.device, x.dtype, non_blocking=True).view(1, 3, 1, 1)
    return torch.addcmul(shift, x, scale)


def _gray_and_normalize(
    x: Tensor,
    gray: Tensor,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Tensor:
    """:func:`normalize` after turning the images of ``gray`` (bool [B], CPU) gray: one matrix."""
    scale = 1 / torch.tensor(std, dtype=torch.float64).view(3, 1)
    matrices = (scale * color.gray_matrices(gray)).to(x.device, x.dtype, non_blocking=True)
    shift = -torch.tensor(mean, dtype=torch.float64).view(3, 1) * scale
    shift = shift.to(x.device, x.dtype, non_blocking=True)
    return torch.baddbmm(shift, matrices, x.reshape(len(x), 3, -1)).view(x.shape)
