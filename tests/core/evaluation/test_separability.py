"""Separability of noise: known answers, Newton's method, and the decomposition of LAPACK."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cptools.core.evaluation import separability as module
from cptools.core.evaluation.separability import (
    Separability,
    changed_rows,
    principal_plane,
    scaled_noise,
    separability,
)
from cptools.core.evaluation.statistics import wilson


def clean_images(num: int, side: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(30, 220, (num, 3, side, side), generator=generator, dtype=torch.uint8)


def add(clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return (clean.int() + noise).to(torch.uint8)


def random_noise(shape: Any, seed: int, most: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-most, most + 1, shape, generator=generator)


def measure(*arguments: Any, **options: Any) -> dict[str, Separability]:
    found = list(separability(*arguments, **options))
    assert [result.classifier for result in found] == ["linear", "mlp"]
    return {result.classifier: result for result in found}


@given(st.integers(1, 9), st.integers(1, 3), st.integers(0, 10**6))
def test_scaled_noise_equals_a_slow_loop(num: int, side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean, poisoned = rng.integers(0, 256, (2, num, 3, side, side)).astype(np.uint8)
    rows = rng.permutation(num)[: max(1, num // 2)]
    noise = [
        [int(b) - int(a) for a, b in zip(clean[r].flat, poisoned[r].flat, strict=True)]
        for r in rows
    ]
    low, high = min(map(min, noise)), max(map(max, noise))
    expected = [[(v - low) / max(high - low, 1) for v in row] for row in noise]
    got = scaled_noise(*map(torch.from_numpy, (clean, poisoned, rows)))
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)
    if high > low:
        assert (float(got.min()), float(got.max())) == (0, 1)


def test_noise_that_is_the_same_everywhere_is_zero() -> None:
    clean = clean_images(3)
    assert not scaled_noise(clean, clean + 5, torch.arange(3)).any()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = clean_images(11)
    noise = random_noise(clean.shape, 1)
    noise[[0, 4, 5]] = 0
    poisoned, rows = add(clean, noise), torch.tensor([7, 2, 9, 1, 10])
    whole = scaled_noise(clean, poisoned, rows)
    for block in (1, 3, 11):
        monkeypatch.setattr(module, "_BLOCK", block)
        assert torch.equal(scaled_noise(clean, poisoned, rows), whole)
        assert changed_rows(clean, poisoned).tolist() == [1, 2, 3, 6, 7, 8, 9, 10]


def test_one_perturbation_a_class_is_told_apart() -> None:
    clean, labels = clean_images(200), torch.arange(200) % 5
    poisoned = add(clean, random_noise((5, 3, 4, 4), 1)[labels])
    for result in measure(clean, poisoned, labels).values():
        assert (result.train.correct, result.train.total) == (160, 160)
        assert (result.held_out.correct, result.held_out.total) == (40, 40)
        assert (result.held_out.low, result.held_out.high) == wilson(40, 40)


def test_random_noise_fits_in_training_and_says_nothing() -> None:
    """More pixels than images: what training accuracy alone would call separable."""
    clean, labels = clean_images(400, side=16), torch.arange(400) % 4
    poisoned = add(clean, random_noise(clean.shape, 2))
    for result in measure(clean, poisoned, labels).values():
        assert result.train.accuracy == 1
        assert result.held_out.low < 0.25 < result.held_out.high


def test_the_hidden_layer_sees_what_no_line_parts() -> None:
    """Class 0 has one pattern, class 1 another, each with either sign."""
    num = 400
    clean, labels = clean_images(num), torch.arange(num) % 2
    sign = random_noise((num,), 3, most=1).sign()
    sign = torch.where(sign == 0, torch.ones_like(sign), sign)[:, None, None, None]
    noise = sign * (8 * random_noise((2, 3, 4, 4), 4, most=1))[labels]
    found = measure(clean, add(clean, noise), labels)
    assert found["linear"].held_out.accuracy < 0.75
    assert found["mlp"].held_out.accuracy == 1


def newton(x: torch.Tensor, y: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Multinomial logistic regression by Newton's method in float64: parameters [C, D + 1]."""
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    num, dim = x.shape
    w = torch.zeros(num_classes * dim, dtype=x.dtype)
    target = torch.nn.functional.one_hot(y, num_classes).to(x.dtype)
    for _ in range(40):
        p = (x @ w.view(num_classes, dim).T).softmax(1)
        curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        hessian = torch.einsum("ncd,ni,nj->cidj", curvature, x, x).reshape(len(w), len(w)) / num
        hessian = hessian + 1e-9 * torch.eye(len(w), dtype=x.dtype)
        w = w - torch.linalg.solve(hessian, ((p - target).T @ x / num).flatten())
    return w.view(num_classes, dim)


def test_linear_finds_the_optimum_that_newton_finds() -> None:
    """One pixel: three numbers an image, far from separable."""
    num, labels = 600, torch.arange(600) % 3
    clean = clean_images(num, side=1)
    noise = random_noise((num, 3, 1, 1), 5, most=4)
    noise[torch.arange(num), labels] += 3
    poisoned = add(clean, noise)
    got = measure(clean, poisoned, labels, seed=7)["linear"]
    rows = changed_rows(clean, poisoned)
    kept, held = module._split(labels[rows], 0.2, 7)
    assert not set(kept.tolist()) & set(held.tolist())
    x = (noise.reshape(num, 3)[rows].double() - noise.min()) / (noise.max() - noise.min())
    w = newton(x[kept], labels[rows][kept], 3)
    right = (x @ w[:, :-1].T + w[:, -1]).argmax(1) == labels[rows]
    assert abs(got.train.correct - int(right[kept].sum())) <= 1
    assert abs(got.held_out.correct - int(right[held].sum())) <= 1
    assert 0.4 < got.held_out.accuracy < 0.95


def test_images_without_noise_do_not_count() -> None:
    clean, labels = clean_images(200), torch.arange(200) % 5
    noise = random_noise((5, 3, 4, 4), 1)[labels]
    noise[100:] = 0
    for result in measure(clean, add(clean, noise), labels).values():
        assert (result.train.total, result.held_out.total) == (80, 20)
        assert result.held_out.accuracy == 1


def test_classes_may_be_missing() -> None:
    clean, labels = clean_images(60), 3 + 4 * (torch.arange(60) % 2)
    poisoned = add(clean, random_noise((8, 3, 4, 4), 1)[labels])
    assert measure(clean, poisoned, labels)["linear"].held_out.accuracy == 1


def test_repeats_by_seed() -> None:
    clean, labels = clean_images(200, side=8), torch.arange(200) % 4
    poisoned = add(clean, random_noise(clean.shape, 2))
    options: Any = {"holdout": 0.5}
    first = measure(clean, poisoned, labels, **options)
    assert measure(clean, poisoned, labels, **options) == first
    assert any(measure(clean, poisoned, labels, seed=s, **options) != first for s in (1, 2, 3))


def test_iterations_end_the_fit() -> None:
    clean, labels = clean_images(300, side=2), torch.arange(300) % 3
    poisoned = add(clean, random_noise(clean.shape, 2))
    accuracies = [
        measure(clean, poisoned, labels, iterations=n)["mlp"].train.accuracy for n in (1, 1000)
    ]
    assert accuracies[0] < accuracies[1] - 0.1


def test_what_cannot_be_measured_is_refused() -> None:
    clean, labels = clean_images(20), torch.arange(20) % 2
    with pytest.raises(ValueError, match="there is no noise; give a poisoned dataset"):
        list(separability(clean, clean, labels))
    poisoned = add(clean, random_noise(clean.shape, 1))
    with pytest.raises(ValueError, match="the noise is of one class only;"):
        list(separability(clean, poisoned, labels * 0))
    with pytest.raises(ValueError, match="leaves a split empty; give more images or another"):
        list(separability(clean[:2], poisoned[:2], labels[:2]))
    with pytest.raises(ValueError, match="expected holdout between 0 and 1, got 1"):
        list(separability(clean, poisoned, labels, holdout=1.0))
    with pytest.raises(ValueError, match="no training image; give more images"):
        list(separability(clean, poisoned, torch.arange(20), holdout=0.9))


@pytest.mark.parametrize(("num", "dim"), [(40, 9), (15, 60), (200, 200)])
def test_plane_is_that_of_lapack(num: int, dim: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num, dim)) * (0.8 ** np.arange(dim)) @ np.linalg.qr(
        rng.normal(size=(dim, dim))
    )[0] + rng.normal(size=dim)
    points, shares = principal_plane(torch.from_numpy(x))
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    expected = (u * s)[:, :2]
    expected *= np.sign(np.take_along_axis(expected, np.abs(expected).argmax(0)[None], 0))
    np.testing.assert_allclose(points.numpy(), expected, atol=1e-6 * s[0])
    assert shares == pytest.approx(tuple(s[:2] ** 2 / (s**2).sum()))
    single, _ = principal_plane(torch.from_numpy(x).float())
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-3 * s[0])


def test_plane_repeats_and_does_not_know_the_order_of_images() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((60, 30), generator=generator) * torch.linspace(3, 0.1, 30)
    order = torch.randperm(60, generator=generator)
    before = torch.random.get_rng_state()
    points, shares = principal_plane(x)
    assert torch.equal(points, principal_plane(x)[0])
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(principal_plane(x[order])[0], points[order], atol=1e-2, rtol=0)
    assert 1 >= sum(shares) >= shares[0] >= shares[1] > 0


@pytest.mark.parametrize("shape", [(1, 5), (4, 1), (6, 3), (2, 2)])
def test_plane_of_nothing_is_a_point(shape: tuple[int, int]) -> None:
    points, shares = principal_plane(torch.full(shape, 0.25))
    assert points.shape == (shape[0], 2)
    assert float(points.abs().max()) < 1e-6
    assert max(shares) <= 1


def test_plane_keeps_clusters_apart() -> None:
    """One perturbation a class: as many points as classes."""
    centers = random_noise((4, 48), 6).float()
    points, shares = principal_plane(centers[torch.arange(40) % 4])
    rounded = {tuple(row) for row in points.mul(1000).round().tolist()}
    assert len(rounded) == 4
    assert 0.6 < sum(shares) <= 1 + 1e-6
    assert all(a != b for a, b in pairwise(sorted(rounded)))
