"""SAS: subsets that maximize augmentation similarity (Joshi and Mirzasoleiman, ICML 2023).

Of each latent class V, of n images, SAS keeps the r images S for which

    F(S) = sum of s_ij over i in V - S and j in S

is largest: how like the images kept are to those left out. s_ij is the similarity of a random view
of image i and one of image j in expectation. An image e adds

    F(e | S) = sum of s_ie over i in V - S - {e}  -  sum of s_je over j in S,

its similarity to the rest less a penalty for what resembles it already. This is read off the
released code, which has this gain but for a slip that takes the penalty out (`ranked.sas_topk`);
it is submodular and not monotone, as the paper says of its objective.

F is the weight of a cut, hence:

- It is submodular where no s_ij is negative, and nowhere else: F(e | S + v) = F(e | S) - 2 s_ev.
  Inner products may be negative. But c added to every s_ij adds c |S| (n - |S|) to F, the same for
  all sets of one size, so the greedy choice is that of a submodular function in any case, and
  F(e | S) falls by 2 m_e or more with each image added where m_e <= s_ev for all v. That is the
  bound by which the gains of earlier steps serve again.
- It is not monotone: about where half of a class is kept the gains turn negative, and the images
  added from there on are the ones that resemble S least. Greedy selection reaches 1 - 1/e of the
  best (Nemhauser, Wolsey and Fisher 1978) where no gain is negative for sets of fewer than 2r
  images; with s_ij from a to b, a > 0, these are r up to n / (2 (1 + b / a)).

Embeddings are rounded to multiples of 2^-15, which makes every sum exact in float64 in a class of
up to 2^20 images. So equal embeddings tie exactly (the lower row goes first), and the choice
depends neither on the number of threads nor on what is computed at a time.

n images of a class, d dimensions.
"""

import torch
from torch import Tensor

from cptools.core.coresets.budgets import choose_in_each

GRID = 1 << 15


def sas(embeddings: Tensor, classes: Tensor, fraction: float) -> Tensor:
    """Keep the most similar images of each latent class, with the penalty for likeness.

    Args:
        embeddings: mean unit embeddings of random views, float [N, d], rows of length at most 1.
        classes: latent classes, int64 [N].
        fraction: of the images that is kept, in (0, 1]; divided over the classes in proportion to
            their sizes. Meant for less than a half (above).

    Returns:
        int64 [round(fraction * N)], ascending, on the CPU.

    Raises:
        ValueError: the fraction is not in (0, 1], or leaves a class empty.
    """
    check_embeddings(embeddings, classes)
    return choose_in_each(
        classes, fraction, lambda rows, budget: greedy(on_grid(embeddings, rows), budget)
    )


def check_embeddings(embeddings: Tensor, classes: Tensor) -> None:
    """Raise `ValueError` unless there is a finite embedding of each image."""
    if embeddings.ndim != 2 or len(embeddings) != len(classes):
        raise ValueError(
            f"expected embeddings [{len(classes)}, d], one for each of the classes, got"
            f" {list(embeddings.shape)}; give both of the same images"
        )
    if not bool(embeddings.isfinite().all()):
        raise ValueError("embeddings are not finite; give those of an encoder that did not diverge")


def on_grid(embeddings: Tensor, rows: Tensor) -> Tensor:
    """Some of the embeddings in units of 1 / GRID, rounded: whole numbers, float64, on the CPU."""
    return (embeddings[rows.to(embeddings.device)].cpu().double() * GRID).round_()


def greedy(points: Tensor, budget: int, *, head: int = 32) -> Tensor:
    """Add the image of the largest F(e | S), again and again.

    Lazily (Minoux 1978): a gain computed earlier is an upper bound, lowered by 2 m_e for each step
    since, and only images whose bound reaches the best gain are looked at again. Memory is that of
    the embeddings and a gain costs d operations, by way of sum(V - S) - sum(S).

    Args:
        points: embeddings on the grid, float64 [n, d] of whole numbers.
        budget: images to add, at most n.
        head: images that are looked at first in each step; it does not alter the result.

    Returns:
        int64 [budget], in the order of choice.
    """
    own = points.square().sum(1)
    rest = points.sum(0)  # sum(V - S) - sum(S)
    floors = _least_similarity(points, own)
    gains = points @ rest - own  # as of the step they were computed in, plus 2 m_e times that step
    chosen = []
    for step in range(budget):
        bounds = gains - 2 * step * floors
        due = bounds.topk(min(head, len(points) - step)).indices
        for _ in range(2):  # the head; then all that may exceed the best of it
            bounds[due] = points[due] @ rest - own[due]
            gains[due] = bounds[due] + 2 * step * floors[due]
            due = (bounds >= bounds[due].max()).nonzero().flatten()
        best = int(bounds.argmax())  # the first of those that tie
        chosen.append(best)
        gains[best] = -torch.inf
        rest -= 2 * points[best]
    return torch.tensor(chosen)


def _least_similarity(points: Tensor, own: Tensor) -> Tensor:
    """m_e: a whole number that no <e, v> of the class is below, by the parts of e and v along the
    class's mean and across it; float64 [n].
    """
    mean = torch.nn.functional.normalize(points.sum(0), dim=0)
    along = points @ mean
    across = (own - along.square()).clamp(min=0).sqrt()
    least = torch.minimum(along * along.min(), along * along.max()) - across * across.max()
    return (least - 1).floor()  # 1 is far more than the rounding errors
