"""`cp-perturb`: random noise and given deltas, within their bounds."""

import json

import numpy as np
import pytest

from cptools.artifacts.history import dataset_digest, digest
from cptools.artifacts.stream import open_artifact


@pytest.fixture(scope="module")
def clean(files):
    return open_artifact(files / "clean.safetensors").read()


def moved(clean, changed):
    """Gray levels by which each pixel moved."""
    return np.abs(changed.train_images.astype(int) - clean.train_images)


@pytest.mark.parametrize(
    ("epsilon", "levels"), [("8/255", 8), ("0.1", 25), ("1/255", 1), ("0.0039", 0), ("0", 0)]
)
def test_noise_fills_its_ball_and_keeps_to_it(make, tmp_path, files, clean, epsilon, levels):
    noisy = make(
        "cp-perturb", files / "clean.safetensors", "--noise", "--epsilon", epsilon,
        o=tmp_path / "a",
    )  # fmt: skip
    distance = moved(clean, noisy)
    assert distance.max() == levels
    if levels == 8:  # uniform: a mean of half the radius, and no row like another
        assert distance.mean() == pytest.approx(4, rel=0.05)
        assert len(np.unique(distance.reshape(64, -1), axis=0)) == 64
    assert np.array_equal(noisy.test_images, clean.test_images)
    assert np.array_equal(noisy.train_labels, clean.train_labels)


def test_provenance_of_noise(make, tmp_path, files, clean):
    noisy = make(
        "cp-perturb", files / "clean.safetensors", "--noise", "--seed", 5, o=tmp_path / "a"
    )
    assert noisy.source == clean.source
    assert (noisy.mean, noisy.std) == (clean.mean, clean.std)
    *before, step = noisy.history
    assert tuple(before) == clean.history
    assert step.parameters == {"noise": True, "epsilon": "8/255", "fraction": 1.0, "seed": 5}
    assert step.inputs["input"].digest == dataset_digest(clean)


def test_fraction_is_a_fixed_choice_by_seed(make, tmp_path, files, clean):
    def changed(fraction, seed):
        noisy = make(
            "cp-perturb", files / "clean.safetensors", "--noise", "--fraction", fraction,
            "--seed", seed, o=tmp_path / "a",
        )  # fmt: skip
        return set(np.flatnonzero(moved(clean, noisy).max((1, 2, 3))).tolist())

    half, again, other = changed(0.5, 0), changed(0.5, 0), changed(0.5, 1)
    assert len(half) == len(other) == 32
    assert half == again != other
    assert len(changed(0.3, 0)) == 19  # of 64: 19.2
    assert changed(0.3, 0) < half  # the smaller choice is part of the larger
    assert changed(0, 0) == set()
    assert len(changed(1, 0)) == 64


def test_delta_gives_the_poisoned_dataset(make, tmp_path, files):
    applied = make(
        "cp-perturb", files / "clean.safetensors", "--delta", files / "delta.safetensors",
        o=tmp_path / "a",
    )  # fmt: skip
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    assert np.array_equal(applied.train_images, poisoned.train_images)
    delta = open_artifact(files / "delta.safetensors").read()
    item = applied.history[-1].inputs["delta"]
    assert (item.kind, item.digest) == ("delta", digest(delta.arrays()))
    assert item.history == delta.history


def test_delta_of_a_fraction(make, tmp_path, files, clean):
    part = make(
        "cp-perturb", files / "clean.safetensors", "--delta", files / "delta.safetensors",
        "--fraction", 0.25, o=tmp_path / "a",
    )  # fmt: skip
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    changed = moved(clean, part).max((1, 2, 3)) > 0
    assert changed.sum() == 16
    assert np.array_equal(part.train_images[changed], poisoned.train_images[changed])
    assert np.array_equal(part.train_images[~changed], clean.train_images[~changed])


def test_delta_from_standard_input(tool, make, tmp_path, files):
    data = (files / "delta.safetensors").read_bytes()
    done = tool("cp-perturb", files / "clean.safetensors", "--delta", "-", stdin=data)
    assert (done.code, done.err) == (0, "")
    make(
        "cp-perturb", files / "clean.safetensors", "--delta", files / "delta.safetensors",
        o=tmp_path / "a",
    )  # fmt: skip
    assert done.out == (tmp_path / "a").read_bytes()


def test_dry_run(tool):
    done = tool("cp-perturb", "--noise", "--fraction", 0.3, "--dry-run")
    assert (done.code, done.err) == (0, "")
    settings = {"noise": True, "epsilon": "8/255", "fraction": 0.3, "seed": 0}
    assert json.loads(done.out) == settings


def test_settings_are_told_where_asked(tool, tmp_path, files):
    done = tool("cp-perturb", files / "clean.safetensors", "--noise", "-v", "-o", tmp_path / "a")
    assert json.loads(done.err.removeprefix("cp-perturb: "))["epsilon"] == "8/255"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{clean}", "choose one of --noise and --delta FILE"),
        ("{clean} --noise --delta {delta}", "choose one of --noise and --delta FILE"),
        ("{clean} --delta {delta} --epsilon 1/255", "--epsilon does not apply to --delta,"),
        ("{few} --delta {delta}", "give the dataset that it was made for"),
        ("{small} --delta {delta}", "give the dataset that it was made for"),
        ("{poisoned} --delta {delta}", "give the dataset that it was made for"),
        ("{clean} --delta {clean}", "is of kind dataset; give one of kind delta"),
        ("{delta} --noise", "is of kind delta; give one of kind dataset"),
        ("{clean} --delta nowhere", "cannot read nowhere: No such file or directory;"),
        ("- --delta -", "nothing is piped into standard input"),
        ("{clean} --delta -", "standard input: empty input;"),
        ("{clean} --noise --epsilon x", "epsilon 'x' is no number;"),
        ("{clean} --noise --epsilon -1", "epsilon '-1' is negative;"),
        ("{clean} --noise --epsilon 8", "epsilon '8' is greater than 1;"),
        ("{clean} --noise --epsilon 1/0", "epsilon '1/0' divides by zero;"),
        ("{clean} --noise --fraction 1.5", "invalid value for '--fraction'"),
        ("nowhere --noise", "there is no file or source nowhere"),
    ],
)  # fmt: skip
def test_refusals(tool, files, arguments, message):
    names = {path.stem: path for path in files.iterdir()}
    done = tool("cp-perturb", *arguments.format(**names).split())
    assert message in done.err
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)


@pytest.mark.parametrize("value", [[], ["-"]])
def test_one_standard_input(tool, files, value):
    data = (files / "clean.safetensors").read_bytes()
    done = tool("cp-perturb", *value, "--delta", "-", stdin=data)
    done.refused("INPUT and --delta both read standard input; give one as a file")


def test_printed_history_gives_the_same_bytes(same_again, make, tmp_path, files):
    """The delta is made again as a side input; nothing but the shell runs the pipeline."""
    make(
        "cp-perturb", files / "clean.safetensors", "--delta", files / "delta.safetensors",
        "--fraction", 0.5, o=tmp_path / "a",
    )  # fmt: skip
    same_again(tmp_path / "a")
