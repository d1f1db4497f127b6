"""Which perturbations each image has had: numbers that point to names, 0 to that of none."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from cptools.core.perturbations.steps import Step


def name(
    steps: "Sequence[Step]", number: "Tensor", rows: "Tensor", *, seed: int, place: int
) -> "tuple[tuple[str, ...], Tensor]":
    """Names of what a layer does, those of layered effects with their parts.

    Args:
        steps: of the layer.
        number: which of them each image gets, counted from 1, and 0 for none, int64 [N].
        rows: as of `perturb`, int64 [N].
        seed: of all random numbers.
        place: among layers.

    Returns:
        Names such as `fog:frame=3` and `layered:frame=3:rotate,shear`, the same for the same steps;
        and which of them each image has had, counted from 1, int64 [N].
    """
    import torch

    from cptools.core.perturbations.draws import Draws
    from cptools.core.perturbations.layered import PARTS, draw_parts

    names: list[str] = []
    found = torch.zeros_like(number)
    for count, step in enumerate(steps, 1):
        mine = number == count
        found[mine] = 1 + len(names)
        if step.kind == "layered":
            draws = Draws.of(rows[mine], seed, "perturb", step.kind, place)
            first, second = draw_parts(draws)
            found[mine] += first * len(PARTS) + second
            names += [f"{step}:{one},{other}" for one in PARTS for other in PARTS]
        else:
            names.append(str(step))
    return tuple(names), found


def combine(
    names: Sequence[str],
    numbers: "Mapping[str, Tensor]",
    later: Sequence[str],
    later_numbers: "Mapping[str, Tensor]",
) -> "tuple[tuple[str, ...], dict[str, Tensor]]":
    """What was done to each image in two steps, as one.

    Args:
        names: what the first step did, such as ("none", "rotate:frame=3").
        numbers: which of the names, int64 [N], for each part of a dataset.
        later: what the second step did, with the same name for nothing.
        later_numbers: as `numbers`, for the same parts.

    Returns:
        The names that occur, such as `rotate:frame=3+fog:severity=2` where an image had both, that
        of nothing first; and which of them, for each part.
    """
    import torch

    pairs = {part: number * len(later) + later_numbers[part] for part, number in numbers.items()}
    used = torch.cat([torch.zeros(1, dtype=torch.int64), *pairs.values()]).unique()
    told = [_join(names, later, *divmod(pair, len(later))) for pair in used.tolist()]
    places = {name: place for place, name in enumerate(dict.fromkeys(told))}
    lookup = torch.tensor([places[name] for name in told])
    found = {part: lookup[torch.searchsorted(used, pair)] for part, pair in pairs.items()}
    return tuple(places), found


def _join(names: Sequence[str], later: Sequence[str], first: int, second: int) -> str:
    if not first or not second:
        return later[second] if not first else names[first]
    return f"{names[first]}+{later[second]}"
