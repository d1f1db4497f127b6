"""Folders, zip and tar archives as streams of files. Nothing is ever extracted to disk.

Recognized by content, not by name: folder, .zip, .tar, and .tar compressed by gzip, bzip2 or xz.
Names such as `../x` or `/x` in archives do no harm.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, NoReturn, cast

from cptools.artifacts.errors import ArtifactError

_MAX_FILE = 256 << 20  # bytes of one file; a larger one is an attack or a mistake
_MAX_DEPTH = 12  # folders in folders; also ends loops of symbolic links
_MAX_FILES = 4_000_000  # in a container, folders included; ImageNet-1k has 1.4 million
_MAX_NAME = 4096  # characters of a file's path
_MAX_NAMES = 512 << 20  # characters of all paths; those of ImageNet-1k have 50 million
_MAX_HEADERS = 1 << 20  # bytes of a tar archive between two files; a long name has some KiB
_MAX_DIRECTORY = 256 << 20  # bytes of the directory of a zip archive; ImageNet-1k's has 120 MiB
_MAX_GROWTH = 100  # bytes that a byte of an archive may become; those of zeros become 1000
_GRACE = 256 << 20  # bytes that any archive may become
_MAX_MESSAGE = 200  # characters of what a library says of a file
_TAR_BLOCK = 512
_IRREGULAR = "is not a regular file; leave it out"
_MAX_ENDS = 100  # reads at the end of a tar archive
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
    readers = {"zip": _zip_members, "tar": _tar_members, "folder": _folder_members}
    num = length = 0
    for name, member in readers[kind](path):
        num, length = num + 1, length + len(name)
        if len(name) > _MAX_NAME or num > _MAX_FILES or length > _MAX_NAMES:
            raise ArtifactError(
                f"{path} holds more than {_MAX_FILES} files, or one with a name of more than"
                f" {_MAX_NAME} characters; give a part of it"
            )
        yield name, member


def _folder_members(root: Path) -> Iterator[tuple[str, Member]]:
    """Folders below one another that links make endless, or too many, end by the limits."""
    visited = 0
    waiting = [(root, 0)]
    while waiting:
        path, depth = waiting.pop()
        if not path.is_dir():
            yield path.relative_to(root).as_posix(), file_member(root, path)
            continue
        if depth > _MAX_DEPTH:
            raise ArtifactError(f"{path} is more than {_MAX_DEPTH} folders deep; is a link a loop?")
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        visited += len(names)
        if visited > _MAX_FILES:
            raise ArtifactError(f"{root} holds more than {_MAX_FILES} files; give a part of it")
        waiting += [(path / name, depth + 1) for name in reversed(names)]


def file_member(root: Path, path: Path) -> Member:
    """A file below a folder."""
    name = path.relative_to(root).as_posix()
    status = path.stat()  # a dangling link is an error, not passed over
    if not stat.S_ISREG(status.st_mode):
        return Member(root, name, 0, partial(_refuse, root, name, _IRREGULAR))
    return Member(root, name, status.st_size, partial(_open_file, root, path))


def _open_file(root: Path, path: Path) -> IO[bytes]:
    """Open a regular file; a pipe that has taken its place meanwhile is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        _refuse(root, path.relative_to(root).as_posix(), _IRREGULAR)
    return file


class _ZipFile(io.BufferedReader):
    """A zip archive on disk whose directory is read only if it is not too large."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"a part of it has {size} bytes")
        return super().read(size)


def _zip_members(path: Path) -> Iterator[tuple[str, Member]]:
    with _ZipFile(io.FileIO(path)) as raw, zipfile.ZipFile(raw) as archive:
        infos = archive.infolist()
        left = allowance(path) - sum(info.file_size for info in infos)
        if left < 0:
            raise _bomb(path)
        for info in infos:
            if info.filename.endswith("/"):
                continue
            name = info.filename.replace("\\", "/").lstrip("/")
            # bzip2 and LZMA could not be stopped in the middle of a block.
            if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                yield name, Member(path, name, info.file_size, partial(archive.open, info))
            else:
                what = "is compressed by another method than deflate; pack it again"
                yield name, Member(path, name, 0, partial(_refuse, path, name, what))


def allowance(path: Path) -> int:
    """The bytes that an archive may become."""
    return _GRACE + _MAX_GROWTH * path.stat().st_size


def _bomb(path: Path) -> ArtifactError:
    return ArtifactError(
        f"{path} would become more than {_MAX_GROWTH} times as large; pack it without compression"
    )


def _decompressed(raw: IO[bytes], head: bytes) -> IO[bytes]:
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if head.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(raw))
    if head.startswith(b"\xfd7zXZ"):
        return cast(IO[bytes], lzma.LZMAFile(raw))
    return raw


class _Stream:
    """A tar archive as a stream: remembers its last block, and ends what takes too much of it.

    tarfile asks for as many bytes as a header claims, and passes over as many as a size claims,
    beyond the end as well.

    Attributes:
        last: the last block read.
        allowed: bytes that may be read from now on.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self.file, self.path = file, path
        self.last = b""
        self.allowed = _MAX_HEADERS
        self._left = allowance(path)
        self._ends = 0

    def read(self, count: int) -> bytes:
        data = self.file.read(count)
        self.last = (self.last + data[-_TAR_BLOCK:])[-_TAR_BLOCK:]
        self.allowed -= len(data)
        self._left -= len(data)
        self._ends += not data
        if self._left < 0:
            raise _bomb(self.path)
        if self.allowed < 0:
            raise tarfile.ReadError(f"a header has more than {_MAX_HEADERS} bytes")
        if self._ends > _MAX_ENDS:
            raise tarfile.ReadError("unexpected end of data")
        return data


def _tar_members(path: Path) -> Iterator[tuple[str, Member]]:
    """The archive as one stream, to its end: checksums and the end mark show a truncated one."""
    with path.open("rb") as raw:
        head = raw.read(6)
        raw.seek(0)
        stream = _Stream(_decompressed(raw, head), path)
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                stream.allowed = member.size + _MAX_HEADERS
                name = member.name.lstrip("/")
                if member.isfile() and not member.issparse():
                    yield name, Member(path, name, member.size, partial(_extract, archive, member))
                elif not member.isdir():
                    is_link = member.issym() or member.islnk()
                    what = "is a link; pack the file itself" if is_link else _IRREGULAR
                    yield name, Member(path, name, 0, partial(_refuse, path, name, what))
                archive.members = []  # else tarfile keeps every one
            stream.allowed = allowance(path)
            while stream.read(1 << 20):
                pass
        if stream.last.count(0) != _TAR_BLOCK:
            raise ArtifactError(f"{path} is truncated (no end mark); get or pack it again")


def _refuse(path: Path, name: str, what: str) -> NoReturn:
    raise ArtifactError(f"{path}: {name} {what}")


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return file


def one_line(error: BaseException) -> str:
    """What an error says, in one line of bounded length without addresses in memory."""
    text = re.sub(r"<([\w.]+) object at 0x\w+>", r"\1", str(error)[:10_000])
    line = " ".join(text.split()) or type(error).__name__
    return line if len(line) <= _MAX_MESSAGE else f"{line[:_MAX_MESSAGE]}..."
