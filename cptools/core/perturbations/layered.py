"""Layered effects: perturbations on one another, for each image others."""

from torch import Tensor

from cptools.core.perturbations import PERTURBATIONS, SUITES
from cptools.core.perturbations.draws import Draws
from cptools.core.perturbations.steps import apply

PARTS = tuple(kind for kind in SUITES["ucla"].kinds if kind != "layered")


def draw_parts(draws: Draws) -> tuple[Tensor, Tensor]:
    """Which of PARTS come first and second, int64 [N] each; the first that the streams tell."""
    first = draws.integers(0, len(PARTS))
    return first, (first + draws.integers(1, len(PARTS))) % len(PARTS)


def layered(images: Tensor, *, place: float, draws: Draws) -> Tensor:
    """Two different perturbations on one another, in random order.

    The comparison of MoCo and SimCLR (section 4) names "layered effects" and says no more of them;
    that they are two of its other seven, drawn for each image, is unconfirmed.

    Args:
        images: uint8 [N, 3, H, W].
        place: Which of their frames, 0 the first and 1 the last.
        draws: Of the images.
    """
    result = images.clone()
    for layer, choice in enumerate(draw_parts(draws)):
        for number, kind in enumerate(PARTS):
            chosen = choice == number
            frames = PERTURBATIONS[kind].frames
            level = frames[round(place * (len(frames) - 1))]
            result[chosen] = apply(kind, level, result[chosen], draws.pick(chosen).fork(layer))
    return result
