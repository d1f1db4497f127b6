"""Datasets as folders of PNG files and back: `cp-dataset --export DIR`, `cp-dataset DIR`."""

import io
import json
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.export import export_dataset
from cptools.artifacts.history import dataset_digest
from cptools.artifacts.provenance import Entry, Input, Source
from cptools.artifacts.schema import Dataset
from cptools.artifacts.stream import open_artifact, write_artifact
from cptools.workflows.datasets import make_dataset

CLASSES = ("zebra", "ant 2", "käse", "train", "test", "0")


@st.composite
def datasets(draw):
    classes = draw(st.permutations(CLASSES))[: draw(st.integers(1, 6))]
    n, m = draw(st.integers(1, 12)), draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    ids = st.integers(0, 2**63 - 1) | st.integers(0, 20)
    index = draw(st.none() | st.lists(ids, min_size=n, max_size=n, unique=True))
    size = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    digest = "0123456789abcdef" * 4
    source = Source("/photos/ü", {"size": 5, "seed": 0}, digest)
    history = (
        Entry("cp-dataset", "0.1.0", {"input": "/photos/ü", "limit": 3}),
        Entry("cp-generate", "0.2.0", {"lr": 0.1}, {"input": Input(digest)}),
    )
    perturbed = draw(st.sampled_from([(), ("train",), ("train", "test")]))
    return Dataset(
        rng.integers(0, 256, (n, 3, *size), dtype=np.uint8),
        rng.integers(0, len(classes), n),
        rng.integers(0, 256, (m, 3, *size), dtype=np.uint8),
        rng.integers(0, len(classes), m),
        None if index is None else np.array(index),
        name=draw(st.text(st.characters(codec="utf-8"), max_size=4)),
        classes=tuple(classes),
        mean=(0.1, 0.2, 0.3),
        std=(0.25, 1.0, 1e-9),
        source=draw(st.sampled_from((None, source))),
        history=history[: draw(st.integers(0, 2))],
        perturbations=("none", "fog:severity=3") if perturbed else (),
        train_perturbation=rng.integers(0, 2, n) if "train" in perturbed else None,
        test_perturbation=rng.integers(0, 2, m) if "test" in perturbed else None,
    )


def data_of(dataset, folder):
    write_artifact(dataset, folder / "x")
    return (folder / "x").read_bytes()


@settings(max_examples=60, deadline=None)
@given(datasets(), st.booleans())
def test_any_dataset_is_the_same_after_export_and_import(tmp_path_factory, dataset, is_packed):
    folder = tmp_path_factory.mktemp("export")
    export_dataset(folder / "out", dataset)
    path = folder / "out"
    if is_packed:
        path = folder / "out.tar"
        with tarfile.open(path, "w") as archive:
            archive.add(folder / "out", "some folder")
    back = make_dataset(str(path), {"seed": 0})
    assert data_of(back, folder) == data_of(dataset, folder)


@pytest.fixture
def exported(tool, files, tmp_path):
    """A folder: the images of the poisoned dataset."""
    done = tool("cp-dataset", files / "poisoned.safetensors", "--export", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (0, 1)
    return tmp_path / "out"


@pytest.mark.parametrize("kind", ["folder", "zip", "gztar"])
def test_a_poisoned_folder_is_the_same_dataset(make, files, exported, tmp_path, kind):
    if kind != "folder":
        exported = shutil.make_archive(tmp_path / "packed", kind, tmp_path, "out")
    make("cp-dataset", exported, o=tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == (files / "poisoned.safetensors").read_bytes()


def test_the_same_file_each_time(tool, files, exported, tmp_path):
    assert tool("cp-dataset", exported, "--export", tmp_path / "again").code == 0
    assert (tmp_path / "again/cptools.json").read_bytes() == (
        exported / "cptools.json"
    ).read_bytes()


def test_other_tools_take_the_folder_for_the_dataset(tool, make, files, exported, tmp_path):
    """The probe finds the clean data, not the poisoned folder."""
    words = ("cp-pretrain", exported, "--epochs", 1, "--batch-size", 32)
    encoder = make(*words, o=tmp_path / "encoder")
    assert (tmp_path / "encoder").read_bytes() == (files / "encoder.safetensors").read_bytes()
    clean = open_artifact(files / "clean.safetensors").read()
    assert encoder.source.digest == dataset_digest(clean)
    done = tool("cp-probe", tmp_path / "encoder", "--method", "knn", "--json")
    assert done.code == 0
    assert json.loads(done.out)["dataset_sha256"] == dataset_digest(clean)


def dirty_pixel(folder):
    path = next((folder / "train").rglob("*.png"))
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)


def remove_picture(folder):
    next((folder / "train").rglob("*.png")).unlink()


def remove_class(folder):
    shutil.rmtree(folder / "train/bar")


def rename_class(folder):
    for split in ("train", "test"):
        (folder / split / "bar").rename(folder / split / "pub")
    names = folder / "classes.txt"
    names.write_text(names.read_text().replace("bar", "pub"))


@pytest.mark.parametrize("change", [dirty_pixel, remove_picture, remove_class, rename_class])
def test_changed_pictures_lose_their_history(tool, exported, tmp_path, change):
    change(exported)
    done = tool("cp-dataset", exported, "-o", tmp_path / "a")
    message = f"note: {exported} has changed since it was exported;"
    assert (done.code, done.err.count("\n")) == (0, 1)
    assert message in done.err
    made = open_artifact(tmp_path / "a").read()
    assert [step.tool for step in made.history] == ["cp-dataset"]
    assert made.source is None  # poisoned pictures are not their own clean source
    assert ("pub" in made.classes) == (change is rename_class)
    assert tool("cp-dataset", exported, "-q", "-o", tmp_path / "b").err == ""


def test_the_probe_asks_for_the_clean_data_of_changed_pictures(tool, exported, tmp_path):
    dirty_pixel(exported)
    words = ("cp-pretrain", exported, "--epochs", 1, "--batch-size", 32, "-o", tmp_path / "a")
    assert tool(*words).code == 0
    tool("cp-probe", tmp_path / "a").refused("but the header names no source; give --dataset")


@pytest.mark.parametrize("options", [["--limit", 20], ["--size", 8], ["--classes", "bar,ring"]])
def test_a_choice_is_one_of_pictures(tool, make, files, exported, tmp_path, options):
    made = make("cp-dataset", exported, *options, o=tmp_path / "a")
    assert made.source is None
    assert made.history[0].parameters["input"] == str(exported)
    clean = tmp_path / "clean"
    assert tool("cp-dataset", files / "clean.safetensors", "--export", clean).code == 0
    made = make("cp-dataset", clean, *options, o=tmp_path / "b")
    assert (made.source.name, made.source.digest) == (str(clean), dataset_digest(made))


def test_changed_clean_pictures_are_a_source(tool, files, tmp_path):
    clean = tmp_path / "clean"
    assert tool("cp-dataset", files / "clean.safetensors", "--export", clean).code == 0
    dirty_pixel(clean)
    assert tool("cp-dataset", clean, "-o", tmp_path / "a").code == 0
    made = open_artifact(tmp_path / "a").read()
    assert (made.source.name, made.source.digest) == (str(clean), dataset_digest(made))


def test_without_a_test_split(tool, make, files, exported, tmp_path):
    shutil.rmtree(exported / "test")
    (exported / "cptools.json").unlink()
    make("cp-dataset", exported, "--holdout", 0, o=tmp_path / "a")
    assert tool("cp-dataset", tmp_path / "a", "--export", tmp_path / "again").code == 0
    make("cp-dataset", tmp_path / "again", o=tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    split = make("cp-dataset", tmp_path / "again", "--holdout", 0.25, o=tmp_path / "c")
    assert len(split.test_images) == 16


@pytest.mark.parametrize(
    ("where", "key", "value", "message"),
    [
        ("about", "sha256", "0" * 64, "has changed since it was exported"),
        ("about", "ids", list(range(64)), "has changed since it was exported"),
        ("about", "ids", [1, 2], "has changed since it was exported"),
        ("header", "classes", [*"abcdefghij"], "has changed since it was exported"),
        ("about", "ids", [1, 1], "about.ids are not different numbers"),
        ("about", "ids", [True, 2], "about.ids are not different numbers"),
        ("about", "ids", [-1], "about.ids are not different numbers"),
        ("about", "ids", [2**63], "about.ids are not different numbers"),
        ("about", "ids", "all", "about.ids is not a list"),
        ("about", "sha256", "x", "is not a SHA-256"),
        ("about", "more", 1, "unknown field 'more'"),
        ("about", "perturbation", 1, "about.perturbation is not an object"),
        ("about", "perturbation", {"all": []}, "about.perturbation has the invalid name 'all'"),
        ("about", "perturbation", {"train": [0]}, "header.perturbations is missing"),
        ("header", "perturbations", ["none"], "is given without a perturbation tensor"),
        ("about", "header", 3, "no format and kind"),
        ("header", "format", 3, "format 3 is not supported"),
        ("header", "kind", "delta", "header.mode is missing"),
        ("header", "mean", [2, 0, 0], "header.mean is not three numbers"),
        ("header", "source", {}, "source.name is missing"),
        ("header", "history", [{"tool": "rm -rf"}], "history[0].version is missing"),
    ],
)
def test_what_a_folder_says_of_itself_is_checked(
    tool, exported, tmp_path, where, key, value, message
):
    about = json.loads((exported / "cptools.json").read_text())
    (about if where == "about" else about["header"])[key] = value
    left_out(tool, exported, tmp_path, json.dumps(about).encode(), message)


@pytest.mark.parametrize("numbers", [[2], [-1], [True], [0.5], "all", {}])
def test_what_a_folder_says_of_perturbations_is_checked(tool, files, tmp_path, numbers):
    foggy = ("cp-perturb", files / "clean.safetensors", "--kind", "fog", "-o", tmp_path / "foggy")
    assert tool(*foggy).code == 0
    folder = tmp_path / "folder"
    assert tool("cp-dataset", tmp_path / "foggy", "--export", folder).code == 0
    about = json.loads((folder / "cptools.json").read_text())
    for value, message in (
        (numbers, "about.perturbation is not lists of numbers from 0 to 1"),
        ([1] * 63, "has changed since it was exported"),
        ([0] * 64, "has changed since it was exported"),
    ):
        about["perturbation"]["train"] = value
        (folder / "cptools.json").write_text(json.dumps(about))
        done = tool("cp-dataset", folder, "-o", tmp_path / "a")
        assert (done.code, done.err.count("\n")) == (0, 1)
        assert message in done.err
        assert open_artifact(tmp_path / "a").read().train_perturbation is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged header"),
        (b"\xff\x00", "damaged header"),
        (b"[]", "about is not an object"),
        (b"[" * 10**5, "damaged header"),
        (b'{"sha256": NaN}', "is not a finite number"),
        (
            b'{"ids":null,"sha256":"","header":{"format":1,"kind":"checkpoint","command":"0",'
            b'"history":[]}}',
            "it is of kind checkpoint",
        ),
    ],
    ids=["empty", "binary", "list", "deep", "nan", "kind"],
)
def test_a_damaged_note_is_left_out(tool, exported, tmp_path, data, message):
    left_out(tool, exported, tmp_path, data, message)


def left_out(tool, folder, tmp_path, data, message):
    """Assert that the description is ignored with a note, and that the images are read."""
    (folder / "cptools.json").write_bytes(data)
    done = tool("cp-dataset", folder, "-o", tmp_path / "a")
    assert (done.code, done.out, done.err.count("\n")) == (0, b"", 1)
    assert message in done.err
    made = open_artifact(tmp_path / "a").read()
    assert len(made.train_images) == 64
    assert made.history[0].parameters["input"] == str(folder)


def test_a_link_in_an_archive_is_no_note(tool, exported, tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(exported / "train", "train")
        info = tarfile.TarInfo("cptools.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info, io.BytesIO())
    tool("cp-dataset", path).refused("cptools.json is a link; pack the file itself")


@pytest.mark.parametrize(
    ("classes", "folders"),
    [
        (("A", "a", "b"), ("A", "a-2", "b")),
        (("a-2", "a", "A"), ("a-2", "a", "A-3")),
        (("\u00e9", "e\u0301", "\u00df", "SS"), ("\u00e9", "e\u0301-2", "\u00df", "SS-2")),
    ],
)  # fmt: skip
def test_classes_have_folders_that_no_disk_takes_for_one(tmp_path, files, classes, folders):
    clean = open_artifact(files / "clean.safetensors").read()
    data = replace(clean, classes=(*classes, *clean.classes[len(classes) :]))
    export_dataset(tmp_path / "out", data)
    lines = (tmp_path / "out" / "classes.txt").read_text("utf-8").splitlines()
    assert tuple(lines[: len(classes)]) == folders
    assert {path.name for path in (tmp_path / "out" / "train").iterdir()} == {*lines}
    assert data_of(make_dataset(str(tmp_path / "out"), {}), tmp_path) == data_of(data, tmp_path)


def test_two_exports_into_one_folder_do_not_mix(tmp_path, files, monkeypatch):
    from cptools.artifacts import export

    clean = open_artifact(files / "clean.safetensors").read()
    (tmp_path / "out").mkdir()
    write_split = export._write_split

    def second(folder, *rest):
        monkeypatch.setattr(export, "_write_split", write_split)
        export_dataset(tmp_path / "out", replace(clean, name="first"))
        return write_split(folder, *rest)

    monkeypatch.setattr(export, "_write_split", second)
    with pytest.raises(ArtifactError, match="out exists and is not empty; name a new folder"):
        export_dataset(tmp_path / "out", clean)
    assert make_dataset(str(tmp_path / "out"), {}).name == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
