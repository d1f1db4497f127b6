"""Read and write artifacts: files and pipes carry the same bytes.

A reader checks everything at the door: the header when it is opened, so that a tool can refuse
bad input before it does anything slow; the contents when they are read.
"""

import fcntl
import mmap
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from cptools.artifacts.atomic import atomic_write, check_writable
from cptools.artifacts.codec import build, decode, encode, validate
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.frame import (
    Array,
    Spec,
    blocks,
    decode_header,
    dump_json,
    encode_header,
    layout,
    load_json,
    read_header,
    truncated,
)
from cptools.artifacts.schema import Artifact, Entry

__all__ = ["Reader", "atomic_write", "check_writable", "open_artifact", "write_artifact"]

_KEY = "cptools"  # the one metadata key: several would be stored in random order by the library
_PIPE = 1 << 20  # bytes; the most that Linux grants without privileges


class Reader:
    """An artifact whose header has been read and checked.

    Attributes:
        label: how messages name the file.
        kind: `dataset`, `delta`, `encoder` or `checkpoint`.
        header: the JSON object of the header.
        specs: dtype and shape of each tensor, by name.
        history: the commands that made it, oldest first.
        nbytes: size of the payload in bytes.
    """

    def __init__(self, stream: BinaryIO, label: str) -> None:
        # A regular file is mapped; a pipe, or a file not at its start, is read.
        is_mapped = _is_regular(stream) and stream.tell() == 0
        text = read_header(stream)
        self.specs, self.header, self._decoded = _parse(text)
        self.label = label
        self.kind: str = self._decoded["kind"]
        self.history: tuple[Entry, ...] = self._decoded["history"]
        self.nbytes = sum(spec.nbytes for spec in self.specs.values())
        self._start = 8 + len(text)
        self._stream: BinaryIO | None = stream
        self._payload: Array | None = None
        if is_mapped:
            size = os.fstat(stream.fileno()).st_size
            self._check_size(size - self._start, is_at_end=size <= self._start + self.nbytes)
            # Private and writable: tensors need no copy, and the file never changes.
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            self._payload = np.frombuffer(mapped, np.uint8, offset=self._start)
            self.close()

    def read(self) -> Artifact:
        """Read the payload and check the contents; at most once.

        Returns:
            The artifact; its tensors are writable views of one buffer.

        Raises:
            ArtifactError: if the payload is short, is followed by more, or holds bad values.
        """
        with _named(self.label), self:
            payload = self._receive() if self._payload is None else self._payload
            self._payload = None
            views = {name: _view(payload, spec) for name, spec in self.specs.items()}
            artifact = build(self._decoded, views)
            artifact.check()
        return artifact

    def skip(self) -> None:
        """Pass over the payload, so that the writer of a pipe can end and a short one is noticed.

        Raises:
            ArtifactError: if the payload is short or is followed by more.
        """
        with _named(self.label), self:
            count = 0
            while self._stream is not None and (piece := self._stream.read(_PIPE)):
                count += len(piece)
            if self._payload is None:
                self._check_size(count, is_at_end=count <= self.nbytes)
            self._payload = None

    def close(self) -> None:
        """Close the file, unless it is standard input; `read` does so itself."""
        if self._stream is not None and self._stream is not _stdin():
            self._stream.close()
        self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> Array:
        if self._stream is None:
            raise ValueError("the reader is closed")
        try:
            payload = np.empty(self.nbytes, np.uint8)
        except (MemoryError, ValueError):
            raise ArtifactError(f"needs {self.nbytes} bytes of memory; use fewer images") from None
        _widen(self._stream)
        count = self._stream.readinto(payload.data)  # type: ignore[attr-defined]
        self._check_size(count, is_at_end=not self._stream.read(1))
        return payload

    def _check_size(self, count: int, *, is_at_end: bool) -> None:
        if count < self.nbytes:
            raise truncated(self._start + count, self._start + self.nbytes)
        if not is_at_end:
            raise ArtifactError(
                f"more bytes follow the {self._start + self.nbytes} of the artifact;"
                " give one artifact per file or pipe"
            )


def open_artifact(path: str | os.PathLike[str], *, expect: tuple[str, ...] | None = None) -> Reader:
    """Open a file or, for `-`, standard input; read and check the header.

    Args:
        path: file, pipe, or `-`.
        expect: the kinds that the caller can use; None for any.

    Raises:
        ArtifactError: if there is no such file, it is not a valid artifact, or of another kind.
    """
    label = "standard input" if str(path) == "-" else str(path)
    stream = _open(path)
    try:
        with _named(label):
            reader = Reader(stream, label)
            if expect is not None and reader.kind not in expect:
                wanted = " or ".join(expect)
                raise ArtifactError(f"is of kind {reader.kind}; give one of kind {wanted}")
    except BaseException:
        if stream is not _stdin():
            stream.close()
        raise
    return reader


def write_artifact(artifact: Artifact, path: str | os.PathLike[str]) -> None:
    """Write an artifact to a file (see `atomic_write`) or, for `-`, to standard output.

    The bytes are those of `safetensors.numpy.save`, and the same in every process.

    Raises:
        ArtifactError: for an artifact that a reader would refuse, and for a terminal.
    """
    validate(artifact)
    arrays = artifact.arrays()
    specs = layout(arrays)
    header = encode_header(specs, {_KEY: dump_json(encode(artifact))})
    _parse(header[8:])
    with atomic_write(path) as stream:
        if stream.isatty():
            raise ArtifactError("cannot write binary data to a terminal; use -o FILE or a pipe")
        _widen(stream)
        stream.write(header)
        for name in specs:
            for block in blocks(arrays[name]):
                stream.write(block.data)


@contextmanager
def _named(label: str) -> Iterator[None]:
    """Put the name of the file before the message of an `ArtifactError`."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(f"{label}: {error}") from None


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    if str(path) == "-":
        stream = _stdin()
        if stream is None:
            raise ArtifactError("standard input is closed; give a file")
        return stream
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; give another file") from None


def _stdin() -> BinaryIO | None:
    return None if sys.stdin is None else sys.stdin.buffer


def _parse(text: bytes) -> tuple[dict[str, Spec], dict[str, Any], dict[str, Any]]:
    """Return a header's tensors, its cptools object, and that object decoded and checked."""
    specs, metadata = decode_header(text)
    if not isinstance(metadata.get(_KEY), str):
        raise ArtifactError(
            "a safetensors file, but not one of cptools; give a file written by cptools"
        )
    header = load_json(metadata[_KEY])
    return specs, header, decode(header, specs)


def _view(payload: Array, spec: Spec) -> Array:
    raw = payload[spec.begin : spec.begin + spec.nbytes]
    view = np.frombuffer(raw, np.dtype(spec.dtype).newbyteorder("<")).reshape(spec.shape)
    return view if view.flags.aligned else view.copy()


def _is_regular(stream: BinaryIO) -> bool:
    with suppress(OSError):  # streams in memory have no descriptor
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    return False


def _widen(stream: BinaryIO) -> None:
    """Let a pipe hold as much as it may: fewer switches between the two processes."""
    with suppress(OSError, AttributeError):  # not a pipe, or not on Linux
        fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
