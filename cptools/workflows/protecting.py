"""One photograph protected: what the processes of `cp-protect` do, without torch."""

from __future__ import annotations

from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cptools.workflows.pool import one_large

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cptools.artifacts.photo_folder import Record
    from cptools.artifacts.photographs import Photograph

_LARGE = 32 << 20  # pixels from which photographs are worked on one at a time


class Task(NamedTuple):
    """What to do with a photograph.

    Attributes:
        root: folder of the originals.
        output: folder of the protected ones, a real path.
        origin: digest of the path of `root`.
        name: of the photograph below both.
        noise: [3, S, S] in [-1, 1].
        epsilon: that 1 of the noise stands for.
        delta: digest of the delta.
        quality: of JPEG.
        before: what the record of `output` says of the name.
    """

    root: Path
    output: Path
    origin: str
    name: str
    noise: NDArray[Any]
    epsilon: str
    delta: str
    quality: int
    before: tuple[Record, ...] = ()


class Outcome(NamedTuple):
    """What became of a photograph.

    Attributes:
        name: its own.
        refused: why it was left out; empty if it was not.
        is_new: whether a file was written.
        beyond: of a JPEG: number of values by how many levels they are beyond the bound, at least
            0; empty of other formats.
        remarks: what of the original the copy lacks, or has unchanged.
    """

    name: str
    refused: str = ""
    is_new: bool = False
    beyond: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()


class Shrunk(NamedTuple):
    """A photograph as who trains on it sees it: uint8 [3, S, S]; or why it is left out."""

    name: str
    image: NDArray[Any] | None
    refused: str = ""


def shrink_file(root: Path, name: str, size: int) -> Shrunk:
    """The central square of a photograph that can be protected, as `cp-dataset --size` makes it."""
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.photo_folder import read_file
    from cptools.artifacts.photographs import inspect_photograph
    from cptools.artifacts.pictures import decode_pictures

    try:
        data, _ = read_file(root, name)
        inspect_photograph(data)
        return Shrunk(name, decode_pictures(root, [name], [(0, data)], size=size)[0])
    except ArtifactError as error:
        return Shrunk(name, None, str(error).removeprefix(f"{root}: "))


def protect_file(task: Task) -> Outcome:
    """Protect a photograph: read, add noise, write, and look at what was written.

    Raises:
        OSError: the output cannot be written.
    """
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.photo_folder import put_file, read_file, sha256
    from cptools.artifacts.photographs import inspect_photograph, read_photograph

    try:
        data, status = read_file(task.root, task.name)
        told: dict[str, Any] = {
            "name": task.name, "origin": task.origin, "source": sha256(data),
            "size": status.st_size, "modified": status.st_mtime_ns, "delta": task.delta,
            "epsilon": task.epsilon,
        }  # fmt: skip
        if _is_done(task, told):
            return Outcome(task.name)
        _check_origin(task, told["source"])
        width, height = inspect_photograph(data).size
        with one_large() if width * height > _LARGE else nullcontext():
            photo = read_photograph(data)
            encoded, beyond = _protected(photo, task)
        encoded, kept = _with_noisy_preview(encoded, task, photo.kind.orientation)
        quality = None if photo.kind.is_lossless else task.quality
        record = _record(told, quality=quality, output=sha256(encoded), length=len(encoded))
        remarks = tuple(filter(None, (photo.remark, kept)))
        mine = {known.output for known in task.before}
        is_new = put_file(task.output, encoded, record, mine)
        return Outcome(task.name, is_new=is_new, beyond=beyond, remarks=remarks)
    except ArtifactError as error:
        return Outcome(task.name, refused=str(error))


def _record(told: dict[str, Any], **others: Any) -> Record:
    from cptools.artifacts.photo_folder import Record

    return Record(**told, **others)


def _is_done(task: Task, told: dict[str, Any]) -> bool:
    """Whether the file is there, by an original that was touched but not changed."""
    from cptools.artifacts.photo_folder import add_record

    for known in task.before:
        is_same = known.source == told["source"]
        if (
            is_same
            and is_of(known, task.delta, task.epsilon, task.quality)
            and is_there(task.output, known)
        ):
            add_record(task.output, _record(told, **_written(known)))
            return True
    return False


def _written(known: Record) -> dict[str, Any]:
    return {"quality": known.quality, "output": known.output, "length": known.length}


def is_of(known: Record, delta: str, epsilon: str, quality: int) -> bool:
    """Whether a file was written with this noise."""
    return (known.delta, known.epsilon) == (delta, epsilon) and known.quality in (None, quality)


def is_there(folder: Path, known: Record) -> bool:
    """Whether a file that was written is still there."""
    try:
        return (folder / known.name).lstat().st_size == known.length
    except OSError:
        return False


def _check_origin(task: Task, source: str) -> None:
    """Refuse to put a picture in the place of one of the same name from elsewhere."""
    from cptools.artifacts.errors import ArtifactError

    others = [k for k in task.before if is_there(task.output, k)]
    if others and all(k.source != source and k.origin != task.origin for k in others):
        raise ArtifactError(
            "has the name of another picture that was protected here from another folder; rename"
            " it, or give another output"
        )


def _protected(photo: Photograph, task: Task) -> tuple[bytes, tuple[int, ...]]:
    """The file with noise, and how far it is beyond the bound where its format has a loss."""
    import numpy as np

    from cptools.artifacts.photographs import encode_photograph, read_photograph
    from cptools.core.spread import beyond_bound, distances

    pixels, bound = _noisy(photo, task, photo.kind.orientation)
    encoded = encode_photograph(photo, pixels, quality=task.quality)
    written = read_photograph(encoded)
    apart = distances(photo.pixels, written.pixels)
    is_whole = np.array_equal(written.pixels, pixels) and len(apart) <= bound + 1
    if written.kind != photo.kind or (photo.kind.is_lossless and not is_whole):
        raise RuntimeError(f"{task.name} does not decode to what was written; report it")
    if photo.kind.is_lossless:
        return encoded, ()
    return encoded, beyond_bound(apart, bound)


def _noisy(photo: Photograph, task: Task, orientation: int) -> tuple[Any, int]:
    """The pixels of a photograph with noise, and how many levels they may have moved."""
    import numpy as np

    from cptools.core.spread import poison_pixels, turned

    scale = Fraction(task.epsilon) * int(np.iinfo(photo.pixels.dtype).max)
    noise = turned(task.noise, orientation)
    colors = photo.num_colors
    if colors == 1:  # who trains on it gives all three channels the one
        noise = noise.mean(0, keepdims=True)
    pixels = poison_pixels(photo.pixels[:, :, :colors], noise, float(scale), int(scale))
    if colors < photo.pixels.shape[2]:
        pixels = np.concatenate([pixels, photo.pixels[:, :, colors:]], axis=2)
    return pixels, int(scale)


def _with_noisy_preview(encoded: bytes, task: Task, orientation: int) -> tuple[bytes, str]:
    """The file with noise in the preview that cameras put into EXIF, and what to remark."""
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.photographs import PREVIEW, preview_of, with_preview

    try:
        preview = preview_of(encoded)
        if preview is None:
            return encoded, ""
        replaced = with_preview(encoded, preview, _noisy(preview, task, orientation)[0])
    except ArtifactError:
        replaced = None
    return (encoded, PREVIEW) if replaced is None else (replaced, "")
