"""The poison budget: exact bound, differentiable perturbation."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cptools.core.epsilon import levels, parse_epsilon
from cptools.core.poisons import budget
from cptools.core.poisons.budget import (
    check_bound,
    perturb,
    poison_uint8,
    project,
)

epsilons = st.fractions(min_value=0, max_value=1, max_denominator=1000)
seeds = st.integers(0, 2**31)


def test_levels_of_the_usual_radii() -> None:
    assert [levels(Fraction(k, 255)) for k in range(256)] == list(range(256))
    assert levels(Fraction("0.03")) == 7
    assert levels(Fraction(0)) == 0


@given(seeds, st.floats(0, 1))
def test_project_and_perturb_stay_in_their_balls(seed: int, epsilon: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    delta = 3 * torch.randn((4, 3, 5, 6), generator=generator)
    x = torch.rand((4, 3, 5, 6), generator=generator)
    assert project(delta).abs().max() <= 1
    assert torch.equal(project(project(delta)), project(delta))
    poisoned = perturb(x, project(delta), epsilon)
    assert poisoned.min() >= 0
    assert poisoned.max() <= 1
    assert (poisoned - x).abs().max() <= epsilon + 1e-6


def test_perturb_has_the_gradient_of_its_clamp_and_none_of_the_ball() -> None:
    x = torch.tensor([0.5, 0.5, 0.99, 0.01, 0.0, 1.0], dtype=torch.float64).requires_grad_()
    delta = torch.tensor([0.3, 1.0, 0.9, -0.9, 0, 0], dtype=torch.float64).requires_grad_()
    perturb(x, delta, 0.1).sum().backward()
    assert x.grad is not None
    assert delta.grad is not None
    # The clamp holds two; black and white pixels have the mean of the slopes on both sides.
    assert x.grad.tolist() == [1, 1, 0, 0, 0.5, 0.5]
    assert delta.grad.tolist() == pytest.approx([0.1, 0.1, 0, 0, 0.05, 0.05])  # also at the edge
    inside = [torch.rand(2, 3, 4, 4, dtype=torch.float64).mul(0.5).add(0.2) for _ in range(2)]
    assert torch.autograd.gradcheck(
        lambda a, b: perturb(a, b, 0.1), [t.requires_grad_() for t in inside]
    )


def _poison_slowly(images: Any, delta: Any, rows: Any, epsilon: Fraction) -> Any:
    """One pixel at a time, in exact fractions (Python's round ties to even as well)."""
    out = np.empty_like(images)
    most = levels(epsilon)
    for index in np.ndindex(images.shape):
        value = float(delta[(rows[index[0]], *index[1:])])
        offset = round(255 * epsilon * Fraction(max(-1.0, min(1.0, value))))
        out[index] = max(0, min(255, int(images[index]) + max(-most, min(most, offset))))
    return out


@given(seeds, st.sampled_from(["8/255", "1/255", "0", "1", "0.03", "0.0313", "127.5/255"]))
@settings(max_examples=30, deadline=None)
def test_poison_is_what_exact_arithmetic_gives(seed: int, text: str) -> None:
    epsilon = Fraction(255, 510) if "." in text and "/" in text else parse_epsilon(text)
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, 3, 4, 5), dtype=np.uint8)
    # Sixteenths are exact in float16 and hit the ties on purpose.
    delta = (rng.integers(-20, 21, (2, 3, 4, 5)) / 16).astype(np.float16)
    rows = rng.integers(0, 2, 3)
    got = poison_uint8(
        torch.from_numpy(images), torch.from_numpy(delta), torch.from_numpy(rows), epsilon
    )
    expected = _poison_slowly(images, delta, rows, epsilon)
    if (255 * epsilon).denominator == 1:
        assert np.array_equal(got.numpy(), expected)
    else:  # float32 may sit on the other side of a tie
        assert np.abs(got.numpy().astype(int) - expected).max() <= 1


@given(seeds, epsilons)
@settings(max_examples=50, deadline=None)
def test_bound_is_exact_and_checked(seed: int, epsilon: Fraction) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (6, 3, 7, 5), dtype=torch.uint8, generator=generator)
    delta = 2 * torch.randn((6, 3, 7, 5), generator=generator)
    before = images.clone()
    poisoned = poison_uint8(images, delta, torch.arange(6), epsilon)
    moved = poisoned.int() - images.int()
    assert moved.abs().max() <= levels(epsilon)
    assert torch.equal(images, before)
    check_bound(images, poisoned, epsilon)
    # It is the rounded float perturbation, but for the clip to whole levels.
    ideal = 255 * perturb(images / 255, project(delta), float(epsilon))
    assert (poisoned - ideal).abs().max() < 1 + 1e-3
    if (255 * epsilon).denominator == 1:
        assert (poisoned - ideal).abs().max() <= 0.5 + 1e-3


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_class_delta_is_the_sample_delta_it_expands_to(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (9, 3, 4, 4), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 4, (9,), generator=generator)
    delta = torch.rand((4, 3, 4, 4), generator=generator) * 2 - 1
    epsilon = Fraction(8, 255)
    by_class = poison_uint8(images, delta, labels, epsilon)
    by_sample = poison_uint8(images, delta[labels], torch.arange(9), epsilon)
    assert torch.equal(by_class, by_sample)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (7, 3, 4, 4), dtype=torch.uint8, generator=generator)
    delta = torch.rand((7, 3, 4, 4), generator=generator) * 2 - 1
    whole = poison_uint8(images, delta, torch.arange(7), Fraction(8, 255))
    monkeypatch.setattr(budget, "_CHUNK", 100)  # two images
    assert torch.equal(poison_uint8(images, delta, torch.arange(7), Fraction(8, 255)), whole)
    whole[5, 2, 1, 3] = (int(images[5, 2, 1, 3]) + 77) % 256
    with pytest.raises(ValueError, match="image 5, channel 2, row 1, column 3"):
        check_bound(images, whole, Fraction(8, 255))


def test_a_delta_that_is_no_number_cannot_break_the_bound() -> None:
    images = torch.full((1, 3, 2, 2), 128, dtype=torch.uint8)
    delta = torch.full((1, 3, 2, 2), float("nan"))
    check_bound(
        images, poison_uint8(images, delta, torch.tensor([0]), Fraction(4, 255)), Fraction(4, 255)
    )


def test_check_bound_names_the_worst_pixel_and_its_limit() -> None:
    clean = torch.full((2, 3, 4, 5), 100, dtype=torch.uint8)
    poisoned = clean.clone()
    poisoned[0, 0, 0, 0] = 109
    poisoned[1, 2, 3, 4] = 88
    expected = (
        "image 1, channel 2, row 3, column 4 went from 100 to 88, "
        "12 levels where epsilon 8/255 allows 8"
    )
    with pytest.raises(ValueError, match=expected):
        check_bound(clean, poisoned, Fraction(8, 255))
    check_bound(clean, poisoned, Fraction(12, 255))


def test_bad_arguments_are_explained() -> None:
    images = torch.zeros((2, 3, 4, 4), dtype=torch.uint8)
    delta = torch.zeros((5, 3, 4, 4))
    rows = torch.tensor([0, 1])
    epsilon = Fraction(8, 255)
    with pytest.raises(ValueError, match="expected images as uint8"):
        poison_uint8(images.float(), delta, rows, epsilon)
    with pytest.raises(ValueError, match="3 x 8 x 8, but these are 3 x 4 x 4"):
        poison_uint8(images, torch.zeros((5, 3, 8, 8)), rows, epsilon)
    with pytest.raises(ValueError, match="one int64 row number for each of 2 images"):
        poison_uint8(images, delta, rows[:1], epsilon)
    with pytest.raises(ValueError, match="rows 0 to 4, but rows 0 to 5"):
        poison_uint8(images, delta, torch.tensor([0, 5]), epsilon)
    with pytest.raises(ValueError, match="poisoned ones 1 x 3 x 4 x 4"):
        check_bound(images, images[:1], epsilon)


def test_no_images_are_no_trouble() -> None:
    none = torch.zeros((0, 3, 4, 4), dtype=torch.uint8)
    rows = torch.zeros(0, dtype=torch.int64)
    assert poison_uint8(none, torch.zeros((1, 3, 4, 4)), rows, Fraction(1, 255)).shape == none.shape
    check_bound(none, none, Fraction(0))
