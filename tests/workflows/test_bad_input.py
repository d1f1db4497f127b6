"""What a caller from Python gets wrong: each a `ValueError` of one line, before any work."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import cptools as cp

NAN = float("nan")
CUDA = (
    []
    if torch.cuda.is_available()
    else [("device", "cuda", "`device"), ("device", "cuda:0", "`device")]
)

DEVICES = [
    ("device", "tpu", "`device`"),
    ("device", 5, "`device`"),
    ("device", None, "`device`"),
    *CUDA,
]
SEEDS = [("seed", value, "`seed` ") for value in (-1, 1.5, True, "0", None, NAN, [0])]
PRECISIONS = [("precision", value, "`precision=") for value in ("fp8", None, 16)]
RECIPES = [("recipe", value, "`recipe=") for value in ("papr", None, 1, ["quick"])]
PROGRESS = [("progress", value, "`progress`") for value in ("yes", 1, [])]
FLAGS = ("yes", 1, 0, None, "")
SETTINGS = [
    ("rouds", 3, "`rouds` is no setting"),
    ("batch_size", 0, "`batch_size`: 0 "),
    ("batch_size", "8", "`batch_size`: '8' "),
    ("batch_size", 8.5, "`batch_size`: 8.5 "),
    ("batch_size", True, "`batch_size`: True "),
    ("batch_size", [8], "`batch_size`: [8] "),
    ("temperature", NAN, "`temperature`: nan "),
    ("temperature", -1, "`temperature`: -1 "),
    ("loss", "infonc", "`loss`: 'infonc' "),
    ("encoder", "resnet19", "`encoder`: 'resnet19' "),
    ("encoder", 18, "`encoder`: 18 "),
    ("views", 3, "`views`: 3 "),
    ("views", "crop,flop", "`views`: 'flop' "),
    ("crop_area", 2, "`crop_area`: 2 "),
    ("jitter", 9, "`jitter`: 9 "),
    ("epochs" , 3.5, "`epochs`"),
]  # fmt: skip
EPSILONS = [
    ("epsilon", value, "`epsilon`")
    for value in (
        8,
        "8",
        -1,
        "-1",
        NAN,
        True,
        "8/0",
        "x",
        "",
        1.01,
        float("inf"),
        Fraction(8),
        [8],
        b"8",
    )
]
FRACTIONS = [("fraction", value, "`fraction`") for value in (-0.1, 1.1, NAN, True, "0.2", [0.2])]
CHECKPOINTS = [
    ("checkpoint", "/nowhere/at/all", "`checkpoint`"),
    ("checkpoint", "/", "`checkpoint`"),
    ("checkpoint", True, "`checkpoint`"),
    ("checkpoint", "", "`checkpoint`"),
]

GENERATE = [
    ("alg", "simclrr", "`alg`"),
    ("alg", None, "`alg`"),
    ("alg", ["simclr"], "`alg`"),
    ("mode", "klass", "`mode=klass`"),
    ("mode", 1, "`mode=1`"),
    ("mode", ["class"], "`mode="),
    ("init", "delta.safetensors", "`init` "),
    ("init", np.zeros((10, 3, 32, 32)), "`init` "),
    *(("half", value, "`half`") for value in FLAGS),
    *EPSILONS, *SEEDS, *DEVICES, *PRECISIONS, *RECIPES, *PROGRESS, *CHECKPOINTS, *SETTINGS,
    ("csd_weight", 3, "`csd_weight` does not apply"),
    ("rounds", -1, "`rounds`: -1 "),
]  # fmt: skip
PRETRAIN = [
    ("alg", "simclrr", "`alg`"),
    ("alg", None, "`alg`"),
    ("alg", "advcl", "`labels_from`"),
    ("labels_from", "encoder.safetensors", "`labels_from` "),
    ("watch", "clean.safetensors", "`watch` "),
    ("defend", "mcc", "`defend=mcc`"),
    ("defend", "mc:rank=x", "`defend=mc:rank=x`"),
    ("defend", "", "`defend"),
    ("defend", 5, "`defend"),
    ("defend", ["mc"], "`defend"),
    ("defend_at", "view", "`defend_at=view`"),
    *SEEDS, *DEVICES, *PRECISIONS, *RECIPES, *PROGRESS, *CHECKPOINTS, *SETTINGS,
    ("rounds", 3, "`rounds` "),
    ("epochs", 0, "`epochs`: 0 "),
]  # fmt: skip
PERTURB = [
    *(("fraction", value, "`fraction`") for value in (-0.1, 1.1, NAN, True, "0.2")),
    *EPSILONS, *SEEDS, *PROGRESS,
    *(("noise", value, "`noise`") for value in ("yes", 1, 0, "")),
    ("delta", "delta.safetensors", "`delta` "),
    ("severity", 3, "`severity` does not apply"),
    ("mix", True, "`mix` does not apply"),
]  # fmt: skip
NATURAL = [
    ("suite", "cifar10c", "`suite="),
    ("kind", "fogg", "`kind`"),
    ("kind", "", "`kind`"),
    ("kind", 5, "`kind`"),
    ("kind", ["fog"], "`kind`"),
    ("severity", 9, "`severity`"),
    ("severity", 0, "`severity`"),
    ("severity", 1.5, "`severity`"),
    ("severity", True, "`severity`"),
    ("severity", "3 ", "`severity`"),
    ("severity", [3], "`severity`"),
    ("frame", 3, "`severity`"),
    ("epsilon", "8/255", "`epsilon` does not apply"),
    ("split", "tests", "`split=tests`"),
    ("split", 1, "`split=1`"),
    *(("mix", value, "`mix`") for value in ("yes", 1, 0, "")),
    *(("layer", value, "`layer`") for value in ("yes", 1, 0, "")),
    *SEEDS, *PROGRESS,
]  # fmt: skip
DEFEND = [
    *(("steps", value, "`steps`") for value in ("mcc", "mc:rank=x", "mc:rnk=3", "", "jpeg")),
    *(("steps", value, "`steps`") for value in (5, None, [], [5], ["mc"], True)),
    *SEEDS, *DEVICES, *PROGRESS,
]  # fmt: skip
SELECT = [
    ("method", "sass", "`method=sass`"),
    ("method", None, "`method=None`"),
    ("fraction", None, "`fraction`"),
    ("fraction", 0, "`fraction`"),
    *FRACTIONS, *SEEDS, *DEVICES, *PRECISIONS,
    ("method", "sas", "`encoder`"),
    ("encoder", "encoder.safetensors", "`encoder` "),
    ("classes", 3, "`classes` does not apply"),
    *(("labels", value, "`labels`") for value in FLAGS),
]  # fmt: skip
SAS = [
    *(("classes", value, "`classes`") for value in (0, -1, 1.5, True, "3")),
    *(("num_views", value, "`num_views`") for value in (0, -1, 1.5, True, "3")),
]
PROBE = [
    ("dataset", "nowhere.safetensors", "nowhere.safetensors"),
    ("dataset", 5, "`dataset` "),
    ("dataset", [5], "`dataset` "),
    ("method", "lbfg", "`method=lbfg`"),
    ("method", "audit", "`method=audit`"),
    ("k", 5, "`k` does not apply"),
    ("l2", -1, "`l2`: -1"),
    ("iteratons", 5, "`iteratons` "),
    *SEEDS, *DEVICES, *PRECISIONS, *RECIPES, *PROGRESS,
]  # fmt: skip
MEASURE = [
    ("method", "knn", "`method=knn`"),
    ("precision", "bf16", "`precision=bf16`"),
    ("precision", "fp8", "`precision="),
    ("holdout", 2, "`holdout`: 2"),
    *SEEDS, *DEVICES, *RECIPES, *PROGRESS,
]  # fmt: skip
AUDIT = [*SEEDS, *DEVICES, *PROGRESS]
LOAD = [
    *(("limit", value, "`limit`") for value in (0, -1, 1.5, True, "3", NAN)),
    *(("limit_test", value, "`limit_test`") for value in (0, -1, 1.5, True, "3")),
    *(("size", value, "`size`") for value in (0, -1, 1.5, True, "3")),
    *SEEDS[:4],
    ("contrast", 2, "`contrast`: 2"),
    ("fraction", 0.5, "`fraction` does not apply"),
    ("holdout", 0.5, "`holdout` does not apply"),
    ("classes", "disk", "`classes` does not apply"),
    ("classes", 5, "`classes`"),
    ("classes", [5], "`classes`"),
    ("classes", "", "`classes`"),
    ("classes", [], "`classes`"),
    *(("source", value, "`source`") for value in (5, None, b"shapes", "nowhere", "", "a\0b")),
    ("source", "/dev/null/x", "`source`"),
]  # fmt: skip
PLOT = [
    ("subject", "nois", "`subject=nois`"),
    ("device", "tpu", "`device`"),
    ("grid", True, "`grid`"),
    ("paper", {"a": 1}, "`paper`"),
    ("dataset", 5, "`dataset`"),
    ("title", 5, "`title`"),
    ("reports", 5, "`reports`"),
    ("reports", {}, "`reports`"),
    ("reports", {"a": 5}, "`reports`"),
]  # fmt: skip

TABLE = [
    (what, *case)
    for what, cases in {
        "generate": GENERATE, "pretrain": PRETRAIN, "perturb": PERTURB, "natural": NATURAL,
        "defend": DEFEND, "select": SELECT, "sas": SAS, "probe": PROBE, "measure": MEASURE,
        "audit": AUDIT, "load": LOAD, "plot": PLOT,
    }.items()
    for case in cases
]  # fmt: skip


@pytest.fixture
def calls(data, poisoned, encoder):
    """Functions of keyword arguments that work without any of them but for those in the table."""

    def with_epsilon(**given):
        return cp.perturb(
            data, **({} if {"noise", "delta"} & {*given} else {"noise": True}), **given
        )

    def selected(**given):
        return cp.select(data, **{"method": "random", "fraction": 0.5, **given})

    def natural(**given):
        return cp.perturb(data, **{"kind": "fog", "severity": 3, **given})

    return {
        "generate": lambda **given: cp.generate(data, **given),
        "pretrain": lambda **given: cp.pretrain(data, **given),
        "perturb": with_epsilon,
        "natural": natural,
        "defend": lambda **given: cp.defend(data, **{"steps": "gray", **given}),
        "select": selected,
        "sas": lambda **given: selected(method="sas", encoder=encoder, **given),
        "probe": lambda **given: cp.probe(encoder, **given),
        "measure": lambda **given: cp.probe(poisoned.dataset, **given),
        "audit": lambda **given: cp.audit(data, **given),
        "load": lambda **given: cp.load(**{"source": "shapes", **given}),
        "plot": lambda **given: cp.plot(data, **given),
    }


def refused(call, *told):
    """Call it; assert that it ends in one good line, and at once."""
    with pytest.raises(ValueError, match=r".") as caught:
        call()
    text = str(caught.value)
    for part in told:
        assert part in text
    assert "\n" not in text
    assert "--" not in text
    assert re.search("`[a-z0-9_]+(=[^`]*)?`", text), text
    return text


@pytest.mark.parametrize(
    ("what", "name", "value", "told"),
    TABLE,
    ids=[f"{i}-{c[0]}-{c[1]}" for i, c in enumerate(TABLE)],
)
def test_an_argument_is_refused(calls, what, name, value, told, monkeypatch, tmp_path, capfd):
    def work(*args, **kwargs):
        raise AssertionError("it was not refused before the work")

    monkeypatch.setattr(torch.Tensor, "backward", work)
    monkeypatch.setattr(torch.autograd, "grad", work)
    monkeypatch.chdir(tmp_path)
    refused(lambda: calls[what](**{name: value}), told)
    assert [*Path().iterdir()] == []
    assert capfd.readouterr() == ("", "")
