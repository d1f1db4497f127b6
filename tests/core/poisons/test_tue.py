"""Transferable unlearnable examples: the separability of the noise, and its part in the step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import LABELS, attack_of
from torch import Tensor

from cptools.core.poisons.tue import csd


def slow(noise: Tensor, labels: Tensor) -> float:
    """(d_i + d_j) / |c_i - c_j|, a pair of classes at a time."""
    rows = noise.flatten(1).tolist()
    classes = sorted(set(labels.tolist()))
    centers, spreads = [], []
    for label in classes:
        mine = [row for row, other in zip(rows, labels.tolist(), strict=True) if other == label]
        center = [sum(column) / len(mine) for column in zip(*mine, strict=True)]
        centers.append(center)
        spreads.append(sum(distance(row, center) for row in mine) / len(mine))
    found = [
        (spreads[i] + spreads[j]) / distance(centers[i], centers[j])
        for i in range(len(classes))
        for j in range(i)
    ]
    return sum(found) / len(found)


def distance(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5


@given(seed=st.integers(0, 2**31), num=st.integers(4, 12), classes=st.integers(2, 4))
def test_it_is_the_papers(seed: int, num: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num, 3, 2, 2, generator=generator, dtype=torch.float64)
    labels = torch.arange(num) % classes * 2  # classes 1, 3, ... are not in the batch
    # A spread of 0 counts as 1e-6: the root has a slope there.
    expected = slow(noise, labels)
    assert float(csd(noise, labels)) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_its_gradient_takes_both_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(8, 3, 2, 2, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    assert torch.autograd.gradcheck(lambda n: csd(n, labels), noise)


def test_it_knows_no_scale_and_no_place() -> None:
    noise = torch.randn(8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(8) % 3
    value = float(csd(noise, labels))
    assert float(csd(7 * noise + 3, labels)) == pytest.approx(value)


def test_one_class_in_a_batch_says_nothing() -> None:
    noise = torch.randn(3, 12).requires_grad_()
    loss = csd(noise, torch.tensor([5, 5, 5]))
    (gradient,) = torch.autograd.grad(loss, noise)
    assert float(loss.detach()) == 0
    assert not gradient.any()


def test_a_single_member_has_a_finite_gradient() -> None:
    noise = torch.randn(3, 12).requires_grad_()
    (gradient,) = torch.autograd.grad(csd(noise, torch.tensor([0, 1, 1])), noise)
    assert bool(gradient.isfinite().all())


def test_the_weight_makes_the_noise_separable() -> None:
    # With no encoder step and a weight that drowns the other loss, it falls and falls.
    values = []
    for weight in (0.0, 1e4):
        work = attack_of("tue", csd_weight=weight, model_steps=0, rounds=6, batch_size=10)
        before = float(csd(work.delta, LABELS))
        list(work.run())
        values.append(float(csd(work.delta, LABELS)) / before)
    assert values[1] < 0.7 < values[0]
