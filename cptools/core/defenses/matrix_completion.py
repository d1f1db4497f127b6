"""Matrix completion: drop pixels at random, then fill the gaps by a low-rank estimate.

The countermeasure that He, Zha and Katabi propose (ICLR 2023, section 6b), and the best of their
table 8. Their text names Chatterjee (Matrix estimation by universal singular value thresholding,
Annals of Statistics 43:177, 2015) and a drop probability of 0.25. How many singular values are
kept, and whether channels are completed one by one, is not in it, so both are options here. The
recipe is that of the same group's ME-Net (Yang et al., ICML 2019): what is dropped becomes 0 on the
scale [-1, 1], the matrix is cut to a fixed rank, and the result is divided by the fraction of it
that was observed. ME-Net itself puts the channels side by side, draws the mask by entries and keeps
0.8 of the singular values.

N images, C channels of H x W, M matrices an image.
"""

from typing import Literal

import torch
from torch import Generator, Tensor

from cptools.core.defenses.low_rank import SLAB, in_slabs, threshold, truncate
from cptools.core.random import on_device

Layout = Literal["apart", "side"]
Mask = Literal["pixel", "entry"]


def matrix_completion(
    images: Tensor,
    *,
    drop: float = 0.25,
    keep: float | None = None,
    rank: int | None = None,
    eta: float | None = None,
    layout: Layout = "apart",
    mask: Mask = "pixel",
    generator: Generator,
) -> Tensor:
    """Drop pixels and complete every image by matrices of low rank.

    At most one of `keep`, `rank` and `eta` says which singular values stay; without any, half do.

    Args:
        images: uint8 [N, C, H, W]. A CUDA device needs about 40 bytes of memory a pixel value; a
            CPU works on 384 channels at a time, in as many threads as torch has.
        drop: Probability that a pixel is dropped, in [0, 1); CP table 8 uses 0.25.
        keep: Share of the singular values kept, in (0, 1]; at least one is. Their number is that
            of the matrix's shorter side.
        rank: Number of singular values kept, from 1 to the matrix's shorter side.
        eta: Chatterjee's rule: singular values of at least (2 + eta) sqrt(n p) are kept, where n is
            the matrix's longer side and p its observed fraction. In [-2, 1); his theorem needs
            eta > 0 and he suggests 0.01, but for large matrices: of 300 CIFAR-10 images with a
            drop of 0.25, channels apart, 0.01 kept 0.5 singular values in the mean and none in
            55 % of the channels (they turn gray); -1 kept 1.4, -1.5 kept 5 and -1.75 kept 13.
        layout: "apart", where each channel is a matrix H x W, or "side", where the channels of an
            image make one matrix H x CW.
        mask: "pixel", one draw for all channels, or "entry", one for each channel.
        generator: CPU generator of the masks, or of the seed of a GPU's. On the CPU, images given
            in parts, one call after the other with one generator, get the masks that they get
            together.

    Returns:
        uint8 [N, C, H, W] on the device of `images`.

    Raises:
        ValueError: An argument is outside its range, or the images are not uint8 [N, C, H, W].
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            f"expected uint8 images [N, C, H, W], got {images.dtype} {list(images.shape)}"
        )
    channels, height, width = images.shape[1:]
    sides = (height, width * channels if layout == "side" else width)
    _check(sides, drop, keep, rank, eta, layout, mask)
    if not images.numel():
        return images.clone()

    shape = (len(images), channels if mask == "entry" else 1, height, width)
    device = images.device
    draws = torch.rand(shape, generator=on_device(generator, device), device=device)

    def complete(images: Tensor, draws: Tensor) -> Tensor:
        observed = (draws >= drop).float()
        y = _to_matrices(images.float().div_(127.5).sub_(1).mul_(observed), layout)
        dims = (2, 3) if layout == "apart" else (1, 2, 3)
        fraction = observed.mean(dims, keepdim=True)  # [N, 1 or M, 1, 1]
        if eta is not None:
            level = (2 + eta) * (max(sides) * fraction).sqrt()
            estimate = threshold(y, level[..., 0, 0].expand(y.shape[:2]))
        else:
            estimate = truncate(y, rank or _share(0.5 if keep is None else keep, min(sides)))
        # With nothing observed the estimate is 0, mid gray, whatever it is divided by.
        estimate.div_(fraction.clamp(min=1e-6)).clamp_(-1, 1)
        completed = estimate.add_(1).mul_(127.5).round_().to(torch.uint8)
        return _to_images(completed, layout, channels).contiguous()

    return in_slabs(complete, max(1, SLAB // channels), images, draws)


def _check(
    sides: tuple[int, int],
    drop: float,
    keep: float | None,
    rank: int | None,
    eta: float | None,
    layout: str,
    mask: str,
) -> None:
    """Raise ValueError where an option is outside its range, for matrices of these sides."""
    if not 0 <= drop < 1:
        raise ValueError(f"drop is {drop}; give a probability of at least 0 and below 1")
    if sum(option is not None for option in (keep, rank, eta)) > 1:
        raise ValueError("keep, rank and eta exclude one another; give only one of them")
    if keep is not None and not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}; give a share of singular values above 0 and at most 1")
    if rank is not None and not 1 <= rank <= min(sides):
        raise ValueError(
            f"rank is {rank}, but the matrices are {sides[0]} x {sides[1]}; "
            f"give a rank from 1 to {min(sides)}"
        )
    if eta is not None and not -2 <= eta < 1:
        raise ValueError(f"eta is {eta}; give a number of at least -2 and below 1")
    if layout not in ("apart", "side"):
        raise ValueError(f"layout is {layout!r}; give apart or side")
    if mask not in ("pixel", "entry"):
        raise ValueError(f"mask is {mask!r}; give pixel or entry")


def _share(keep: float, shorter: int) -> int:
    """The rank that keeps a share of the singular values, at least 1."""
    return max(1, int(keep * shorter + 1e-9))  # 0.29 * 100 is 28.999... in floats


def _to_matrices(x: Tensor, layout: Layout) -> Tensor:
    """Images [N, C, H, W] to matrices [N, M, H, W'], side by side [N, 1, H, CW]."""
    return x if layout == "apart" else x.transpose(1, 2).flatten(2)[:, None]


def _to_images(x: Tensor, layout: Layout, channels: int) -> Tensor:
    """Undo `_to_matrices`."""
    return x if layout == "apart" else x[:, 0].unflatten(2, (channels, -1)).transpose(1, 2)
