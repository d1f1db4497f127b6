"""`cp-defend`: every defense, alone and one after another, on the training images alone."""

import json

import numpy as np
import pytest

from cptools.artifacts.history import dataset_digest
from cptools.artifacts.stream import open_artifact
from cptools.core.defenses import DEFENSES

EACH = {  # every defense, gently, and what its line of the history says
    "--mc": {
        "mc": True, "mc_drop": 0.25, "mc_keep": 0.5, "mc_layout": "apart", "mc_mask": "pixel",
    },
    "--mc --mc-rank 4 --mc-layout side": {
        "mc": True, "mc_drop": 0.25, "mc_rank": 4, "mc_layout": "side", "mc_mask": "pixel",
    },
    "--mc --mc-eta -1 --mc-mask entry --mc-drop 0.1": {
        "mc": True, "mc_drop": 0.1, "mc_eta": -1.0, "mc_layout": "apart", "mc_mask": "entry",
    },
    "--noise 8/255": {"noise": "8/255"},
    "--noise 0.05": {"noise": "0.05"},
    "--smooth 3": {"smooth": 3},
    "--smooth 5 --smooth-sigma 1.5": {"smooth": 5, "smooth_sigma": 1.5},
    "--cutout 16": {"cutout": 16},
    "--gray": {"gray": True},
    "--jpeg 10": {"jpeg": 10},
    "--webp 80": {"webp": 80},
    "--resize 0.5": {"resize": 0.5},
    "--crop 0.9": {"crop": 0.9},
    "--bits 2": {"bits": 2},
    "--mixup 1": {"mixup": 1.0},
    "--cutmix 0.5": {"cutmix": 0.5},
    "--ueraser --ueraser-intensity 0.5": {"ueraser": True, "ueraser_intensity": 0.5},
    "--purify 16/255 --purify-epochs 1 --purify-width 4": {
        "purify": "16/255", "purify_epochs": 1, "purify_steps": 4, "purify_width": 4,
    },
}  # fmt: skip


@pytest.mark.parametrize("options", EACH)
def test_training_images_alone_are_treated(make, tmp_path, files, options):
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    made = make("cp-defend", *options.split(), files / "poisoned.safetensors", o=tmp_path / "a")
    assert not np.array_equal(made.train_images, poisoned.train_images)
    for name in ("test_images", "train_labels", "test_labels"):
        assert np.array_equal(getattr(made, name), getattr(poisoned, name))
    assert (made.mean, made.std, made.source) == (poisoned.mean, poisoned.std, poisoned.source)
    *before, step = made.history
    assert tuple(before) == poisoned.history
    assert step.parameters == {**EACH[options], "seed": 0, "device": "cpu"}
    assert step.inputs["input"].digest == dataset_digest(poisoned)


def test_every_defense_is_tested():
    assert {word for options in EACH for word in EACH[options]} >= set(DEFENSES)


def test_several_are_the_pipe_of_each(make, tmp_path, files):
    steps = ["--jpeg 30", "--mc --mc-rank 8", "--noise 4/255"]
    together = " ".join(steps).split()
    at_once = make("cp-defend", *together, files / "few.safetensors", o=tmp_path / "once")
    last = files / "few.safetensors"
    for number, step in enumerate(steps):
        make("cp-defend", *step.split(), last, o=tmp_path / f"{number}")
        last = tmp_path / f"{number}"
    assert (tmp_path / "once").read_bytes() == last.read_bytes()
    assert [next(iter(DEFENSES.keys() & e.parameters)) for e in at_once.history[-3:]] == [
        "jpeg", "mc", "noise",
    ]  # fmt: skip
    other = [*steps[1].split(), *steps[0].split(), *steps[2].split()]
    swapped = make("cp-defend", *other, files / "few.safetensors", o=tmp_path / "swapped")
    assert not np.array_equal(swapped.train_images, at_once.train_images)


def test_random_steps_do_not_share_their_numbers(make, tmp_path, files):
    """Poison noise, noise and a mask of one seed are independent."""
    clean = open_artifact(files / "clean.safetensors").read()
    names = {"a": ("cp-perturb", "--noise"), "b": ("cp-defend", "--noise", "5/255")}
    made = [make(*words, files / "clean.safetensors", o=tmp_path / n) for n, words in names.items()]
    first, second = (m.train_images.astype(float) - clean.train_images for m in made)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01


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
    done = tool("cp-defend", "--jpeg", 10, "--mc-keep", 0.8, "--mc", "--dry-run")
    text = "jpeg:10,mc:drop=0.25:keep=0.8:layout=apart:mask=pixel"
    assert json.loads(done.out) == {"defend": text, "seed": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{clean}", "no defense is chosen; give --mc, --noise, "),
        ("{clean} --gray --mc-drop 0.1", "--mc-drop needs --mc; give that as well"),
        ("{clean} --mc --mc-keep 0.5 --mc-rank 3", "--mc-keep and --mc-rank exclude each other;"),
        ("{clean} --mc --mc-rank 0", "invalid value for '--mc-rank'"),
        ("{clean} --mc --mc-rank 33", "33"),
        ("{clean} --mc --mc-drop -0.1", "invalid value for '--mc-drop'"),
        ("{clean} --mc --mc-drop nan", "'--mc-drop'"),
        ("{clean} --mc --mc-layout over", "'over' is not one of apart, side"),
        ("{clean} --noise 8", "'8' is not a number from 0 to 1, such as 8/255"),
        ("{clean} --noise", "option '--noise' requires an argument"),
        ("{clean} --smooth 4", "a kernel of 4 pixels has no middle; give an odd number"),
        ("{clean} --smooth 65", "too large for images of 32; give at most 63"),
        ("{clean} --cutout 33", "a hole of 33 pixels is larger than the image; give at most 32"),
        ("{clean} --cutout 0", "invalid value for '--cutout'"),
        ("{clean} --gray --cutout 33", "a hole of 33 pixels is larger"),
        ("{clean} --jpeg 0", "invalid value for '--jpeg'"),
        ("{clean} --jpeg 101", "invalid value for '--jpeg'"),
        ("{clean} --bits 9", "invalid value for '--bits'"),
        ("{clean} --mixup 0", "invalid value for '--mixup'"),
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


def test_printed_history_gives_the_same_bytes(same_again_here, make, tmp_path, files):
    make("cp-defend", "--mc", files / "few.safetensors", o=tmp_path / "a")
    same_again_here(tmp_path / "a")


def test_a_recommendation_is_a_report(tool, tmp_path, files, monkeypatch):
    from cptools.reports.report import Report
    from cptools.workflows import recommend

    record = {
        "settings": {"method": "recommend"}, "defense": "gray", "recommended": True,
        "score_percent": 50.0, "low_percent": 40.0, "high_percent": 60.0, "cost_points": 1.0,
        "command": "cp-defend --gray",
    }  # fmt: skip
    monkeypatch.setattr(recommend, "_records", lambda *_: [record])
    monkeypatch.setattr(recommend, "_sweep", lambda *_: iter(()))
    done = tool("cp-defend", "--recommend", files / "poisoned.safetensors")
    assert (done.code, done.out) == (0, Report((record,)).to_json().encode())
    command = ("cp-defend", "--recommend", files / "poisoned.safetensors", "-o", tmp_path / "a")
    assert tool(*command).code == 0
    assert (tmp_path / "a").read_bytes() == done.out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--recommend --gray", "--recommend tries its own; leave --gray out"),
        ("--victim moco --gray", "--victim needs --recommend;"),
        ("--recommend --victim advcl", "--victim advcl needs pseudo-labels"),
        ("--trusted {clean} --gray", "--trusted is for purify; leave it out"),
    ],
)
def test_a_recommendation_and_a_defense_are_told_apart(tool, files, options, told):
    words = options.format(clean=files / "clean.safetensors").split()
    done = tool("cp-defend", *words, files / "poisoned.safetensors", "-o", "/dev/null")
    assert (done.code, told in done.err, done.err.count("\n")) == (2, True, 1), done.err
