"""Views a second: cptools, torchvision on PIL images one at a time, and kornia if installed.

Run ``python tests/benchmarks/views.py``; the methods take turns, and the best round of each
counts, so that another load on the machine disturbs the ratios little. With ``--malloc`` the C
library keeps freed memory (glibc), as a training loop should: fresh pages are what the batched
views wait for otherwise.
"""

import argparse
import ctypes
import importlib.util
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from cptools.core.views import Views, normalize

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def pil_step(images: Tensor, size: int) -> Callable[[], object]:
    """Torchvision's transforms of PIL images, one after the other, stacked to a batch."""
    jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.2, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([jitter], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    pictures = [
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())) for image in images
    ]
    return lambda: torch.stack([transform(picture) for picture in pictures])


def kornia_step(x: Tensor, size: int, upstream: Tensor | None) -> Callable[[], object]:
    """Kornia's batched augmentations, with the same strengths."""
    import kornia.augmentation as k

    transform = torch.nn.Sequential(
        k.RandomResizedCrop((size, size), scale=(0.2, 1.0)),
        k.RandomHorizontalFlip(),
        k.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        k.RandomGrayscale(p=0.2),
    )
    return differentiated(lambda y: normalize(transform(y), MEAN, STD), x, upstream)


def differentiated(
    function: Callable[[Tensor], Tensor], x: Tensor, upstream: Tensor | None
) -> Callable[[], object]:
    """One call of the function; with the gradient to ``x`` if ``upstream`` is given."""
    if upstream is None:
        return lambda: function(x)
    leaf = x.clone().requires_grad_()
    return lambda: torch.autograd.grad(function(leaf), leaf, upstream)


def best_times(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The shortest time in seconds of each step, over rounds in which they take turns."""
    best = dict.fromkeys(steps, float("inf"))
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--image", type=int, default=32, help="side of the images")
    parser.add_argument("--size", type=int, default=32, help="side of the views")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--malloc", action="store_true", help="keep freed memory (glibc)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.malloc:
        libc = ctypes.CDLL(None)
        if not (libc.mallopt(-3, 32 << 20) and libc.mallopt(-1, 1 << 30)):  # mmap, trim thresholds
            sys.exit("mallopt refused")

    generator = torch.Generator().manual_seed(0)
    shape = (options.batch, 3, options.image, options.image)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    x = images.float() / 255
    upstream = torch.randn(options.batch, 3, options.size, options.size, generator=generator)
    views = Views(options.size, MEAN, STD)
    weak = Views(options.size, MEAN, STD, jitter_p=0.0, gray_p=0.0)

    steps: dict[str, Callable[[], object]] = {
        "torchvision on PIL": pil_step(images, options.size),
        "cptools": lambda: views(x, generator),
        "cptools, crop and flip": lambda: weak(x, generator),
        "cptools with gradient": differentiated(lambda y: views(y, generator), x, upstream),
    }
    if importlib.util.find_spec("kornia"):
        steps["kornia"] = kornia_step(x, options.size, None)
        steps["kornia with gradient"] = kornia_step(x, options.size, upstream)
    times = best_times(steps, options.rounds)
    sys.stdout.write(
        f"batch {options.batch}, {options.image} -> {options.size} pixels, "
        f"{options.threads} threads, best of {options.rounds}\n"
    )
    for name, seconds in times.items():
        ratio = times["torchvision on PIL"] / seconds
        sys.stdout.write(f"{name:24} {options.batch / seconds:9.0f} views/s   {ratio:5.1f}x PIL\n")


if __name__ == "__main__":
    main()
