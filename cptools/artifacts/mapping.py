"""Large files in use as they lie on the disk.

They are mapped privately, so that nobody's file is changed; but what others do to a file shows. A
change is noticed before anything is written (`check_inputs`). A file that is cut short takes away
memory that is in use, which the system answers by SIGBUS: `end_with` lets a program say so.
"""

import mmap
import os
import signal
import weakref
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from cptools.artifacts.errors import ArtifactError


class _Mapped(NamedTuple):
    label: str
    descriptor: int
    size: int
    modified: int


_mapped: "weakref.WeakKeyDictionary[mmap.mmap, _Mapped]" = weakref.WeakKeyDictionary()
_enders: list[Callable[[BaseException], object]] = []
_handler: Any = None


def map_file(stream: BinaryIO, label: str, before: os.stat_result) -> mmap.mmap:
    """The bytes of a file: private and writable, so that tensors need no copy.

    Args:
        stream: the file, open for reading.
        label: how messages name it.
        before: its status when its contents were checked.
    """
    mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    descriptor = os.dup(stream.fileno())
    weakref.finalize(mapped, os.close, descriptor)
    _mapped[mapped] = _Mapped(label, descriptor, before.st_size, before.st_mtime_ns)
    if _enders:
        _catch_bus_errors()
    return mapped


def check_inputs() -> None:
    """Make sure that mapped files are what they were when they were read.

    Raises:
        ArtifactError: if one was written to since.
    """
    for label, descriptor, size, modified in _mapped.values():
        now = os.fstat(descriptor)
        if (now.st_size, now.st_mtime_ns) != (size, modified):
            raise ArtifactError(f"{label} changed while it was in use; run the command again")


def end_with(end: Callable[[BaseException], object]) -> None:
    """Let a function end the program once a mapped file is cut short.

    Args:
        end: is given the error, in any thread; then the process ends with exit code 1.
    """
    _enders[:] = [end]


def _catch_bus_errors() -> None:
    """Answer SIGBUS where it happens.

    A handler of Python's own would wait for the instruction that fails to end.
    """
    import ctypes

    global _handler
    if _handler is None:
        _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_end)
        set_handler = ctypes.CDLL(None).signal
        set_handler.argtypes = (ctypes.c_int, type(_handler))
        set_handler.restype = ctypes.c_void_p
        set_handler(signal.SIGBUS, _handler)


def _end(_number: int) -> None:
    try:
        check_inputs()
        _enders[0](OSError("the memory of a mapped file is gone; check the disk"))
    except ArtifactError as error:
        _enders[0](error)
    finally:
        os._exit(1)
