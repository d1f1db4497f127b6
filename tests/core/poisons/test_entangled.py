"""Entangled features: means, distances and steps by hand."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import (
    CLASSES,
    EPSILON,
    IMAGES,
    LABELS,
    MEAN,
    NUM,
    SIDE,
    STD,
    attack_of,
    problem_of,
    settings_of,
)
from torch import Tensor

from cptools.core.poisons.adversarial import ReferencePGD
from cptools.core.poisons.entangled import centroids, entangled, entanglement
from cptools.core.random import stream

SIZE = 0.15


def distance(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def slow(features: Tensor, labels: Tensor, means: Tensor, towards: str) -> float:
    total = 0.0
    for row, label in zip(features.tolist(), labels.tolist(), strict=True):
        others = [m for c, m in enumerate(means.tolist()) if c != label and m[0] == m[0]]
        if towards == "push":
            total -= distance(row, means[label].tolist())
        else:
            total += min(distance(row, mean) for mean in others)
    return total / len(labels)


@given(
    seed=st.integers(0, 2**31), classes=st.integers(2, 4), towards=st.sampled_from(["push", "pull"])
)
def test_it_is_the_papers(seed: int, classes: int, towards: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    means = torch.randn(classes + 1, 5, generator=generator, dtype=torch.float64)
    means[classes] = torch.nan  # a class without images
    labels = torch.randint(classes, (6,), generator=generator)
    found = entanglement(features, labels, means, towards)
    assert float(found) == pytest.approx(slow(features, labels, means, towards), rel=1e-9)


@pytest.mark.parametrize("towards", ["push", "pull"])
def test_pgd_entangles_the_features(towards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    work = attack_of("entangled", pgd_steps=2, step_size=SIZE, entangle=towards, epochs=1)
    assert isinstance(work, ReferencePGD)
    algorithm: Any = work.reference.learner.algorithm.double()
    work.delta = work.delta.double()
    expected, rounds = work.delta.clone(), work.run()
    next(rounds)
    algorithm.eval()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        features = algorithm.encoder((IMAGES.double() / 255 - mean) / std)
    means = torch.stack([features[c == LABELS].mean(0) for c in range(CLASSES)])
    ours = centroids(problem_of(), work.reference.learner, 3)
    torch.testing.assert_close(ours, means)
    for number, index in enumerate(torch.arange(NUM).split(4)):
        rng = stream(7, "attacker", "pgd", number)
        for _ in range(2):
            noise = expected[index].clone().requires_grad_()
            x = (IMAGES[index].double() / 255 + float(EPSILON) * noise).clamp(0, 1)
            view = work.views.apply(x, work.views.draw(len(index), SIDE, SIDE, rng))
            loss = torch.zeros((), dtype=torch.float64)
            for row, label in zip(algorithm.encoder(view), LABELS[index], strict=True):
                others = [(row - means[c]).norm() for c in range(CLASSES) if c != label]
                # Their distance is not squared: the sign of an image's gradient is the same.
                loss += min(others) if towards == "pull" else -(row - means[label]).norm()
            (gradient,) = torch.autograd.grad(loss, noise)
            expected[index] = (expected[index] - SIZE * gradient.sign()).clamp(-1, 1)
    list(rounds)
    torch.testing.assert_close(work.delta, expected, atol=1e-9, rtol=0)


def test_what_it_cannot_poison_is_refused() -> None:
    values = settings_of("entangled", "sample")
    with pytest.raises(ValueError, match="image by image; give `mode=sample`"):
        entangled(problem_of("class"), values)
    with pytest.raises(ValueError, match="of one class have none to entangle with; give two"):
        entangled(problem_of(labels=torch.zeros_like(LABELS), num_classes=1), values)
