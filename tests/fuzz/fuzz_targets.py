"""What is fuzzed: valid inputs of each reader, and what has to hold of an input that it takes."""

import atexit
import io
import json
import math
import random
import shutil
import struct
import tempfile
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import safetensors
from fuzzing import Target, change_artifact, change_bytes, change_line, change_numbers

from cptools.artifacts import checksum, pictures
from cptools.artifacts.codec import encode, validate
from cptools.artifacts.frame import blocks, encode_header, layout
from cptools.artifacts.schema import (
    UNCHANGED,
    Assigner,
    Checkpoint,
    Dataset,
    Delta,
    Encoder,
    Entry,
    Input,
    Source,
)
from cptools.artifacts.stream import Reader
from cptools.artifacts.strict_json import dump_json

DIGEST = "0123456789abcdef" * 4


@cache
def _folder() -> Path:
    """A folder for inputs that are files, in memory where there is such a place."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _file(data: bytes, name: str = "input") -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


# Artifacts


def _artifacts() -> list[Any]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 3, 2, 2), np.uint8)
    labels = np.array([0, 1, 1, 0])
    source = Source("shapes", {"limit": 4, "classes": ["disk", "ring"], "seed": 0}, DIGEST)
    made = (Entry("cp-dataset", "1", {"input": "shapes", "limit": 4}),)
    side = {"input": Input(DIGEST), "delta": Input(DIGEST, made, "delta")}
    history = (*made, Entry("cp-perturb", "1", {"fraction": 0.5, "noise": False}, side))
    fields: dict[str, Any] = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1), "source": source}
    plain = Dataset(
        *(images, labels, images[:2], labels[:2], None),
        name="shapes",
        classes=("disk", "ring"),
        **fields,
    )
    full = Dataset(
        *(images, labels, images[:1], labels[:1], np.array([9, 0, 3, 4])),
        name="é",
        classes=("disk", "ring"),
        **fields,
        history=history,
        perturbations=(UNCHANGED, "fog:1"),
        train_perturbation=np.array([0, 1, 1, 0]),
    )
    delta = Delta(
        rng.uniform(-1, 1, (2, 3, 2, 2)).astype(np.float16), "class", "8/255", "byol", DIGEST, made
    )
    weights = {
        "backbone.conv1.weight": rng.normal(size=(2, 3, 1, 1)).astype(np.float32),
        "backbone.bn1.num_batches_tracked": np.array(3),
        "head.projector.weight": rng.normal(size=(2, 2)).astype(np.float16),
        "curve.loss": np.array([2, 1], np.float32),
    }
    encoder = Encoder(weights, "resnet18", 2, 2, "simclr", 2, **fields, history=history)
    state = {"model.w": np.zeros((2, 2), np.float32), "round": np.array(3), "b": np.array([True])}
    named = replace(delta, classes=("disk", "ring"))
    centers = rng.normal(size=(2, 2)).astype(np.float32)
    backbone = {name: weights[name] for name in weights if name.startswith("backbone.")}
    assigner = Assigner(
        {**backbone, "centers": centers}, "resnet18", 2, fields["mean"], fields["std"]
    )
    assigned = replace(delta, assigner=assigner)
    return [plain, full, delta, encoder, Checkpoint(state, "0af"), named, assigned]


def to_bytes(artifact: Any) -> bytes:
    """The bytes that `write_artifact` would write."""
    validate(artifact)
    arrays = artifact.arrays()
    specs, fields = layout(arrays), encode(artifact)
    payload = b"".join(block.tobytes() for name in specs for block in blocks(arrays[name]))
    total = checksum.begin(specs, fields)
    total.update(payload)
    fields[checksum.KEY] = total.hexdigest()
    return encode_header(specs, {"cptools": dump_json(fields)}) + payload


def read_artifact(data: bytes) -> None:
    """Read it; what is taken can be written again, reads the same, and the library takes it."""
    artifact = Reader(io.BytesIO(data), "input").read()
    arrays = artifact.arrays()
    _hold_together(artifact)
    assert {name for name, _ in safetensors.deserialize(data)} == set(arrays), "the library differs"
    again = to_bytes(artifact)
    other = Reader(io.BytesIO(again), "input").read()
    assert to_bytes(other) == again, "it is written otherwise the second time"
    assert dump_json(encode(other)) == dump_json(encode(artifact)), "its header reads otherwise"
    for name, array in other.arrays().items():
        assert array.dtype == arrays[name].dtype, name
        assert array.tobytes() == arrays[name].tobytes(), name


def _hold_together(artifact: Any) -> None:
    """What the kinds promise, asked anew."""
    match artifact:
        case Dataset():
            for part in ("train", "test"):
                images, labels = (getattr(artifact, f"{part}_{x}") for x in ("images", "labels"))
                assert images.dtype == np.uint8, "images"
                assert len(images) == len(labels), "labels"
                assert all(0 <= label < len(artifact.classes) for label in labels), "labels"
        case Delta():
            assert np.isfinite(artifact.delta).all(), "not finite"
            assert np.abs(artifact.delta).max() <= 1, "beyond the ball"
            assert 0 <= Fraction(artifact.epsilon) <= 1, "epsilon"
            assert len(artifact.classes) in (0, len(artifact.delta)), "classes"
            if artifact.assigner is not None:
                arrays = artifact.assigner.tensors
                assert all(np.isfinite(array).all() for array in arrays.values()), "finite"
                assert len(arrays["centers"]) == len(artifact.delta), "centers"
        case Encoder():
            assert all(np.isfinite(array).all() for array in artifact.tensors.values()), "finite"
            assert 1 <= artifact.width < 2**31, "width"


def _about_seeds() -> list[bytes]:
    data = _artifacts()[1]
    about = {"header": encode(data), "ids": [9, 0, 3, 4], "sha256": DIGEST}
    return [json.dumps({**about, "perturbation": {"train": [0, 1, 1, 0]}}).encode()]


def _read_about(data: bytes) -> None:
    from cptools.artifacts.export import read_about

    arrays = {n: a for n, a in _artifacts()[1].arrays().items() if n.endswith(("images", "labels"))}
    about = read_about(data, arrays)
    about.restore(arrays, ("disk", "ring"))


# Reports


def _report_seeds() -> list[bytes]:
    from cptools.artifacts.provenance import history_to_json

    history = history_to_json(_artifacts()[1].history)
    probe = {
        "accuracy_percent": 91.5, "low_percent": 90, "high_percent": 93.0, "total": 1000,
        "dataset": "shapes", "dataset_sha256": DIGEST, "algorithm": "byol", "width": 8,
        "architecture": "resnet18", "settings": {"method": "linear", "seed": 0, "lr": 0.1},
        "selected_on_test": False, "history": history,
    }  # fmt: skip
    audit = {
        "verdict": "poisoned", "score": 1.25, "dataset": "shapes", "dataset_sha256": DIGEST,
        "total": 4, "agreement_score": 0.5, "noise_score": 0.25, "marked_percent": 12.5,
        "settings": {"method": "audit"}, "history": history,
    }  # fmt: skip
    lines = [[probe], [probe, {**probe, "dataset_sha256": "f" * 64}], [audit], [audit, audit]]
    return ["".join(json.dumps(x) + "\n" for x in some).encode() for some in lines]


def _read_report(data: bytes) -> None:
    from cptools.reports import records, tables
    from cptools.reports.report import parse_report, to_csv

    file = str(_file(data, "clean-0.jsonl"))
    conditions, audits = records.read_conditions([file])
    numbers = [n for one in conditions for n in one.values] + [
        n for one in audits for n in one.scores
    ]
    assert all(type(n) in (int, float) and math.isfinite(n) for n in numbers), "no numbers"
    _ = tables.audits(audits) if audits else tables.rows(conditions, {})
    to_csv(records.read_rows([file]))
    str(parse_report(data.decode()))


def _paper_seeds() -> list[bytes]:
    return [json.dumps({"clean": 91.8, "clean.simclr": 90, "other": 0.5}).encode()]


def _read_paper(data: bytes) -> None:
    from cptools.reports.records import read_paper

    told = read_paper(_file(data), ["clean", "other"])
    assert all(0 <= value <= 100 for value in told.values()), "no percentage"


# Arrays of others


def _npy_seeds() -> list[bytes]:
    seeds = []
    for array in (np.ones((2, 3, 2, 2), "f4"), np.ones((2, 2, 2, 3), ">f2"), np.ones(3, "i8")):
        for version in ((1, 0), (2, 0)):
            stream = io.BytesIO()
            np.lib.format.write_array(stream, array, version)
            seeds.append(stream.getvalue())
    return seeds


def _change_npy(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change the text of the header, mostly, and keep its length true."""
    start, end = data.find(b"{"), data.rfind(b"\n", 0, 200) + 1
    if rng.random() < 0.3 or not 8 <= start < end:
        return change_bytes(data, rng, others)
    text = data[start:end].decode("latin1")
    if rng.random() < 0.5:
        text = change_numbers(text, rng)
    else:
        words = ["'<f4'", "'|O'", "'<U3'", "'|V0'", "('<f4',(2,))", "[('a','<f4')]", "'M8[s]'"]
        words += [
            "True",
            "None",
            "()",
            "(1,)",
            "(-1,)",
            "(" * 60,
            "-" * 3000 + "1",
            "'<c8'",
            "'<f16'",
        ]
        place = rng.randrange(len(text))
        text = text[:place] + rng.choice(words) + text[place + rng.choice((0, 1, 5, 12)) :]
    form = "<H" if data[6:7] == b"\1" else "<I"
    size = len(text.encode("latin1", "replace"))

    return (
        data[:8] + struct.pack(form, size % 65536) + text.encode("latin1", "replace") + data[end:]
    )


def _read_npy(data: bytes) -> None:
    from cptools.artifacts.foreign import guess_unit, is_number, kind_of, read_npy, to_epsilon

    path = _file(data)
    if kind_of(path) != "numpy":
        return
    values = read_npy(path)
    assert values.nbytes <= len(data), "it holds more than the file"
    if is_number(values) and values.ndim == 4 and values.size:
        epsilon = Fraction(8, 255)
        delta = to_epsilon(values, guess_unit(values, epsilon), epsilon)
        assert np.abs(delta).max() <= 1, "beyond the ball"


def _npz_seeds() -> list[bytes]:
    stream = io.BytesIO()
    np.savez(stream, delta=np.ones((2, 3, 2, 2), "f4"))
    return [stream.getvalue()]


def _read_import(data: bytes) -> None:
    """As `cptools import` reads a file of any kind."""
    from cptools.artifacts.foreign import kind_of
    from cptools.artifacts.images import list_images, read_images

    path = _file(data)
    kind = kind_of(path)
    if kind == "images":
        names = list_images(path).train.names
        read_images(path, names)
    elif kind == "torch":
        _read_torch(data)


def _torch_seeds(*, is_legacy: bool) -> list[bytes]:
    import argparse

    import torch

    delta = torch.arange(24.0).reshape(2, 3, 2, 2) / 24
    checkpoint = {
        "model": {"delta": delta, "w": torch.ones(3, dtype=torch.bfloat16)},
        "opt": argparse.Namespace(lr=0.1, name="x"),
        "views": [delta[0], delta[1:].transpose(1, 2)],
    }
    seeds = []
    for thing in (delta, checkpoint, torch.nn.Parameter(delta)):
        stream = io.BytesIO()
        torch.save(thing, stream, _use_new_zipfile_serialization=not is_legacy)
        seeds.append(stream.getvalue())
    return seeds


def _read_torch(data: bytes) -> None:
    from cptools.artifacts.foreign import kind_of
    from cptools.workflows.foreign import as_array, read_tensors

    path = _file(data)
    if kind_of(path) != "torch":
        return
    for tensor in read_tensors(path).values():
        assert tensor.untyped_storage().nbytes() <= len(data), "it holds more than the file"
        if tensor.numel() < 10**6:
            as_array(tensor).tobytes()


def _change_zip(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change bytes of a member and pack again, with true sizes and checksums, or raw bytes."""
    import zipfile

    if rng.random() < 0.4:
        return change_bytes(data, rng, others)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = [(info.filename, archive.read(info)) for info in archive.infolist()]
        place = rng.randrange(len(parts))
        name, inside = parts[place]
        match rng.randrange(8):
            case 0:
                parts[place] = (rng.choice([n for n, _ in parts]), inside)
            case 1:
                del parts[place]
            case 2:
                parts[place] = (change_bytes(name.encode(), rng, [b"../"]).decode("latin1"), inside)
            case _:
                parts[place] = (name, change_bytes(inside, rng, [p for _, p in parts]))
        stream = io.BytesIO()
        methods = (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        with (
            warnings.catch_warnings(action="ignore"),  # of names given twice
            zipfile.ZipFile(stream, "w", rng.choice(methods)) as archive,
        ):
            for name, inside in parts:
                archive.writestr(name, inside)
    except Exception:  # noqa: BLE001 - no zip file any more
        return change_bytes(data, rng, others)
    return stream.getvalue()


# Pictures, folders and archives


@cache
def _pictures() -> dict[str, bytes]:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    rgb = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    gray16 = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    made = {}
    for suffix, image, options in (
        ("png", rgb, {}),
        ("jpg", rgb, {"exif": exif}),
        ("gif", rgb.quantize(8), {}),
        ("p.png", rgb.quantize(4), {"transparency": 0}),
        ("16.png", gray16, {}),
        ("bmp", rgb, {}),
        ("tif", rgb, {"compression": "tiff_lzw"}),
        ("webp", rgb, {}),
        ("ppm", rgb, {}),
        ("tga", rgb, {"compression": "tga_rle"}),
    ):
        stream = io.BytesIO()
        form = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.split(".")[-1].upper())
        image.save(stream, form, **options)
        made[suffix] = stream.getvalue()
    return made


def _change_picture(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change bytes; the checksums of PNG are made true again, mostly."""
    data = change_bytes(data, rng, others)
    if not data.startswith(b"\x89PNG") or rng.random() < 0.2:
        return data
    out, place = data[:8], 8
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        body = data[place + 4 : place + 8 + size]
        out += data[place : place + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        place += 12 + size
    return out + data[place:]


def _read_picture(data: bytes) -> None:
    """As the only file of a folder, which has the suffix of another format."""
    from cptools.artifacts.images import list_images, read_images

    folder = _folder() / "pictures"
    (folder / "a").mkdir(parents=True, exist_ok=True)
    (folder / "a" / "0.png").write_bytes(data)
    names = list_images(folder).train.names
    with mock.patch.object(pictures, "_MAX_PIXELS", 4 << 20):  # which keeps to the bound of memory
        pixels = read_images(folder, names, size=4)
    assert pixels.shape == (1, 3, 4, 4), "another size"


def _tree(suffixes: Sequence[str]) -> dict[str, bytes]:
    files = {f"top/train/{'ab'[i % 2]}/{i}.{s}": _pictures()[s] for i, s in enumerate(suffixes)}
    return {
        **files,
        "top/test/a/0.png": _pictures()["png"],
        "top/classes.txt": b"b\na\n",
        "top/cptools.json": _about_seeds()[0],
        "top/README": b"x",
    }


def _zip_seeds() -> list[bytes]:
    import zipfile

    seeds = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name, data in _tree(("png", "jpg", "png")).items():
                archive.writestr(name, data)
        seeds.append(stream.getvalue())
    return seeds


def _tar_seeds() -> list[bytes]:
    import tarfile

    seeds = []
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            for name, data in _tree(("png", "jpg")).items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            info = tarfile.TarInfo("top/train/a/" + "é" * 120 + ".png")
            info.size = len(_pictures()["png"])
            archive.addfile(info, io.BytesIO(_pictures()["png"]))
        seeds.append(stream.getvalue().rstrip(b"\0") + bytes(1536 - len(stream.getvalue()) % 512))
    return seeds


def _change_tar(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change bytes, mostly of headers, whose checksums are made true again; at times compress."""
    import bz2
    import gzip
    import lzma

    headers = [p for p in range(0, len(data) - 511, 512) if data[p + 257 : p + 262] == b"ustar"]
    if headers and rng.random() < 0.7:
        place = rng.choice(headers)
        head = bytearray(data[place : place + 512])
        match rng.randrange(4):
            case 0:
                head[156:157] = rng.choice(list(b"01234567LKxgSXVDM\0")).to_bytes(1, "big")
            case 1:
                size = rng.choice((0, 1, 512, 10**6, 2**33 - 1, rng.randrange(5000)))
                head[124:136] = b"%011o\0" % size
            case 2:
                head[124:136] = b"\x80" + rng.choice((0, 2**40, 2**62)).to_bytes(11, "big")
            case _:
                at = rng.randrange(512)
                head[at] = rng.randrange(256)
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        data = data[:place] + bytes(head) + data[place + 512 :]
    else:
        data = change_bytes(data, rng, others)
    xz = partial(lzma.compress, preset=0)
    pack = rng.choice((None, None, None, gzip.compress, bz2.compress, xz))
    if pack is None or not data:
        return data
    data = pack(data)
    return change_bytes(data, rng, others) if rng.random() < 0.3 else data


def _read_images(data: bytes) -> None:
    from cptools.artifacts.images import list_images, read_images

    path = _file(data)
    found = list_images(path)
    names = [*found.train.names, *(found.test.names if found.test else ())]
    is_export = found.about is not None  # which may name classes without images
    assert set(found.train.labels) == set(range(len(found.classes))) or is_export, "labels"
    read_images(path, names, size=4)


# Datasets in the formats of others


def _small() -> Dataset:
    return _artifacts()[0]


def _arrays_seeds() -> list[bytes]:
    from cptools.artifacts.npz import write_npz

    stream = io.BytesIO()
    write_npz(_small(), stream)
    other = io.BytesIO()
    gray = np.arange(16, dtype=np.uint8).reshape(4, 2, 2)
    np.savez_compressed(other, train_images=gray, train_labels=np.arange(4, dtype="u1")[:, None])
    return [stream.getvalue(), other.getvalue()]


def _change_arrays(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change the header of an array in the archive, mostly, and pack it again."""
    import zipfile

    if rng.random() < 0.4:
        return _change_zip(data, rng, others)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = [(info.filename, archive.read(info)) for info in archive.infolist()]
        place = rng.randrange(len(parts))
        arrays = [part for _, part in parts]
        parts[place] = (parts[place][0], _change_npy(parts[place][1], rng, arrays))
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, inside in parts:
                archive.writestr(name, inside)
    except Exception:  # noqa: BLE001 - no zip file any more
        return change_bytes(data, rng, others)
    return stream.getvalue()


def _list_seeds() -> list[bytes]:
    lines = ["path,label,split", "a.png,cat,train", "./b/../a.png,dog,train", "a.png,cat,test"]
    return ["\n".join(lines).encode(), b'path;label\r\n"a.png";1\r\n', b"path\na.png\n"]


def _change_list(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    if rng.random() < 0.5:
        return change_bytes(data, rng, others)
    words = [
        "../",
        "/etc/passwd",
        '"',
        "|",
        ",",
        ";",
        "\t",
        "\0",
        "split",
        "label",
        "path",
        "\r",
        "",
    ]
    place = rng.randrange(len(data) + 1)
    word = rng.choice([*words, "x" * 200_000, "a/" * 3000, "\udcff"]).encode(
        "utf-8", "surrogateescape"
    )
    return data[:place] + word + data[place + rng.choice((0, 1, 5)) :]


def _shard_seeds() -> list[bytes]:
    from cptools.artifacts.shards import write_shard

    images = _small()
    seeds = []
    for classes in (("disk", "ring"), ()):
        stream = io.BytesIO()
        write_shard(images.train_images, images.train_labels, classes, stream)
        seeds.append(stream.getvalue()[: 512 * 40] + bytes(1024))
    return seeds


def _table_seeds() -> list[bytes]:
    from cptools.artifacts.tables import write_parquet

    images = _small()
    seeds = []
    for classes in (("disk", "ring"), ()):
        stream = io.BytesIO()
        write_parquet(images.train_images, images.train_labels, classes, stream)
        seeds.append(stream.getvalue())
    return seeds


def _arrow_seeds() -> list[bytes]:
    import pyarrow
    import pyarrow.parquet

    seeds = []
    for data in _table_seeds():
        table = pyarrow.parquet.read_table(io.BytesIO(data))
        stream = io.BytesIO()
        with pyarrow.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
        seeds.append(stream.getvalue())
    return seeds


def _read_dataset(data: bytes, *, name: str) -> None:
    """As `cp-dataset` reads it; a list has a picture beside it."""
    from cptools.artifacts.formats import find

    folder = _folder() / "data"
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(_pictures()["png"])
    path = _file(data, f"data/{name}")
    found = find(path)
    for labels in (found.train, found.test):
        assert labels is None or all(0 <= label < len(found.classes) for label in labels), "labels"
    rows = np.arange(len(found.train))[:50]
    tests = np.arange(0 if found.test is None else len(found.test))[:50]
    with mock.patch.object(pictures, "_MAX_PIXELS", 4 << 20):
        images = found.read(rows, tests, 4)
    assert images.shape == (len(rows) + len(tests), 3, 4, 4), "another size"
    assert images.dtype == np.uint8, "no bytes"


TARGETS: dict[str, Target] = {
    "artifact": Target(
        lambda: list(map(to_bytes, _artifacts())), read_artifact, change_artifact, 60
    ),
    "about": Target(_about_seeds, _read_about, change_line, 4),
    "report": Target(_report_seeds, _read_report, change_line, 10),
    "paper": Target(_paper_seeds, _read_paper, change_line, 4),
    "npy": Target(_npy_seeds, _read_npy, _change_npy, 5),
    "npz": Target(_npz_seeds, _read_import, _change_zip, 1),
    "picture": Target(lambda: list(_pictures().values()), _read_picture, _change_picture, 5),
    "zip": Target(_zip_seeds, _read_images, _change_zip, 3),
    "tar": Target(_tar_seeds, _read_images, _change_tar, 3),
    "arrays": Target(_arrays_seeds, partial(_read_dataset, name="x.npz"), _change_arrays, 3),
    "list": Target(_list_seeds, partial(_read_dataset, name="x.csv"), _change_list, 3),
    "shard": Target(_shard_seeds, partial(_read_dataset, name="x.tar"), _change_tar, 3),
    "pth": Target(partial(_torch_seeds, is_legacy=False), _read_torch, _change_zip, 3),
    "pt": Target(partial(_torch_seeds, is_legacy=True), _read_torch, change_bytes, 2),
}
if find_spec("pyarrow") is not None:
    TARGETS |= {
        "table": Target(_table_seeds, partial(_read_dataset, name="x.parquet"), change_bytes, 3),
        "arrow": Target(_arrow_seeds, partial(_read_dataset, name="x.arrow"), change_bytes, 3),
    }
"""By name; those with torch last, so that the others are measured without it."""
