"""Matrix completion against LAPACK's SVD, one matrix at a time."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cptools.core.defenses import DEFENSES
from cptools.core.defenses.matrix_completion import (
    complete_batches,
    matrix_completion,
    truncate,
)


def smooth_images(num: int, height: int, width: int, seed: int) -> torch.Tensor:
    """uint8 images with the 1/f spectrum of photographs."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft2(torch.randn((num, 3, height, width), generator=generator))
    frequency = torch.hypot(
        torch.fft.fftfreq(height)[:, None].expand(-1, width // 2 + 1),
        torch.fft.rfftfreq(width)[None].expand(height, -1),
    )
    frequency[0, 0] = 1 / max(height, width)
    x = torch.fft.irfft2(spectrum / frequency**1.2, s=(height, width))
    x = x / x.std((1, 2, 3), keepdim=True).clamp(min=1e-6) * 0.25 + 0.45
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def complete_slowly(images: Any, masks: Any, keep: float) -> Any:
    """The recipe, one channel at a time in double precision: the estimate on [-1, 1]."""
    out = np.empty(images.shape)
    for n, c in np.ndindex(images.shape[:2]):
        y = (images[n, c] / 127.5 - 1) * masks[n]
        u, s, vh = np.linalg.svd(y, full_matrices=False)
        rank = max(1, int(keep * len(s) + 1e-9))
        estimate = (u[:, :rank] * s[:rank]) @ vh[:rank]
        out[n, c] = np.clip(estimate / max(masks[n].mean(), 1e-6), -1, 1)
    return out


def masks_of(num: int, height: int, width: int, drop: float, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return np.stack(
        [torch.rand((height, width), generator=generator).numpy() >= drop for _ in range(num)]
    )


@pytest.mark.parametrize(
    ("height", "width", "drop", "keep"),
    [
        (32, 32, 0.25, 0.5),
        (32, 32, 0.0, 0.5),
        (32, 32, 0.25, 0.8),
        (32, 32, 0.9, 0.1),
        (24, 40, 0.25, 0.5),
        (40, 24, 0.25, 0.29),
        (96, 96, 0.25, 0.5),
        (7, 1, 0.5, 0.5),
        (1, 1, 0.5, 1.0),
    ],
)
def test_equals_lapack_one_matrix_at_a_time(
    height: int, width: int, drop: float, keep: float
) -> None:
    images = smooth_images(12, height, width, seed=1)
    got = matrix_completion(
        images, drop=drop, keep=keep, generator=torch.Generator().manual_seed(5), batch_size=5
    )
    masks = masks_of(12, height, width, drop, seed=5)
    expected = complete_slowly(images.numpy(), masks, keep)
    assert got.dtype == torch.uint8
    # Rounding to nearest, up to the float32 error of the estimate.
    assert np.abs(got.numpy() - (expected + 1) * 127.5).max() <= 0.5 + 127.5 * 1e-3


def lapack(matrices: torch.Tensor, rank: int) -> Any:
    parts = []
    for matrix in matrices.double().numpy():
        u, s, vh = np.linalg.svd(matrix, full_matrices=False)
        parts.append((u[:, :rank] * s[:rank]) @ vh[:rank])
    return np.stack(parts)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_truncate_is_the_best_approximation(height: int, width: int, rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrices = torch.randn((3, height, width), generator=generator)
    rank = min(rank, height, width)
    got = truncate(matrices, rank).numpy()
    expected = lapack(matrices, rank)

    # The distance to the matrix is unique even where the approximation is not.
    def distance(x: Any) -> Any:
        return np.linalg.norm(x - matrices.numpy(), axis=(1, 2))

    assert distance(got) == pytest.approx(distance(expected), rel=1e-4, abs=1e-4)
    assert np.linalg.matrix_rank(got, tol=1e-3).max() <= rank


@pytest.mark.parametrize("decay", [0.0, 0.3, 1.0, 3.0])
def test_truncation_error_is_small_for_any_spectrum(decay: float) -> None:
    """Singular values exp(-decay i), down to exp(-93): the Gram matrix cannot see them all."""
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn((30, 32, 32), generator=generator))[0] for _ in "uv")
    # Without decay they still fall from 2 to 1, so that the best approximation is unique.
    values = torch.exp(-decay * torch.arange(32)) if decay else torch.linspace(2, 1, 32)
    matrices = (u * values) @ v.mT
    expected = lapack(matrices, 16)
    error = np.linalg.norm(truncate(matrices, 16).numpy() - expected, axis=(1, 2))
    assert (error / np.linalg.norm(expected, axis=(1, 2))).max() < 2e-4


@pytest.mark.parametrize("size", [32, 64, 96])
@pytest.mark.parametrize("kind", ["whole", "masked", "blurred"])
@pytest.mark.parametrize("keep", [0.25, 0.5, 0.8])
def test_relative_error_to_lapack_is_small_on_images(size: int, kind: str, keep: float) -> None:
    """Smooth images are the hard ones: their small singular values drown in a float32 Gram."""
    x = smooth_images(20, size, size, seed=1).float() / 127.5 - 1
    if kind == "masked":
        x = x * torch.from_numpy(masks_of(20, size, size, 0.25, seed=2))[:, None]
    if kind == "blurred":
        x = torch.nn.functional.avg_pool2d(x, 9, 1, 4)
    x, rank = x.flatten(0, 1), int(keep * size)
    expected = lapack(x, rank)
    error = np.linalg.norm(truncate(x, rank).numpy() - expected, axis=(1, 2))
    assert (error / np.linalg.norm(expected, axis=(1, 2))).max() < 2e-4


def test_nothing_dropped_and_all_kept_is_the_identity() -> None:
    images = smooth_images(4, 16, 20, seed=2)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(matrix_completion(images, drop=0, keep=1, generator=generator), images)


def test_constant_images_come_back() -> None:
    """A constant is a rank-one matrix: exact where nothing is dropped, close where much is."""
    images = torch.tensor([0, 90, 128, 255], dtype=torch.uint8)[:, None, None, None]
    images = images.repeat(1, 3, 32, 32)
    whole = matrix_completion(images, drop=0, generator=torch.Generator().manual_seed(0))
    assert torch.equal(whole, images)
    filled = matrix_completion(
        images, drop=0.25, keep=1 / 32, generator=torch.Generator().manual_seed(0)
    )
    assert (filled.float().mean((1, 2, 3)) - images.float().mean((1, 2, 3))).abs().max() < 12


def test_an_image_with_every_pixel_dropped_is_mid_gray() -> None:
    images = torch.full((500, 3, 1, 1), 200, dtype=torch.uint8)
    got = matrix_completion(images, drop=0.5, generator=torch.Generator().manual_seed(0))
    # One pixel is either seen, and comes back, or dropped.
    assert set(got.unique().tolist()) == {128, 200}
    assert 0.4 < (got[:, 0, 0, 0] == 128).float().mean() < 0.6


def test_the_mask_is_shared_by_the_channels_and_bernoulli() -> None:
    images = torch.full((60, 3, 32, 32), 255, dtype=torch.uint8)
    images[:, 1:] = 0
    got = matrix_completion(images, drop=0.25, keep=1, generator=torch.Generator().manual_seed(7))
    seen = got != 128
    assert torch.equal(seen[:, 0], seen[:, 1])
    assert torch.equal(seen[:, 0], seen[:, 2])
    assert abs(seen.float().mean() - 0.75) < 0.01


def test_same_seed_same_bytes_whatever_the_batch() -> None:
    images = smooth_images(20, 32, 32, seed=3)

    def run(seed: int, batch_size: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return matrix_completion(images, generator=generator, batch_size=batch_size)

    first = run(1, 512)
    assert torch.equal(run(1, 512), first)
    assert not torch.equal(run(2, 512), first)
    # Another batch size may round a float32 product differently, but draws the same masks.
    assert (run(1, 3).int() - first.int()).abs().max() <= 1


def test_batches_are_the_whole_in_order() -> None:
    images = smooth_images(7, 8, 8, seed=3)
    batches = list(
        complete_batches(images, generator=torch.Generator().manual_seed(0), batch_size=3)
    )
    assert [len(batch) for batch in batches] == [3, 3, 1]
    whole = matrix_completion(images, generator=torch.Generator().manual_seed(0), batch_size=3)
    assert torch.equal(torch.cat(batches), whole)


def test_high_frequency_poison_shrinks() -> None:
    """What it is for: a random +-8 pattern loses most of its energy relative to other change."""
    images = smooth_images(40, 32, 32, seed=4)
    generator = torch.Generator().manual_seed(1)
    signs = torch.randint(0, 2, images.shape, generator=generator) * 16 - 8
    poisoned = (images.int() + signs).clamp(0, 255).to(torch.uint8)
    noise = (poisoned.int() - images.int()).double()

    def completed(x: torch.Tensor) -> torch.Tensor:
        return matrix_completion(
            x, drop=0.25, keep=0.25, generator=torch.Generator().manual_seed(2)
        ).double()

    remaining = completed(poisoned) - completed(images)
    share = (remaining * noise).sum() / (noise * noise).sum()
    assert 0 < share < 0.6


def test_no_images_are_no_trouble() -> None:
    none = torch.zeros((0, 3, 4, 4), dtype=torch.uint8)
    assert matrix_completion(none, generator=torch.Generator()).shape == none.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": 1.0}, r"drop probability in \[0, 1\), got 1.0"),
        ({"drop": -0.1}, "drop probability"),
        ({"drop": float("nan")}, "drop probability"),
        ({"keep": 0.0}, r"singular values in \(0, 1\], got 0.0"),
        ({"keep": 1.1}, "singular values"),
        ({"batch_size": 0}, "batch size of at least 1"),
    ],
)
def test_bad_options_are_refused_before_any_work(options: Any, message: str) -> None:
    images = smooth_images(2, 8, 8, seed=0)
    with pytest.raises(ValueError, match=message):
        complete_batches(images, generator=torch.Generator(), **options)


def test_bad_images_are_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8 images"):
        matrix_completion(torch.zeros((2, 3, 4, 4)), generator=torch.Generator())


def test_every_registered_defense_exists() -> None:
    import importlib

    for spec in DEFENSES.values():
        module, _, name = spec.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
