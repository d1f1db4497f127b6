"""Coresets that rank images by their similarity to all of their class, and so have no penalty.

n images of a class, d dimensions.
"""

import torch
from torch import Tensor

from cptools.core.coresets.budgets import choose_in_each
from cptools.core.coresets.sas import check_embeddings, on_grid


def sas_topk(embeddings: Tensor, classes: Tensor, fraction: float) -> Tensor:
    """What the released code of SAS keeps: the images most similar to all of their class.

    In github.com/sjoshi804/sas-data-efficient-contrastive-learning, sas-pip/sas/subset_dataset.py,
    `SubsetSelectionObjective.inc` is the gain of SAS: the sum of row e of the similarities less
    what is chosen already holds in column e. After each choice `add` is to take the image out of
    the sums, but `self.distance[:][i] = 0` clears its row (`self.distance[:, i] = 0` would clear
    its column), and the row is what the penalty is read from. So the penalty is always zero, no
    gain ever changes, and the greedy choice is the first ones by the sums of their rows. Of the
    rest of that code, these are kept: one embedding of each plain image rather than of its views,
    cosines below zero counted as zero, and the image itself counted in its sum. These are not: the
    share of each class rounded down, later rows first among equals, and, where classes are not from
    k-means, an encoder in training mode.

    Args:
        embeddings: unit embeddings of the images themselves, float [N, d].
        classes: latent classes, int64 [N].
        fraction: of the images that is kept, in (0, 1]; divided over the classes in proportion to
            their sizes.

    Returns:
        int64 [round(fraction * N)], ascending, on the CPU.

    Raises:
        ValueError: the fraction is not in (0, 1], or leaves a class empty.
    """
    check_embeddings(embeddings, classes)

    def most_similar(rows: Tensor, budget: int) -> Tensor:
        sums = positive_sums(on_grid(embeddings, rows))
        return sums.argsort(descending=True, stable=True)[:budget]

    return choose_in_each(classes, fraction, most_similar)


def paper2(embeddings: Tensor, classes: Tensor, fraction: float) -> Tensor:
    """The formula of the comparison of MoCo and SimCLR, section 3, as written.

    It has S_k = argmin over sets S_k of at most r_k images of the sum of d_ij over i in V_k and j
    in S_k, with d_ij = <f(x_i), f(x_j)>. To minimize would be right for a distance, but an inner
    product is a similarity: this keeps the images LEAST like their class, where SAS keeps those
    most like it. (With "at most" as written, the empty set is best wherever the sums are positive;
    it is read as "exactly".) A sum over j of terms of their own has no penalty either.

    Args:
        embeddings: unit embeddings of the images themselves, float [N, d].
        classes: latent classes, int64 [N].
        fraction: of the images that is kept, in (0, 1]; divided over the classes in proportion to
            their sizes.

    Returns:
        int64 [round(fraction * N)], ascending, on the CPU.

    Raises:
        ValueError: the fraction is not in (0, 1], or leaves a class empty.
    """
    check_embeddings(embeddings, classes)

    def least_similar(rows: Tensor, budget: int) -> Tensor:
        points = on_grid(embeddings, rows)
        return (points @ points.sum(0)).argsort(stable=True)[:budget]

    return choose_in_each(classes, fraction, least_similar)


def positive_sums(points: Tensor, *, entries: int = 1 << 22) -> Tensor:
    """Sum of the positive inner products of each point with all, itself among them.

    Args:
        points: float64 [n, d].
        entries: inner products held at a time; n of them in any case.

    Returns:
        float64 [n].
    """
    parts = points.split(max(1, entries // len(points)))
    return torch.cat([(part @ points.T).clamp_(min=0).sum(1) for part in parts])
