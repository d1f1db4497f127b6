"""Perturbations at work: one on all images, one an image by lot, several on one another."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cptools.core.lazy import load
from cptools.core.perturbations import PERTURBATIONS, Level, nearest_kind

if TYPE_CHECKING:
    from torch import Tensor

    from cptools.core.perturbations.draws import Draws

_PIXELS = 1 << 17  # of the images worked on at a time: 3 MB of float64 stay in a CPU's caches
_MANY_PIXELS = 1 << 23  # on other devices


class Step(NamedTuple):
    """A perturbation at a strength.

    Attributes:
        kind: a key of PERTURBATIONS.
        by: "severity" or "frame".
        number: the severity or the frame.
    """

    kind: str
    by: str
    number: int

    def __str__(self) -> str:
        """Such as `fog:severity=3`."""
        return f"{self.kind}:{self.by}={self.number}"

    @property
    def level(self) -> Level | None:
        """What to do."""
        return PERTURBATIONS[self.kind].levels(self.by)[self.number]


def steps_of(kinds: Iterable[str], by: str, number: int | None = None) -> tuple[Step, ...]:
    """Kinds at one strength, or at each that they have.

    Args:
        kinds: keys of PERTURBATIONS.
        by: "severity" or "frame".
        number: the severity or the frame; None for all.

    Returns:
        Kind by kind, the strengths of each in order.

    Raises:
        ValueError: a kind does not exist, or has no such severity or frame; one line.
    """
    steps: list[Step] = []
    for kind in kinds:
        if kind not in PERTURBATIONS:
            raise ValueError(f"{kind!r} is no perturbation; did you mean {nearest_kind(kind)}?")
        numbers = list(PERTURBATIONS[kind].levels(by))
        if not numbers:
            other = "frame" if by == "severity" else "severity"
            raise ValueError(f"{kind} has no {by}; give its {other}")
        if number is not None and number not in numbers:
            raise ValueError(
                f"{kind} has no {by} {number}; give one from {numbers[0]} to {numbers[-1]}"
            )
        steps += [Step(kind, by, n) for n in numbers if number in (None, n)]
    return tuple(steps)


def perturb(
    images: "Tensor",
    kind: str,
    *,
    severity: int | None = None,
    frame: int | None = None,
    seed: int,
    rows: "Tensor | None" = None,
) -> "Tensor":
    """Perturb all images in one way.

    Args:
        images: uint8 [N, 3, H, W].
        kind: a key of PERTURBATIONS.
        severity: as in CIFAR-10-C, 1 to 5.
        frame: as in CIFAR-10-P; one of the two is given.
        seed: of all random numbers.
        rows: which random numbers each image gets, int64 [N], at least 0: its row in its dataset,
            so that it comes out the same whichever images are beside it. None counts from 0.

    Returns:
        uint8 [N, 3, H, W].

    Raises:
        ValueError: the kind does not exist, or has no such severity or frame.
    """
    if (severity is None) == (frame is None):
        raise ValueError("give one of severity and frame")
    by, number = ("frame", frame) if severity is None else ("severity", severity)
    (step,) = steps_of([kind], by, number)
    return layer(images, [step], seed=seed, rows=rows)


def layer(
    images: "Tensor", steps: Sequence[Step], *, seed: int, rows: "Tensor | None" = None
) -> "Tensor":
    """Perturb all images in several ways, each on what the one before made.

    Args:
        images: uint8 [N, 3, H, W].
        steps: in order; one of them alone is `perturb`.
        seed: of all random numbers.
        rows: as of `perturb`.

    Returns:
        uint8 [N, 3, H, W].
    """
    import torch

    rows, images = _rows(images, rows), images.clone()
    all_first = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    for place, step in enumerate(steps):
        for chosen, made in perturb_blocks(
            images, [step], all_first, seed=seed, rows=rows, place=place
        ):
            images[chosen] = made
    return images


def mix(
    images: "Tensor", steps: Sequence[Step], *, seed: int, rows: "Tensor | None" = None
) -> "tuple[Tensor, Tensor]":
    """Perturb each image in one way, drawn by lot: first the kind, then one of its strengths.

    Args:
        images: uint8 [N, 3, H, W].
        steps: to choose from, at least one, those of a kind together.
        seed: of all random numbers.
        rows: as of `perturb`.

    Returns:
        uint8 [N, 3, H, W], each image as `perturb` makes it; and the step that each got, int64 [N].
    """
    rows = _rows(images, rows)
    choice = choose(rows, steps, seed=seed)
    mixed = images.clone()
    for chosen, made in perturb_blocks(images, steps, choice, seed=seed, rows=rows):
        mixed[chosen] = made
    return mixed, choice


def choose(rows: "Tensor", steps: Sequence[Step], *, seed: int, place: int = 0) -> "Tensor":
    """Draw a step for each image as `mix` does.

    Args:
        rows: as of `perturb`.
        steps: as of `mix`.
        seed: of all random numbers.
        place: among layers; each draws anew.

    Returns:
        Which step, int64 [N].
    """
    import torch

    from cptools.core.perturbations.draws import Draws

    kinds = list(dict.fromkeys(step.kind for step in steps))
    counts = torch.tensor([sum(step.kind == kind for step in steps) for kind in kinds])
    starts = counts.cumsum(0) - counts
    draws = Draws.of(rows.cpu(), seed, "perturb", "mix", place)
    kind = draws.integers(0, len(kinds))
    choice = starts[kind] + (draws.uniform() * counts[kind]).long()
    return choice.to(rows.device)


def perturb_blocks(
    images: "Tensor",
    steps: Sequence[Step],
    choice: "Tensor",
    *,
    seed: int,
    rows: "Tensor",
    place: int = 0,
) -> "Iterator[tuple[Tensor, Tensor]]":
    """Perturb each image by its step, as many images at a time as fit.

    Args:
        images: uint8 [N, 3, H, W]; what is yielded may be written into them.
        steps: to choose from.
        choice: which step each image gets, int64 [N].
        seed: of all random numbers.
        rows: as of `perturb`.
        place: among layers.

    Yields:
        Which images, int64 [n], and what becomes of them, uint8 [n, 3, H, W]; `count_blocks` times.
    """
    from cptools.core.perturbations.draws import Draws

    for number, step in enumerate(steps):
        chosen = (choice == number).nonzero().squeeze(1)
        if not len(chosen):
            continue
        is_noise = PERTURBATIONS[step.kind].is_noise and step.by == "frame"
        film = [step.number] if is_noise else []
        draws = Draws.of(rows[chosen], seed, "perturb", step.kind, place, *film)
        start = 0
        for block in chosen.split(_at_a_time(images)):
            end = start + len(block)
            yield block, apply(step.kind, step.level, images[block], draws.pick(slice(start, end)))
            start = end


def count_blocks(images: "Tensor", choice: "Tensor") -> int:
    """How often `perturb_blocks` yields."""
    counts: list[int] = choice.bincount().tolist()
    return sum(-(-count // _at_a_time(images)) for count in counts)


def _at_a_time(images: "Tensor") -> int:
    height, width = images.shape[2:]
    pixels = _PIXELS if images.device.type == "cpu" else _MANY_PIXELS
    return max(pixels // (height * width), 1)


def _rows(images: "Tensor", rows: "Tensor | None") -> "Tensor":
    """Check images and rows; number the rows where they are left out."""
    import torch

    from cptools.core.checks import check_images, check_labels

    check_images(images, empty=True)
    if rows is None:
        return torch.arange(len(images), device=images.device)
    if len(images):
        check_labels(rows, images, "rows")
    return rows


def apply(kind: str, level: Level | None, images: "Tensor", draws: "Draws") -> "Tensor":
    """A perturbation on images that are few enough to be worked on at a time."""
    if level is None or not len(images):
        return images.clone()
    drawn = {"draws": draws} if PERTURBATIONS[kind].is_random else {}
    result: Tensor = load(level.function)(images, **level.constants, **drawn)
    return result
