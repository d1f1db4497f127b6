"""`cp-pretrain --defend`: defenses that are drawn anew for every view."""

import json

import numpy as np
import pytest

from cptools.artifacts.history import digest

TINY = ("--epochs", "2", "--batch-size", "32")


def weights(encoder):
    return digest({n: a for n, a in encoder.tensors.items() if not n.startswith("curve.")})


def test_what_is_not_random_is_the_same_baked_and_on_the_fly(make, tmp_path, files):
    make("cp-defend", "--jpeg", 30, "--gray", files / "few.safetensors", o=tmp_path / "d")
    baked = make("cp-pretrain", tmp_path / "d", *TINY, o=tmp_path / "baked")
    flying = make(
        "cp-pretrain", files / "few.safetensors", "--defend", "jpeg:30,gray", *TINY,
        o=tmp_path / "flying",
    )  # fmt: skip
    assert digest(flying.tensors) == digest(baked.tensors)
    plain = make("cp-pretrain", files / "few.safetensors", *TINY, o=tmp_path / "plain")
    assert weights(plain) != weights(baked)


def test_what_is_random_is_not(make, tmp_path, files):
    make("cp-defend", "--mc", files / "few.safetensors", o=tmp_path / "d")
    made = {
        weights(make("cp-pretrain", *words, *TINY, o=tmp_path / "e"))
        for words in (
            (tmp_path / "d",),
            (files / "few.safetensors", "--defend", "mc"),
            (files / "few.safetensors", "--defend", "mc:rank=3"),
            (files / "few.safetensors", "--defend", "mc", "--defend-at", "view"),
            (files / "few.safetensors", "--defend", "mc", "--seed", 1),
        )
    }
    assert len(made) == 5


@pytest.mark.parametrize("alg", ["simclr", "byol", "supervised"])
def test_learners_take_it(make, same_again_here, tmp_path, files, alg):
    encoder = make(
        "cp-pretrain", files / "few.safetensors", "--alg", alg, "--defend", "mixup:1,cutout:8",
        "--defend-at", "view", *TINY, o=tmp_path / "e",
    )  # fmt: skip
    parameters = encoder.history[-1].parameters
    assert (parameters["defend"], parameters["defend_at"]) == ("mixup:1.0,cutout:8", "view")
    assert all(np.isfinite(a).all() for a in encoder.tensors.values())
    same_again_here(tmp_path / "e")


def test_history_has_every_setting(tool):
    done = tool("cp-pretrain", "shapes", "--defend", "mc:rank=8, noise: 8/255", "--dry-run")
    settings = json.loads(done.out)
    whole = "mc:drop=0.25:rank=8:layout=apart:mask=pixel,noise:8/255"
    assert (settings["defend"], settings["defend_at"]) == (whole, "image")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--defend-at view", "--defend-at view needs --defend; give that as well"),
        ("--defend blur", "--defend blur: 'blur' is no defense; give mc, noise"),
        ("--defend jpeg", "jpeg needs its quality; give jpeg:QUALITY"),
        ("--defend mc:drop=1", "drop of mc: '1' is not a number from 0 to 0.99"),
        ("--defend mc --defend-at once", "'once' is not one of image, view"),
        ("--defend cutout:33", "a hole of 33 pixels is larger than the image; give at most 32"),
        ("--defend mc:rank=33", "33"),
    ],
)
def test_refusals(tool, files, tmp_path, options, message):
    words = ("cp-pretrain", files / "few.safetensors", *options.split(), "-o", tmp_path / "e")
    done = tool(*words)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "e").exists()
