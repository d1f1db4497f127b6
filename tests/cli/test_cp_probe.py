"""`cp-probe`: what it trains on, what it reports, what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_TRAINING

from cptools.artifacts.history import dataset_digest, digest
from cptools.artifacts.provenance import Source
from cptools.artifacts.stream import open_artifact, write_artifact


@pytest.fixture(scope="module")
def encoder(files):
    return open_artifact(files / "encoder.safetensors").read()


def report(done):
    assert (done.code, done.err) == (0, "")
    (line,) = done.out.decode().splitlines()
    return json.loads(line)


def test_report(tool, files, encoder):
    clean = open_artifact(files / "clean.safetensors").read()
    told = report(tool("cp-probe", files / "encoder.safetensors"))
    assert told["accuracy_percent"] == round(100 * told["correct"] / told["total"], 2)
    assert told["low_percent"] < told["accuracy_percent"] < told["high_percent"]
    assert (told["total"], told["dataset"]) == (32, "shapes")
    assert told["dataset_sha256"] == dataset_digest(clean)  # the clean one, not the poisoned one
    assert told["encoder_sha256"] == digest(encoder.tensors)
    assert (told["algorithm"], told["architecture"], told["width"]) == ("simclr", "resnet10", 8)
    assert told["settings"]["method"] == "lbfgs"
    assert told["selected_on_test"] is False
    assert [step["tool"] for step in told["history"]] == [
        "cp-dataset", "cp-generate", "cp-pretrain",
    ]  # fmt: skip


def test_stream_file_and_dataset_say_the_same(tool, tmp_path, files):
    expected = tool("cp-probe", files / "encoder.safetensors").out
    data = (files / "encoder.safetensors").read_bytes()
    assert tool("cp-probe", stdin=data).out == expected
    given = ("--dataset", files / "clean.safetensors")
    assert tool("cp-probe", files / "encoder.safetensors", *given).out == expected
    done = tool("cp-probe", files / "encoder.safetensors", "-o", tmp_path / "r.jsonl")
    assert (done.code, done.out, done.err) == (0, b"", "")
    assert (tmp_path / "r.jsonl").read_bytes() == expected


def test_several_datasets(tool, files):
    done = tool(
        "cp-probe", files / "encoder.safetensors", "--dataset", files / "few.safetensors",
        "--dataset", files / "clean.safetensors",
    )  # fmt: skip
    first, second = map(json.loads, done.out.splitlines())
    assert first["dataset_sha256"] != second["dataset_sha256"]
    assert second["total"] == 32


def test_dataset_from_standard_input(tool, files):
    data = (files / "clean.safetensors").read_bytes()
    done = tool("cp-probe", files / "encoder.safetensors", "--dataset", "-", stdin=data)
    assert done.out == tool("cp-probe", files / "encoder.safetensors").out


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ("--method knn --k 5", {"k": 5, "temperature": 0.1}),
        ("--method sgd --epochs 2", {"epochs": 2, "lr": 1.0, "select": "last"}),
        ("--l2 0.1 --iterations 5", {"l2": 0.1, "iterations": 5, "method": "lbfgs"}),
    ],
)
def test_methods(tool, files, arguments, settings):
    told = report(tool("cp-probe", files / "encoder.safetensors", *arguments.split()))
    assert settings.items() <= told["settings"].items()
    assert told["best_epoch"] in ((1, 2) if "sgd" in arguments else (None,))


def test_selection_on_the_test_images_is_told(tool, files):
    words = ("--method", "sgd", "--epochs", 3)
    last = report(tool("cp-probe", files / "encoder.safetensors", *words))
    best = report(tool("cp-probe", files / "encoder.safetensors", *words, "--select", "best"))
    assert (last["selected_on_test"], best["selected_on_test"]) == (False, True)
    assert best["correct"] >= last["correct"]


def test_a_good_encoder_scores_better_than_a_broken_one(tool, tmp_path, files, encoder):
    """Features that are all alike can be no better than one class for all."""
    tensors = {
        name: array * 0 if name.startswith("backbone.") and array.dtype == np.float32 else array
        for name, array in encoder.tensors.items()
    }
    write_artifact(replace(encoder, tensors=tensors), tmp_path / "a")
    broken = report(tool("cp-probe", tmp_path / "a"))
    assert broken["correct"] <= 4  # of 32 in ten classes
    assert report(tool("cp-probe", files / "encoder.safetensors"))["correct"] > 4


def test_dry_run(tool, files):
    done = tool("cp-probe", files / "encoder.safetensors", "--recipe", "paper", "--dry-run")
    assert json.loads(done.out) == {
        "recipe": "paper", "seed": 0, "method": "sgd", "epochs": 100, "batch_size": 512,
        "lr": 1.0, "select": "last",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "no input; give a file, or pipe one in"),
        ("{clean}", "is of kind dataset; give one of kind encoder"),
        ("{encoder} --dataset {small}", "was trained on images of 32 pixels, shapes has 16; make"),
        ("{encoder} --dataset {delta}", "is of kind delta; give one of kind dataset"),
        ("{encoder} --dataset nowhere", "cannot read nowhere: No such file or directory;"),
        ("{encoder} --dataset -", "standard input: empty input;"),
        ("{encoder} --dataset - --dataset -", "--dataset reads standard input twice;"),
        ("{encoder} --k 5", "--k does not apply to --method lbfgs; leave it out"),
        ("{encoder} --method knn --l2 1", "--l2 does not apply to --method knn; leave it out"),
        ("{encoder} --method svm", "'svm' is not one of lbfgs, sgd, knn"),
        ("{encoder} -o /no/where", "there is no folder /no;"),
        ("{encoder} --device cuda:99", "no device 'cuda:99' on this machine;"),
    ],
)
def test_refusals(tool, files, arguments, message):
    names = {path.stem: path for path in files.iterdir()}
    tool("cp-probe", *arguments.format(**names).split()).refused(message)


def test_one_standard_input(tool, files):
    data = (files / "encoder.safetensors").read_bytes()
    done = tool("cp-probe", "--dataset", "-", stdin=data)
    done.refused("INPUT and --dataset both read standard input; give one as a file")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "the probe needs the clean dataset, of which nothing is known; give --dataset"),
        (
            Source("shapes", {"limit": 64, "limit_test": 32, "seed": 1}, "0" * 64),
            "needs the clean dataset shapes (sha256 000000000000), but what is there now differs;",
        ),
        (Source("/no/pictures", {"seed": 0}, "ab" * 32), "(sha256 abababababab): "),
        (
            Source("shapes", {"color": 3}, "0" * 64),
            "--color does not apply to shapes; leave it out",
        ),
        (Source("shapes", {"limit": "x"}, "0" * 64), "or give it with --dataset"),
    ],
)
def test_source_that_cannot_be_had(tool, tmp_path, files, encoder, source, message):
    write_artifact(replace(encoder, source=source), tmp_path / "a")
    tool("cp-probe", tmp_path / "a").refused(message)
    given = ("--dataset", files / "clean.safetensors")
    report(tool("cp-probe", tmp_path / "a", *given))


def test_pictures_that_changed_are_noticed(tool, make, tmp_path, pictures):
    import shutil

    folder = shutil.copytree(pictures, tmp_path / "pictures")
    make("cp-pretrain", folder, *TINY_TRAINING, o=tmp_path / "a")
    report(tool("cp-probe", tmp_path / "a"))
    (folder / "train" / "a" / "0.png").unlink()
    tool("cp-probe", tmp_path / "a").refused("but what is there now differs; give --dataset")
    shutil.rmtree(folder)
    tool("cp-probe", tmp_path / "a").refused(f"needs the clean dataset {folder} (sha256 ")


def test_dataset_that_cannot_be_probed(tool, tmp_path, files):
    clean = open_artifact(files / "clean.safetensors").read()
    none = replace(clean, test_images=clean.test_images[:0], test_labels=clean.test_labels[:0])
    write_artifact(none, tmp_path / "none")
    one = replace(
        clean, classes=("bar",), train_labels=clean.train_labels * 0,
        test_labels=clean.test_labels * 0,
    )  # fmt: skip
    write_artifact(one, tmp_path / "one")
    for name, message in (
        ("none", "shapes has no test images; give a dataset with some"),
        ("one", "shapes has one class only; there is nothing to tell apart"),
    ):
        probe = tool("cp-probe", files / "encoder.safetensors", "--dataset", tmp_path / name)
        probe.refused(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet99"}, "unknown architecture 'resnet99'; this version has"),
        ({"width": 16}, "the weights are not those of resnet10 of width 16"),
    ],
)
def test_encoder_of_another_make(tool, tmp_path, encoder, changes, message):
    write_artifact(replace(encoder, **changes), tmp_path / "a")
    done = tool("cp-probe", tmp_path / "a")
    assert message in done.err
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
