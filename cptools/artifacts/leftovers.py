"""Temporary files and folders, told apart from those that killed runs left behind.

The run that makes a temporary file holds a lock on it, which ends with the run, however that ends.
So one that can be locked is a leftover, and the next run that writes into its folder removes it.
On a file system without locks leftovers stay; their names say what they are.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME = re.compile(r"\.cptools-[0-9a-f]{16}\.tmp")


@contextmanager
def temporary_file(folder: Path) -> Iterator[tuple[int, Path]]:
    """Make an empty file in a folder; it is removed at the end, unless it was renamed.

    Yields:
        Its descriptor, closed at the end, and its path.

    Raises:
        OSError: as `open` does.
    """
    remove_leftovers(folder)
    # The name does not depend on the target's, which may be as long as names can be.
    path = folder / f".cptools-{secrets.token_hex(8)}.tmp"
    try:
        descriptor = _create(path)
        try:
            yield descriptor, path
        finally:
            os.close(descriptor)
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Make an empty folder in a folder; it is removed at the end, unless it was renamed.

    Raises:
        OSError: as `mkdir` does.
    """
    with temporary_file(folder) as (_, lock):
        path = _belonging(lock)
        try:
            path.mkdir()
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders of runs that were killed, as far as possible."""
    with suppress(OSError):
        paths = [Path(entry.path) for entry in os.scandir(folder) if _NAME.fullmatch(entry.name)]
        for path in paths:
            with suppress(OSError):  # its run is alive, or another's; or another was quicker
                _remove(path)


def _create(path: Path) -> int:
    """Make a file and lock it; return its descriptor."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # before it was locked, another run took it for a leftover


def _remove(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(_belonging(path), ignore_errors=True)
        path.unlink()
    finally:
        os.close(descriptor)


def _belonging(lock: Path) -> Path:
    """The folder that a temporary file stands for."""
    return lock.with_suffix(".folder")
