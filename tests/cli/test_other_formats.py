"""Data in the formats of others, and data without labels, through the tools."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_POISON, TINY_TRAINING
from PIL import Image

from cptools.artifacts.history import dataset_digest, shell
from cptools.artifacts.stream import open_artifact, write_artifact

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
LABELS = np.arange(40) % 4


@pytest.fixture(scope="module")
def unlabeled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, image in enumerate(IMAGES):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "xmnist.npz"
    np.savez(path, train_images=IMAGES[:32], train_labels=LABELS[:32, None],
             test_images=IMAGES[32:], test_labels=LABELS[32:, None])  # fmt: skip
    return path


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("listed")
    for i, image in enumerate(IMAGES):
        Image.fromarray(image).save(folder / f"{i}.png")
    lines = [f"{i}.png,{'abcd'[label]},{i}\n" for i, label in enumerate(LABELS)]
    (folder / "list.csv").write_text("file,kind,path\n" + "".join(lines))
    return folder / "list.csv"


def test_npz(make, tmp_path, npz):
    made = make("cp-dataset", npz, "--limit", 8, "--size", 8, o=tmp_path / "a")
    assert made.summary() == "8+8 images 8x8, 4 classes"
    assert (made.name, made.source.name) == ("xmnist", str(npz))
    assert made.source.options == {"limit": 8, "size": 8, "seed": 0}


def test_arrays_of_other_names(tool, tmp_path):
    np.savez(tmp_path / "x.npz", x=IMAGES, y=LABELS)
    done = tool("cp-dataset", tmp_path / "x.npz")
    done.refused("has no array train_images, but x, y; name arrays as MedMNIST does")


def test_csv(make, tmp_path, listed, same_again):
    words = ("--columns", "file,kind", "--holdout", 0.2)
    made = make("cp-dataset", listed, *words, o=tmp_path / "a")
    assert (made.summary(), made.classes) == ("32+8 images 16x16, 4 classes", tuple("abcd"))
    assert made.source.options["columns"] == "file,kind"
    assert "--columns file,kind" in shell(made.history)
    same_again(tmp_path / "a")


def test_a_probe_finds_the_source_again(tool, make, tmp_path, npz, listed):
    for name, words in ((npz, ()), (listed, ("--columns", "file,kind", "--holdout", 0.2))):
        make("cp-dataset", name, *words, o=tmp_path / "a")
        make("cp-pretrain", tmp_path / "a", *TINY_TRAINING, o=tmp_path / "b")
        done = tool("cp-probe", tmp_path / "b", "--method", "knn", "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["total"] == 8


def test_a_list_that_a_header_names_keeps_to_its_folder(tool, make, tmp_path, listed):
    made = make("cp-dataset", listed, "--columns", "file,kind", "--holdout", 0.2, o=tmp_path / "a")
    (tmp_path / "in").mkdir()
    inside = tmp_path / "in" / "list.csv"
    inside.write_text("path,label\nx.png,1\n")
    (tmp_path / "in" / "x.png").symlink_to(listed.parent / "0.png")
    write_artifact(replace(made, source=replace(made.source, name=str(inside))), tmp_path / "b")
    make("cp-pretrain", tmp_path / "b", *TINY_TRAINING, o=tmp_path / "c")
    tool("cp-probe", tmp_path / "c", "-q").refused("x.png in it is a link to elsewhere")


def test_a_header_does_not_download(tool, make, tmp_path, npz):
    made = make("cp-dataset", npz, o=tmp_path / "a")
    write_artifact(replace(made, source=replace(made.source, name="hf:a/b")), tmp_path / "b")
    make("cp-pretrain", tmp_path / "b", *TINY_TRAINING, o=tmp_path / "c")
    tool("cp-probe", tmp_path / "c").refused("nothing is downloaded because a file names it")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{npz} --columns a,b", "has no columns; leave --columns out"),
        ("shapes --columns a,b", "--columns does not apply to shapes"),
        ("{listed}", "there is no test split"),  # its column `path` are numbers, not looked at yet
        ("{listed} --columns file,kind,x", "--columns file,kind,x are not one or two names"),
        ("{listed} --columns file,kid", "has no column 'kid', but 'file', 'kind', 'path'"),
        ("{folder}/x-{{0..3}}.tar", "names {folder}/x-0.tar, which is no file"),
        ("{folder}/*.tar", "names no files; give another pattern"),
        ("hf:", "is no name on the hub; give hf:OWNER/NAME"),
        ("{clean} --columns a", "--columns applies to sources, not to an existing dataset"),
    ],
)
def test_refusals(tool, files, tmp_path, npz, listed, arguments, message):
    clean = files / "clean.safetensors"
    arguments = arguments.format(npz=npz, listed=listed, folder=tmp_path, clean=clean)
    tool("cp-dataset", *arguments.split()).refused(message.format(folder=tmp_path))


def test_images_without_labels(tool, make, tmp_path, unlabeled):
    tool("cp-dataset", unlabeled).refused("there is no test split; give --holdout FRACTION")
    made = make("cp-dataset", unlabeled, "--holdout", 0, o=tmp_path / "a")
    assert (made.classes, made.is_labeled) == (("unlabeled",), False)
    assert np.array_equal(made.train_images, IMAGES.transpose(0, 3, 1, 2))
    poisoned = make("cp-generate", tmp_path / "a", "--mode", "sample", *TINY_POISON,
                    o=tmp_path / "b")  # fmt: skip
    assert dataset_digest(poisoned) != dataset_digest(made)
    make("cp-defend", tmp_path / "b", "--mc", o=tmp_path / "c")
    make("cp-pretrain", tmp_path / "b", *TINY_TRAINING, o=tmp_path / "encoder")
    done = tool("cp-probe", tmp_path / "b", "--audit")
    assert done.code == 0
    assert "without labels the audit looks for noise alone" in done.err
    tool("cp-dataset", tmp_path / "b", "--export", tmp_path / "out")
    again = make("cp-dataset", tmp_path / "out", o=tmp_path / "d")
    assert dataset_digest(again) == dataset_digest(poisoned)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("cp-generate {a}", "--mode class needs labels, and {name} has none; give a labeled dataset"
         ", or --clusters 10 or --mode sample"),
        ("cp-generate {a} --alg lsp", "--alg lsp needs labels"),
        ("cp-generate {a} --alg unlearnable", "--mode class needs labels, and {name} has none; gi"
         "ve a labeled dataset, or --clusters 10\n"),
        ("cp-pretrain {a} --alg supervised", "--alg supervised needs labels"),
        ("cp-pretrain {a} --alg supcon", "--alg supcon needs labels"),
        ("cp-probe {encoder} --dataset {b}", "the probe needs labels, and {name} has none"),
        ("cp-probe {a} --method separability", "--method separability needs labels"),
        ("cp-select {a} --method balanced --fraction 0.5", "--method balanced needs labels"),
        ("cp-select {a} --encoder {encoder} --fraction 0.5", "or a number of --classes"),
    ],
)  # fmt: skip
def test_labels_that_are_needed(tool, make, tmp_path_factory, unlabeled, arguments, message):
    folder = tmp_path_factory.getbasetemp() / "unlabeled"
    if not folder.exists():
        folder.mkdir()
        make("cp-dataset", unlabeled, "--holdout", 0, o=folder / "a")
        make("cp-dataset", unlabeled, "--holdout", 0.2, o=folder / "b")
        make("cp-pretrain", folder / "b", *TINY_TRAINING, o=folder / "encoder")
    names = {path.name: path for path in folder.iterdir()}
    tool(*arguments.format(**names).split()).refused(message.format(name=unlabeled.name))


def test_latent_classes_of_images_without_labels(make, tmp_path, unlabeled):
    made = make("cp-dataset", unlabeled, "--holdout", 0.2, o=tmp_path / "a")
    assert len(made.test_images) == 8
    make("cp-pretrain", tmp_path / "a", *TINY_TRAINING, o=tmp_path / "b")
    kept = make("cp-select", tmp_path / "a", "--encoder", tmp_path / "b", "--classes", 2,
                "--fraction", 0.25, o=tmp_path / "c")  # fmt: skip
    assert len(kept.train_images) == 8


def test_other_tools_take_these_formats_as_sources(make, tmp_path, npz):
    poisoned = make("cp-generate", npz, *TINY_POISON, o=tmp_path / "a")
    assert poisoned.source.name == str(npz)
    assert open_artifact(tmp_path / "a").read().summary() == "32+8 images 16x16, 4 classes"


def test_exports(tool, make, tmp_path, npz, files):
    assert tool("cp-dataset", npz, "-o", tmp_path / "a").code == 0
    for command in (("cp-dataset", tmp_path / "a", "--export"),
                    ("cptools", "export", tmp_path / "a", "-o")):  # fmt: skip
        for name in ("b.npz", "b-{train,test}.tar"):
            done = tool(*command, tmp_path / name)
            assert (done.code, done.out) == (0, b"")
            again = make("cp-dataset", tmp_path / name, o=tmp_path / "c")
            assert dataset_digest(again) == dataset_digest(open_artifact(tmp_path / "a").read())
        tool(*command, tmp_path / "b.tar").refused("would hold training and test images alike")
        tool(*command, tmp_path / "no" / "b.npz").refused("there is no folder")
    delta = files / "delta.safetensors"
    tool("cptools", "export", delta, "-o", tmp_path / "x.npz").refused(
        "has no suffix for kind delta"
    )
