"""Which perturbations each image has had: numbers that point to names, 0 to that of none."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


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
