"""Protected photographs beside their originals: `cptools verify --against`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cptools.text import shown
from cptools.workflows.originals import find_originals, photo_folder
from cptools.workflows.pool import processes
from cptools.workflows.progress import Progress, tracker

if TYPE_CHECKING:
    from cptools.artifacts.photo_folder import Record
    from cptools.artifacts.photographs import Photograph

EPSILON = "8/255"

_SEEN = 32  # pixels of the square in which the noise is looked for


class Compared(NamedTuple):
    """A protected photograph beside its original.

    Attributes:
        name: of both.
        fault: what is wrong; empty if nothing is.
        most: levels of 255 by which a value differs at most; of JPEG with its own loss.
        beyond: of a JPEG: number of values by how many levels they are beyond epsilon, at least 0.
        seen: levels of 255 by which they differ on average, both shrunk to 32 pixels.
    """

    name: str
    fault: str = ""
    most: int = 0
    beyond: tuple[int, ...] = ()
    seen: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """Two folders of photographs.

    Attributes:
        compared: each photograph that is in either folder.
        left_out: number of files beside the originals that cannot be protected, and are not.
    """

    compared: tuple[Compared, ...]
    left_out: int

    @property
    def faults(self) -> list[Compared]:
        """Those with which something is wrong."""
        return [one for one in self.compared if one.fault]

    def facts(self) -> dict[str, Any]:
        """What was found, under stable names."""
        good = [one for one in self.compared if not one.fault]
        lossless = [one.most for one in good if not one.beyond]
        beyond = [sum(counts) for counts in zip_longest(*(o.beyond for o in good), fillvalue=0)]
        facts: dict[str, Any] = {
            "photographs": len(self.compared),
            "good": len(good),
            "faults": [{"name": one.name, "fault": one.fault} for one in self.faults],
            "left_out": self.left_out,
            "levels_max_lossless": max(lossless, default=0),
            "levels_mean_at_32_pixels": sum(o.seen for o in good) / len(good) if good else 0.0,
        }
        if beyond:
            facts["jpeg"] = beyond_epsilon(beyond)
        return facts


def beyond_epsilon(counts: tuple[int, ...] | list[int]) -> dict[str, float]:
    """The loss of JPEG, of counts of values by levels beyond epsilon: how many, and how far."""
    return {
        "share_beyond_epsilon": round(1 - counts[0] / sum(counts), 6),
        "levels_beyond_epsilon_99.9%": quantile(counts, 0.999),
        "levels_beyond_epsilon_max": len(counts) - 1,
    }


def quantile(counts: tuple[int, ...] | list[int], share: float) -> int:
    """The position that a share of what is counted does not lie behind."""
    left = share * sum(counts)
    for place, count in enumerate(counts):
        left -= count
        if left <= 0:
            return place
    return 0


def compare(
    photos: str | os.PathLike[str],
    protected: str | os.PathLike[str],
    *,
    epsilon: str | None = None,
    jobs: int | None = None,
    progress: Progress = None,
) -> Comparison:
    """Compare protected photographs with their originals, file by file.

    Args:
        photos: folder of the originals.
        protected: folder that `cp.protect` wrote.
        epsilon: L-infinity bound; None: that of the folder's record, or 8/255.
        jobs: number of processes; None: one for each core.
        progress: as of `cp.protect`.

    Raises:
        ValueError: one of them is no folder.
    """
    from cptools.artifacts.photo_folder import find_photographs, read_records

    roots = check_photos(photos, protected)
    track = tracker(progress)
    originals, copies = find_originals(roots[0]), find_photographs(roots[1])
    records = read_records(roots[1])
    tasks = [
        (*roots, name, tuple(records.get(name, ())), epsilon)
        for name in sorted({*originals.names, *copies.names, *(o.name for o in copies.refused)})
    ]
    with processes(jobs, most=len(tasks)) as pool:
        found = track(
            pool.in_order(pool.executor.submit(compare_file, *task) for task in tasks),
            total=len(tasks),
            describe=lambda one: shown(one.name) if one else "",
            label="comparing",
        )  # fmt: skip
        compared = [one for one in found if one is not None]
    return Comparison(tuple(compared), len(tasks) - len(compared) + len(originals.refused))


def check_photos(
    photos: str | os.PathLike[str], protected: str | os.PathLike[str]
) -> tuple[Path, Path]:
    """The folders of originals and of protected photographs.

    Raises:
        ValueError: one of them is no folder.
    """
    return photo_folder(photos, name="photos"), photo_folder(protected, name="protected")


def compare_file(
    photos: Path, protected: Path, name: str, records: tuple[Record, ...], epsilon: str | None
) -> Compared | None:
    """Compare a photograph with its original; None if it has no copy, as it can have none."""
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.photo_folder import read_file, sha256
    from cptools.artifacts.photographs import read_photograph

    if not os.path.lexists(photos / name):
        return Compared(name, "has no original")
    try:
        old = read_photograph(read_file(photos, name)[0])
    except ArtifactError as error:
        return Compared(name, f"its original {error}") if (protected / name).exists() else None
    try:
        if not os.path.lexists(protected / name):
            raise ArtifactError("is missing; run cp-protect again")
        if os.path.islink(protected / name):  # noqa: PTH114 - text
            raise ArtifactError("is a link; replace it by a file")
        new = read_photograph(read_file(protected, name)[0])
        known = [record for record in records if record.output == sha256(new.data)]
        _check_record(old, records, known)
        radius = epsilon or (known[-1].epsilon if known else EPSILON)
        return _compared(name, old, new, Fraction(radius), is_known=bool(known))
    except ArtifactError as error:
        return Compared(name, str(error))


def _check_record(old: Photograph, records: tuple[Record, ...], known: list[Record]) -> None:
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.photo_folder import sha256

    if records and not known:
        raise ArtifactError("has changed since cp-protect wrote it; remove it and run that again")
    if known and all(record.source != sha256(old.data) for record in known):
        raise ArtifactError("its original has changed since; run cp-protect again")


def _compared(
    name: str, old: Photograph, new: Photograph, radius: Fraction, *, is_known: bool
) -> Compared:
    import numpy as np

    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.photographs import metadata
    from cptools.core.spread import beyond_bound, distances

    for what in ("format", "mode", "size", "orientation"):
        was, now = getattr(old.kind, what), getattr(new.kind, what)
        if was != now:
            raise ArtifactError(f"has the {what} {_told(now)}, its original {_told(was)}")
    if metadata(old.data) != metadata(new.data):
        raise ArtifactError("has other metadata than its original")
    colors = old.num_colors
    if not np.array_equal(old.pixels[:, :, colors:], new.pixels[:, :, colors:]):
        raise ArtifactError("has another transparency than its original")
    apart = distances(old.pixels[:, :, :colors], new.pixels[:, :, :colors])
    full = int(np.iinfo(old.pixels.dtype).max)
    bound = int(radius * full)
    if len(apart) == 1:
        raise ArtifactError("is its original, without noise; protect it")
    beyond = beyond_bound(apart, bound)
    most = len(apart) - 1
    if old.kind.is_lossless and most > bound:
        raise ArtifactError(f"is {most} levels from its original, epsilon allows {bound}")
    if not is_known and quantile(beyond, 0.999) > bound:
        raise ArtifactError(f"is {most} levels from its original, twice what epsilon allows")
    seen = np.abs(_seen(old).astype(int) - _seen(new)).mean()
    levels = -(-most * 255 // full)
    return Compared(name, "", levels, () if old.kind.is_lossless else beyond, float(seen))


def _told(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _seen(photo: Photograph) -> Any:
    """A photograph as who trains on it decodes it."""
    from cptools.artifacts.pictures import decode_pictures

    return decode_pictures("it", ["it"], [(0, photo.data)], size=_SEEN)[0]
