"""Reading and writing artifacts: the same through files and pipes, and nothing half-read."""

import dataclasses
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cptools.artifacts.codec import encode
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.recorded import TOOLS
from cptools.artifacts.schema import (
    KINDS,
    Checkpoint,
    Dataset,
    Delta,
    Encoder,
    Entry,
    Input,
    Source,
)
from cptools.artifacts.stream import open_artifact, write_artifact
from cptools.artifacts.strict_json import dump_json

DIGEST = "0123456789abcdef" * 4

words = st.text(max_size=8)
names = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True)
scalars = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False).filter(lambda x: abs(x) != float("inf"))
    | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
)
values = scalars | st.lists(scalars, max_size=3)
digests = st.binary(max_size=4).map(lambda b: hashlib.sha256(b).hexdigest())


def commands(inner):
    """Entries of any tool, whose side inputs were made by lists of others."""

    def of(tool):
        told = TOOLS[tool]
        named = dict.fromkeys(told.options - {"input"}, values)
        named |= dict.fromkeys(told.flags, st.none() | st.booleans())
        named |= {name: values for name in ("period", "z_9") if told.is_open}
        named |= {"input": st.sampled_from(["shapes", "/ü"])} if "input" in told.options else {}
        inputs = {"input": st.builds(Input, digests)}
        for name, kind in told.sides.items():
            inputs[name] = st.builds(Input, digests, inner, st.sampled_from(["", kind]))
        versions = st.from_regex(r"([0-9]\.[0-9a-z]{1,3})?", fullmatch=True)
        return st.builds(
            Entry,
            st.just(tool),
            versions,
            st.fixed_dictionaries({}, optional=named),
            st.fixed_dictionaries({}, optional=inputs),
        )

    return st.sampled_from(sorted(TOOLS)).flatmap(of)


entries = commands(st.just(()))
for _ in range(2):
    entries = commands(st.lists(entries, max_size=2).map(tuple))
histories = st.lists(entries, max_size=3).map(tuple)
sources = st.none() | st.builds(Source, words, st.dictionaries(names, values, max_size=3), digests)
shares = st.floats(0, 1)
means = st.tuples(shares, shares, shares)
stds = st.tuples(*[st.floats(0, 1, exclude_min=True)] * 3)
sides = st.integers(1, 4)


@st.composite
def datasets(draw):
    n, m, h, w = draw(sides), draw(st.integers(0, 3)), draw(sides), draw(sides)
    classes = draw(st.lists(words, min_size=1, max_size=3, unique=True))
    labels = st.integers(0, len(classes) - 1)
    index = hnp.arrays("int64", n, elements=st.integers(0, 2**62), unique=True)
    others = draw(st.lists(words.filter("none".__ne__), max_size=3, unique=True))
    train, test = (
        draw(st.none() | hnp.arrays("int64", num, elements=st.integers(0, len(others))))
        for num in (n, m)
    )
    return Dataset(
        train_images=draw(hnp.arrays("uint8", (n, 3, h, w))),
        train_labels=draw(hnp.arrays("int64", n, elements=labels)),
        test_images=draw(hnp.arrays("uint8", (m, 3, h, w))),
        test_labels=draw(hnp.arrays("int64", m, elements=labels)),
        train_index=draw(st.none() | index),
        name=draw(words),
        classes=tuple(classes),
        mean=draw(means),
        std=draw(stds),
        source=draw(sources),
        history=draw(histories),
        perturbations=() if train is None and test is None else ("none", *others),
        train_perturbation=train,
        test_perturbation=test,
    )


@st.composite
def deltas(draw):
    width = draw(st.sampled_from([16, 32]))
    shape = (draw(sides), 3, draw(sides), draw(sides))
    return Delta(
        delta=draw(hnp.arrays(f"float{width}", shape, elements=st.floats(-1, 1, width=width))),
        mode=draw(st.sampled_from(["class", "sample"])),
        epsilon=draw(st.sampled_from(["0", "1", "8/255", "16/255"])),
        algorithm=draw(words),
        dataset=draw(digests),
        history=draw(histories),
    )


def tensors(dtypes):
    floats = st.floats(-1e3, 1e3, width=16)
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    return st.sampled_from(dtypes).flatmap(
        lambda d: hnp.arrays(d, shapes, elements=floats if "float" in d else None)
    )


@st.composite
def encoders(draw):
    weights = tensors(["float32", "float16", "int64"])
    curves = hnp.arrays("float32", st.integers(0, 4), elements=st.floats(-9, 9, width=32))
    return Encoder(
        tensors={
            "backbone.conv1.weight": draw(weights),
            **draw(st.dictionaries(names.map("head.{}".format), weights, max_size=3)),
            **draw(st.dictionaries(names.map("curve.{}".format), curves, max_size=2)),
        },
        architecture=draw(words),
        width=draw(sides),
        feature_dim=draw(sides),
        algorithm=draw(words),
        input_size=draw(sides),
        mean=draw(means),
        std=draw(stds),
        source=draw(sources),
        history=draw(histories),
    )


every_dtype = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
checkpoints = st.builds(
    Checkpoint, st.dictionaries(names, tensors(every_dtype), max_size=4), digests
)
STRATEGIES = {
    "dataset": datasets(),
    "delta": deltas(),
    "encoder": encoders(),
    "checkpoint": checkpoints,
}
artifacts = st.one_of(*STRATEGIES.values())


def to_bytes(artifact):
    stdout = io.TextIOWrapper(io.BytesIO())
    with mock.patch.object(sys, "stdout", stdout):
        write_artifact(artifact, "-")
    return stdout.buffer.getvalue()


def metadata_of(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["cptools"])


def with_metadata(data, change):
    """The bytes of an artifact with another header, its tensors as they were."""
    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    table["__metadata__"] = {"cptools": json.dumps(change(metadata_of(data)))}
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def first_format(header):
    """A header as versions without checksums wrote it."""
    return {k: v for k, v in header.items() if k != "checksum"} | {"format": 1}


def from_stdin(data):
    with mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(data))):
        return open_artifact("-").read()


def from_file(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artifact.safetensors"
        path.write_bytes(data)
        return open_artifact(path).read()


def same(a, b):
    assert type(a) is type(b)
    x, y = a.arrays(), b.arrays()
    assert x.keys() == y.keys()
    for name in x:
        assert x[name].dtype == y[name].dtype
        assert y[name].flags.writeable
        assert y[name].flags.aligned
        np.testing.assert_array_equal(x[name], y[name])
    assert encode(a) == encode(b)
    held = {f.name for f in dataclasses.fields(a)} & {"history", "source", "classes", "mean"}
    assert all(getattr(a, name) == getattr(b, name) for name in held)
    return True


def small():
    return Dataset(
        train_images=np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2),
        train_labels=np.array([0, 1, 0, 1]),
        test_images=np.zeros((1, 3, 2, 2), np.uint8),
        test_labels=np.array([1]),
        train_index=None,
        name="tiny",
        classes=("cat", "dog"),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        source=Source("shapes", {"limit": 4}, DIGEST),
        history=(Entry("cp-dataset", "0.1.0", {"input": "shapes", "seed": 0}),),
    )


def test_every_kind_has_a_strategy():
    assert STRATEGIES.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", STRATEGIES)
@pytest.mark.parametrize("read", [from_file, from_stdin])
def test_write_then_read_is_identity(kind, read):
    @settings(deadline=None, max_examples=40)
    @given(STRATEGIES[kind])
    def check(artifact):
        data = to_bytes(artifact)
        assert same(artifact, read(data))
        assert to_bytes(read(data)) == data

    check()


@settings(deadline=None, max_examples=40)
@given(artifacts)
def test_bytes_equal_the_library(artifact):
    arrays = {name: np.array(array) for name, array in artifact.arrays().items()}
    data = to_bytes(artifact)
    header = {**encode(artifact), "checksum": metadata_of(data)["checksum"]}
    assert data == safetensors.numpy.save(arrays, {"cptools": dump_json(header)})


@settings(deadline=None, max_examples=40)
@given(artifacts, st.data())
def test_any_truncation_is_refused(artifact, draw):
    data = to_bytes(artifact)
    cut = data[: draw.draw(st.integers(0, len(data) - 1))]
    for read in (from_file, from_stdin):
        with pytest.raises(ArtifactError, match=r"truncated|empty|not an artifact") as caught:
            read(cut)
        assert "\n" not in str(caught.value)


def test_every_truncation_of_one_file_is_refused():
    data = to_bytes(small())
    for end in range(8, len(data)):
        with pytest.raises(ArtifactError, match=f"truncated after {end} of [0-9]+ bytes; did"):
            from_stdin(data[:end])


@settings(deadline=None, max_examples=20)
@given(artifacts, st.binary(min_size=1, max_size=9))
def test_bytes_after_the_end_are_refused(artifact, more):
    for read in (from_file, from_stdin):
        with pytest.raises(ArtifactError, match="more bytes follow"):
            read(to_bytes(artifact) + more)


@settings(deadline=None, max_examples=300)
@given(artifacts, st.data())
def test_any_changed_byte_is_noticed(artifact, draw):
    data = bytearray(to_bytes(artifact))
    position = draw.draw(st.integers(0, len(data) - 1))
    data[position] ^= draw.draw(st.integers(1, 255))
    for read in (from_file, from_stdin):
        try:
            changed = read(bytes(data))
        except ArtifactError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
        else:  # white space of the JSON
            assert to_bytes(changed) == to_bytes(artifact)


@settings(deadline=None, max_examples=100)
@given(artifacts, st.data())
def test_a_changed_header_is_refused_or_still_valid(artifact, draw):
    data = bytearray(with_metadata(to_bytes(artifact), first_format))
    (length,) = struct.unpack("<Q", data[:8])
    position = draw.draw(st.integers(0, 8 + length - 1))
    data[position] ^= draw.draw(st.integers(1, 255))
    try:
        changed = from_stdin(bytes(data))
    except ArtifactError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert same(changed, from_stdin(to_bytes(changed)))


@pytest.mark.parametrize("action", ["read", "skip"])
@pytest.mark.parametrize("mapped_from", [0, 1 << 30])
def test_every_flipped_bit_of_the_data_is_noticed(tmp_path, monkeypatch, action, mapped_from):
    monkeypatch.setattr("cptools.artifacts.stream.MAPPED_FROM", mapped_from)
    path = tmp_path / "a.safetensors"
    data = to_bytes(small())
    for position in range(len(data) - 100, len(data)):
        for bit in (1, 128):
            flipped = bytearray(data)
            flipped[position] ^= bit
            path.write_bytes(flipped)
            with pytest.raises(ArtifactError, match=r"a\.safetensors: damaged: the data does not"):
                getattr(open_artifact(path), action)()


@pytest.mark.parametrize("kind", STRATEGIES)
def test_older_artifacts_are_read_with_a_note(kind, caplog):
    @settings(deadline=None, max_examples=10)
    @given(STRATEGIES[kind])
    def check(artifact):
        caplog.clear()
        assert same(artifact, from_file(with_metadata(to_bytes(artifact), first_format)))
        assert [r.getMessage().partition(" ")[2] for r in caplog.records] == [
            "has no checksum, as older versions wrote none"
        ]

    check()


def test_a_checksum_cannot_be_taken_away():
    def without(header):
        return {k: v for k, v in header.items() if k != "checksum"}

    with pytest.raises(ArtifactError, match="the checksum is missing"):
        from_stdin(with_metadata(to_bytes(small()), without))
    with pytest.raises(ArtifactError, match="does not fit the checksum"):
        from_stdin(with_metadata(to_bytes(small()), lambda header: header | {"checksum": 7}))
    with pytest.raises(ArtifactError, match="does not fit the checksum"):
        from_stdin(with_metadata(to_bytes(small()), lambda header: header | {"name": "other"}))


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=600))
def test_garbage_is_refused(data):
    for read in (from_file, from_stdin):
        with pytest.raises(ArtifactError):
            read(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty input; did the command before the pipe fail?"),
        (b"cp-generate: error: no such thing\nmore", "text: 'cp-generate: error: no such thing'"),
        (b"<!DOCTYPE html><html>" * 40, "HTML"),
        (b"PK\x03\x04" + bytes(600), "zip archive or PyTorch"),
        (b"\x80\x04\x95" + bytes(600), "pickle"),
        (b"\x89PNG\r\n\x1a\n" + bytes(600), "PNG"),
        (b"\x1f\x8b\x08" + bytes(600), "gzip"),
        (b"\xfd7zXZ\0" + bytes(600), "xz data"),
        (b"\x93NUMPY\1\0" + bytes(600), "numpy"),
        (b"a/b.png" + bytes(250) + b"ustar" + bytes(250), "tar archive"),
        (struct.pack("<Q", 2**63) + b"{}", "unknown"),
        (struct.pack("<Q", 0) + b"{}", "unknown"),
        (b"\x00\x01", "2 unknown bytes"),
        (safetensors.numpy.save({"a": np.zeros(3)}), "not one of cptools"),
        (safetensors.numpy.save({"a": np.zeros(3)}, {"cptools": "[]"}), "no format and kind"),
        (b'\x25\0\0\0\0\0\0\0{"__metadata__":{"cptools":"\\ud800"}}', "surrogates not allowed"),
        (safetensors.numpy.save({}, {"cptools": '{"format":3,"kind":"dataset"}'}), "format 3"),
        (safetensors.numpy.save({}, {"cptools": '{"format":1,"kind":"gift"}'}), "kind 'gift'"),
    ],
)
@pytest.mark.parametrize("read", [from_file, from_stdin])
def test_foreign_input_is_named(data, message, read):
    with pytest.raises(ArtifactError) as caught:
        read(data)
    assert message in str(caught.value)


def test_payload_larger_than_memory_is_refused():
    huge = {"dtype": "U8", "shape": [2**58], "data_offsets": [0, 2**58]}
    header = {"command": "0", "format": 1, "kind": "checkpoint", "history": []}
    text = json.dumps({"__metadata__": {"cptools": json.dumps(header)}, "a": huge}).encode()
    with pytest.raises(ArtifactError, match=r"memory|truncated"):
        from_stdin(struct.pack("<Q", len(text)) + text + bytes(100))


def test_tensors_at_odd_offsets_are_copied_to_aligned_memory():
    order = {"b": ("U8", [1], [0, 1]), "a": ("F32", [2], [1, 9])}
    table = {
        n: dict(zip(("dtype", "shape", "data_offsets"), v, strict=True)) for n, v in order.items()
    }
    header = {"command": "0", "format": 1, "kind": "checkpoint", "history": []}
    text = json.dumps({"__metadata__": {"cptools": json.dumps(header)}, **table}).encode()
    data = struct.pack("<Q", len(text)) + text + b"\7" + np.array([1.5, -2], "<f4").tobytes()
    for read in (from_file, from_stdin):
        a = read(data).arrays()["a"]
        assert a.flags.aligned
        assert a.tolist() == [1.5, -2]


def test_kind_is_checked_before_the_payload(tmp_path):
    path = tmp_path / "a.safetensors"
    write_artifact(small(), path)
    with open_artifact(path, expect=("dataset", "delta")) as reader:
        assert (reader.kind, reader.nbytes) == ("dataset", 5 * 12 + 5 * 8)
        assert reader.specs["train.images"].shape == (4, 3, 2, 2)
        assert reader.header["name"] == "tiny"
    with pytest.raises(
        ArtifactError, match=r"a\.safetensors: is of kind dataset; give one of .*encoder"
    ):
        open_artifact(path, expect=("encoder",))


def test_truncated_file_is_refused_when_opened(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(to_bytes(small())[:-1])
    with pytest.raises(ArtifactError, match="truncated after"):
        open_artifact(path)


@pytest.mark.parametrize("name", ["missing", ".", "a/b"])
def test_unreadable_path_is_named(tmp_path, name):
    with pytest.raises(ArtifactError, match=r"cannot read .*; give another file"):
        open_artifact(tmp_path / name)


@pytest.mark.parametrize(("mapped_from", "is_mapped"), [(0, True), (1 << 30, False)])
def test_large_files_are_mapped_and_none_is_changed(tmp_path, monkeypatch, mapped_from, is_mapped):
    monkeypatch.setattr("cptools.artifacts.stream.MAPPED_FROM", mapped_from)
    path = tmp_path / "a.safetensors"
    write_artifact(small(), path)
    before = path.read_bytes()
    found = open_artifact(path).read()
    assert same(small(), found)
    found.train_images[:] = 255
    assert path.read_bytes() == before
    base = found.train_images
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    owner = base.obj if isinstance(base, memoryview) else base
    assert (type(owner).__name__ == "mmap") == is_mapped


@pytest.mark.parametrize(
    "change", [lambda data: data[:-9], lambda data: data[:-1] + b"\7"], ids=["cut", "flipped"]
)
def test_what_is_read_stays_when_its_file_is_written_to(tmp_path, change):
    path = tmp_path / "a.safetensors"
    write_artifact(small(), path)
    found = open_artifact(path).read()
    path.write_bytes(change(path.read_bytes()))
    assert same(small(), found)


@pytest.mark.parametrize(
    "change", [lambda data: data + b"\7", lambda data: data[:-1] + b"\7"], ids=["more", "flipped"]
)
def test_a_mapped_file_that_is_written_to_is_noticed(tmp_path, monkeypatch, change):
    monkeypatch.setattr("cptools.artifacts.stream.MAPPED_FROM", 0)
    path, output = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_artifact(small(), path)
    os.utime(path, ns=(0, 0))  # clocks of file systems are coarse
    found = open_artifact(path).read()
    write_artifact(found, output)
    before = output.read_bytes()
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ArtifactError, match=r"a\.safetensors changed while it was in use; run"):
        write_artifact(found, output)
    assert output.read_bytes() == before
    del found
    write_artifact(small(), output)


def test_input_may_be_replaced_while_it_is_in_use(tmp_path):
    path = tmp_path / "a.safetensors"
    write_artifact(small(), path)
    first = open_artifact(path).read()
    changed = dataclasses.replace(
        small(), train_images=first.train_images[:1] + 1, train_labels=first.train_labels[:1]
    )
    write_artifact(changed, path)
    assert same(small(), first)
    assert same(changed, open_artifact(path).read())


@pytest.mark.parametrize("action", ["read", "skip"])
def test_fifo(tmp_path, action):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=write_artifact, args=(small(), path))
    writer.start()
    result = getattr(open_artifact(path), action)()
    writer.join()
    assert path.is_fifo()
    assert result is None if action == "skip" else same(small(), result)


def test_skip_notices_truncation():
    data = to_bytes(small())
    for piece, message in ((data[:-1], "truncated"), (data + b"x", "more bytes")):
        stdin = io.TextIOWrapper(io.BytesIO(piece))
        with mock.patch.object(sys, "stdin", stdin), pytest.raises(ArtifactError, match=message):
            open_artifact("-").skip()


def test_non_contiguous_and_big_endian_arrays_are_written_as_they_read():
    images = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3).transpose(0, 3, 1, 2)
    labels = np.array([0, 1, 0, 1], ">i8")
    artifact = dataclasses.replace(small(), train_images=images, train_labels=labels)
    result = from_stdin(to_bytes(artifact))
    np.testing.assert_array_equal(result.train_images, images)
    assert result.train_labels.tolist() == [0, 1, 0, 1]


def test_same_bytes_in_every_process(tmp_path):
    path = tmp_path / "a.safetensors"
    write_artifact(small(), path)
    code = (
        "import sys; from cptools.artifacts.stream import *;"
        "write_artifact(open_artifact(sys.argv[1]).read(), '-')"
    )
    for seed in ("1", "2", "3"):
        command = [sys.executable, "-c", code, str(path)]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, capture_output=True, check=True, env=env)
        assert done.stdout == path.read_bytes()


def test_torch_stays_out():
    code = "import sys, cptools.artifacts.stream, cptools.artifacts.history; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "numpy" in loaded
    assert not loaded & {"torch", "torchvision", "typer", "rich", "PIL", "matplotlib"}
