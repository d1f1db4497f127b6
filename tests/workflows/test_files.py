"""`cp.load` and `cp.save`: each kind there and back, and nothing half written."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cptools as cp


def names(folder):
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def things(data, poisoned, encoder):
    return {"dataset": data, "delta": poisoned.delta, "encoder": encoder, "report": cp.audit(data)}


@pytest.mark.parametrize("kind", ["dataset", "delta", "encoder", "report"])
@pytest.mark.parametrize("as_path", [str, Path])
def test_there_and_back(things, tmp_path, kind, as_path):
    thing, path = things[kind], as_path(tmp_path / "thing")
    cp.save(thing, path)
    again = cp.load(path)
    assert type(again) is type(thing)
    assert again.kind == kind
    if kind == "report":
        assert again == thing
    else:
        assert again.history == thing.history
        arrays = thing.arrays()
        assert again.arrays().keys() == arrays.keys()
        assert all((again.arrays()[name] == array).all() for name, array in arrays.items())
    first = Path(path).read_bytes()
    cp.save(again, path)  # over the file that it was read from
    assert Path(path).read_bytes() == first
    assert names(tmp_path) == ["thing"]


def test_folders_and_archives(tmp_path):
    rng = np.random.default_rng(0)
    for split, num in (("train", 6), ("test", 2)):
        for name in "ab":
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(num):
                pixels = rng.integers(0, 256, (20, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{i}.png")
    data = cp.load(tmp_path / "images", size=8, limit=8)
    assert type(data) is cp.Dataset
    assert (len(data.train), len(data.test), data.classes) == (8, 4, ("a", "b"))
    assert data.train_images.shape == (8, 3, 8, 8)
    assert data.source.name == str(tmp_path / "images")
    one = cp.load(tmp_path / "images", size=8, classes="b")
    assert one.classes == ("b",)
    with pytest.raises(ValueError, match="c"):
        cp.load(tmp_path / "images", size=8, classes=["a", "c"])


@pytest.mark.parametrize("kind", ["delta", "encoder", "report"])
def test_rows_are_chosen_of_datasets_alone(things, tmp_path, kind):
    cp.save(things[kind], tmp_path / "thing")
    with pytest.raises(ValueError, match=f"`limit` does not apply to a {kind}; leave it out"):
        cp.load(tmp_path / "thing", limit=3)
    assert cp.load(tmp_path / "thing", seed=3).kind == kind


def test_a_finished_dataset_keeps_its_size(data, tmp_path):
    cp.save(data, tmp_path / "data")
    with pytest.raises(ValueError, match="`size` applies to sources"):
        cp.load(tmp_path / "data", size=16)
    names = list(data.classes[:2])
    assert cp.load(tmp_path / "data", classes=names).classes == tuple(names)
    with pytest.raises(ValueError, match="blob"):
        cp.load(tmp_path / "data", classes="blob")


REPORT = b"""{"settings": {"method": "changed"}, "changed_percent": 1, "low_percent": 0,\
 "high_percent": 2, "total": 9, "dataset": "shapes"}
"""


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "empty input"), (b"{", "is not a report"), (b"{}\n", "is not a report"),
     (b"\xff" * 99, "not an artifact"),
     (b'{"settings": {}}\n', "line 1 is not a report"),
     (REPORT + b"[1]\n", "line 2 is not a report")],
    ids=["empty", "brace", "object", "noise", "no method", "second line"],
)  # fmt: skip
def test_damaged_files(tmp_path, content, told):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=told) as caught:
        cp.load(tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_off(poisoned, saved, tmp_path):
    (tmp_path / "file").write_bytes(saved(poisoned.delta)[:-1])
    with pytest.raises(ValueError, match="truncated after"):
        cp.load(tmp_path / "file")


def test_a_pipe_is_read_from_its_start(poisoned, saved):
    content = saved(poisoned.delta)
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(read)
        with os.fdopen(write, "wb") as file:
            file.write(content)
        os._exit(0)
    os.close(write)
    try:
        assert saved(cp.load(f"/dev/fd/{read}")) == content
    finally:
        os.close(read)
        os.wait()


def test_bad_artifacts_are_not_written(data, poisoned, encoder, tmp_path):
    nan = replace(poisoned.delta, delta=poisoned.delta.delta * np.nan)
    floats = replace(data, train_images=data.train_images / np.float32(255))
    tensors = replace(encoder, tensors={"backbone.x": [1, 2]})
    (tmp_path / "old").write_text("old")
    for thing, told in ((nan, "not finite"), (floats, "not uint8"), (tensors, "not a numpy array")):
        for name in ("new", "old"):
            with pytest.raises(ValueError, match=told):
                cp.save(thing, tmp_path / name)
    assert names(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_other_things_are_not_written(data, poisoned, tmp_path):
    for thing in (poisoned, None, 5, {"a": 1}, data.train, data.train_images, "text", os):
        with pytest.raises(ValueError, match=r"`thing` is of type .*; give") as caught:
            cp.save(thing, tmp_path / "file")
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_report_that_is_no_json_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        cp.save(cp.Report(({"settings": {}, "x": object()},)), tmp_path / "report")
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["dataset", "delta", "encoder", "report"])
def test_a_full_disk(things, kind):
    with pytest.raises(OSError, match="No space left"):
        cp.save(things[kind], "/dev/full")


def test_a_full_disk_spares_what_is_there(poisoned, tmp_path, monkeypatch):
    (tmp_path / "old").write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        cp.save(poisoned.delta, tmp_path / "old")
    assert names(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "old"


@pytest.mark.parametrize("path", ["/nowhere/file", "/", 5, None, b"x", "a\0b", ""])
def test_where_nothing_can_be_written(poisoned, path):
    with pytest.raises(ValueError, match="`path`") as caught:
        cp.save(poisoned.delta, path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(poisoned, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match=r"`path`: .* is read-only; give another"):
        cp.save(poisoned.delta, tmp_path / "file")
    assert names(tmp_path) == []


def test_a_folder_that_is_said_to_be_read_only(poisoned, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"`path`: .* is read-only; give another"):
        cp.save(poisoned.delta, tmp_path / "file")
    assert names(tmp_path) == []
