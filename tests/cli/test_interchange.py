"""`cptools import` and `cptools export`: perturbations of others, and for others."""

import argparse
import os
import pickle

import numpy as np
import pytest
import torch

from cptools.artifacts.history import dataset_digest
from cptools.artifacts.schema import Delta
from cptools.artifacts.stream import open_artifact, write_artifact


class Code:
    """A pickle that makes the file `ran` where it is run."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.fixture(scope="module")
def delta(files):
    return open_artifact(files / "delta.safetensors").read()


@pytest.fixture(scope="module")
def noise():
    """Sample-wise, in units of epsilon."""
    return torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def foreign(tmp_path_factory, files, delta, noise, tool):
    """A folder of files as others write them, good and bad."""
    folder = tmp_path_factory.mktemp("foreign")
    by_class = torch.from_numpy(delta.delta)
    weights = {"backbone.conv1.weight": torch.rand(64, 3, 3, 3)}
    options = argparse.Namespace(cl_alg="SimCLR", lr_decay_epochs=[700], delta_weight=8 / 255)
    checkpoint = {
        "opt": options,
        "model": {"delta": torch.nn.Parameter(by_class), **weights},
        "optimizer": torch.optim.SGD([torch.zeros(1)], lr=0.1).state_dict(),
        "delta_optimizer": None,
        "epoch": 3,
    }
    loop = {"delta": noise}
    loop["self"] = [loop]
    sick = noise.clone()
    sick[3, 1, 2, 3] = float("nan")
    saved = {
        "last": checkpoint,
        "plain": by_class,
        "noise": noise,
        "pixel": noise * (8 / 255),
        "half": noise.half(),
        "bfloat": noise.bfloat16(),
        "loop": loop,
        "two": {"a": by_class, "b": [by_class]},
        "small": 0.1 * by_class,
        "beyond": 20 * noise,
        "nan": sick,
        "seven": noise[:7],
        "narrow": noise[:, :, :8],
        "bool": noise > 0,
        "complex": torch.complex(noise, noise),
        "empty": {"epoch": 3},
        "huge": torch.ones(1).expand(10**9, 3, 32, 32),
        "code": {"delta": Code()},
    }
    for name, content in saved.items():
        torch.save(content, folder / f"{name}.pth")
    old = {"_use_new_zipfile_serialization": False}
    torch.save(noise, folder / "old.pt", **old)
    torch.save(Code(), folder / "oldcode.pt", **old)
    for protocol in (0, 2, 4):
        (folder / f"pickle{protocol}.pth").write_bytes(pickle.dumps(Code(), protocol=protocol))
    for name in ("noise.pth", "old.pt"):
        (folder / f"cut-{name}").write_bytes((folder / name).read_bytes()[:9999])
    levels = (8 * noise).round().numpy()
    np.save(folder / "levels.npy", levels.astype(np.int8))
    np.save(folder / "last.npy", (8 * noise).permute(0, 2, 3, 1).numpy())
    np.save(folder / "objects.npy", np.array([None, 1], object), allow_pickle=True)
    np.save(folder / "text.npy", np.full((10, 3, 32, 32), "a"))
    poisoned = open_artifact(files / "poisoned.safetensors").read().train_images
    np.save(folder / "pictures.npy", poisoned.transpose(0, 2, 3, 1))
    np.save(folder / "fewer.npy", poisoned[:10])
    for name in ("poisoned", "small"):
        assert (
            tool("cp-dataset", files / f"{name}.safetensors", "--export", folder / name).code == 0
        )
    return folder


@pytest.fixture
def take(tool, files, tmp_path, monkeypatch):
    """Import a file and return the delta, and what was said."""
    monkeypatch.chdir(tmp_path)

    def take_(path, *options, dataset="clean"):
        words = ("import", path, "--dataset", files / f"{dataset}.safetensors", *options)
        done = tool("cptools", *words, "-o", tmp_path / "taken")
        assert (done.code, done.out) == (0, b"")
        return open_artifact(tmp_path / "taken", expect=("delta",)).read(), done.err

    return take_


@pytest.mark.parametrize("name", ["last", "plain"])
def test_official_poison(take, files, foreign, delta, name):
    """The perturbation comes out of a checkpoint, or of a tensor, bit by bit."""
    taken, said = take(foreign / f"{name}.pth", "--algorithm", "simclr")
    assert np.array_equal(taken.delta, delta.delta)
    assert (taken.mode, taken.epsilon, taken.algorithm) == ("class", "8/255", "simclr")
    clean = open_artifact(files / "clean.safetensors").read()
    assert taken.dataset == dataset_digest(clean)
    assert said == "cptools: values up to 1: assuming unit epsilon (--unit epsilon)\n"


@pytest.mark.parametrize(
    ("name", "unit", "error"),
    [
        ("noise.pth", "epsilon", 0),
        ("old.pt", "epsilon", 0),
        ("loop.pth", "epsilon", 0),
        ("half.pth", "epsilon", 2**-11),
        ("bfloat.pth", "epsilon", 2**-8),
        ("pixel.pth", "pixel", 1e-6),
        ("levels.npy", "level", 1 / 16),
        ("last.npy", "level", 1e-6),
    ],
)
def test_units_and_layouts(take, foreign, noise, name, unit, error):
    taken, said = take(foreign / name)
    assert (taken.mode, taken.delta.dtype) == ("sample", np.float32)
    assert np.abs(taken.delta - noise.numpy()).max() <= error
    assert f": assuming unit {unit} (--unit {unit})\n" in said


def test_options_stand_above_what_is_judged(take, foreign, delta, noise):
    taken, said = take(foreign / "small.pth", "--unit", "epsilon")
    assert (np.abs(taken.delta).max() == pytest.approx(0.1), said) == (True, "")
    taken, said = take(foreign / "two.pth", "--key", "b.0", "-q")
    assert (np.array_equal(taken.delta, delta.delta), said) == (True, "")
    taken, said = take(foreign / "beyond.pth", "--epsilon", "20/255", "--unit", "level")
    assert (taken.epsilon, said) == ("4/51", "")
    assert np.allclose(taken.delta, noise, atol=1e-6)


@pytest.mark.parametrize("name", ["poisoned", "pictures.npy"])
def test_pictures_become_what_was_added(take, make, files, foreign, tmp_path, name):
    taken, said = take(foreign / name)
    assert (taken.mode, said) == ("sample", "")
    applied = make(
        "cp-perturb", files / "clean.safetensors", "--delta", tmp_path / "taken", o=tmp_path / "a"
    )
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    assert np.array_equal(applied.train_images, poisoned.train_images)


def test_pictures_find_their_rows(take, make, tool, tmp_path):
    """Files are named by id: rows of a dataset in any other order get their own."""
    from dataclasses import replace

    make("cp-dataset", "shapes", "--limit", 12, o=tmp_path / "a")
    few = make("cp-dataset", tmp_path / "a", "--limit", 9, o=tmp_path / "b")
    order = np.random.default_rng(0).permutation(9)
    rows = {n: getattr(few, f"train_{n}")[order] for n in ("images", "labels", "index")}
    few = replace(few, **{f"train_{n}": values for n, values in rows.items()})
    write_artifact(few, tmp_path / "few.safetensors")
    noisy = make("cp-perturb", tmp_path / "few.safetensors", "--noise", o=tmp_path / "c")
    assert tool("cp-dataset", tmp_path / "c", "--export", tmp_path / "pictures").code == 0
    words = ("import", tmp_path / "pictures", "--dataset", tmp_path / "few.safetensors")
    assert tool("cptools", *words, "-o", tmp_path / "d").code == 0
    words = ("cp-perturb", tmp_path / "few.safetensors", "--delta", tmp_path / "d")
    assert np.array_equal(make(*words, o=tmp_path / "e").train_images, noisy.train_images)


@pytest.mark.parametrize("name", ["last.pth", "pixel.pth", "levels.npy", "poisoned"])
def test_printed_history_gives_the_same_bytes(take, same_again, files, foreign, tmp_path, name):
    taken, _ = take(foreign / name)
    (step,) = taken.history
    clean = open_artifact(files / "clean.safetensors").read()
    assert step.tool == "cptools-import"
    assert step.inputs["dataset"].history == clean.history
    assert step.inputs["input"].kind == ""
    same_again(tmp_path / "taken")


def test_history_as_a_side_input(take, make, same_again, files, foreign, tmp_path):
    take(foreign / "noise.pth")
    words = ("cp-perturb", files / "clean.safetensors", "--delta", tmp_path / "taken")
    make(*words, o=tmp_path / "a")
    same_again(tmp_path / "a")


def test_digest_of_the_file(bash, take, foreign):
    taken, _ = take(foreign / "noise.pth")
    done = bash("sha256sum noise.pth", foreign)
    assert taken.history[0].inputs["input"].digest == done.stdout.decode().split()[0]


def test_datasets_from_standard_input_and_by_name(bash, tool, files, foreign, tmp_path):
    done = bash(
        f"cptools import {foreign}/noise.pth --dataset - < clean.safetensors > {tmp_path}/a &&"
        f" cptools import {foreign}/noise.pth --dataset clean.safetensors | cmp - {tmp_path}/a",
        files,
    )
    assert (done.returncode, done.stdout) == (0, b"")
    words = ("import", foreign / "plain.pth", "--dataset", "shapes", "-o", tmp_path / "b")
    assert tool("cptools", *words).code == 0
    step = open_artifact(tmp_path / "b").history[0].inputs["dataset"].history[0]
    assert step.parameters == {"input": "shapes", "seed": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("cut-noise.pth", "cut-noise.pth is truncated or damaged"),
        ("cut-old.pt", "cut-old.pt is truncated or damaged"),
        ("code.pth", f"holds {os.name}.mkdir, which may execute code and is not loaded;"),
        ("oldcode.pt", f"holds {os.name}.mkdir, which may execute code and is not loaded;"),
        ("pickle0.pth", "give a .pth, .pt or .npy file"),
        ("pickle2.pth", "pickle2.pth"),
        ("pickle4.pth", "pickle4.pth"),
        ("huge.pth", "the file holds [1000000000, 3, 32, 32]; give the dataset"),
        ("seven.pth", "needs a tensor 10 or 64 x 3 x 32 x 32, the file holds [7, 3, 32, 32];"),
        ("narrow.pth", "the file holds [64, 3, 8, 32];"),
        ("noise.pth --mode class", "needs a tensor 10 x 3 x 32 x 32, the file holds"),
        ("last.pth --key model.backbone.conv1.weight", "holds model.backbone.conv1.weight [64, 3,"),
        ("last.pth --key nothing", "there is no tensor nothing, but model.delta [10, 3, 32, 32],"),
        ("two.pth", "a and b.0 fit the dataset; choose one with --key"),
        ("empty.pth", "the file holds no tensor;"),
        ("complex.pth", "the file holds no tensor;"),
        ("bool.pth", "bool.pth contains bool; give floats, signed integers, or uint8 images"),
        ("nan.pth", "nan.pth: it contains NaN or infinity;"),
        ("nan.pth --unit level", "nan.pth: it contains NaN or infinity;"),
        ("small.pth", "small.pth: the unit of values up to 0.1 is ambiguous; give --unit epsilon,"),
        ("beyond.pth", "where epsilon 8/255 allows 8 in unit level;"),
        ("noise.pth --unit pixel", "allows 0.0313725 in unit pixel;"),
        ("objects.npy", "objects.npy is not a valid array of numbers"),
        ("text.npy", "text.npy contains <U1; give floats,"),
        ("levels.npy --key a", "--key applies only to PyTorch files; leave it out"),
        ("small", "small holds 20 training images, the dataset 64;"),
        ("small --dataset {few}", "small holds images of 16x16 pixels, the dataset of 32x32;"),
        ("poisoned --dataset {other}", "poisoned: image 0 differs from the clean one by"),
        ("poisoned --epsilon 7/255", "by 8 gray levels where epsilon 7/255 allows 7;"),
        ("poisoned --unit level", "contains perturbed images, always sample-wise; leave --unit"),
        ("pictures.npy --mode class", "needs a tensor 10 x"),
        ("fewer.npy", "10 perturbed images do not match 64 training images;"),
        ("noise.pth --epsilon 0", "epsilon is 0;"),
        ("noise.pth --epsilon x", "epsilon 'x' is no number;"),
        ("noise.pth --unit levels", "'levels' is not one of epsilon, pixel, level"),
        ("noise.pth --dataset {delta}", "is of kind delta; give one of kind dataset"),
        ("noise.pth --dataset nowhere", "there is no file or source nowhere;"),
        ("noise.pt", "did you mean"),
        ("{clean}", "is a safetensors file; give a .pth, .pt or .npy file"),
        ("/dev/null", "/dev/null is not a regular file or folder; save it to a file"),
        ("noise.pth -o nowhere/a", "there is no folder"),
        ("noise.pth -o .", "it is a folder; name a file in it"),
    ],
)  # fmt: skip
def test_refusals(tool, make, files, foreign, monkeypatch, tmp_path, arguments, message):
    names = {path.stem: path for path in files.iterdir()}
    if "{other}" in arguments:
        names["other"] = tmp_path / "other"
        words = ("--limit", 64, "--limit-test", 32, "--seed", 1)
        make("cp-dataset", "shapes", *words, o=names["other"])
    monkeypatch.chdir(foreign)
    before = sorted(foreign.iterdir())
    words = ["--dataset", names["clean"], "-o", "out", *arguments.format(**names).split()]
    tool("cptools", "import", *words).refused(message)
    assert sorted(foreign.iterdir()) == before  # nothing written, and no code run


def test_as_many_classes_as_images(tool, make, foreign, tmp_path):
    make("cp-dataset", "shapes", "--limit", 10, o=tmp_path / "a")
    words = ("import", foreign / "plain.pth", "--dataset", tmp_path / "a", "-o", tmp_path / "b")
    tool("cptools", *words).refused("10 classes and as many images; give --mode class or")
    assert tool("cptools", *words, "--mode", "sample").code == 0
    assert open_artifact(tmp_path / "b").read().mode == "sample"


# Export


@pytest.mark.parametrize("suffix", ["npy", "pt", "pth"])
@pytest.mark.parametrize("unit", ["epsilon", "pixel", "level"])
def test_others_can_read_it(tool, take, files, delta, tmp_path, suffix, unit):
    """What NumPy and PyTorch themselves read from it, and what is taken back."""
    path = tmp_path / f"out.{suffix}"
    words = ("export", files / "delta.safetensors", "-o", path, "--unit", unit)
    done = tool("cptools", *words)
    assert (done.code, done.out, done.err) == (0, b"", "")
    first = path.read_bytes()
    assert tool("cptools", *words).code == 0
    assert path.read_bytes() == first
    values = np.load(path) if suffix == "npy" else torch.load(path, weights_only=True).numpy()
    factor = {"epsilon": 1, "pixel": 8 / 255, "level": 8}[unit]
    exact = factor * delta.delta.astype(float)
    assert values.dtype == (np.int8 if unit == "level" else np.float32)
    assert np.allclose(values, np.rint(exact) if unit == "level" else exact, atol=1e-6)
    taken, said = take(path)
    assert f"--unit {unit}" in said
    assert np.allclose(taken.delta, values / factor, atol=1e-6)
    if unit == "epsilon":
        assert np.array_equal(taken.delta, delta.delta)


def test_exported_levels_are_what_is_published(tool, make, files, tmp_path):
    """On gray images, which nothing clips, levels are the change of the pixels."""
    from dataclasses import replace

    clean = open_artifact(files / "clean.safetensors").read()
    gray = replace(clean, train_images=np.full_like(clean.train_images, 128))
    write_artifact(gray, tmp_path / "gray")
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, (64, 3, 32, 32)).astype(np.float16)
    delta = Delta(values, "sample", "3/100", "mine", dataset_digest(gray))
    write_artifact(delta, tmp_path / "delta")
    moved = make("cp-perturb", tmp_path / "gray", "--delta", tmp_path / "delta", o=tmp_path / "a")
    words = ("export", tmp_path / "delta", "-o", tmp_path / "a.npy", "--unit", "level")
    assert tool("cptools", *words).code == 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), moved.train_images.astype(int) - 128)


def test_the_same_bytes_in_another_process_and_name(bash, tool, files, tmp_path):
    data = (files / "delta.safetensors").read_bytes()
    done = tool("cptools", "export", "-o", tmp_path / "a.pth", stdin=data)
    assert (done.code, done.err) == (0, "")
    done = bash(f"cptools export delta.safetensors -o {tmp_path}/b.pth", files)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "{delta} -o out.txt",
            "out.txt has an unsupported suffix; use .npy, .pt, .pth for a delta",
        ),
        ("{delta} -o -", "- has an unsupported suffix;"),
        ("{delta}", "missing option '-o' / '--output'"),
        ("{clean} -o out.npy", "out.npy has no suffix for kind dataset; use"),
        ("{delta} -o no/out.npy", "there is no folder"),
        ("nowhere -o out.npy", "there is no file nowhere;"),
        ("-o out.npy", "no input; give a file"),
    ],
)
def test_refused_exports(tool, files, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    names = {path.stem: path for path in files.iterdir()}
    tool("cptools", "export", *arguments.format(**names).split()).refused(message)
    assert list(tmp_path.iterdir()) == []
