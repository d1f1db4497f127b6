"""Folders of photographs: what is in them, and a record of what was protected into them.

Hidden files and `__MACOSX` are passed over. Links are followed to files in the same folder alone.
The record, `RECORD_FILE`, has a line of JSON for each file that was written: digests of the
original, of the noise and of the file, but no pixels. A line is written before its file is, so that
every file that was written by this package has one, however the run ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cptools.artifacts.atomic import atomic_write
from cptools.artifacts.containers import file_member
from cptools.artifacts.errors import ArtifactError

RECORD_FILE = ".cp-protect.jsonl"

_WRITTEN = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")
_OTHERS = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".jp2", ".j2k", ".jpx"), "JPEG 2000"),
    **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"), "raw"
    ),
    ".avif": "AVIF", ".bmp": "BMP", ".gif": "GIF", ".jxl": "JPEG XL", ".psd": "Photoshop",
}  # fmt: skip
_MAX_FILES = 4_000_000
_MAX_LINE = 1 << 16


class Refused(NamedTuple):
    """A file that is left out, and why: what it is; what to do."""

    name: str
    reason: str


@dataclass(frozen=True)
class Photographs:
    """What a folder holds.

    Attributes:
        names: of photographs, as paths below the folder, sorted.
        refused: files that are pictures, but none that can be protected.
        passed: number of other files, by suffix.
    """

    names: tuple[str, ...]
    refused: tuple[Refused, ...] = ()
    passed: Counter[str] = field(default_factory=Counter)


def find_photographs(root: Path) -> Photographs:
    """List a folder by the suffixes of its files; nothing is opened.

    Raises:
        OSError: a folder cannot be read.
        ArtifactError: it holds too many files.
    """
    names: list[str] = []
    refused: list[Refused] = []
    passed: Counter[str] = Counter()
    for num, (name, wrong) in enumerate(_files(root)):
        if num >= _MAX_FILES:
            raise ArtifactError(f"{root} holds more than {_MAX_FILES} files; give a part of it")
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - text is quicker
        if wrong:
            refused.append(Refused(name, wrong))
        elif suffix in _WRITTEN:
            names.append(name)
        elif suffix in _OTHERS:
            kind = _OTHERS[suffix]
            refused.append(Refused(name, f"is {kind}, which is not written; save it as PNG"))
        else:
            passed[suffix or "no suffix"] += 1
    return Photographs(tuple(sorted(names)), tuple(sorted(refused)), passed)


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Names of all files, and what is wrong with those that are not to be opened."""
    real = os.path.realpath(root)
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118 - as above
            for entry in entries:
                name = f"{folder}{entry.name}"
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                elif entry.is_symlink():
                    yield name, _link(real, entry)
                else:
                    wrong = "" if entry.is_file() else "is no regular file; leave it out"
                    yield name, wrong


def _link(root: str, entry: os.DirEntry[str]) -> str:
    if not os.path.exists(entry.path):  # noqa: PTH110 - as above
        return "is a link to nothing; remove it"
    if entry.is_dir():
        return "is a link to a folder; protect that folder itself"
    if not is_within(os.path.realpath(entry.path), root):
        return "is a link out of the folder; protect the file where it is"
    return "" if entry.is_file() else "is no regular file; leave it out"


def is_within(path: str, folder: str) -> bool:
    """Whether a real path is that of a folder or below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def folded(name: str) -> str:
    """What two names share that are one name on some disks: case, and how accents are written."""
    import unicodedata

    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def read_file(root: Path, name: str) -> tuple[bytes, os.stat_result]:
    """The bytes of a photograph, and its status.

    Raises:
        ArtifactError: it is too large, or cannot be read.
    """
    path = root / name
    try:
        status = path.stat()
        return file_member(root, path).read(), status
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror}); check it") from None
    except ArtifactError as error:
        raise ArtifactError(str(error).removeprefix(f"{root}: {name} ")) from None


# The record


class Record(NamedTuple):
    """A file that was written, or was about to be.

    Attributes:
        name: below the folder.
        origin: digest of the path of the folder that the original is in.
        source: SHA-256 of the original.
        size: of the original in bytes.
        modified: when the original was modified, in nanoseconds.
        delta: digest of the delta.
        epsilon: of the delta, such as `8/255`.
        quality: of JPEG; None of other formats.
        output: SHA-256 of the file.
        length: of the file in bytes.
    """

    name: str
    origin: str
    source: str
    size: int
    modified: int
    delta: str
    epsilon: str
    quality: int | None
    output: str
    length: int


def read_records(folder: Path) -> dict[str, list[Record]]:
    """The record of a folder by names; lines that are damaged are passed over."""
    found: dict[str, list[Record]] = {}
    try:
        stream = (folder / RECORD_FILE).open("rb")
    except FileNotFoundError:
        return found
    with stream:
        while line := stream.readline(_MAX_LINE):
            record = _record(line)
            if record is not None:
                found.setdefault(record.name, []).append(record)
    return found


def _record(line: bytes) -> Record | None:
    kinds = {**dict.fromkeys(Record._fields, str), "size": int, "modified": int, "length": int}
    try:
        told = json.loads(line)
        if told.get("quality") is not None:
            kinds["quality"] = int
        else:
            kinds["quality"] = type(None)
        if all(type(told.get(name)) is kind for name, kind in kinds.items()):
            return Record(**{name: told[name] for name in Record._fields})
    except (ValueError, AttributeError, RecursionError):
        pass
    return None


def add_record(folder: Path, record: Record) -> None:
    """Append to the record of a folder, whoever else does so at the same time.

    Raises:
        OSError: the disk is full, or the file is a link.
    """
    line = json.dumps(record._asdict(), separators=(",", ":")).encode() + b"\n"
    path = folder / RECORD_FILE
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with closing(os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":  # a run was cut short
            line = b"\n" + line
        try:
            if file.write(line) != len(line):
                raise OSError(28, os.strerror(28), str(path))
        except OSError as error:
            error.filename = str(path)
            raise


def sha256(data: bytes) -> str:
    """Digest in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def put_file(folder: Path, data: bytes, record: Record, mine: Collection[str]) -> bool:
    """Write a protected photograph, unless it is there.

    Args:
        folder: of all of them, a real path.
        data: the file.
        record: of it.
        mine: digests of what may be replaced.

    Returns:
        Whether it was written.

    Raises:
        ArtifactError: there is a file that is not to be replaced, or a link leads elsewhere.
        OSError: the disk is full or fails.
    """
    target = folder / record.name
    if os.path.realpath(target) != str(target):
        raise ArtifactError(f"would go through a link, {target}; remove the link")
    if (status := _status(target)) is not None:
        there = sha256(target.read_bytes()) if stat.S_ISREG(status.st_mode) else ""
        if there == record.output:
            add_record(folder, record)
            return False
        if there not in mine:
            raise ArtifactError(f"would replace {target}, which is not of cp-protect; move that")
    target.parent.mkdir(parents=True, exist_ok=True)
    add_record(folder, record)
    with atomic_write(target) as stream:
        stream.write(data)
    return True


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
