"""The safetensors wire format: 8 bytes of length, a JSON header, then the tensors without holes.

Our own few lines instead of the library's, because it can neither stream into a pipe nor say what
is wrong with a bad one. The bytes are the same as `safetensors.numpy.save` would give.
Format: https://github.com/huggingface/safetensors#format
"""

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.signatures import looks_like
from cptools.artifacts.strict_json import load_json

Array = npt.NDArray[Any]

MAX_HEADER = 8 << 20  # bytes; ours are a few KiB, 100 more per tensor of an encoder
MAX_TENSORS = 20_000  # the largest public backbones have a few thousand, a checkpoint three times
MAX_NAME = 1000  # characters of a tensor's name
BLOCK = 4 << 20  # bytes handled at once where tensors are checked, hashed or written

# numpy name -> safetensors name, in the order of the library's own enumeration: it stores the
# tensors by descending dtype, then by name, which also aligns them.
_DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}
_NAMES = {code: name for name, code in _DTYPES.items()}
_RANK = {name: rank for rank, name in enumerate(_DTYPES)}


class Spec(NamedTuple):
    """What a header says of one tensor: numpy's dtype name, shape, first byte in the payload."""

    dtype: str
    shape: tuple[int, ...]
    begin: int = 0

    @property
    def nbytes(self) -> int:
        """Size of the tensor in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def layout(arrays: Mapping[str, Array]) -> dict[str, Spec]:
    """Place tensors one after the other in the order of the format.

    Raises:
        ArtifactError: for a dtype that the format or numpy lacks.
    """
    for name, array in arrays.items():
        if array.dtype.name not in _RANK:
            raise ArtifactError(f"tensor {name!r} has dtype {array.dtype}; convert it to another")
    names = sorted(arrays, key=lambda name: (-_RANK[arrays[name].dtype.name], name))
    specs, begin = {}, 0
    for name in names:
        specs[name] = Spec(arrays[name].dtype.name, arrays[name].shape, begin)
        begin += specs[name].nbytes
    return specs


def encode_header(specs: Mapping[str, Spec], metadata: Mapping[str, str]) -> bytes:
    """The first 8 + N bytes of a file for tensors placed by `layout`.

    Raises:
        ArtifactError: if the header is longer than a reader accepts.
    """
    table: dict[str, Any] = {"__metadata__": dict(metadata)}
    for name, spec in specs.items():
        offsets = [spec.begin, spec.begin + spec.nbytes]
        dtype = _DTYPES[spec.dtype]
        table[name] = {"dtype": dtype, "shape": list(spec.shape), "data_offsets": offsets}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ArtifactError(f"a header of {len(text)} bytes is too long; use shorter names")
    return struct.pack("<Q", len(text)) + text


def read_header(stream: BinaryIO) -> bytes:
    """Read the first 8 + N bytes and return the N.

    Raises:
        ArtifactError: if there are fewer, or they cannot be a header; it says what they look like.
    """
    prefix = stream.read(8)
    if not prefix:
        raise ArtifactError("empty input; did the command before the pipe fail?")
    if len(prefix) == 8:
        (length,) = struct.unpack("<Q", prefix)
        if 2 <= length <= MAX_HEADER:
            start = stream.read(1)
            if start in (b"{", b""):
                text = start + stream.read(length - 1)
                if len(text) < length:
                    raise truncated(8 + len(text), 8 + length)
                return text
            prefix += start
    guess = looks_like(prefix + stream.read(512))
    raise ArtifactError(f"not an artifact of cptools, but {guess}; make one with cp-dataset")


def truncated(count: int, total: int) -> ArtifactError:
    """The error for an input that ends after `count` of `total` bytes."""
    return ArtifactError(
        f"truncated after {count} of {total} bytes; did the command before the pipe fail?"
    )


def decode_header(text: bytes) -> tuple[dict[str, Spec], dict[str, Any]]:
    """Parse the N header bytes into tensor specs, in payload order, and the metadata.

    Raises:
        ArtifactError: unless the tensors cover the payload exactly once, without holes.
    """
    table = load_json(text)
    if not isinstance(table, dict):
        raise ArtifactError("damaged header: not an object; make the file again")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ArtifactError("damaged header: the metadata is not an object; make the file again")
    if len(table) > MAX_TENSORS:
        raise ArtifactError(f"a header of {len(table)} tensors is too long; at most {MAX_TENSORS}")
    spans = sorted(_span(name, value) for name, value in table.items())
    position = 0
    for begin, end, name, _ in spans:
        if begin != position:
            what = "overlaps the one before" if begin < position else "leaves a hole before it"
            raise ArtifactError(f"damaged header: tensor {name!r} {what}; make the file again")
        position = end
    return {name: spec for _, _, name, spec in spans}, metadata


def blocks(array: Array) -> Iterator[Array]:
    """Yield an array's elements in C order as contiguous little-endian pieces of about `BLOCK`.

    Pieces of a contiguous array are views; others are copied piece by piece, by rows.
    """
    if array.size == 0:
        return
    plain = array.dtype.newbyteorder("<")
    if array.flags.c_contiguous and array.dtype == plain:
        array = array.reshape(-1)
    rows = np.atleast_1d(array)
    step = max(1, BLOCK // (rows.nbytes // len(rows)))
    for start in range(0, len(rows), step):
        yield np.ascontiguousarray(rows[start : start + step], dtype=plain).reshape(-1)


def payload(specs: Mapping[str, Spec], arrays: Mapping[str, Array]) -> Iterator[Array]:
    """The tensors that `layout` placed, in their order, in the pieces of `blocks`."""
    for name in specs:
        yield from blocks(arrays[name])


def _span(name: str, value: object) -> tuple[int, int, str, Spec]:
    """Check one tensor's entry; return it with its place, which is what it sorts by."""
    match value:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [begin, end], **rest}:
            sizes = (*shape, begin, end)
            is_sane = _are_sizes(sizes) and len(shape) <= 32 and _is_name(name)
            if not rest and code in _NAMES and is_sane:
                spec = Spec(_NAMES[code], tuple(shape), begin)
                # The product over the sizes other than 0 is what numpy has to be able to address.
                if math.prod(max(n, 1) for n in shape) < 2**59 and end - begin == spec.nbytes:
                    return begin, end, name, spec
    raise ArtifactError(
        f"damaged header: name, dtype, shape and offsets of tensor {name[:80]!r} do not fit;"
        " make the file again"
    )


def _are_sizes(values: Iterable[object]) -> bool:
    return all(type(v) is int and 0 <= v < 2**62 for v in values)


def _is_name(text: str) -> bool:
    return len(text) <= MAX_NAME and not any("\ud800" <= c <= "\udfff" for c in text)
