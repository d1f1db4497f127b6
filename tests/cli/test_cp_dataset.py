"""`cp-dataset`: sources, choices of rows, description, export."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cptools.artifacts.history import dataset_digest, shell
from cptools.artifacts.images import list_images
from cptools.artifacts.stream import open_artifact, write_artifact


def test_shapes(files):
    made = open_artifact(files / "clean.safetensors").read()
    assert made.summary() == "64+32 images 32x32, 10 classes"
    assert made.name == "shapes"
    assert made.train_index is None
    assert np.ptp(np.bincount(made.train_labels)) <= 1
    (step,) = made.history
    assert (step.tool, step.inputs) == ("cp-dataset", {})
    assert step.parameters == {"input": "shapes", "limit": 64, "limit_test": 32, "seed": 0}
    assert made.source.name == "shapes"
    assert made.source.options == {"limit": 64, "limit_test": 32, "seed": 0}
    assert made.source.digest == dataset_digest(made)
    assert made.mean == pytest.approx(made.train_images.mean((0, 2, 3)) / 255, abs=1e-6)
    assert made.std == pytest.approx(made.train_images.std((0, 2, 3)) / 255, abs=1e-5)


def test_file_and_stream_are_the_same_bytes(tool, files):
    done = tool("cp-dataset", "--limit", 64, "--limit-test", 32)  # nothing given: shapes
    assert (done.code, done.err) == (0, "")
    assert done.out == (files / "clean.safetensors").read_bytes()
    again = tool("cp-dataset", stdin=done.out)
    assert (again.code, again.out) == (0, done.out)


def test_another_process_gives_the_same_bytes(bash, files):
    done = bash("cp-dataset shapes --limit 64 --limit-test 32", files)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (files / "clean.safetensors").read_bytes()


def test_seed_contrast_and_size_change_the_shapes(make, tmp_path, files):
    clean = open_artifact(files / "clean.safetensors").read()
    tiny = ("--limit", 64, "--limit-test", 32)
    other = make("cp-dataset", "shapes", *tiny, "--seed", 1, o=tmp_path / "a")
    assert dataset_digest(other) != dataset_digest(clean)
    flat = make("cp-dataset", "shapes", *tiny, "--contrast", 0.1, o=tmp_path / "b")
    assert 0 < flat.std[0] < 0.6 * clean.std[0]
    small = make("cp-dataset", "shapes", *tiny, "--size", 16, o=tmp_path / "c")
    assert small.train_images.shape == (64, 3, 16, 16)


def test_pictures(make, tmp_path, pictures):
    made = make("cp-dataset", pictures, o=tmp_path / "a")
    assert made.summary() == "24+8 images 16x16, 2 classes"
    assert made.source.name == made.history[0].parameters["input"] == str(pictures)
    assert made.name == pictures.name


def read_names(path):
    with path.open(newline="") as file:
        return [(int(row["row"]), int(row["id"]), row["path"]) for row in csv.DictReader(file)]


def test_names_of_pictures(make, tool, tmp_path, pictures):
    """Each row's file, found when it is read and later: its pixels are the row's."""
    few, some = tmp_path / "few", tmp_path / "some"
    made = make("cp-dataset", pictures, "--limit", 7, "--names", tmp_path / "1.csv", o=few)
    names = read_names(tmp_path / "1.csv")
    assert [row for row, _, _ in names] == [*range(7)]
    assert [number for _, number, _ in names] == made.train_index.tolist()
    for row, _, name in names:
        pixels = np.asarray(Image.open(pictures / name))
        assert np.array_equal(pixels.transpose(2, 0, 1), made.train_images[row])
    assert tool("cp-dataset", few, "--names", tmp_path / "2.csv").code == 0
    assert read_names(tmp_path / "2.csv") == names
    part = make("cp-dataset", few, "-q", "--limit", 3, "--names", tmp_path / "3.csv", o=some)
    path_of = {number: name for _, number, name in names}
    assert [path_of[n] for n in part.train_index] == [n for *_, n in read_names(tmp_path / "3.csv")]
    assert b"a/0.png" not in few.read_bytes()
    done = tool("cp-dataset", "shapes", "--limit", 4, "--names", tmp_path / "4.csv")
    done.refused("--names: the images of shapes are not files of their own; leave it out")


def test_names_of_an_export_and_of_what_is_no_more(make, tool, tmp_path, pictures):
    """An export's files have ids for names; a folder that changed has no names for old rows."""
    folder = tmp_path / "folder"
    shutil.copytree(pictures, folder)
    made = make("cp-dataset", folder, "--limit", 9, o=tmp_path / "a")
    assert tool("cp-dataset", tmp_path / "a", "--export", tmp_path / "out", "-q").code == 0
    make("cp-dataset", tmp_path / "out", "--names", tmp_path / "1.csv", o=tmp_path / "b")
    stems = [int(Path(name).stem) for *_, name in read_names(tmp_path / "1.csv")]
    assert stems == made.train_index.tolist()
    shutil.copy(folder / "train/a/3.png", folder / "train/a/1-2.png")
    told = tool("cp-dataset", tmp_path / "a", "--names", tmp_path / "2.csv")
    assert told.code == 2
    assert f"{folder} has changed since folder was made; make it again" in told.err
    noisy = tmp_path / "noisy"
    make("cp-perturb", tmp_path / "a", "--noise", o=noisy)
    told = tool("cp-dataset", noisy, "--names", tmp_path / "2.csv")
    told.refused("folder is not a clean dataset, which knows its files; give that")


def test_classes_and_limits_of_pictures(make, tmp_path, pictures):
    made = make("cp-dataset", pictures, "--classes", "b,a", "--limit", 6, o=tmp_path / "a")
    assert (made.classes, np.bincount(made.train_labels).tolist()) == (("a", "b"), [3, 3])
    assert len(made.train_index) == 6
    assert "--classes b,a --limit 6" in shell(made.history)
    one = make("cp-dataset", pictures, "--classes", "b", o=tmp_path / "b")
    assert (one.classes, set(one.train_labels.tolist())) == (("b",), {0})
    assert one.train_index.tolist() == list(range(12, 24))


def test_holdout(make, tmp_path, pictures):
    made = make("cp-dataset", pictures / "train", "--holdout", 0.25, "--size", 8, o=tmp_path / "a")
    assert made.summary() == "18+6 images 8x8, 2 classes"


def test_contrast_of_pictures(make, tmp_path, pictures):
    made = make("cp-dataset", pictures, o=tmp_path / "a")
    flat = make("cp-dataset", pictures, "--contrast", 0.5, o=tmp_path / "b")
    assert np.array_equal(flat.train_images, np.rint(127.5 + 0.5 * (made.train_images - 127.5)))


def test_rows_of_a_dataset(make, tmp_path, files):
    clean = open_artifact(files / "clean.safetensors").read()
    few = open_artifact(files / "few.safetensors").read()
    assert np.array_equal(few.train_images, clean.train_images[few.train_index])
    assert np.array_equal(few.test_images, clean.test_images)
    assert few.source == clean.source
    assert few.history[0] == clean.history[0]
    assert few.history[1].parameters == {"limit": 20, "seed": 0}
    assert few.history[1].inputs["input"].digest == dataset_digest(clean)
    fewer = make("cp-dataset", files / "few.safetensors", "--limit", 5, o=tmp_path / "a")
    assert np.array_equal(fewer.train_images, clean.train_images[fewer.train_index])


def test_classes_of_a_dataset_keep_their_names(make, tmp_path, files):
    made = make(
        "cp-dataset", files / "clean.safetensors", "--classes", "ring,bar", o=tmp_path / "a"
    )
    assert made.classes == ("bar", "ring")
    assert set(made.train_labels.tolist()) == {0, 1}


@pytest.mark.parametrize(
    "arguments",
    [
        "shapes --limit 30 --limit-test 30 --contrast 0.5 --size 16 --seed 3",
        "{pictures} --classes a,b --limit 10",
        "{clean} --classes ring,bar --limit 6 --seed 2",
    ],
)
def test_printed_history_gives_the_same_bytes(
    same_again, make, tmp_path, files, pictures, arguments
):
    arguments = arguments.format(pictures=pictures, clean=files / "clean.safetensors")
    make("cp-dataset", *arguments.split(), o=tmp_path / "a")
    same_again(tmp_path / "a")


def test_info(tool, files):
    for arguments in (["--info"], ["--json"]):
        done = tool("cp-dataset", files / "clean.safetensors", *arguments)
        assert (done.code, done.err) == (0, "")
        facts = json.loads(done.out)
        assert (facts["train_images"], facts["test_images"], facts["name"]) == (64, 32, "shapes")
        clean = open_artifact(files / "clean.safetensors").read()
        assert facts["sha256"] == dataset_digest(clean)


def test_info_counts_natural_perturbations(tool, tmp_path, files):
    for before, after, words in (
        (files / "clean.safetensors", "a", ["--kind", "rotate,shear", "--mix"]),
        (tmp_path / "a", "b", ["--kind", "fog", "--fraction", 0.5, "--split", "both"]),
    ):
        tool("cp-perturb", before, *words, "-o", tmp_path / after)
    facts = json.loads(tool("cp-dataset", tmp_path / "b", "--info").out)
    assert {*facts["train_perturbed"]} == {"rotate", "shear", "rotate+fog", "shear+fog"}
    assert sum(facts["train_perturbed"].values()) == 64
    assert sum(n for name, n in facts["train_perturbed"].items() if "fog" in name) == 32
    assert facts["test_perturbed"] == {"none": 16, "fog": 16}


def test_info_and_file(tool, tmp_path, files):
    path = tmp_path / "a"
    done = tool("cp-dataset", files / "clean.safetensors", "--info", "-o", path)
    assert json.loads(done.out)["classes"][0] == "bar"
    assert path.read_bytes() == (files / "clean.safetensors").read_bytes()


def test_export_and_back(tool, make, tmp_path, files):
    few = open_artifact(files / "few.safetensors").read()
    done = tool("cp-dataset", files / "few.safetensors", "--export", tmp_path / "out")
    assert (done.code, done.out) == (0, b"")
    assert done.err == f"cp-dataset: wrote 52 images to {tmp_path}/out\n"
    found = list_images(tmp_path / "out")
    assert [int(re.findall(r"\d+", n)[-1]) for n in found.train.names] == few.train_index.tolist()
    back = make("cp-dataset", tmp_path / "out", o=tmp_path / "a")
    assert np.array_equal(back.train_images, few.train_images)
    assert np.array_equal(back.test_labels, few.test_labels)
    done = tool("cp-dataset", files / "few.safetensors", "--export", tmp_path / "out")
    done.refused("exists and is not empty; name a new folder")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("shapes --classes ring", "--classes does not apply to shapes; leave it out"),
        ("shapes --holdout 0.5", "--holdout does not apply to shapes; leave it out"),
        ("cifar10 --holdout 0.2", "--holdout does not apply to cifar10; leave it out"),
        ("{clean} --size 64", "--size applies to sources, not to an existing dataset"),
        ("{clean} --holdout 0.1", "--holdout applies to sources, not to an existing dataset"),
        ("{clean} --contrast 0.1", "--contrast applies to sources, not to an existing dataset"),
        ("{clean} --classes circle", "there is no class 'circle'; choose from bar,"),
        ("{clean} --classes=", "there is no class ''; choose from bar,"),
        ("{pictures} --holdout 0.1", "there is a test split already; leave --holdout out"),
        ("{pictures}/train", "there is no test split; give --holdout FRACTION"),
        ("{clean} --info -o -", "dataset and description both go to stdout; give -o FILE"),
        ("{clean} --json -o /dev/stdout", "dataset and description both go to stdout"),
        ("{delta}", "delta.safetensors: is of kind delta; give one of kind dataset"),
        ("{pictures}/train/a/0.png", "not an artifact of cptools, but a PNG image; make one"),
        ("nowhere", "there is no file or source nowhere; give a file or cifar10,"),
        ("cifar1", "did you mean cifar10?"),
        ("{clean} -o {pictures}", "it is a folder; name a file in it"),
        ("{clean} -o {pictures}/no/a", "there is no folder"),
        ("{clean} --limit 0", "invalid value for '--limit'"),
        ("- ", "nothing is piped into standard input; give a file instead of -"),
    ],
)  # fmt: skip
def test_refusals(tool, files, pictures, arguments, message):
    names = {name: files / f"{name}.safetensors" for name in ("clean", "delta")}
    tool("cp-dataset", *arguments.format(pictures=pictures, **names).split()).refused(message)


def test_pictures_of_one_color_are_refused(tool, tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.new("RGB", (8, 8), "gray").save(tmp_path / split / "a" / "0.png")
    tool("cp-dataset", tmp_path).refused("all training images are of one color;")


def test_a_channel_without_anything_is_kept(tool, tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    pixels[..., 2] = 0  # as of a microscope with two stains
    (tmp_path / "all").mkdir()
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / "all" / f"{number}.png")
    done = tool("cp-dataset", tmp_path / "all", "--holdout", 0, "-o", tmp_path / "x")
    note = "a color channel has one value in all training images; it is not scaled"
    assert (done.code, done.err) == (0, f"cp-dataset: note: {note}\n")
    made = open_artifact(tmp_path / "x").read()
    assert (made.mean[2], made.std[2]) == (0, 1)


def test_classes_without_test_images_are_said(tool, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "x")
    shutil.rmtree(tmp_path / "x" / "test" / "b")
    done = tool("cp-dataset", tmp_path / "x", "-o", tmp_path / "y")
    assert (done.code, done.err) == (0, "cp-dataset: note: no test images of b\n")


def test_no_network_is_said(tool, tmp_path, monkeypatch):
    from cptools.core.sources import torchvision_sets

    def download(*_):
        raise torchvision_sets.DownloadError("cannot download cifar10 (no network); give a folder")

    monkeypatch.setitem(torchvision_sets.SETS, "cifar10", download)
    done = tool("cp-dataset", "cifar10")
    assert (done.code, done.out) == (1, b"")
    assert done.err == "cp-dataset: error: cannot download cifar10 (no network); give a folder\n"


def test_header_cannot_choose_the_file_name(tmp_path, files, monkeypatch):
    """A name from an untrusted header stays a name in the current folder."""
    import io
    import sys
    from dataclasses import replace

    from cptools.cli._streams import plan_output
    from cptools.workflows.datasets import FileReader

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.chdir(tmp_path)
    clean = open_artifact(files / "clean.safetensors").read()
    write_artifact(replace(clean, name="../../-etc/\x1b[0m", history=()), "a")
    monkeypatch.setattr(sys, "stdout", Terminal())
    name = FileReader("a").file_name
    assert plan_output(None, default_name=f"{name}.png") == "etc-0m.png"


def test_a_folder_without_a_test_split_keeps_all_for_training(tool, make, tmp_path, files):
    """An owner protects every image: none may pass unprotected as a test image."""
    assert tool("cp-dataset", files / "clean.safetensors", "--export", tmp_path / "out").code == 0
    alone = tmp_path / "out" / "train"
    tool("cp-dataset", alone).refused("there is no test split; give --holdout FRACTION")
    made = make("cp-dataset", alone, "--holdout", 0, o=tmp_path / "a")
    assert (len(made.train_images), len(made.test_images)) == (64, 0)
    assert make("cp-defend", "--mc", tmp_path / "a", o=tmp_path / "b").test_images.shape[0] == 0
