"""Output files that appear whole or not at all."""

import errno
import io
import os
import stat
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.leftovers import temporary_file

_begun: "weakref.WeakSet[Any]" = weakref.WeakSet()  # standard outputs that were written to

_STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for writing bytes; it is replaced when the block ends well, else left alone.

    The bytes go to a temporary file in the same folder, which is synced, renamed over the target,
    and removed whatever happens, Ctrl-C included; after SIGKILL or a power cut the next run that
    writes into the folder removes it. The mode of an existing file is kept, and a symbolic link
    stays a link. `-` is standard output; it, pipes and devices are written directly.

    Raises:
        ArtifactError: if standard output is closed.
        OSError: as `open` and `write` do.
    """
    if str(path) in _STDOUT:
        with _stdout() as stream:
            yield stream
        return
    old = _status(path)
    if _is_direct(path, old):
        with Path(path).open("wb") as stream:
            yield stream
        return
    target = Path(os.path.realpath(path))
    try:
        with (
            temporary_file(target.parent) as (descriptor, temporary),
            open(descriptor, "wb", closefd=False) as stream,
        ):
            if old is not None:
                os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
            yield stream
            stream.flush()
            os.fsync(descriptor)
            temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        error.filename = str(path)  # none, or that of the temporary file
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a power cut."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # It may be written to but not listed, or its file system has no such thing.
        if error.errno not in (errno.EACCES, errno.EINVAL):
            raise


@contextmanager
def _stdout() -> Iterator[BinaryIO]:
    if sys.stdout is None or sys.stdout.closed:
        raise ArtifactError("standard output is closed; give it a file or a pipe")
    sys.stdout.flush()
    _begun.add(sys.stdout)
    stream: Any = sys.stdout.buffer
    if not isinstance(stream, io.RawIOBase):
        yield stream
        stream.flush()
        return
    # PYTHONUNBUFFERED: this is the raw file, whose `write` may write only a part.
    with open(stream.fileno(), "wb", closefd=False) as buffered:
        yield buffered


def stdout_is_begun() -> bool:
    """Whether standard output already holds an artifact or a part of one."""
    return sys.stdout in _begun


def check_writable(path: str | os.PathLike[str]) -> None:
    """Make sure, before long work, that `atomic_write(path)` can be expected to succeed.

    Raises:
        ArtifactError: for a missing or read-only folder, a read-only file, or a folder as target.
    """
    if str(path) in _STDOUT:
        return
    try:
        old = _status(path)
    except OSError as error:
        raise ArtifactError(f"cannot write {path}: {error.strerror}; give another file") from None
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise ArtifactError(f"cannot write {path}: it is a folder; name a file in it")
    if old is not None and not os.access(path, os.W_OK):
        raise ArtifactError(f"cannot write {path}: it is read-only; give another file")
    if _is_direct(path, old):
        return
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise ArtifactError(f"cannot write {path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ArtifactError(f"cannot write {path}: folder {folder} is read-only; give another")


def is_direct(path: str | os.PathLike[str]) -> bool:
    """Whether `atomic_write` writes there directly: standard output, a pipe or a device."""
    return str(path) in _STDOUT or _is_direct(path, _status(path))


def _status(path: str | os.PathLike[str]) -> os.stat_result | None:
    try:
        return Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_direct(path: str | os.PathLike[str], old: os.stat_result | None) -> bool:
    """Whether the path is a pipe, a device or an open descriptor rather than a file's name."""
    if old is not None and not stat.S_ISREG(old.st_mode):
        return True
    return os.fspath(path).startswith(("/dev/fd/", "/proc/self/fd/", "/dev/stderr"))
