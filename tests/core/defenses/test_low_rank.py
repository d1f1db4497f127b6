"""The truncation against LAPACK's SVD, one matrix at a time."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cptools.core.defenses import low_rank
from cptools.core.defenses.low_rank import threshold, truncate


def lapack(matrices: Tensor, rank: int) -> Any:
    parts = []
    for matrix in matrices.double().numpy():
        u, s, vh = np.linalg.svd(matrix, full_matrices=False)
        parts.append((u[:, :rank] * s[:rank]) @ vh[:rank])
    return np.stack(parts)


def relative_error(got: Tensor, expected: Any) -> Any:
    """Of each matrix, in the Frobenius norm."""
    difference = np.linalg.norm(got.double().numpy() - expected, axis=(1, 2))
    return difference / np.linalg.norm(expected, axis=(1, 2))


def with_values(values: Tensor, num: int, seed: int = 0) -> Tensor:
    """float32 matrices [num, n, n] with singular values [n] or [num, n], and random vectors."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num, values.shape[-1], values.shape[-1])
    u, v = (
        torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64))[0]
        for _ in "uv"
    )
    return ((u * values.double()[..., None, :]) @ v.mT).float()


def photographs(num: int, size: int, kind: str) -> Tensor:
    """Channels [3 num, size, size] in [-1, 1] with the 1/f spectrum of photographs."""
    generator = torch.Generator().manual_seed(1)
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1 / size
    spectrum = torch.fft.rfft2(torch.randn((3 * num, size, size), generator=generator))
    x = torch.fft.irfft2(spectrum / frequency**1.2, s=(size, size))
    x = (x / x.std((1, 2), keepdim=True) * 0.5 - 0.1).clamp(-1, 1)
    if kind == "masked":
        x = x * (torch.rand((3 * num, size, size), generator=generator) >= 0.25)
    if kind == "blurred":
        x = torch.nn.functional.avg_pool2d(x, 9, 1, 4)
    return x


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


@pytest.mark.parametrize("decay", [0.0, 0.03, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("rank", [1, 4, 16, 31])
def test_error_is_small_for_any_spectrum(decay: float, rank: int) -> None:
    """Singular values exp(-decay i), down to exp(-93): the Gram matrix cannot see them all."""
    # Without decay they still fall from 2 to 1, so that the best approximation is unique.
    values = torch.exp(-decay * torch.arange(32)) if decay else torch.linspace(2, 1, 32)
    matrices = with_values(values, 30)
    assert relative_error(truncate(matrices, rank), lapack(matrices, rank)).max() < 5e-4


@pytest.mark.parametrize("rank", [1, 2, 8, 16, 24, 31])
@pytest.mark.parametrize("gap", [1e-1, 1e-2, 1e-3, 1e-4])
def test_error_is_small_at_a_narrow_gap(rank: int, gap: float) -> None:
    """Singular values that differ by little just where the cut is."""
    generator = torch.Generator().manual_seed(rank)
    values = torch.rand((60, 32), generator=generator).sort(1, descending=True).values + 1
    values[:30] = 1  # equal but for the gap
    values[:30, rank:] = 1 - gap
    values[30:, rank] = values[30:, rank - 1] * (1 - gap)
    values[30:, rank + 1 :] = values[30:, rank + 1 :].minimum(values[30:, rank, None])
    matrices = with_values(values, 60)
    assert relative_error(truncate(matrices, rank), lapack(matrices, rank)).max() < 1e-3


@pytest.mark.parametrize("size", [32, 48, 64])
@pytest.mark.parametrize("kind", ["whole", "masked", "blurred"])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_error_is_small_on_images(size: int, kind: str, share: float) -> None:
    """Smooth images are the hard ones: their small singular values drown in a float32 Gram."""
    x, rank = photographs(20, size, kind), int(share * size)
    assert relative_error(truncate(x, rank), lapack(x, rank)).max() < 5e-4


@pytest.mark.parametrize("rank", [1, 8, 16, 31])
@pytest.mark.parametrize("gap", [1e-1, 1e-2, 1e-3, 1e-4])
def test_what_float32_gets_right_is_told_from_what_it_does_not(rank: int, gap: float) -> None:
    values = torch.ones(32)
    values[rank:] = 1 - gap
    x = with_values(values, 60)
    cut, left = low_rank._in_float32(x, rank)
    assert (len(left) == len(x)) == (gap <= 1e-3)
    sure = torch.ones(len(x), dtype=torch.bool)
    sure[left] = False
    assert not sure.any() or relative_error(cut[sure], lapack(x[sure], rank)).max() < 1e-3


def test_float32_does_for_nearly_all_masked_photographs() -> None:
    x = photographs(100, 32, "masked")
    cut, left = low_rank._in_float32(x, 16)
    assert len(left) < 0.05 * len(x)
    assert relative_error(cut, lapack(x, 16)).max() < 5e-4


@pytest.mark.gpu
@pytest.mark.parametrize("size", [16, 32, 48])
def test_a_gpu_is_as_near(size: int) -> None:
    x = photographs(100, size, "masked")
    cut = truncate(x.cuda(), size // 2).cpu()
    assert relative_error(cut, lapack(x, size // 2)).max() < 5e-4


def test_multiplications_alone_do_for_nearly_all_masked_photographs() -> None:
    x = photographs(100, 32, "masked")
    cut, left = low_rank._purify(x, 16)
    assert len(left) < 0.05 * len(x)
    done = torch.ones(len(x), dtype=torch.bool)
    done[left] = False
    assert relative_error(cut[done], lapack(x[done], 16)).max() < 5e-4


def test_matrices_of_too_low_a_rank_come_back() -> None:
    generator = torch.Generator().manual_seed(0)
    tall, wide = torch.randn((2, 5, 32, 3), generator=generator)
    matrices = torch.cat([tall @ wide.mT, torch.zeros(1, 32, 32), torch.ones(1, 32, 32)])
    assert torch.allclose(truncate(matrices, 16), matrices, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12, 1e25])
def test_scale_does_not_matter(scale: float) -> None:
    x = photographs(2, 32, "masked")
    error = relative_error(truncate(x * scale, 16), lapack((x * scale).double(), 16))
    assert error.max() < 5e-4


def test_leading_dimensions_and_sides() -> None:
    matrices = torch.randn((2, 3, 8, 12), generator=torch.Generator().manual_seed(0))
    flat = torch.from_numpy(lapack(matrices.flatten(0, 1), 4)).float().view(2, 3, 8, 12)
    assert torch.allclose(truncate(matrices, 4), flat, atol=1e-4)
    assert torch.allclose(truncate(matrices.mT, 4), flat.mT, atol=1e-4)
    assert truncate(matrices[:0], 4).shape == (0, 3, 8, 12)
    whole = truncate(matrices, 8)
    assert torch.equal(whole, matrices)
    assert whole.data_ptr() != matrices.data_ptr()


@pytest.mark.parametrize("size", [32, 64])
def test_threads_change_no_byte(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_rank, "SLAB", 16)
    x = photographs(30, size, "masked")
    level = torch.linspace(0, 5, len(x))
    alone = truncate(x, 16), threshold(x, level)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        shared = truncate(x, 16), threshold(x, level)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.equal(shared[0], alone[0])
    assert torch.equal(shared[1], alone[1])


@pytest.mark.parametrize(("height", "width"), [(12, 20), (20, 12), (1, 1), (1, 7)])
def test_threshold_keeps_what_reaches_the_level(height: int, width: int) -> None:
    matrices = torch.randn((8, height, width), generator=torch.Generator().manual_seed(0))
    level = torch.linspace(0, 8, 8)
    expected = []
    for matrix, least in zip(matrices.double().numpy(), level.numpy(), strict=True):
        u, s, vh = np.linalg.svd(matrix, full_matrices=False)
        expected.append((u * np.where(s >= least, s, 0)) @ vh)
    got = threshold(matrices, level)
    assert got.dtype == torch.float32
    assert np.abs(got.numpy() - np.stack(expected)).max() < 1e-5
