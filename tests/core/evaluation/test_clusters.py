"""k-means against scipy's and by brute force; labels at several resolutions."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.vq import kmeans2
from torch import Tensor

from cptools.core.evaluation.clusters import COUNTS, cluster, k_means, nearest


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(num: int, k: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points about k far centers, and whose they are."""
    own = torch.arange(num) % k
    centers = 20 * torch.randn(k, 6, generator=seeded(seed))
    return centers[own] + 0.1 * torch.randn(num, 6, generator=seeded(seed + 1)), own


def cost(x: Tensor, centers: Tensor) -> float:
    """Mean squared distance to the nearest center, a pair at a time."""
    rows = [[math.dist(a, b) ** 2 for b in centers.tolist()] for a in x.tolist()]
    return sum(map(min, rows)) / len(rows)


@pytest.mark.parametrize("iterations", [1, 2, 30])
def test_the_steps_are_scipys(iterations: int) -> None:
    x = torch.randn(200, 5, generator=seeded(1))
    start = k_means(x, 7, seeded(2), iterations=0)
    expected, _ = kmeans2(x.numpy(), start.numpy(), iter=iterations, minit="matrix")
    got = k_means(x, 7, seeded(2), iterations=iterations)
    torch.testing.assert_close(got, torch.from_numpy(expected), atol=1e-5, rtol=1e-5)
    assert cost(x, got) < cost(x, start)


def test_the_start_is_spread_as_k_means_plus_plus() -> None:
    """Of three places, the second center is drawn by the squared distance to the first."""
    x = torch.tensor([[0.0], [1.0], [3.0]])
    drawn = [
        tuple(k_means(x, 2, seeded(seed), iterations=0).flatten().tolist()) for seed in range(4000)
    ]
    squares = {(a, b): (a - b) ** 2 for a, b in itertools.permutations((0.0, 1.0, 3.0), 2)}
    for (a, b), square in squares.items():
        total = sum(value for pair, value in squares.items() if pair[0] == a)
        assert drawn.count((a, b)) / 4000 == pytest.approx(square / total / 3, abs=0.03)


def test_far_blobs_are_found() -> None:
    x, own = blobs(300, 10)
    found = nearest(x, [k_means(x, 10, seeded(0))])[:, 0]
    assert len({(a, b) for a, b in zip(own.tolist(), found.tolist(), strict=True)}) == 10


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_equal_points_and_lost_clusters_do_no_harm(num: int, k: int, seed: int) -> None:
    k = min(k, num)
    x = torch.randint(2, (num, 2), generator=seeded(seed)).float()
    centers = k_means(x, k, seeded(seed))
    assert centers.shape == (k, 2)
    assert bool(centers.isfinite().all())
    places = len({tuple(row) for row in x.tolist()})
    assert (cost(x, centers) < 1e-6) == (k >= places)


def test_nearest_is_the_nearest_of_each_clustering() -> None:
    x = torch.randn(40, 3, generator=seeded(0))
    centers = [torch.randn(k, 3, generator=seeded(k)) for k in (2, 5)]
    labels = nearest(x, centers)
    assert (labels.shape, labels.dtype) == ((40, 2), torch.int64)
    for row, image in zip(labels.tolist(), x.tolist(), strict=True):
        for number, those in zip(row, centers, strict=True):
            distances = [math.dist(image, center) for center in those.tolist()]
            assert distances[number] == min(distances)


@pytest.mark.parametrize(
    ("num", "counts"),
    [(4, (2,)), (19, (2,)), (20, (2, 10)), (100, (2, 10, 50)), (1000, COUNTS)],
)
def test_as_many_clusters_as_leave_two_images_each(num: int, counts: tuple[int, ...]) -> None:
    centers = cluster(torch.randn(num, 4, generator=seeded(0)), seed=0)
    assert tuple(map(len, centers)) == counts


def test_clusters_are_the_seeds() -> None:
    x = torch.randn(60, 4, generator=seeded(0))
    torch.manual_seed(0)
    first = cluster(x, seed=1)
    torch.manual_seed(1)
    assert all(map(torch.equal, first, cluster(x.double(), seed=1)))
    assert not all(map(torch.equal, first, cluster(x, seed=2)))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="3 images cannot be clustered; take 4 or more"):
        cluster(torch.randn(3, 4), seed=0)
