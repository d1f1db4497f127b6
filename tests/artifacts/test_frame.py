"""The wire format: the same bytes as the safetensors library, and nothing hostile gets through."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cptools.artifacts import frame
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.strict_json import dump_json

DTYPES = ["bool", "uint8", "int8", "int16", "uint16", "float16", "int32", "uint32", "float32"]
DTYPES += ["float64", "int64", "uint64"]

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
)
names = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda s: s != "__metadata__")


def encode(tensors, text="{}"):
    specs = frame.layout(tensors)
    payload = b"".join(b.tobytes() for name in specs for b in frame.blocks(tensors[name]))
    return frame.encode_header(specs, {"cptools": text}) + payload


def header(**table):
    return json.dumps(table).encode()


def tensor(dtype="U8", shape=(2,), offsets=(0, 2)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(names, arrays, max_size=6), st.text(st.characters(codec="utf-8")))
def test_bytes_equal_the_library(tensors, text):
    tensors = {name: np.array(array) for name, array in tensors.items()}
    metadata = dump_json({"text": text})
    assert encode(tensors, metadata) == safetensors.numpy.save(tensors, {"cptools": metadata})


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(names, arrays, max_size=6))
def test_header_round_trip(tensors):
    data = encode(tensors)
    (length,) = struct.unpack("<Q", data[:8])
    specs, metadata = frame.decode_header(data[8 : 8 + length])
    assert metadata == {"cptools": "{}"}
    assert {n: (s.dtype, s.shape) for n, s in specs.items()} == {
        n: (a.dtype.name, a.shape) for n, a in tensors.items()
    }
    assert len(data) == 8 + length + sum(s.nbytes for s in specs.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[]", "not an object"),
        (b"\xff\xfe", "damaged header"),
        (b"{", "damaged header"),
        (b'{"a":NaN}', "finite"),
        (b'{"a":1e999}', "finite"),
        (b"[" * 100_000, "damaged header"),
        (b'{"a":' + b"9" * 5000 + b"}", "damaged header"),
        (b'{"__metadata__":{},"__metadata__":{}}', "twice"),
        (b'{"__metadata__":[]}', "metadata"),
        (rb'{"\ud800":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', "ud800"),
        (header(a=3), "'a'"),
        (header(a={}), "'a'"),
        (header(a={**tensor(), "more": 1}), "'a'"),
        (header(a=tensor(dtype="BF16")), "'a'"),
        (header(a=tensor(dtype=8)), "'a'"),
        (header(a=tensor(shape=[-2])), "'a'"),
        (header(a=tensor(shape=[2.0])), "'a'"),
        (header(a=tensor(shape=[True, 2])), "'a'"),
        (header(a=tensor(shape=[1] * 65 + [2])), "'a'"),
        (header(a=tensor(shape=[0, 2**61], offsets=[0, 0])), "'a'"),
        (header(a=tensor(shape=[2**40, 2**40], offsets=[0, 2**80])), "64 bits"),
        (header(a=tensor(shape=[2**31, 2**31], offsets=[0, 2**62])), "'a'"),
        (header(a=tensor(offsets=[0, 3])), "'a'"),
        (header(a=tensor(offsets=[2, 0])), "'a'"),
        (header(a=tensor(offsets=[0])), "'a'"),
        (header(a=tensor(offsets=[-2, 0])), "'a'"),
        (header(a=tensor(offsets=[1, 3])), "hole"),
        (header(a=tensor(), b=tensor(offsets=[1, 3])), "overlaps"),
        (header(a=tensor(), b=tensor()), "overlaps"),
        (header(a=tensor(), b=tensor(offsets=[3, 5])), "hole"),
    ],
)
def test_hostile_headers_are_refused(text, message):
    with pytest.raises(ArtifactError, match=message) as caught:
        frame.decode_header(text)
    assert "\n" not in str(caught.value)


def test_unknown_dtype_is_refused():
    with pytest.raises(ArtifactError, match="complex64"):
        frame.layout({"a": np.zeros(2, np.complex64)})


VIEWS = {"plain": np.s_[:], "rows": np.s_[::2], "columns": np.s_[:, 1:], "back": np.s_[::-1, ::-1]}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "|u1"])
def test_blocks_are_the_elements_in_order(monkeypatch, view, dtype):
    monkeypatch.setattr(frame, "BLOCK", 16)
    array = np.arange(7 * 11).reshape(7, 11).astype(dtype)[VIEWS[view]]
    pieces = list(frame.blocks(array))
    assert len(pieces) > 1
    assert all(p.flags.c_contiguous and p.dtype.byteorder != ">" for p in pieces)
    np.testing.assert_array_equal(np.concatenate(pieces), array.reshape(-1))


def test_blocks_of_a_contiguous_array_are_views():
    array = np.zeros((4, 5), np.float32)
    assert all(np.shares_memory(array, block) for block in frame.blocks(array))
