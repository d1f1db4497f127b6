"""Matrix completion: drop pixels at random, then fill the gaps by a low-rank estimate.

The countermeasure that He, Zha and Katabi propose (ICLR 2023, section 6b), and the best of their
table 8. Their text names Chatterjee (Matrix estimation by universal singular value thresholding,
Annals of Statistics 2015) and a drop probability of 0.25; how many singular values are kept is not
in it. The recipe here is the one of the same group's ME-Net (Yang et al., ICML 2019) with one mask
shared by the channels ("drops pixels"): missing pixels become 0 on the scale [-1, 1], each channel
is cut to a fixed rank, and the result is divided by the fraction of pixels observed. Unlike
Chatterjee's own rule the rank is fixed, not found by a threshold on the singular values.

The truncation is exact. It comes from the eigenvectors of the Gram matrix of the shorter side,
Y Y^T = U diag(s^2) U^T, so that the rank-k part is U_k U_k^T Y, without dividing by a singular
value. That is faster than a batched SVD; the few matrices whose gap below the k-th singular value
is too small for float32 are done again in float64. tests/benchmarks/usvt.py measures speed and
error against one LAPACK call a matrix.

N images, C channels of H x W, B images a batch.
"""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

_TOLERANCE = 1e-4  # relative error of the truncation above which float64 is asked
_GRAM_SIDE = 48  # on a CPU a batched SVD is faster above: too many gaps need float64


def matrix_completion(
    images: Tensor,
    *,
    drop: float = 0.25,
    keep: float = 0.5,
    generator: Generator,
    batch_size: int = 512,
) -> Tensor:
    """Drop pixels and complete every channel by a matrix of low rank.

    Args:
        images: uint8 [N, C, H, W].
        drop: Probability that a pixel is dropped, in [0, 1); CP table 8 uses 0.25.
        keep: Fraction of the singular values kept, in (0, 1]; at least one is. 0.5 is this
            module's choice: the paper's value is lost, and ME-Net's own default is 0.8.
        generator: CPU generator of the masks. A mask depends on the seed and on the place of the
            image alone, not on `batch_size` or the device.
        batch_size: Images worked on at a time; about 40 bytes of memory a pixel value.

    Returns:
        uint8 [N, C, H, W] on the device of `images`.

    Raises:
        ValueError: An argument is outside its range, or the images are not uint8 [N, C, H, W].
    """
    completed = torch.empty_like(images)
    start = 0
    for batch in complete_batches(
        images, drop=drop, keep=keep, generator=generator, batch_size=batch_size
    ):
        completed[start : start + len(batch)] = batch
        start += len(batch)
    return completed


def complete_batches(
    images: Tensor,
    *,
    drop: float = 0.25,
    keep: float = 0.5,
    generator: Generator,
    batch_size: int = 512,
) -> Iterator[Tensor]:
    """Do the work of `matrix_completion`, yielding each finished batch in order.

    Args:
        images: As for `matrix_completion`, as are all other arguments.
        drop: Probability that a pixel is dropped.
        keep: Fraction of the singular values kept.
        generator: CPU generator of the masks.
        batch_size: Images in a batch; the last one may be smaller.

    Returns:
        An iterator of uint8 [B, C, H, W]. Arguments are checked now, before the first batch.

    Raises:
        ValueError: As for `matrix_completion`.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            f"expected uint8 images [N, C, H, W], got {images.dtype} {list(images.shape)}"
        )
    if not 0 <= drop < 1:
        raise ValueError(f"expected a drop probability in [0, 1), got {drop}")
    if not 0 < keep <= 1:
        raise ValueError(f"expected a fraction of singular values in (0, 1], got {keep}")
    if batch_size < 1:
        raise ValueError(f"expected a batch size of at least 1, got {batch_size}")
    starts = range(0, len(images) if images.numel() else 0, batch_size)
    batches = (images[start : start + batch_size] for start in starts)
    return (_complete(batch, _masks(batch, drop, generator), keep) for batch in batches)


def truncate(matrices: Tensor, rank: int) -> Tensor:
    """Return the best approximation of a rank, in the Frobenius norm, of each matrix.

    Args:
        matrices: float [..., H, W], any leading shape.
        rank: Number of singular values kept, from 1 to min(H, W).

    Returns:
        float [..., H, W]. Where singular values `rank` and `rank + 1` are equal, the best
        approximation is not unique and this is one of them.
    """
    height, width = matrices.shape[-2:]
    if rank >= min(height, width):
        return matrices.clone()
    if height > width:
        return truncate(matrices.mT, rank).mT
    flat = matrices.reshape(-1, height, width)
    if height > _GRAM_SIDE and not flat.is_cuda:
        u, s, vh = torch.linalg.svd(flat, full_matrices=False)
        best: Tensor = (u[..., :rank] * s[..., None, :rank]) @ vh[..., :rank, :]
        return best.view(matrices.shape)
    values, basis = _largest(flat, rank)
    # Where the gap below the last kept value is in float32's noise, float64 decides.
    first, gap = values[:, -1], values[:, -rank] - values[:, -rank - 1]
    noise = 8 * torch.finfo(values.dtype).eps * first
    last = values[:, -rank].clamp(min=noise)
    angle = (noise / gap.clamp(min=1e-30)).clamp(max=1)
    unsure = (last / first.clamp(min=1e-30)).sqrt() * angle > _TOLERANCE
    if flat.dtype == torch.float32 and bool(unsure.any()):
        basis[unsure] = _largest(flat[unsure].double(), rank)[1].float()
    cut: Tensor = basis @ (basis.mT @ flat)
    return cut.view(matrices.shape)


def _largest(matrices: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Squared singular values [M, H], ascending, and left vectors [M, H, rank] of the last."""
    values, vectors = torch.linalg.eigh(matrices @ matrices.mT)
    return values, vectors[..., -rank:]


def _masks(batch: Tensor, drop: float, generator: Generator) -> Tensor:
    """Draw which pixels are observed: bool [B, 1, H, W], one draw an image."""
    height, width = batch.shape[-2:]
    draws = [torch.rand((1, height, width), generator=generator) for _ in range(len(batch))]
    return (torch.stack(draws) >= drop).to(batch.device)


def _complete(batch: Tensor, observed: Tensor, keep: float) -> Tensor:
    """Complete uint8 images [B, C, H, W] from their observed pixels, bool [B, 1, H, W]."""
    shorter = min(batch.shape[-2:])
    rank = max(1, int(keep * shorter + 1e-9))  # 0.29 * 100 is 28.999... in floats
    y = (batch.float() / 127.5 - 1) * observed
    # With no pixel observed the estimate is 0, mid gray, whatever it is divided by.
    fraction = observed.float().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    estimate = (truncate(y, rank) / fraction).clamp(-1, 1)
    completed: Tensor = ((estimate + 1) * 127.5).round().to(torch.uint8)
    return completed
