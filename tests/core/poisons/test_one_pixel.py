"""One-pixel shortcuts: the search in loops, and how little of an image changes."""

import itertools
import statistics
from fractions import Fraction
from typing import Any

import pytest
import torch
from tiny import CLASSES, IMAGES, LABELS, NUM, SIDE, attack_of, problem_of

from cptools.core.poisons import ATTACKS
from cptools.core.poisons.budget import poison_uint8
from cptools.core.poisons.one_pixel import OnePixel
from cptools.workflows.generate import generate_settings


def delta_of(**changes: Any) -> torch.Tensor:
    work = attack_of("one-pixel", "class", problem=problem_of("class", **changes))
    assert [r.round for r in work.run()] == [1]
    assert list(work.run()) == []
    return work.delta


def slow(images: torch.Tensor, labels: torch.Tensor) -> dict[int, tuple[int, int, Any]]:
    """Their objective for every pixel and color: mean over variance of the distance."""
    taken: set[Any] = set()
    found = {}
    for label in sorted(set(labels.tolist())):
        mine = [i for i in range(len(labels)) if labels[i] == label]
        scores = {}
        for row, column in itertools.product(range(SIDE), repeat=2):
            for color in itertools.product((0, 1), repeat=3):
                distances = [
                    sum(abs(int(images[i, c, row, column]) / 255 - color[c]) for c in range(3))
                    for i in mine
                ]
                spread = statistics.pvariance(distances) + 1e-12
                scores[row, column, color] = statistics.fmean(distances) / spread
        best = max(scores.keys() - taken, key=lambda key: scores[key])
        taken.add(best)
        found[label] = best
    return found


def test_it_is_the_search_of_the_paper() -> None:
    delta = delta_of(epsilon=1.0)
    for label, (row, column, color) in slow(IMAGES, LABELS).items():
        expected = torch.zeros(3, SIDE, SIDE)
        expected[:, row, column] = torch.tensor([1.0 if c else -1.0 for c in color])
        assert torch.equal(delta[label], expected)


def test_one_pixel_of_an_image_changes_and_takes_its_color() -> None:
    delta = delta_of(epsilon=1.0)
    poisoned = poison_uint8(IMAGES, delta, LABELS, 1)
    moved = (poisoned != IMAGES).any(1)
    assert moved.sum((1, 2)).tolist() == [1] * NUM
    values = poisoned.permute(0, 2, 3, 1)[moved]
    assert set(values.unique().tolist()) <= {0, 255}
    for label in range(CLASSES):
        assert len({(*v.tolist(),) for v in values[label == LABELS]}) == 1


def test_a_smaller_epsilon_moves_the_pixel_less_far() -> None:
    delta = delta_of(epsilon=8 / 255)
    assert torch.equal(delta, delta_of(epsilon=1.0))
    poisoned = poison_uint8(IMAGES, delta, LABELS, Fraction(8, 255)).int()
    assert int((poisoned - IMAGES.int()).abs().max()) == 8


def test_no_two_classes_take_the_same_pixel_and_color() -> None:
    pictures = IMAGES[:1].expand(NUM, -1, -1, -1).clone()  # all score the same
    delta = delta_of(images=pictures)
    rows = {tuple(row.tolist()) for row in delta.flatten(1)}
    assert len(rows) == CLASSES
    tiny = problem_of("class", images=IMAGES[:, :, :1, :1], num_classes=9)
    with pytest.raises(ValueError, match="9 classes need more than 8 pixels and colors"):
        list(OnePixel(tiny).run())


def test_a_class_without_images_has_no_pixel() -> None:
    delta = delta_of(num_classes=CLASSES + 1)
    assert delta[:CLASSES].flatten(1).any(1).all()
    assert not delta[CLASSES].any()


def test_its_epsilon_is_1_unless_one_is_given() -> None:
    assert ATTACKS["one-pixel"].epsilon == "1"
    assert generate_settings("one-pixel")["epsilon"] == "1"
    assert generate_settings("one-pixel", epsilon="8/255")["epsilon"] == "8/255"
    assert generate_settings("autoregressive")["epsilon"] == "1"  # which bounds a norm
    assert generate_settings("lsp")["epsilon"] == "8/255"


def test_it_is_class_wise_and_starts_nowhere() -> None:
    with pytest.raises(ValueError, match="`init` does not apply to `alg=one-pixel`"):
        attack_of("one-pixel", "class", problem=problem_of("class", init=torch.zeros(3, 3, 8, 8)))
    with pytest.raises(ValueError, match="one pixel for each class; give `mode=class`"):
        OnePixel(problem_of("sample"))
    with pytest.raises(ValueError, match="has no mode sample; give `mode=class`"):
        generate_settings("one-pixel", "sample")
