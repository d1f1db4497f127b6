"""Views of degraded images: what is drawn, what is shared, and what the text says."""

import re
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from cptools.core.degradations import check_degradations, parse_degradations
from cptools.core.degradations.jpeg import jpeg
from cptools.core.degradations.views import DegradedViews, surviving
from cptools.core.random import stream
from cptools.core.views import Views, draw_views, normalize

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
VIEWS = Views(size=16, mean=MEAN, std=STD)
WHOLE = Views(size=16, mean=MEAN, std=STD, scale=(1, 1), ratio=(1, 1), flip=0, jitter_p=0, gray_p=0)
X = torch.rand(5, 3, 16, 16, generator=stream(0))


def marked(value: float, x: Tensor) -> Tensor:
    return torch.full_like(x, value)


def test_nothing_to_survive_leaves_views_as_they_are() -> None:
    assert surviving(VIEWS, "") is VIEWS


def test_each_degradation_and_none_are_as_likely() -> None:
    views = DegradedViews(WHOLE, (lambda x: marked(0.25, x), lambda x: marked(0.75, x)))
    rng, seen = stream(1), Counter[str]()
    for _ in range(300):
        view = views(X, rng)
        means = {
            f"{value}": torch.allclose(view, normalize(marked(value, X), MEAN, STD))
            for value in (0.25, 0.75)
        }
        seen[next((name for name, is_it in means.items() if is_it), "none")] += 1
    assert set(seen) == {"0.25", "0.75", "none"}
    assert all(abs(count - 100) < 41 for count in seen.values())  # 5 standard deviations


def test_all_views_of_an_image_come_from_one_file() -> None:
    views, calls = surviving(WHOLE, "jpeg:20,resize:0.5,blur:2"), stream(2)
    results = set()
    for _ in range(20):
        view_a, view_b = draw_views(views, X, 2, calls)
        torch.testing.assert_close(view_a, view_b)
        results.add(round(float(view_a.std()), 6))
    assert len(results) == 4


def test_it_is_the_views_of_the_degraded() -> None:
    views, seen = surviving(VIEWS, "jpeg:30"), set()
    rng, again = stream(3), stream(3)
    for _ in range(12):
        got = views(X, rng)
        drawn = int(torch.randint(2, (), generator=again))
        torch.testing.assert_close(got, VIEWS(jpeg(X, 30) if drawn else X, again))
        seen.add(drawn)
    assert seen == {0, 1}


def test_the_gradient_reaches_the_images() -> None:
    views = surviving(VIEWS, "jpeg:75,resize:0.5,blur:1")
    for seed in range(12):
        x = X.clone().requires_grad_()
        loss = sum(v.square().sum() for v in draw_views(views, x, 2, stream(seed)))
        (gradient,) = torch.autograd.grad(loss, x)  # type: ignore[call-overload]
        assert gradient.isfinite().all()
        assert (gradient != 0).any()


def test_weak_and_local_views_are_of_the_degraded_too() -> None:
    views = surviving(VIEWS, "blur:1")
    assert isinstance(views, DegradedViews)
    assert views.weak() == DegradedViews(VIEWS.weak(), views.degrade)
    assert views.local(8, 0.05) == DegradedViews(VIEWS.local(8, 0.05), views.degrade)


@pytest.mark.parametrize(
    ("given", "text", "parsed"),
    [
        ("", "", ()),
        ((), "", ()),
        (" jpeg:75 , resize:0.50,", "jpeg:75,resize:0.5", (("jpeg", 75), ("resize", 0.5))),
        (["blur:1.0", "jpeg:9e1"], "blur:1,jpeg:90", (("blur", 1), ("jpeg", 90))),
    ],
)
def test_text(given: Any, text: str, parsed: tuple[tuple[str, float], ...]) -> None:
    assert check_degradations(given) == text
    assert parse_degradations(text) == parsed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("jpg:75", "'jpg' is no degradation; did you mean jpeg?"),
        ("sharpen:1", "'sharpen' is no degradation; give jpeg, resize, blur"),
        ("jpeg", "'jpeg' is not jpeg and its quality; give jpeg:N, from 1 to 100"),
        ("jpeg:0", "give jpeg:N"),
        ("jpeg:75.5", "give jpeg:N"),
        ("jpeg:101", "from 1 to 100"),
        ("resize:1.5", "give resize:X, from 0.05 to 1"),
        ("resize:half", "give resize:X"),
        ("blur:nan", "give blur:X, from 0.1 to 16"),
        ("blur:-1", "give blur:X"),
        (75, "75 is no text; give it as jpeg:75,blur:1"),
    ],
)
def test_what_is_none(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_degradations(given)
