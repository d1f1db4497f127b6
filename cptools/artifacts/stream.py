"""Read and write artifacts: files and pipes carry the same bytes.

A reader checks everything at the door: the header when it is opened, so that a tool can refuse
bad input before it does anything slow; the contents, against the checksum too, when they are read.
"""

import fcntl
import logging
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from cptools.artifacts import checksum
from cptools.artifacts.atomic import atomic_write, check_writable
from cptools.artifacts.codec import build, decode, encode, encode_failure, validate
from cptools.artifacts.errors import ArtifactError, UpstreamError
from cptools.artifacts.frame import (
    Array,
    Spec,
    decode_header,
    encode_header,
    layout,
    payload,
    read_header,
    truncated,
)
from cptools.artifacts.mapping import check_inputs, map_file
from cptools.artifacts.schema import Artifact, Entry
from cptools.artifacts.strict_json import dump_json, load_json

__all__ = [
    "Reader",
    "atomic_write",
    "check_writable",
    "failure",
    "open_artifact",
    "write_artifact",
]

MAPPED_FROM = 1 << 30  # bytes; a smaller file is read, which later changes to it cannot reach

_log = logging.getLogger(__name__)

_KEY = "cptools"  # the one metadata key: several would be stored in random order by the library
_PIPE = 1 << 20  # bytes; the most that Linux grants without privileges
_PIECE = 1 << 18  # bytes; read and hashed while they are in the cache


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
        self._stream: BinaryIO | None = stream
        is_file = _is_regular(stream) and stream.tell() == 0
        text = read_header(stream)
        self.specs, self.header, self._decoded = _parse(text)
        self.label = label
        self.kind: str = self._decoded["kind"]
        self.history: tuple[Entry, ...] = self._decoded["history"]
        self.nbytes = sum(spec.nbytes for spec in self.specs.values())
        self._start = 8 + len(text)
        self._is_mapped = is_file and self.nbytes >= MAPPED_FROM
        if is_file:
            size = os.fstat(stream.fileno()).st_size
            self._check_size(size - self._start, is_at_end=size <= self._start + self.nbytes)

    def read(self) -> Artifact:
        """Read the payload and check the contents; at most once.

        Returns:
            The artifact; its tensors are writable views of one buffer.

        Raises:
            ArtifactError: if the payload is short, is followed by more, does not fit the checksum,
                or holds bad values.
        """
        with _named(self.label), self:
            data = self._map() if self._is_mapped else self._receive()
            views = {name: _view(data, spec) for name, spec in self.specs.items()}
            artifact = build(self._decoded, views)
            artifact.check()
        return artifact

    def skip(self) -> None:
        """Check the payload against the checksum without keeping it.

        Raises:
            ArtifactError: if it is short, is followed by more, or does not fit.
        """
        with _named(self.label), self:
            self._pass()

    def close(self) -> None:
        """Close the file, unless it is standard input; `read` does so itself."""
        if self._stream is not None and self._stream is not _stdin():
            self._stream.close()
        self._stream = None

    def __del__(self) -> None:
        self.close()  # of a reader that nobody reads, as the command is refused

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> Array:
        try:
            received = np.empty(self.nbytes, np.uint8)
        except (MemoryError, ValueError):
            raise ArtifactError(f"needs {self.nbytes} bytes of memory; use fewer images") from None
        self._consume(lambda begin, end: received.data[begin:end])
        return received

    def _map(self) -> Array:
        """The payload as it lies on the disk, once it has been checked."""
        assert self._stream is not None
        before = os.fstat(self._stream.fileno())
        self._pass()
        mapped = map_file(self._stream, self.label, before)
        return np.frombuffer(mapped, np.uint8, offset=self._start)

    def _pass(self) -> None:
        """Read and check the payload without keeping it."""
        scratch = memoryview(bytearray(_PIECE))
        self._consume(lambda begin, end: scratch[: end - begin])

    def _consume(self, place: Callable[[int, int], memoryview]) -> None:
        """Read the payload piece by piece into `place(begin, end)`; check size and checksum."""
        if self._stream is None:
            raise ValueError("the reader is closed")
        _widen(self._stream)
        total, count = checksum.begin(self.specs, self.header), 0
        while count < self.nbytes:
            piece = place(count, min(count + _PIECE, self.nbytes))
            received = self._stream.readinto(piece)  # type: ignore[attr-defined]
            if not received:
                break
            total.update(piece[:received])
            count += received
        self._check_size(count, is_at_end=not self._stream.read(1))
        if checksum.KEY not in self.header:
            _log.warning("%s has no checksum, as older versions wrote none", self.label)
        elif total.hexdigest() != self.header[checksum.KEY]:
            raise ArtifactError(
                "damaged: the data does not fit the checksum; copy the file again, or make it again"
            )

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
    fields = encode(artifact)
    total = checksum.begin(specs, fields)
    for block in payload(specs, arrays):
        total.update(block.data)
    fields[checksum.KEY] = total.hexdigest()
    header = encode_header(specs, {_KEY: dump_json(fields)})
    _parse(header[8:])
    check_inputs()
    with atomic_write(path) as stream:
        if stream.isatty():
            raise ArtifactError("cannot write binary data to a terminal; use -o FILE or a pipe")
        _widen(stream)
        stream.write(header)
        try:
            for block in payload(specs, arrays):
                stream.write(block.data)
        finally:
            check_inputs()  # first: what is mapped and gone cannot be written


def failure(tool: str, reason: str) -> bytes:
    """What a tool that fails sends down its pipe, so that the reader stops and says why.

    A reader raises `UpstreamError` for it. All bytes are ASCII, the length included: a script that
    captures the output of a tool as text can do so if it fails.
    """
    fields = encode_failure(tool, reason)
    fields[checksum.KEY] = checksum.begin({}, fields).hexdigest()
    text = encode_header({}, {_KEY: dump_json(fields)})[8:]
    text += b" " * (-len(text) % 256 if len(text) & 128 else 0)
    return struct.pack("<Q", len(text)) + text


@contextmanager
def _named(label: str) -> Iterator[None]:
    """Put the name of the file before the message of an `ArtifactError`."""
    try:
        yield
    except UpstreamError:
        raise
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
    if not isinstance(header, dict):
        header = {}
    decoded = decode({key: v for key, v in header.items() if key != checksum.KEY}, specs)
    if (checksum.KEY in header) != (header["format"] > 1):
        raise ArtifactError("damaged header: the checksum is missing; make the file again")
    return specs, header, decoded


def _view(data: Array, spec: Spec) -> Array:
    raw = data[spec.begin : spec.begin + spec.nbytes]
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
