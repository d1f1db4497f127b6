"""How many images of each class a coreset keeps. N images, C classes, D features."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cptools.core.checks import check_whole
from cptools.core.evaluation.clusters import k_means, nearest
from cptools.core.random import stream


def latent_classes(features: Tensor, num: int, *, seed: int) -> Tensor:
    """Clusters of an encoder's features: latent classes without labels, as SAS may have them.

    Args:
        features: float [N, D].
        num: number of clusters.
        seed: of where their centers start.

    Returns:
        int64 [N] in [0, num), on the CPU; a cluster may have no image.

    Raises:
        ValueError: there are fewer images than clusters.
    """
    check_whole("num", num, 1)
    if len(features) < num:
        raise ValueError(f"{len(features)} images cannot make {num} latent classes; take fewer")
    x = features.cpu()
    return nearest(x, [k_means(x, num, stream(seed, "select", "classes"))])[:, 0]


def kept(num: int, fraction: float) -> int:
    """How many of `num` images a fraction keeps, rounded.

    Raises:
        ValueError: the fraction is not in (0, 1], or keeps no image.
    """
    check_whole("num", num, 1)
    if not 0 < fraction <= 1:
        raise ValueError(f"expected fraction in (0, 1], got {fraction}")
    count = round(fraction * num)
    if not count:
        raise ValueError(f"fraction {fraction} of {num} images keeps none; take more")
    return count


def budgets(sizes: Tensor, fraction: float) -> Tensor:
    """Divide the images kept over classes in proportion to their sizes, by largest remainder.

    A class that would get none gets one, from the class that rounding favored most.

    Args:
        sizes: images of each class, int64 [C], at least 1.
        fraction: of all images that is kept, in (0, 1].

    Returns:
        int64 [C], each from 1 to the class's size, of sum round(fraction * N); ties go to the lower
        class.

    Raises:
        ValueError: the fraction is not in (0, 1], or keeps fewer images than there are classes.
    """
    num = int(sizes.sum())
    count = kept(num, fraction)
    if count < len(sizes):
        least = math.ceil(1e4 * len(sizes) / num) / 1e4
        raise ValueError(
            f"fraction {fraction} keeps {count} of {num} images, which leaves one of the"
            f" {len(sizes)} classes empty; take {least} or more"
        )
    quotas = sizes * count  # in units of 1 / num
    shares = quotas // num
    favored = (quotas % num).argsort(descending=True, stable=True)[: count - int(shares.sum())]
    shares[favored] += 1
    for empty in (shares == 0).nonzero().flatten().tolist():
        excess = torch.where(shares > 1, shares * num - quotas, -num)
        shares[excess.argmax()] -= 1
        shares[empty] = 1
    return shares


def choose_in_each(
    classes: Tensor, fraction: float, choose: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """Choose images within each class that has any.

    Args:
        classes: int64 [N].
        fraction: of all images that is kept, in (0, 1].
        choose: from the rows of a class, ascending int64 [n] on the CPU, and how many of them to
            keep to the positions of these among the n.

    Returns:
        int64 [round(fraction * N)], ascending, on the CPU.

    Raises:
        ValueError: the fraction is not in (0, 1], or leaves a class empty.
    """
    if classes.dtype != torch.int64 or classes.ndim != 1:
        raise ValueError(
            f"expected classes as int64 [N], got {classes.dtype} {list(classes.shape)}; give one"
            " whole number an image"
        )
    labels = classes.cpu()
    present, sizes = labels.unique(return_counts=True)
    parts = []
    for label, budget in zip(present.tolist(), budgets(sizes, fraction).tolist(), strict=True):
        rows = (labels == label).nonzero().flatten()
        parts.append(rows[choose(rows, budget)])
    return torch.cat(parts).sort().values
