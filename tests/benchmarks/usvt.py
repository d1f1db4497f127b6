"""Speed and error of the truncation in matrix completion, as ratios from one run.

Usage: OPENBLAS_NUM_THREADS=1 python tests/benchmarks/usvt.py [--images N] [--threads T] ...

Ways to cut each channel of N masked images to half its rank: what cptools does (products, and
eigenvectors where those do not suffice), float32 eigenvectors of the Gram matrices alone, a batched
float32 SVD, and a loop calling numpy's LAPACK SVD for one matrix at a time in float64, which is
also the reference for the errors. All but the loop divide the matrices among T threads. They are
run in turn, several times, and the fastest counts. The time of all processors together stays
meaningful where other programs want them too; the time by the clock does not.

Two rows are ceilings, no truncations. Whatever starts from eigenvalues is slower than eigenvalues
alone: for 32 x 32, 22 us a matrix and thread on a shared EPYC (Zen 4, torch 2.15 with MKL), where
float32 eigenvectors make 52. cptools needs neither, but 27 products, which alone take 25 of its 40.
"""

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cptools.core.defenses.low_rank import SLAB, in_slabs, truncate
from cptools.core.defenses.matrix_completion import matrix_completion

BATCH = 512  # images a call
PRODUCTS = 27  # one for the Gram matrix, 23 steps in the mean, 3 for the last


def photographs(num: int, size: int) -> Tensor:
    """uint8 images [N, 3, S, S] with a 1/f spectrum."""
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.fft.rfft2(torch.randn((num, 3, size, size), generator=generator))
    frequency = torch.hypot(
        torch.fft.fftfreq(size)[:, None].expand(-1, size // 2 + 1),
        torch.fft.rfftfreq(size)[None].expand(size, -1),
    )
    frequency[0, 0] = 1 / size
    x = torch.fft.irfft2(spectrum / frequency**1.2, s=(size, size))
    x = x / x.std((1, 2, 3), keepdim=True) * 0.25 + 0.45
    images: Tensor = (x.clamp(0, 1) * 255).round().to(torch.uint8)
    return images


def gram_eigh(x: Tensor, rank: int) -> Tensor:
    """Truncate by float32 eigenvectors of the Gram matrices."""
    vectors = torch.linalg.eigh(x @ x.mT)[1][..., -rank:]
    cut: Tensor = vectors @ (vectors.mT @ x)
    return cut


def batched_svd(x: Tensor, rank: int) -> Tensor:
    """Truncate by one call of torch.linalg.svd for the whole batch."""
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    cut: Tensor = (u[..., :rank] * s[..., None, :rank]) @ vh[..., :rank, :]
    return cut


def numpy_loop(x: Tensor, rank: int) -> Tensor:
    """Truncate one matrix at a time with LAPACK's gesdd in float64."""
    out = np.empty(x.shape)
    for i, matrix in enumerate(x.cpu().double().numpy()):
        u, s, vh = np.linalg.svd(matrix, full_matrices=False)
        out[i] = (u[:, :rank] * s[:rank]) @ vh[:rank]
    return torch.from_numpy(out)


def eigenvalues(x: Tensor, rank: int) -> Tensor:
    """Find the eigenvalues of the Gram matrices, and do nothing with them."""
    torch.linalg.eigvalsh(x @ x.mT)
    return x


def products(x: Tensor, rank: int) -> Tensor:
    """Multiply as often as cptools does, no more."""
    gram = torch.bmm(x, x.mT)
    for _ in range(PRODUCTS - 1):
        y = torch.bmm(gram, gram)
    return y


def seconds(work: Callable[[], object], device: str) -> tuple[float, float]:
    """Time one call: by the clock, and of all processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = photographs(options.images, options.size).to(options.device)
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand((options.images, 1, *images.shape[-2:]), generator=generator) >= 0.25
    masked = ((images.float() / 127.5 - 1) * mask.to(options.device)).flatten(0, 1)
    rank = options.size // 2

    def shared(cut: Callable[[Tensor, int], Tensor]) -> Callable[[], Tensor]:
        return lambda: in_slabs(lambda x: cut(x, rank), SLAB, masked)

    def defense() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.cat(
            [matrix_completion(batch, generator=generator) for batch in images.split(BATCH)]
        )

    truncations: dict[str, Callable[[], Tensor]] = {
        "truncate (cptools)": lambda: truncate(masked, rank),
        "gram eigh": shared(gram_eigh),
        "batched svd": shared(batched_svd),
        "numpy loop": lambda: numpy_loop(masked, rank),
    }
    ways = truncations | {
        "whole defense": defense,
        "eigenvalues alone": shared(eigenvalues),
        "products alone": shared(products),
    }
    walls = {name: [float("inf")] for name in ways}
    cpus = {name: [float("inf")] for name in ways}
    for way in ways.values():
        way()
    for _ in range(options.repeats):
        for name, way in ways.items():
            wall, cpu = seconds(way, options.device)
            walls[name].append(wall)
            cpus[name].append(cpu)
    reference = truncations["numpy loop"]()

    def error(way: Callable[[], Tensor]) -> float:
        difference = (way().cpu().double() - reference).norm(dim=(1, 2))
        return float((difference / reference.norm(dim=(1, 2))).max())

    out = [
        f"{options.images} images of 3 x {options.size} x {options.size}, rank {rank}, "
        f"{options.device}, {options.threads} thread(s), torch {torch.__version__}",
        f"{'':20}{'by the clock':>24}{'processor time':>26}",
        f"{'':20}{'images/s':>10}{'loop':>7}{'svd':>7}{'us/matrix':>12}{'loop':>7}{'svd':>7}"
        "  worst relative error",
    ]
    for name in ways:
        wall, cpu = min(walls[name]), min(cpus[name])
        worst = f"  {error(truncations[name]):.1e}" if name in truncations else ""
        out.append(
            f"{name:20}{options.images / wall:10.0f}"
            f"{min(walls['numpy loop']) / wall:6.2f}x{min(walls['batched svd']) / wall:6.2f}x"
            f"{cpu / options.images / 3 * 1e6:12.1f}"
            f"{min(cpus['numpy loop']) / cpu:6.2f}x{min(cpus['batched svd']) / cpu:6.2f}x{worst}"
        )
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
