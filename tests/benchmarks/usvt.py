"""Speed and error of the truncation in matrix completion, as ratios from one run.

Usage: OPENBLAS_NUM_THREADS=1 python tests/benchmarks/usvt.py [--images N] [--size S] ...

Three ways to cut each channel of N masked images to half its rank: what cptools does (eigenvectors
of the Gram matrix for small images), a batched float32 SVD, and a loop calling numpy's LAPACK SVD
for one matrix at a time in float64, which is also the reference for the errors. Each is timed three
times in turn, and the fastest counts.
"""

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cptools.core.defenses.matrix_completion import matrix_completion, truncate


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


def batched_svd(x: Tensor, rank: int) -> Tensor:
    """Truncate by one call of torch.linalg.svd for the whole batch."""
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    cut: Tensor = (u[..., :rank] * s[..., None, :rank]) @ vh[..., :rank, :]
    return cut


def numpy_loop(x: Tensor, rank: int) -> Tensor:
    """Truncate one matrix at a time with LAPACK's gesdd in float64."""
    flat = x.cpu().double().flatten(0, 1).numpy()
    out = np.empty_like(flat)
    for i, matrix in enumerate(flat):
        u, s, vh = np.linalg.svd(matrix, full_matrices=False)
        out[i] = (u[:, :rank] * s[:rank]) @ vh[:rank]
    return torch.from_numpy(out).view(x.shape)


def seconds(work: Callable[[], object], device: str) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = photographs(options.images, options.size).to(options.device)
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand((options.images, 1, *images.shape[-2:]), generator=generator) >= 0.25
    masked = (images.float() / 127.5 - 1) * mask.to(options.device)
    rank = options.size // 2

    def in_batches(cut: Callable[[Tensor, int], Tensor]) -> Tensor:
        return torch.cat([cut(masked[i : i + 512], rank) for i in range(0, len(masked), 512)])

    ways: dict[str, Callable[[], Tensor]] = {
        "truncate (cptools)": lambda: in_batches(truncate),
        "batched svd": lambda: in_batches(batched_svd),
        "numpy loop": lambda: numpy_loop(masked, rank),
        "whole defense": lambda: matrix_completion(
            images, generator=torch.Generator().manual_seed(0)
        ),
    }
    best = dict.fromkeys(ways, float("inf"))
    for way in ways.values():
        way()
    for _ in range(3):
        for name, way in ways.items():
            best[name] = min(best[name], seconds(way, options.device))
    reference = ways["numpy loop"]()

    def error(way: Callable[[], Tensor]) -> float:
        difference = (way().cpu().double() - reference).flatten(2).norm(dim=2)
        return float((difference / reference.flatten(2).norm(dim=2)).max())

    out = [
        f"{options.images} images of 3 x {options.size} x {options.size}, rank {rank}, "
        f"{options.device}, {options.threads} thread(s), torch {torch.__version__}",
        f"{'':20}{'images/s':>10}{'speed':>8}  worst relative error",
    ]
    for name, way in ways.items():
        worst = "" if name == "whole defense" else f"  {error(way):.1e}"
        speed = best["numpy loop"] / best[name]
        out.append(f"{name:20}{options.images / best[name]:10.0f}{speed:7.2f}x{worst}")
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
