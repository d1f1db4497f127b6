"""Pseudo-labels: k-means clusters of an encoder's features (ClusterFit; Yan et al., CVPR 2020).

N images, D features, L clusterings, of k clusters each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cptools.core.random import stream

COUNTS = (2, 10, 50, 100, 500)  # clusters of each labeling of AdvCL (Fan et al. 2021)


def cluster(features: Tensor, *, seed: int) -> list[Tensor]:
    """Centers of several clusterings of features, from coarse to fine.

    Args:
        features: float [N, D].
        seed: of where the centers start.

    Returns:
        Of each of `COUNTS` that leaves two images a cluster, on average: float32 [k, D].

    Raises:
        ValueError: There are too few images for any.
    """
    counts = [k for k in COUNTS if 2 * k <= len(features)]
    if not counts:
        raise ValueError(f"{len(features)} images cannot be clustered; take 4 or more")
    return [k_means(features, k, stream(seed, "clusters", k)) for k in counts]


def nearest(features: Tensor, centers: Sequence[Tensor]) -> Tensor:
    """Number of the nearest center of each clustering: int64 [N, L] on the features' device."""
    return torch.stack(
        [torch.cdist(features.float(), c.to(features.device)).argmin(1) for c in centers], dim=1
    )


def k_means(
    features: Tensor, k: int, generator: torch.Generator, *, iterations: int = 100
) -> Tensor:
    """Lloyd's algorithm from k-means++ centers (Arthur and Vassilvitskii 2007).

    It runs on the CPU, so that equal features give equal clusters. (scipy's k-means++ looks at all
    centers again for each new one: an hour at 50,000 images and 500 clusters.)

    Args:
        features: float [N, D], N at least k.
        k: number of clusters.
        generator: on the CPU; where the centers start.
        iterations: at most; it ends where no image changes its cluster.

    Returns:
        float32 [k, D]; a cluster that lost all its images stays where it was.

    Raises:
        ValueError: there are fewer images than clusters, or no clusters.
    """
    if not 1 <= k <= len(features):
        raise ValueError(f"{len(features)} images cannot make {k} clusters; take fewer")
    x = features.cpu().float()
    centers, labels = _spread(x, k, generator), torch.full((len(x),), -1)
    for _ in range(iterations):
        before, labels = labels, torch.cdist(x, centers).argmin(1)
        if torch.equal(before, labels):
            break
        sums = torch.zeros_like(centers).index_add_(0, labels, x)
        sizes = torch.bincount(labels, minlength=k).unsqueeze(1)
        centers = torch.where(sizes > 0, sums / sizes.clamp(min=1), centers)
    return centers


def _spread(x: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """k of the features, each drawn by its squared distance to the nearest of those before."""
    chosen = [int(torch.randint(len(x), (), generator=generator))]
    apart = torch.full((len(x),), torch.inf)
    while len(chosen) < k:
        apart = torch.minimum(apart, (x - x[chosen[-1]]).square().sum(1))
        weights = apart if bool(apart.any()) else torch.ones_like(apart)
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
    return x[chosen]
