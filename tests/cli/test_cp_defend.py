"""`cp-defend`: matrix completion of the training images, and nothing else."""

import json

import numpy as np
import pytest

from cptools.artifacts.history import dataset_digest
from cptools.artifacts.stream import open_artifact


def test_training_images_alone_are_treated(make, tmp_path, files):
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    made = make("cp-defend", "--mc", files / "poisoned.safetensors", o=tmp_path / "a")
    assert not np.array_equal(made.train_images, poisoned.train_images)
    for name in ("test_images", "train_labels", "test_labels"):
        assert np.array_equal(getattr(made, name), getattr(poisoned, name))
    assert (made.mean, made.std, made.source) == (poisoned.mean, poisoned.std, poisoned.source)
    *before, step = made.history
    assert tuple(before) == poisoned.history
    assert step.parameters == {
        "mc": True, "mc_drop": 0.25, "mc_keep": 0.5, "seed": 0, "device": "cpu",
    }  # fmt: skip
    assert step.inputs["input"].digest == dataset_digest(poisoned)


def test_images_are_of_low_rank(make, tmp_path, files):
    made = make(
        "cp-defend", "--mc", "--mc-drop", 0, "--mc-keep", 0.125, files / "clean.safetensors",
        o=tmp_path / "a",
    )  # fmt: skip
    values = np.linalg.svd(made.train_images / 127.5 - 1, compute_uv=False)  # [N,3,32]
    assert (values[..., 4:] < 0.06).all()  # rounding to gray levels leaves a little
    assert (values[..., 3] > 0.06).any()


def test_nothing_dropped_and_all_kept_changes_nothing(make, tmp_path, files):
    clean = open_artifact(files / "clean.safetensors").read()
    made = make(
        "cp-defend", "--mc", "--mc-drop", 0, "--mc-keep", 1, files / "clean.safetensors",
        o=tmp_path / "a",
    )  # fmt: skip
    assert np.array_equal(made.train_images, clean.train_images)


def test_seed_and_settings_matter(make, tmp_path, files):
    digests = {
        dataset_digest(
            make("cp-defend", "--mc", *more, files / "few.safetensors", o=tmp_path / "a")
        )
        for more in ([], ["--seed", 1], ["--mc-drop", 0.3], ["--mc-keep", 0.4])
    }
    assert len(digests) == 4


def test_stream(tool, make, tmp_path, files):
    make("cp-defend", "--mc", files / "few.safetensors", o=tmp_path / "a")
    done = tool("cp-defend", "--mc", stdin=(files / "few.safetensors").read_bytes())
    assert (done.code, done.err) == (0, "")
    assert done.out == (tmp_path / "a").read_bytes()


def test_dry_run(tool):
    done = tool("cp-defend", "--mc", "--mc-keep", 0.8, "--dry-run")
    assert json.loads(done.out) == {"mc": True, "mc_drop": 0.25, "mc_keep": 0.8, "seed": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{clean}", "no defense is chosen; give --mc"),
        ("--mc", "no input; give a file, or pipe one in"),
        ("--mc -", "nothing is piped into standard input;"),
        ("--mc shapes", "there is no file shapes; give a file or -"),
        ("--mc {delta}", "is of kind delta; give one of kind dataset"),
        ("--mc .", "cannot read .: Is a directory;"),
        ("--mc {clean} --mc-drop 1", "invalid value for '--mc-drop'"),
        ("--mc {clean} --mc-keep 1.1", "invalid value for '--mc-keep'"),
        ("--mc {clean} --device cuda:99", "no device 'cuda:99' on this machine;"),
        ("--mc {clean} -o /no/where", "there is no folder /no;"),
    ],
)
def test_refusals(tool, files, arguments, message):
    names = {path.stem: path for path in files.iterdir()}
    tool("cp-defend", *arguments.format(**names).split()).refused(message)


def test_device_from_the_environment(tool, files, monkeypatch):
    monkeypatch.setenv("CPTOOLS_DEVICE", "abacus")
    words = ("cp-defend", "--mc", files / "few.safetensors")
    tool(*words).refused("unknown device 'abacus'; use auto, cpu, cuda or cuda:N")
    assert tool(*words, "--device", "cpu").code == 0


def test_printed_history_gives_the_same_bytes(same_again, make, tmp_path, files):
    make("cp-defend", "--mc", files / "few.safetensors", o=tmp_path / "a")
    same_again(tmp_path / "a")
