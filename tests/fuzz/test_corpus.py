"""Inputs that once were read as they should not be: small ones are files, others made here.

The files in `corpus/TARGET/` are read as `fuzz_targets` reads mutants.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import socket
import struct
import tarfile
import zipfile
from pathlib import Path

import fuzz_targets
import numpy as np
import pytest
from fuzzing import problem_of

from cptools.artifacts import containers, pictures
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.foreign import kind_of, read_npy
from cptools.artifacts.images import list_images, read_images
from cptools.reports.records import read_conditions, read_paper

CORPUS = Path(__file__).parent / "corpus"
HUGE = "1" + "0" * 400

FILES = sorted(path.relative_to(CORPUS).as_posix() for path in CORPUS.glob("*/*"))


def refuse(read, data, message):
    """Assert that it is refused, in a line, time and memory."""
    told = []

    def reading(data):
        try:
            read(data)
        except ValueError as error:
            told.append(str(error))
            raise

    problem, is_taken = problem_of(reading, data)
    assert (problem, is_taken) == ("", False)
    assert re.search(message, told[0])


@pytest.mark.parametrize("file", FILES)
def test_files(file):
    name, _ = file.split("/")
    if name not in fuzz_targets.TARGETS:
        pytest.skip("its package is not installed")
    assert problem_of(fuzz_targets.TARGETS[name].read, (CORPUS / file).read_bytes())[0] == ""


# Headers


def artifact(number, old, new):
    """A small artifact with a text of its header replaced, its length made true."""
    data = fuzz_targets.TARGETS["artifact"].seeds()[number]
    (length,) = struct.unpack("<Q", data[:8])
    text = data[8 : 8 + length].rstrip(b" ")
    assert old in text
    text = text.replace(old, new)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def header(text):
    return struct.pack("<Q", len(text)) + text


HEADERS = {
    "mean": (artifact(0, rb"[0.5,0.4,0.3]", f"[{HUGE},0,0]".encode()), "64 bits"),
    "float mean": (artifact(0, rb"[0.5,0.4,0.3]", b"[1e400,0,0]"), "not a finite number"),
    "width": (artifact(3, rb"\"width\":2", rb"\"width\":1" + b"0" * 1000), "64 bits"),
    "wide": (artifact(3, rb"\"width\":2", rb"\"width\":4294967296"), "not an integer from 1"),
    "limit": (artifact(0, rb"\"limit\":4", rb"\"limit\":" + HUGE.encode()), "64 bits"),
    "digits": (artifact(0, b"[0.5,", b"[0." + b"5" * 10**6 + b","), "not a finite number"),
    "epsilon": (artifact(2, b"8/255", b"8/" + b"0" * 9000 + b"255"), "epsilon is not valid text"),
    "name": (artifact(0, rb"\"name\":\"shapes\"", rb"\"name\":\"" + b"x" * 10**6 + rb"\""), "name"),
    "deep": (artifact(0, rb"\"limit\":4", rb"\"limit\":" + b"[" * 600 + b"]" * 600), "deep"),
    "deeper": (header(b'{"a":' + b"[" * 100_000), "deep"),
    "empty lists": (header(b'{"a":[' + b"[]," * 2_700_000 + b"[]]}"), "more than 500000 values"),
    "long": (header(b'{"a":[' + b"[]," * 3_000_000 + b"[]]}"), "not an artifact"),
    "UTF-16": (header("{}".encode("utf-16-le")), "not an object|damaged header"),
    "tensor's name": (header(b'{"' + b"x" * 2000 + b'":{"dtype":"U8","shape":[0],'
                             b'"data_offsets":[0,0]}}'), "do not fit"),
    "tensors": (header(json.dumps({
        str(i): {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(20_001)
    }).encode()), "20001 tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_headers(name):
    refuse(fuzz_targets.read_artifact, *HEADERS[name])


REPORTS = {
    "brackets": "[" * 100_000,
    "score": '{"verdict":"clean","score":HUGE,"settings":{"method":"audit"}}',
    "true": '{"accuracy_percent":true,"low_percent":0,"high_percent":1,"settings":{}}',
    "settings": '{"accuracy_percent":1,"low_percent":0,"high_percent":1,"settings":DEEP}',
}


@pytest.mark.parametrize("name", REPORTS)
def test_reports(tmp_path, name):
    (tmp_path / "clean-0.jsonl").write_text(
        REPORTS[name].replace("HUGE", HUGE).replace("DEEP", "[" * 5000 + "]" * 5000)
    )
    read = lambda _: read_conditions([str(tmp_path / "clean-0.jsonl")])  # noqa: E731
    refuse(read, b"", "contains no reports of cp-probe")


def test_an_endless_report_is_not_read_to_its_end():
    refuse(lambda _: read_conditions(["/dev/zero"]), b"", "larger than 64 MiB")


@pytest.mark.parametrize("text", ['{"clean":' + HUGE + "}", "[" * 100_000, '{"clean":"50"}'])
def test_paper(tmp_path, text):
    (tmp_path / "paper").write_text(text)
    refuse(
        lambda _: read_paper(tmp_path / "paper", ["clean"]), b"", "contains no values of a paper"
    )


# Archives


def tar_header(name, kind, size):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


TARS = {
    "extended header": gzip.compress(
        tar_header("x", tarfile.XHDTYPE, 3 << 30) + bytes(64 << 20), 1
    ),
    "long name": tar_header("x", tarfile.GNUTYPE_LONGNAME, 2 << 20) + b"a" * (2 << 20),
    "long link": tar_header("x", tarfile.GNUTYPE_LONGLINK, 2 << 20) + b"a" * (2 << 20),
    "many long names": tar_header("x", tarfile.GNUTYPE_LONGNAME, 1024) * 3000,
    "sparse": tar_header("x", tarfile.GNUTYPE_SPARSE, 0)[:482] + b"\1" * 30 + b"\1" * (4 << 20),
    "size": tar_header("a/0.png", tarfile.REGTYPE, 2**62) + bytes(1024),
}


@pytest.mark.parametrize("name", TARS)
def test_tar_headers(tmp_path, name):
    (tmp_path / "x.tar").write_bytes(TARS[name])
    refuse(lambda _: list_images(tmp_path / "x.tar"), b"", "is truncated or damaged")


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"]
)
def test_archives_become_no_more_than_a_hundred_times_larger(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(containers, "_GRACE", 1 << 20)
    data = tar_header("readme", tarfile.REGTYPE, 32 << 20) + bytes(32 << 20) + bytes(1024)
    (tmp_path / "x.tar").write_bytes(pack(data))
    refuse(lambda _: list_images(tmp_path / "x.tar"), b"", "would become more than 100 times")


def zipped(method, content, copies=1):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for i in range(copies):
            archive.writestr(f"train/a/{i}.png", content)
    return stream.getvalue()


def test_zip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "_GRACE", 1 << 20)
    (tmp_path / "x.zip").write_bytes(zipped(zipfile.ZIP_DEFLATED, bytes(1 << 20), 4))
    refuse(lambda _: list_images(tmp_path / "x.zip"), b"", "would become more than 100 times")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_methods_that_cannot_be_bounded(tmp_path, method):
    (tmp_path / "x.zip").write_bytes(zipped(method, bytes(1 << 20)))
    refuse(lambda _: read_images(tmp_path / "x.zip", ["train/a/0.png"]), b"", "method than deflate")


def test_zip_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "_MAX_DIRECTORY", 100)
    (tmp_path / "x.zip").write_bytes(zipped(zipfile.ZIP_STORED, b"", 3))
    refuse(lambda _: list_images(tmp_path / "x.zip"), b"", "a part of it has")


# Folders


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "0.png").write_bytes(fuzz_targets._pictures()["png"])
    return tmp_path


def make_socket(path):
    here = Path.cwd()
    os.chdir(path.parent)  # its name may have 100 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    "make",
    [os.mkfifo, make_socket, lambda path: path.symlink_to("/dev/zero")],
    ids=["pipe", "socket", "device"],
)
def test_what_is_no_file_is_refused_by_name(folder, make):
    make(folder / "train" / "a" / "x.png")
    names = list_images(folder).train.names
    refuse(
        lambda _: read_images(folder, names), b"", r"train/a/x\.png is not a regular file; leave"
    )
    (folder / "train" / "a" / "x.png").rename(folder / "train" / "a" / "x.txt")
    assert len(read_images(folder, list_images(folder).train.names)) == 1


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(folder):
    path = folder / "train" / "a" / "0.png"
    ((_, member),) = containers.members(folder)
    path.unlink()
    os.mkfifo(path)
    refuse(lambda _: member.read(), b"", "is not a regular file")


def test_links_to_folders_that_multiply_come_to_an_end(folder, monkeypatch):
    monkeypatch.setattr(containers, "_MAX_FILES", 1000)
    for depth in range(8):
        (folder / f"{depth}").mkdir()
        for i in range(10):
            (folder / f"{depth}" / f"{i}").symlink_to(folder / f"{depth + 1}")
    (folder / "8").mkdir()
    refuse(lambda _: list_images(folder), b"", "holds more than 1000 files")


# Pictures and arrays


def test_what_is_no_picture_is_told(folder):
    (folder / "train" / "a" / "0.png").write_bytes(b"hello")
    refuse(lambda _: read_images(folder, ["train/a/0.png"]), b"", r"0\.png \(it is text: 'hello'\)")


def png(width, height):
    """A white picture of one bit a pixel."""
    import zlib

    def chunk(kind, body):
        sum_ = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + sum_

    rows = zlib.compressobj(1)
    data = b"".join(rows.compress(bytes(1 + (width + 7) // 8)) for _ in range(height))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
        + chunk(b"IDAT", data + rows.flush())
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(12000, 9001), (12000, 12000), (2**31 - 1, 2**31 - 1)])
def test_pixels(folder, monkeypatch, size):
    """As many as photographs have, a hundredth of it here, are taken, and more are not."""
    monkeypatch.setattr(pictures, "_MAX_PIXELS", pictures._MAX_PIXELS // 100)
    width, height = (n // 10 if n < 2**20 else n for n in size)
    data = png(width, height if height < 2**20 else 0)
    if height >= 2**20:
        data = data.replace(struct.pack(">II", width, 0), struct.pack(">II", width, height))
    (folder / "train" / "a" / "0.png").write_bytes(data)
    if size == (12000, 9001):  # 108 million
        assert read_images(folder, ["train/a/0.png"], size=8).max() == 0
    else:
        refuse(lambda _: read_images(folder, ["train/a/0.png"], size=8), b"", "0.png")


def test_long_npy_header(tmp_path):
    data = b"\x93NUMPY\2\0" + struct.pack("<I", 1 << 30) + b" " * 1000
    (tmp_path / "x.npy").write_bytes(data)
    refuse(lambda _: read_npy(tmp_path / "x.npy"), b"", "its header has 1073741824 bytes")


def test_long_pickle(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x/data.pkl", b"]" * ((4 << 20) + 1))
    (tmp_path / "x.pth").write_bytes(stream.getvalue())
    with pytest.raises(ArtifactError, match="describes its tensors in 4194305 bytes; save the"):
        kind_of(tmp_path / "x.pth")


def test_long_legacy_pickle(tmp_path, monkeypatch):
    import torch

    from cptools.artifacts import foreign
    from cptools.workflows.foreign import read_tensors

    torch.save(torch.ones(3), tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    assert np.array_equal(read_tensors(tmp_path / "x.pth")[""], np.ones(3))
    monkeypatch.setattr(foreign, "MAX_PICKLE", 30)
    refuse(lambda _: read_tensors(tmp_path / "x.pth"), b"", "is truncated or damaged")
