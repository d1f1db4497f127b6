"""Protect photographs as their owner has them: `cp.protect`, the workflow of `cp-protect`."""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cptools.text import shown
from cptools.workflows.doors import (
    check_artifact,
    check_count,
    check_flag,
    check_path,
    read_epsilon,
)
from cptools.workflows.originals import find_originals, photo_folder
from cptools.workflows.pool import Pool, ended, processes
from cptools.workflows.progress import Progress, Track, tracker
from cptools.workflows.protecting import (
    Outcome,
    Shrunk,
    Task,
    is_of,
    is_there,
    protect_file,
    shrink_file,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cptools.artifacts.photo_folder import Record, Refused
    from cptools.artifacts.schema import Dataset, Delta

QUALITY = 95
SIZE = 32
CLUSTERS = 10
SURVIVE = "jpeg:75,resize:0.5,blur:1"  # such noise was stronger, too (examples/results/survival)

_BATCH = 64  # photographs that find their rows at a time
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Protected:
    """What became of a folder of photographs.

    Attributes:
        delta: the noise, for photographs that come later.
        written: number of photographs that were protected.
        kept: number of those that had been before.
        refused: names of those that were left out, and why.
        passed: number of files that are no pictures, by suffix.
        beyond: of JPEG files, which have a loss of their own: number of values by how many levels
            they are further from the original than epsilon, at least 0.
        remarks: number of photographs by what their copies lack, or have unchanged.
    """

    delta: "Delta"
    written: int = 0
    kept: int = 0
    refused: "tuple[Refused, ...]" = ()
    passed: Counter[str] = field(default_factory=Counter)
    beyond: tuple[int, ...] = ()
    remarks: Counter[str] = field(default_factory=Counter)


def protect(
    photos: "str | os.PathLike[str]",
    output: "str | os.PathLike[str]",
    delta: "Delta | None" = None,
    *,
    quality: int = QUALITY,
    size: int | None = None,
    clusters: int | None = None,
    epsilon: "str | float | Fraction | None" = None,
    seed: int | None = None,
    strict: bool = False,
    jobs: int | None = None,
    learned: "Callable[[Delta], object] | None" = None,
    progress: Progress = None,
    **settings: Any,
) -> Protected:
    """Protect photographs: each is written with its own size, name, format and metadata.

    Noise that was learned at one size is spread over photographs of any size, so that it is there
    when somebody shrinks them to train on them. JPEG files are encoded anew, at full resolution of
    the colors (4:4:4); PNG and WebP files without loss. Files that are there from an earlier run
    are left alone. Uses processes: call it below `if __name__ == "__main__":` in a script.

    Args:
        photos: folder of JPEG, PNG and WebP files; folders in it are kept.
        output: folder for the protected ones, made if it is not there.
        delta: a class-wise one, of an earlier run or of `cp.generate`; its assigner finds the row
            of each photograph, or else the folder of its class. None: learn one, without labels.
        quality: of JPEG files, 1 to 100.
        size: of the images that the delta is learned from, in pixels; None: 32.
        clusters: number of groups of similar photographs that it has a row for; None: 10.
        epsilon: L-infinity bound of the noise, for pixels in [0, 1]; None: "8/255".
        seed: random seed of learning; None: 0.
        strict: raise for the first photograph that cannot be protected; otherwise it is left out.
        jobs: number of processes; None: one for each core.
        learned: is given a delta as soon as it is learned, to save it.
        progress: True shows bars, False none; None: bars in a notebook. Or a function like
            `cptools.workflows.progress.Track`.
        **settings: more of `cp.generate`, which learns the delta; `survive` is
            "jpeg:75,resize:0.5,blur:1" unless it is given.

    Returns:
        The delta, and what became of each file.

    Raises:
        ValueError: the folders, the delta or an argument are not as described.
        OSError: the output cannot be written.
    """
    track = tracker(progress)
    check_flag(strict, name="strict")
    if jobs is not None:
        check_count(jobs, name="jobs")
    if check_count(quality, name="quality") > 100:
        raise ValueError(f"`quality` {quality} is more than 100; give 1 to 100")
    root, folder = check_folders(photos, output)
    learning = {"size": size, "clusters": clusters, "epsilon": epsilon, "seed": seed, **settings}
    learning = {name: value for name, value in learning.items() if value is not None}
    if delta is not None:
        check_artifact(delta, "delta", name="delta")
        check_delta(delta, **learning)
    found = find_originals(root)
    folder.mkdir(exist_ok=True)
    found = _apart(found, folder)
    for one in found.refused:
        _refuse(one.name, one.reason, strict=strict)
    rows: dict[str, int] = {}
    if delta is None:
        with processes(jobs, most=len(found.names)) as pool:
            delta, rows = _learn(root, found.names, pool, track, learning)
        if learned is not None:
            learned(delta)
    result = Protected(delta, refused=found.refused, passed=found.passed)
    work = _Work(root, folder, delta, quality)
    todo = [name for name in found.names if not work.is_done(name)]
    kept = len(found.names) - len(todo)
    if any(name.lower().endswith((".jpg", ".jpeg", ".jpe", ".jfif")) for name in todo):
        _log.info("JPEG files are encoded anew at quality %d, colors at full resolution", quality)
    with processes(jobs, most=len(todo)) as pool:
        outcomes = work.outcomes(todo, rows, pool)
        described = track(
            outcomes, total=len(todo), describe=lambda o: shown(o.name), label="protecting"
        )
        return _collect(result, described, kept, strict=strict)


def check_folders(
    photos: "str | os.PathLike[str]", output: "str | os.PathLike[str]"
) -> tuple[Path, Path]:
    """The folder of the originals, and the real path of that of the protected ones.

    Raises:
        ValueError: one is no folder, or is or lies in the other.
    """
    from cptools.artifacts.photo_folder import is_within

    root = photo_folder(photos, name="photos")
    folder = os.path.realpath(check_path(output, name="output"))
    real = os.path.realpath(root)
    if is_within(folder, real) or is_within(real, folder):
        what = "are one folder" if folder == real else "lie in one another"
        raise ValueError(f"{root} and {output} {what}; give another output")
    if os.path.lexists(folder) and not os.path.isdir(folder):  # noqa: PTH112 - text
        raise ValueError(f"{output} is a file; give a folder")
    if not os.path.isdir(os.path.dirname(folder)):  # noqa: PTH112, PTH120 - text
        raise ValueError(f"there is no folder to make {output} in; make it first")
    return root, Path(folder)


def check_delta(delta: "Delta", **learning: Any) -> None:
    """Refuse a delta that photographs have no row in, or other noise than is asked for.

    Raises:
        ValueError: it is sample-wise, not square, does not say what its rows are for, or is of
            another epsilon or size; or it is given, and how to learn one as well.
    """
    if delta.mode != "class":
        raise ValueError(
            "`delta` is sample-wise, noise for the images it was made of alone; give a class-wise"
            " one (`mode=class`), or none to learn one"
        )
    _, _, height, width = delta.delta.shape
    if height != width:
        raise ValueError(
            f"`delta` is of {width}x{height} pixels; give a square one, made of images of one"
            " `size` (`cp.load`)"
        )
    if delta.assigner is None and not delta.classes:
        raise ValueError(
            "`delta` does not say what its rows are for; make it again with this version, or with"
            " `clusters`"
        )
    if learning.pop("size", width) != width:
        raise ValueError(f"`delta` is of {width} pixels; leave `size` out, or `delta`")
    radius = learning.pop("epsilon", delta.epsilon)
    if read_epsilon(radius) != Fraction(delta.epsilon):
        raise ValueError(
            f"`delta` is of epsilon {delta.epsilon}; leave `epsilon` out, or `delta` to learn"
            " another"
        )
    for name in learning:
        raise ValueError(f"`{name}` is for learning a delta, and `delta` is given; leave one out")


def _apart(found: Any, folder: Path) -> Any:
    """The photographs whose names stay different in a folder, the others refused."""
    from dataclasses import replace

    from cptools.artifacts.photo_folder import Refused, folded

    if not folds_names(folder):
        return found
    first: dict[str, str] = {}
    twice = []
    for name in found.names:
        other = first.setdefault(folded(name), name)
        if other != name:
            reason = f"has the name of {other} on this disk, but for case; rename it"
            twice.append(Refused(name, reason))
    names = tuple(first.values())
    return replace(found, names=names, refused=(*found.refused, *twice))


def folds_names(folder: Path) -> bool:
    """Whether a folder is on a disk where names that differ in case alone are one."""
    from cptools.artifacts.leftovers import temporary_file

    with temporary_file(folder) as (_, path):
        return path.with_name(path.name.upper()).exists()


def _refuse(name: str, reason: str, *, strict: bool) -> None:
    if strict:
        raise ValueError(f"{name} {reason}")
    _log.error("left out %s: it %s", shown(name), reason)


class _Work:
    """Photographs of one folder, with one delta, into another folder."""

    def __init__(self, root: Path, folder: Path, delta: "Delta", quality: int) -> None:
        from cptools.artifacts.history import digest
        from cptools.artifacts.photo_folder import read_records, sha256

        self.root, self.folder, self.delta, self.quality = root, folder, delta, quality
        self.digest = digest(delta.arrays())
        self.origin = sha256(os.fsencode(os.path.realpath(root)))
        self.records = read_records(folder)

    def is_done(self, name: str) -> bool:
        """Whether a photograph was protected before, and has not been touched since."""
        return any(
            is_of(known, self.digest, self.delta.epsilon, self.quality)
            and is_there(self.folder, known)
            and self._is_untouched(known)
            for known in self.records.get(name, ())
        )

    def _is_untouched(self, known: "Record") -> bool:
        try:
            status = (self.root / known.name).stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (known.size, known.modified)

    def outcomes(self, names: list[str], rows: dict[str, int], pool: Pool) -> Iterator[Outcome]:
        """Protect photographs, a few at a time; in their order."""
        return pool.in_order(
            ended(Outcome(name, refused=row))
            if isinstance(row, str)
            else pool.executor.submit(protect_file, self._task(name, row))
            for name, row in self._rows(names, rows, pool)
        )

    def _task(self, name: str, row: int) -> Task:
        noise = self.delta.delta[row].astype("float32")
        before = tuple(self.records.get(name, ()))
        return Task(
            self.root, self.folder, self.origin, name, noise, self.delta.epsilon, self.digest,
            self.quality, before,
        )  # fmt: skip

    def _rows(
        self, names: list[str], rows: dict[str, int], pool: Pool
    ) -> Iterator[tuple[str, int | str]]:
        """The row of the delta for each photograph, or why it has none."""
        new = [name for name in names if name not in rows]
        yield from ((name, rows[name]) for name in names if name in rows)
        if self.delta.assigner is None:
            yield from ((name, row_of_class(name, self.delta.classes)) for name in new)
        elif new:  # or torch is imported for nothing
            yield from self._assigned(new, pool)

    def _assigned(self, names: list[str], pool: Pool) -> Iterator[tuple[str, int | str]]:
        from cptools.workflows.assign import assigning

        assign = assigning(self.delta)
        for batch in shrink(self.root, names, self.delta.delta.shape[-1], pool):
            yield from _rows_of(batch, assign)


def row_of_class(name: str, classes: tuple[str, ...]) -> int | str:
    """The row of the class that a photograph lies in the folder of, or why it has none."""
    for part in reversed(name.split("/")[:-1]):
        if part in classes:
            return classes.index(part)
    few = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
    return f"is in no folder of a class of the delta ({shown(few)}); move it into one"


def shrink(root: Path, names: Iterable[str], size: int, pool: Pool) -> Iterator[list[Shrunk]]:
    """Photographs as who trains on them sees them, in batches; the next is under way meanwhile."""
    names = [*names]
    waiting: deque[list[Future[Shrunk]]] = deque()
    for first in range(0, len(names), _BATCH):
        batch = names[first : first + _BATCH]
        waiting.append([pool.executor.submit(shrink_file, root, name, size) for name in batch])
        if len(waiting) > 1:
            yield [future.result() for future in waiting.popleft()]
    for futures in waiting:
        yield [future.result() for future in futures]


def _rows_of(
    batch: list[Shrunk], assign: "Callable[[NDArray[Any]], NDArray[Any]]"
) -> Iterator[tuple[str, int | str]]:
    import numpy as np

    images = [one.image for one in batch if one.image is not None]
    rows = iter(assign(np.stack(images)).tolist() if images else [])
    yield from ((one.name, one.refused or next(rows)) for one in batch)


def _collect(
    result: Protected, outcomes: Iterable[Outcome], kept: int, *, strict: bool
) -> Protected:
    from dataclasses import replace
    from itertools import zip_longest

    from cptools.artifacts.photo_folder import Refused

    refused = [*result.refused]
    beyond: tuple[int, ...] = ()
    remarks: Counter[str] = Counter()
    written = 0
    for one in outcomes:
        if one.refused:
            refused.append(Refused(one.name, one.refused))
            _refuse(one.name, one.refused, strict=strict)
            continue
        written, kept = written + one.is_new, kept + (not one.is_new)
        beyond = tuple(map(sum, zip_longest(beyond, one.beyond, fillvalue=0)))
        remarks.update(one.remarks)
    for remark, count in remarks.items():
        _log.warning("%d of the photographs %s", count, remark)
    return replace(
        result, written=written, kept=kept, refused=tuple(refused), beyond=beyond, remarks=remarks
    )


# Learning the noise


def _learn(
    root: Path,
    names: tuple[str, ...],
    pool: Pool,
    track: Track,
    learning: dict[str, Any],
) -> "tuple[Delta, dict[str, int]]":
    """A delta that is learned from photographs without labels, and the rows of these."""
    import numpy as np

    from cptools.workflows.assign import assigning
    from cptools.workflows.generate import generate

    size = check_count(learning.pop("size", SIZE), name="size", least=8)
    clusters = learning.pop("clusters", CLUSTERS)
    batches = shrink(root, names, size, pool)
    steps = track(
        (one for batch in batches for one in batch),
        total=len(names), describe=lambda one: shown(one.name), label="reading",
    )  # fmt: skip
    seen = [one for one in steps if one.image is not None]
    if not seen:
        raise ValueError(f"none of the {len(names)} photographs of {root} can be read; check them")
    dataset = photographs_dataset(root, [one.image for one in seen if one.image is not None])
    images = dataset.train_images
    _log.info("learning the noise from %d photographs at %d pixels", len(images), size)
    learning = {"survive": SURVIVE, **learning}
    delta = generate(dataset, clusters=clusters, progress=track, **learning).delta
    assign = assigning(delta)
    rows = np.concatenate([assign(images[k : k + 1024]) for k in range(0, len(images), 1024)])
    return delta, dict(zip((one.name for one in seen), rows.tolist(), strict=True))


def photographs_dataset(root: Path, shrunk: "list[NDArray[Any]]") -> "Dataset":
    """Photographs of a folder as a dataset without labels.

    Args:
        root: the folder, whose name it gets.
        shrunk: uint8 [3, S, S] of each.

    Raises:
        ValueError: a color is constant.
    """
    import numpy as np

    from cptools.artifacts.schema import UNLABELED, Dataset
    from cptools.core.sources.select import channel_statistics

    images = np.stack(shrunk)
    mean, std = channel_statistics(images)
    if not all(std):
        raise ValueError("a color channel is constant over all photographs; use others")
    none = np.zeros(0, np.int64)
    return Dataset(
        images,
        np.zeros(len(images), np.int64),
        np.zeros((0, *images.shape[1:]), np.uint8),
        none,
        None,
        name=root.resolve().name or "photographs",
        classes=(UNLABELED,),
        mean=mean,
        std=std,
        source=None,
    )
