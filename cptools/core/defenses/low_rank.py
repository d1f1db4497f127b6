"""The best approximation of low rank to every matrix of a batch, without a singular value.

A truncation is a projection: with the Gram matrix G = Y Y^T, the rank-k part of Y is P Y, where P
projects on the eigenvectors of G's k largest eigenvalues. For small matrices P comes from
multiplications alone, by what electronic structure theory calls purification of a density matrix:

    X = I - G / |G| has its eigenvalues in [0, 1]; those to be dropped are the largest. Square X if
    its trace says that too many of them are left, take I - (I - X)^2 if too few, and they part to 0
    and 1 (Niklasson, Physical Review B 66, 155115, 2002). A last step P <- 3 P^2 - 2 P^3 (McWeeny,
    Reviews of Modern Physics 32, 335, 1960) is taken while P meets Y.

Squaring (X - c) / (1 - c) instead folds the lower end of the spectrum onto itself and parts the
rest faster (Rubensson, Journal of Chemical Theory and Computation 7, 1233, 2011). He takes c from
known eigenvalues. Here the trace bounds it: if m eigenvalues should reach 1, all in [0, 1], then
the n - m + 1 smallest are at most the m-th largest, x_m, so n - tr X >= (n - m + 1)(1 - x_m), and
any c up to x_m / 2 keeps the order.

The more steps, the closer are neighbors that still part, but so do rounding errors: after
`_CHECKS[-1]` steps in float32 the few matrices that have not parted go to eigenvectors in float64,
as do large matrices, whose eigenvalues lie closer. What has parted is within 1e-3 of the exact
truncation, in the Frobenius norm relative to it; photographs with dropped pixels, within 2e-4.
tests/benchmarks/usvt.py measures speed and error.

A CUDA device has float32 eigenvectors of small matrices sooner than that; there those whose gap is
too narrow for float32 go to float64.

B matrices of H x W, H <= W.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

SLAB = 384  # matrices worked on at a time: 128 images of three channels

_FOLDS = 16  # steps with c > 0, which would keep the ends apart from 0 and 1 for good
_CHECKS = (20, 24, 28)  # steps after which matrices that have parted leave
_PARTED = 0.015  # sum of x (1 - x) over the eigenvalues; McWeeny's step leaves 3 x^2 of an x
_SIDE = 48  # on a CPU eigenvectors are faster above
_CUDA_SIDE = 32  # on a CUDA device eigenvectors are faster up to here
_NARROW = 2e-3  # gap below which float32 eigenvectors may err by 1e-3: they err by 1.6e-6 over it


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

    def by_eigenvectors(y: Tensor) -> Tensor:
        _, vectors = _eigenvectors(y)
        return _project(y, vectors[..., -rank:])

    def mended(quick: Callable[[Tensor, int], tuple[Tensor, Tensor]]) -> Callable[[Tensor], Tensor]:
        def work(y: Tensor) -> Tensor:
            cut, left = quick(y, rank)
            if len(left):
                cut[left] = by_eigenvectors(y[left])
            return cut

        return work

    if matrices.is_cuda:
        work = mended(_in_float32 if height <= _CUDA_SIDE else _purify)
    else:
        work = mended(_purify) if height <= _SIDE else by_eigenvectors
    return in_slabs(work, SLAB, matrices.reshape(-1, height, width)).view(matrices.shape)


def threshold(matrices: Tensor, level: Tensor) -> Tensor:
    """Drop the singular values of each matrix that are below a level.

    Args:
        matrices: float [..., H, W], any leading shape.
        level: float [...], one level a matrix, at least 0.

    Returns:
        float [..., H, W]: 0 where all singular values are below the level.
    """
    height, width = matrices.shape[-2:]
    if height > width:
        return threshold(matrices.mT, level).mT

    def above(y: Tensor, level: Tensor) -> Tensor:
        squares, vectors = _eigenvectors(y)
        return _project(y, vectors * (squares >= level.double().square()[:, None])[:, None])

    flat = matrices.reshape(-1, height, width)
    return in_slabs(above, SLAB, flat, level.reshape(-1)).view(matrices.shape)


def in_slabs(work: Callable[..., Tensor], size: int, *batch: Tensor) -> Tensor:
    """Run work(*slab) for slab after slab of a batch; on a CPU in torch's number of threads.

    Small products and LAPACK calls are fastest if every thread does its own alone, and copies if
    they stay in a processor's caches. A CUDA device takes all at once.

    Args:
        work: From tensors [B, ...] to one of the shape and type of the first.
        size: Rows in a slab, at least 1; the last may have fewer.
        batch: Tensors with equally many rows.

    Returns:
        The results, in order.
    """
    threads = torch.get_num_threads()
    if batch[0].is_cuda or len(batch[0]) <= size:
        return work(*batch)
    out = torch.empty_like(batch[0])
    slabs = list(zip(*(tensor.split(size) for tensor in (out, *batch)), strict=True))

    def run(slab: tuple[Tensor, ...]) -> None:
        slab[0].copy_(work(*slab[1:]))

    if threads == 1:
        for slab in slabs:
            run(slab)
        return out
    try:
        with ThreadPoolExecutor(threads, "slab", torch.set_num_threads, (1,)) as pool:
            list(pool.map(run, slabs))
    finally:
        torch.set_num_threads(threads)  # what a thread sets holds for those started after it
    return out


def _purify(y: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Truncate matrices [B, H, W] by multiplications alone.

    Returns:
        The truncations [B, H, W], and the indices of those that are missing in it.
    """
    size = y.shape[1]
    x = torch.bmm(y, y.mT)
    norm = torch.linalg.vector_norm(x, dim=(1, 2)).clamp(min=torch.finfo(x.dtype).tiny)
    x.mul_((-1 / norm)[:, None, None])
    _diagonal(x).add_(1)
    ones = torch.full_like(norm, size - rank)  # eigenvalues that should reach 1
    kept = torch.zeros_like(norm, dtype=torch.bool)  # whether they are those to be kept
    excess = _diagonal(x).sum(1) - ones
    p, p_kept, left = torch.empty_like(x), kept.clone(), torch.arange(len(y), device=y.device)
    for step in range(1, _CHECKS[-1] + 1):
        before, low = excess.abs(), excess > 0
        zeros = torch.where(low, size - ones, ones)  # eigenvalues at the end that is folded
        if step <= _FOLDS:
            c = (before + 1) / (2 * zeros + 2)
            _diagonal(x).sub_(torch.where(low, c, 1 - c)[:, None])
            x.mul_((1 / (1 - c))[:, None, None])
        else:
            _diagonal(x).sub_((~low)[:, None].to(x.dtype))
        x = torch.bmm(x, x)
        # Folding the upper end squares I - X, and so turns the spectrum round.
        ones, kept = size - zeros, kept == low
        excess = _diagonal(x).sum(1) - ones
        if step in _CHECKS:
            parted = before + excess.abs() < _PARTED
            p.index_copy_(0, left, x)
            p_kept.index_copy_(0, left, kept)
            rest = (~parted).nonzero()[:, 0]
            x, ones, kept, excess, left = (t[rest] for t in (x, ones, kept, excess, left))
    # Where the eigenvalues at 1 are those to be dropped, the projection is I - P.
    sign = torch.where(p_kept, 1.0, -1.0).to(p.dtype)
    p.mul_(sign[:, None, None])
    _diagonal(p).add_((sign < 0)[:, None].to(p.dtype))
    p2y = torch.bmm(p, torch.bmm(p, y))
    return torch.baddbmm(p2y, p, p2y, beta=3, alpha=-2), left


def _in_float32(y: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Truncate matrices [B, H, W] by eigenvectors in float32.

    Where two eigenvalues x > z of G part, a rounding error of the size of |G| turns their vectors
    by |G| / (x - z), which moves sqrt(x) of sqrt(|G|).

    Returns:
        The truncations [B, H, W], and the indices of those that may be off by 1e-3.
    """
    values, vectors = torch.linalg.eigh(y @ y.mT)
    vectors = vectors[..., -rank:]
    least = values[:, -rank].clamp(min=0)
    gap = values[:, -rank] - values[:, -rank - 1]
    narrow = gap < _NARROW * (least * values[:, -1]).sqrt()
    return vectors @ (vectors.mT @ y), narrow.nonzero()[:, 0]


def _diagonal(x: Tensor) -> Tensor:
    """A view of the diagonals [B, H] of matrices [B, H, H]."""
    return x.diagonal(dim1=1, dim2=2)


def _eigenvectors(y: Tensor) -> tuple[Tensor, Tensor]:
    """Squared singular values, ascending, and left singular vectors, of [B, H, W] in float64."""
    y = y.double()
    values, vectors = torch.linalg.eigh(y @ y.mT)
    return values, vectors


def _project(y: Tensor, vectors: Tensor) -> Tensor:
    """Project the columns of [B, H, W] on orthonormal vectors [B, H, K], or 0 in their place."""
    return (vectors @ (vectors.mT @ y.double())).to(y.dtype)
