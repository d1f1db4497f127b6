"""Distances of two views against slow loops and networks whose answer is known."""

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cptools.core.evaluation.alignment_uniformity import alignment
from cptools.core.evaluation.distances import BINS, Distances, view_distances
from cptools.core.random import stream
from cptools.core.views import Views

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
VIEWS = Views(8, MEAN, STD)
STILL = Views(8, MEAN, STD, scale=(1, 1), ratio=(1, 1), flip=0, jitter_p=0, gray_p=0)


def pictures(num: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num, 3, 8, 8), generator=generator, dtype=torch.uint8)


def network() -> nn.Module:
    """What eval mode matters for."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 5)]
    net = nn.Sequential(*layers)
    net(torch.randn(20, 3, 8, 8))  # running statistics unlike those of a batch
    return net


def test_equal_a_loop_over_single_images() -> None:
    net, images = network(), pictures(7)
    net.train()
    got = view_distances(net, net, images, VIEWS, seed=3, batch_size=4)
    assert net.training
    assert got.shape == (7,)
    assert not got.requires_grad
    net.eval()
    generator, expected = stream(3, "distances"), []
    for first in (0, 4):
        part = images[first : first + 4].double() / 255
        params = VIEWS.draw(2 * len(part), 8, 8, generator)
        for i in range(len(part)):
            a, b = (
                net(VIEWS.apply(part[i : i + 1].float(), params[k : k + 1]))[0].tolist()
                for k in (i, i + len(part))
            )
            cosine = sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)
            expected.append(1 - cosine)
    assert got.tolist() == pytest.approx(expected, abs=1e-5)
    assert max(expected) > 1e-3


def test_views_that_are_equal_have_no_distance() -> None:
    net = network()
    assert view_distances(net, net, pictures(5), STILL).tolist() == [0] * 5


def test_mirrored_features_are_opposite() -> None:
    """Left minus right changes its sign when one of the two views is mirrored, and only then."""
    net = nn.Linear(1, 1)  # says where to compute

    def embed(x: torch.Tensor) -> torch.Tensor:
        return (x[..., :4].sum((1, 2, 3)) - x[..., 4:].sum((1, 2, 3)))[:, None]

    images = pictures(400)
    images[..., :4] //= 4  # darker
    views = Views(8, MEAN, STD, scale=(1, 1), ratio=(1, 1), flip=0.5, jitter_p=0, gray_p=0)
    got = view_distances(net, embed, images, views)
    assert set(got.tolist()) == {0.0, 2.0}
    assert 150 < int((got == 2).sum()) < 250


def test_length_does_not_matter_and_half_the_alignment_is_the_mean() -> None:
    net, images = network(), pictures(30)
    seen: list[torch.Tensor] = []

    def embed(x: torch.Tensor) -> torch.Tensor:
        seen.append(net(x))
        return 7 * seen[-1]

    long = view_distances(net, embed, images, VIEWS)
    torch.testing.assert_close(long, view_distances(net, net, images, VIEWS))
    z_a, z_b = seen[0].chunk(2)
    assert float(long.mean()) == pytest.approx(float(alignment(z_a, z_b)) / 2, rel=1e-5)


def test_seed_and_precision() -> None:
    net, images = network(), pictures(30)
    first = view_distances(net, net, images, VIEWS)
    assert torch.equal(first, view_distances(net, net, images, VIEWS))
    assert not torch.equal(first, view_distances(net, net, images, VIEWS, seed=1))
    torch.testing.assert_close(
        first, view_distances(net, net, images, VIEWS, bf16=True), atol=0.05, rtol=0.1
    )


def test_a_collapsed_network_is_no_nan() -> None:
    net = nn.Linear(1, 1)
    got = view_distances(net, lambda x: torch.zeros(len(x), 4), pictures(3), VIEWS)
    assert got.tolist() == [0, 0, 0]


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        view_distances(network(), network(), pictures(0), VIEWS)


@given(st.lists(st.integers(0, 2048), min_size=1, max_size=60))
def test_summary_equals_slow_counts(numbers: list[int]) -> None:
    values = [number / 1024 for number in numbers]  # exact in any precision, also beside the edges
    got = Distances.of(torch.tensor(values))
    slow = [0] * BINS
    for number in numbers:
        inside = [i for i in range(BINS) if 2 * 1024 * i <= number * BINS < 2 * 1024 * (i + 1)]
        slow[inside[0] if inside else BINS - 1] += 1
    assert list(got.counts) == slow
    assert got.mean == pytest.approx(statistics.fmean(values))
    assert got.median == pytest.approx(statistics.median(values))
    assert got.close == sum(value < 0.1 for value in values)


def test_the_ends_are_in_the_first_and_the_last_bin() -> None:
    got = Distances.of(torch.tensor([0.0, 0.0, 2.0]))
    assert (got.counts[0], got.counts[-1], sum(got.counts)) == (2, 1, 3)
