"""Autoregressive perturbations: the process a pixel at a time, its filter, its norm."""

import math
from collections.abc import Callable

import pytest
import torch
from tiny import EPSILON, LABELS, NUM, SIDE, attack_of, problem_of
from torch import Tensor

from cptools.core.poisons.autoregressive import (
    CROP,
    Autoregressive,
    generate,
    processes,
    response,
)
from cptools.core.random import stream


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_generate(window: Tensor, start: Tensor) -> list[list[float]]:
    """Their section 3 for one channel: x_t = b_1 x_(t-1) + ... + b_8 x_(t-8)."""
    noise = start.tolist()
    for i in range(2, len(noise)):
        for j in range(2, len(noise[0])):
            noise[i][j] = sum(
                float(window[a, b]) * noise[i - 2 + a][j - 2 + b]
                for a in range(3)
                for b in range(3)
                if (a, b) != (2, 2)
            )
    return noise


def test_a_pixel_is_made_of_the_eight_before_it() -> None:
    windows = torch.randn(2, 3, 3, generator=seeded(0), dtype=torch.float64)
    start = torch.randn(3, 2, 6, 5, generator=seeded(1), dtype=torch.float64)
    noise = generate(windows, start)
    for n in range(3):
        for c in range(2):
            expected = torch.tensor(slow_generate(windows[c], start[n, c]), dtype=torch.float64)
            torch.testing.assert_close(noise[n, c], expected)


def test_the_filter_of_a_process_is_silent_on_its_noise_alone() -> None:
    drawn = processes(3, seeded(0), least_response=2.0)
    assert drawn.shape == (3, 3, 3, 3)
    torch.testing.assert_close(drawn.sum((2, 3)), torch.ones(3, 3))
    for label in range(3):
        noise = generate(drawn[label], torch.randn(1, 3, 12, 12, generator=seeded(label)))
        total = [0.0, 0.0, 0.0]
        for row in range(10):
            for column in range(10):
                part = noise[0, :, row : row + 3, column : column + 3]
                for other in range(3):
                    found = float((part * drawn[other]).sum() - part[:, 2, 2].sum())
                    total[other] += max(found, 0.0)
        assert response(drawn, noise)[0].tolist() == pytest.approx(total, rel=1e-3, abs=1e-3)
        assert total[label] < 1e-3 < 0.1 < min(total[:label] + total[label + 1 :])


def test_classes_that_cannot_be_told_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cptools.core.poisons.autoregressive.ATTEMPTS", 1)
    with pytest.raises(ValueError, match=r"found 1 .* for 2 classes; use a smaller `least_resp"):
        processes(2, seeded(0), least_response=1e6)


@pytest.fixture(scope="module")
def work() -> Callable[..., Autoregressive]:
    def make(**changes: float) -> Autoregressive:
        made = attack_of("autoregressive", problem=problem_of(**changes))
        assert isinstance(made, Autoregressive)
        list(made.run())
        return made

    return make


def test_noise_of_a_class_is_its_process_at_the_papers_norm(
    work: Callable[..., Autoregressive],
) -> None:
    made = work(epsilon=1.0)
    assert list(made.run()) == []
    noise = 255 * made.delta
    expected = torch.full((NUM,), 4.6 * math.sqrt(3 * SIDE * SIDE))
    torch.testing.assert_close(noise.flatten(1).norm(dim=1), expected)
    drawn = processes(3, stream(7, "delta"), least_response=0.5)
    answers = response(drawn, noise)
    for row, label in zip(answers, LABELS, strict=True):
        assert int(row.argmin()) == int(label)
        assert float(row[label]) < 1e-3 * float(row.max())
    # Images of a class have one process but not one noise.
    same = noise[LABELS == 0].flatten(1)
    assert float((same[0] - same[1]).abs().max()) > 1
    assert CROP >= 2  # none of the Gaussian start is in it


def test_what_leaves_the_ball_is_cut_off(work: Callable[..., Autoregressive]) -> None:
    radius = float(EPSILON)
    free, bound = work(epsilon=1.0).delta, work(epsilon=radius).delta
    torch.testing.assert_close(bound, (free / radius).clamp(-1, 1))
    assert not work(epsilon=0.0).delta.any()


def test_it_is_drawn_image_by_image_and_starts_nowhere() -> None:
    with pytest.raises(ValueError, match="`init` does not apply to `alg=autoregressive`"):
        attack_of("autoregressive", problem=problem_of(init=torch.zeros(NUM, 3, SIDE, SIDE)))
    with pytest.raises(ValueError, match="image by image; give `mode=sample`"):
        Autoregressive(problem_of("class"), rms=4.6, least_response=1.0)
