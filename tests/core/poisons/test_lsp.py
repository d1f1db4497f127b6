"""Linear separable perturbations: norms, patches, clusters."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import CLASSES, EPSILON, NUM, SIDE, attack_of, problem_of

from cptools.core.poisons.lsp import CLASS_SEP, clusters


@given(seed=st.integers(0, 2**31), classes=st.integers(1, 8))
def test_clusters_lie_about_corners_of_their_own(seed: int, classes: int) -> None:
    labels = torch.arange(classes).repeat_interleave(200)
    points = clusters(labels, classes, 48, torch.Generator().manual_seed(seed))
    corners = set()
    for label in range(classes):
        center = points[labels == label].mean(0)
        nearest = CLASS_SEP * center.sign()
        # A coordinate is a sum of 48 products of variance 1/3: 4 on average, 0.28 of a mean of 200.
        assert float((center - nearest).abs().max()) < 8 * math.sqrt(48 / 3) / math.sqrt(200)
        corners.add(tuple(nearest.tolist()))
    assert len(corners) == classes


def test_clusters_have_random_covariances() -> None:
    labels = torch.arange(2).repeat_interleave(4000)
    points = clusters(labels, 2, 6, torch.Generator().manual_seed(0))
    first, second = (torch.cov(points[labels == label].T) for label in (0, 1))
    assert float((first - second).abs().max()) > 0.5
    assert float((first - first.diag().diag()).abs().max()) > 0.5


def test_too_few_patches_for_the_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="9 classes need more than 3 patches; use a smaller"):
        clusters(torch.arange(9), 9, 3, torch.Generator())
    assert clusters(torch.arange(8), 8, 3, torch.Generator().manual_seed(0)).shape == (8, 3)


@pytest.mark.parametrize("patch", [1, 3, 4, 8, 20])
def test_patches_are_constant_and_the_norm_is_the_papers(patch: int) -> None:
    work = attack_of("lsp", problem=problem_of(epsilon=1.0), patch_size=patch, rms=6.0)
    assert [r.round for r in work.run()] == [1]
    assert list(work.run()) == []
    noise = 255 * work.delta
    torch.testing.assert_close(
        noise.flatten(1).norm(dim=1), torch.full((NUM,), 6 * math.sqrt(3 * SIDE * SIDE))
    )
    for row in range(SIDE):
        for column in range(SIDE):
            corner = noise[:, :, row // patch * patch, column // patch * patch]
            assert torch.equal(noise[:, :, row, column], corner)


def test_what_leaves_the_ball_is_cut_off() -> None:
    radius = float(EPSILON)
    free, bound = (attack_of("lsp", problem=problem_of(epsilon=e), rms=6.0) for e in (1.0, radius))
    for work in (free, bound):
        list(work.run())
    expected = (free.delta / radius).clamp(-1, 1)
    torch.testing.assert_close(bound.delta, expected)
    assert float((bound.delta.abs() == 1).float().mean()) > 0.02


def test_without_a_budget_there_is_no_noise() -> None:
    work = attack_of("lsp", problem=problem_of(epsilon=0.0))
    list(work.run())
    assert not work.delta.any()


def test_classes_are_linearly_separable() -> None:
    labels = torch.arange(CLASSES).repeat(40)
    pictures = torch.zeros(len(labels), 3, SIDE, SIDE, dtype=torch.uint8)
    work = attack_of("lsp", problem=problem_of(images=pictures, labels=labels), patch_size=2)
    list(work.run())
    noise = work.delta.flatten(1)
    targets = torch.nn.functional.one_hot(labels).float()
    weights = torch.linalg.lstsq(noise[:60], targets[:60], driver="gelsd").solution
    assert torch.equal((noise[60:] @ weights).argmax(1), labels[60:])


def test_it_is_not_learned_so_it_starts_nowhere() -> None:
    with pytest.raises(ValueError, match="`init` does not apply to `alg=lsp`"):
        attack_of("lsp", problem=problem_of(init=torch.zeros(NUM, 3, SIDE, SIDE)))
