"""Folders, zip and tar archives as streams of files. Nothing is ever extracted to disk.

Recognized by content, not by name: folder, .zip, .tar, and .tar compressed by gzip, bzip2 or xz.
Names such as `../x` or `/x` in archives do no harm.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, cast

from cptools.artifacts.errors import ArtifactError

_MAX_FILE = 256 << 20  # bytes of one file; a larger one is an attack or a mistake
_MAX_DEPTH = 12  # folders in folders; also ends loops of symbolic links
_TAR_BLOCK = 512
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    gzip.BadGzipFile,
    NotImplementedError,  # zip: compression method
    RuntimeError,  # zip: encrypted
    UnicodeDecodeError,  # zip: names
)


def container(path: Path) -> str | None:
    """What a folder or file is, by its first bytes: `folder`, `zip`, `tar` or None."""
    if path.is_dir():
        return "folder"
    with path.open("rb") as file:
        head = file.read(_TAR_BLOCK)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")) or head[257:262] == b"ustar":
        return "tar"
    return None


class Member(NamedTuple):
    """A file of a container, readable until the next one is asked for."""

    path: Path
    name: str
    size: int
    open: Callable[[], IO[bytes]]

    def read(self) -> bytes:
        """The whole file; raises `ArtifactError` for one that is too large."""
        if self.size > _MAX_FILE:
            raise ArtifactError(
                f"{self.path}: {self.name} is larger than {_MAX_FILE >> 20} MiB; leave it out"
            )
        with self.open() as file:
            return file.read(_MAX_FILE)


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Turn what the readers of containers raise into `ArtifactError`."""
    try:
        yield
    except _DAMAGED as error:
        raise ArtifactError(
            f"{path} is truncated or damaged ({one_line(error)}); get or pack it again"
        ) from None
    except OSError as error:
        name = error.filename or path
        raise ArtifactError(f"cannot read {name}: {error.strerror or error}; check it") from None


def members(path: Path) -> Iterator[tuple[str, Member]]:
    """All files of a container, in its own order."""
    kind = container(path)
    if kind is None:
        raise ArtifactError(f"{path} is not an image folder, zip or tar; give one of these")
    readers = {"zip": _zip_members, "tar": _tar_members}
    return readers[kind](path) if kind in readers else _folder_members(path, path, 0)


def _folder_members(root: Path, folder: Path, depth: int) -> Iterator[tuple[str, Member]]:
    if depth > _MAX_DEPTH:
        raise ArtifactError(f"{folder} is more than {_MAX_DEPTH} folders deep; is a link a loop?")
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.name.startswith("."):
            continue
        child = Path(entry.path)
        if entry.is_dir():
            yield from _folder_members(root, child, depth + 1)
        else:  # a dangling link is an error when it is read, not passed over
            name = child.relative_to(root).as_posix()
            size = entry.stat().st_size
            yield name, Member(root, name, size, partial(_open_file, child))


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _zip_members(path: Path) -> Iterator[tuple[str, Member]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                name = info.filename.replace("\\", "/").lstrip("/")
                yield name, Member(path, name, info.file_size, partial(archive.open, info))


def _decompressed(raw: IO[bytes], head: bytes) -> IO[bytes]:
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if head.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(raw))
    if head.startswith(b"\xfd7zXZ"):
        return cast(IO[bytes], lzma.LZMAFile(raw))
    return raw


class _Tail:
    """A binary file that remembers the last block read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.last = file, b""

    def read(self, count: int) -> bytes:
        data = self.file.read(count)
        self.last = (self.last + data[-_TAR_BLOCK:])[-_TAR_BLOCK:]
        return data


def _tar_members(path: Path) -> Iterator[tuple[str, Member]]:
    """The archive as one stream, to its end: checksums and the end mark show a truncated one."""
    with path.open("rb") as raw:
        head = raw.read(6)
        raw.seek(0)
        stream = _Tail(_decompressed(raw, head))
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
            for member in archive:
                name = member.name.lstrip("/")
                if member.isfile():
                    yield name, Member(path, name, member.size, partial(_extract, archive, member))
                elif member.issym() or member.islnk():
                    yield name, Member(path, name, 0, partial(_refuse_link, path, name))
                archive.members = []  # else tarfile keeps every one
            while stream.read(1 << 20):
                pass
        if stream.last.count(0) != _TAR_BLOCK:
            raise ArtifactError(f"{path} is truncated (no end mark); get or pack it again")


def _refuse_link(path: Path, name: str) -> IO[bytes]:
    raise ArtifactError(f"{path}: {name} is a link; pack the file itself")


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return file


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
