"""Artifacts that were put together by hand of what no file could hold, or that do not fit."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import cptools as cp
from cptools.workflows.encoders import build_backbone

MADE = {  # fields that make of a good dataset a bad one, and what is said of it
    "float images": (lambda d: {"train_images": d.train_images / np.float32(255)}, "give uint8"),
    "float test images": (lambda d: {"test_images": d.test_images / 255}, "give uint8"),
    "tensors": (lambda d: {"train_images": torch.from_numpy(d.train_images)}, "numpy array"),
    "a list": (lambda d: {"train_labels": d.train_labels.tolist()}, "numpy array"),
    "no images": (lambda d: {"train_images": None}, "numpy array"),
    "channels last": (
        lambda d: {"train_images": d.train_images.transpose(0, 2, 3, 1)}, "[any, 3, any, any]",
    ),
    "gray images": (lambda d: {"train_images": d.train_images[:, :1]}, "[any, 3, any, any]"),
    "one image": (lambda d: {"train_images": d.train_images[0]}, "[any, 3, any, any]"),
    "none at all": (
        lambda d: {"train_images": d.train_images[:0], "train_labels": d.train_labels[:0]},
        "no training images",
    ),
    "other test images": (lambda d: {"test_images": d.test_images[..., :16, :16]}, "test.images"),
    "few labels": (lambda d: {"train_labels": d.train_labels[:-1]}, "train.labels"),
    "few test labels": (lambda d: {"test_labels": d.test_labels[:-1]}, "test.labels"),
    "small labels": (lambda d: {"train_labels": d.train_labels.astype("int32")}, "int64[40]"),
    "float labels": (lambda d: {"train_labels": d.train_labels.astype(float)}, "int64[40]"),
    "labels from 1": (lambda d: {"train_labels": d.train_labels + 1}, "is not one of 10 classes"),
    "labels below 0": (lambda d: {"test_labels": d.test_labels - 1}, "is not one of 10 classes"),
    "few classes": (lambda d: {"classes": d.classes[:3]}, "is not one of 3 classes"),
    "no classes": (lambda d: {"classes": ()}, "classes is not a list of names"),
    "a bad index": (lambda d: {"train_index": np.arange(-1, 39)}, "negative row"),
    "a short index": (lambda d: {"train_index": np.arange(3)}, "train.index"),
    "mean of bytes": (lambda d: {"mean": (120.0, 120.0, 120.0)}, "mean is not three numbers"),
    "one mean": (lambda d: {"mean": (0.5,)}, "mean is not three numbers"),
    "mean of nothing": (lambda d: {"mean": (float("nan"),) * 3}, "mean is not three numbers"),
    "no mean": (lambda d: {"mean": None}, "another type"),
    "no deviation": (lambda d: {"std": (0.0, 0.2, 0.2)}, "std is not three numbers"),
    "no name": (lambda d: {"name": None}, "name is not valid text"),
    "turned over": (lambda d: {"train_images": d.train_images[::-1]}, "give a copy"),
    "foreign bytes": (lambda d: {"train_labels": d.train_labels.astype(">i8")}, "give a copy"),
}  # fmt: skip
TAKERS = (
    "generate", "pretrain", "watch", "perturb", "natural", "defend", "select", "probe", "dataset",
    "several", "audit", "plot", "plotted on",
)  # fmt: skip
PARAMETER = {
    "watch": "watch", "probe": "artifact", "plot": "inputs", "plotted on": "dataset",
    "several": "dataset",
}  # fmt: skip


def take(what, bad, data, encoder, delta):
    """Give a function something in the place of a dataset."""
    match what:
        case "generate":
            return cp.generate(bad)
        case "pretrain":
            return cp.pretrain(bad)
        case "watch":
            return cp.pretrain(data, watch=bad)
        case "perturb":
            return cp.perturb(bad, noise=True)
        case "natural":
            return cp.perturb(bad, kind="fog")
        case "defend":
            return cp.defend(bad, "gray")
        case "select":
            return cp.select(bad, "random", 0.5)
        case "probe":
            return cp.probe(bad)
        case "dataset":
            return cp.probe(encoder, bad)
        case "several":
            return cp.probe(encoder, [data, bad])
        case "audit":
            return cp.audit(bad)
        case "plot":
            return cp.plot(data, bad)
        case "plotted on":
            return cp.plot(delta, dataset=bad)


def infinite(array):
    return np.full_like(array, np.inf) if array.dtype.kind == "f" else array


def refused(call, *told):
    with pytest.raises(ValueError, match=r".") as caught:
        call()
    text = str(caught.value)
    for part in told:
        assert part in text
    assert "\n" not in text
    assert "--" not in text
    assert ";" in text


@pytest.fixture(autouse=True)
def nothing_is_done(monkeypatch, tmp_path, data, encoder, poisoned):
    """No step of training, no file."""

    def work(*args, **kwargs):
        raise AssertionError("it was not refused before the work")

    monkeypatch.setattr(torch.Tensor, "backward", work)
    monkeypatch.setattr(torch.autograd, "grad", work)
    monkeypatch.chdir(tmp_path)
    yield
    assert [*Path().iterdir()] == []


@pytest.mark.parametrize("what", TAKERS)
@pytest.mark.parametrize("made", MADE)
def test_no_function_takes_a_dataset_that_no_file_could_hold(data, encoder, poisoned, what, made):
    change, told = MADE[made]
    bad = replace(data, **change(data))
    assert type(bad) is cp.Dataset
    name = PARAMETER.get(what, "dataset")
    refused(lambda: take(what, bad, data, encoder, poisoned.delta), f"`{name}`: ", told)


@pytest.mark.parametrize("what", TAKERS)
@pytest.mark.parametrize(
    ("thing", "told"),
    [
        ([], "a list"), ({}, "a dict"), (None, "a NoneType"), (5, "an int"),
        ("x.safetensors", "`cp.load` reads"), (Path("x"), "`cp.load` reads"),
        (np.zeros((4, 3, 8, 8), np.uint8), "ndarray"),
    ],
    ids=["list", "dict", "None", "int", "text", "path", "array"],
)  # fmt: skip
def test_other_things_are_no_datasets(data, encoder, poisoned, what, thing, told):
    if what == "dataset" and isinstance(thing, list):
        return  # none of several
    if thing is None and what in ("watch", "dataset", "plotted on"):
        return  # it was left out
    if what in ("dataset", "several", "plotted on") and isinstance(thing, str | Path):
        told = "cannot read x"
    refused(lambda: take(what, thing, data, encoder, poisoned.delta), told)


@pytest.mark.parametrize("what", ["generate", "pretrain", "perturb", "defend", "select", "audit"])
def test_what_is_meant_is_told(data, encoder, poisoned, what):
    args = (data, encoder, poisoned.delta)
    refused(lambda: take(what, encoder, *args), "`dataset` is an encoder; give a dataset")
    refused(lambda: take(what, poisoned.delta, *args), "`dataset` is a delta; give a dataset")
    refused(lambda: take(what, poisoned, *args), "`dataset` is a Poisoned", "here its .dataset")


def test_a_delta_is_of_its_dataset(data, small, poisoned):
    other = cp.load("shapes", limit=40, limit_test=20, seed=1)
    unnamed = replace(poisoned.delta, classes=())
    of_another = "the class-wise delta was made for"
    for delta, dataset, told in (
        (unnamed, other, of_another),
        (unnamed, small, of_another),
        (poisoned.delta, small, "the delta is for images of 32x32 pixels"),
    ):
        refused(lambda e=delta, d=dataset: cp.perturb(d, delta=e), f"`delta`: {told}")
        refused(lambda e=delta, d=dataset: cp.generate(d, init=e), f"`init`: {told}")
        refused(lambda e=delta, d=dataset: cp.plot(e, dataset=d), f"`dataset`: {told}")
    few = replace(unnamed, delta=poisoned.delta.delta[:3])
    refused(lambda: cp.perturb(data, delta=few), "`delta`: the class-wise delta is 3x3x32x32")
    refused(lambda: cp.generate(data, init=data), "`init` is a dataset; give a delta")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: {"delta": d.delta * np.nan}, "exceeds [-1, 1] or is not finite"),
        (lambda d: {"delta": d.delta + 2}, "exceeds [-1, 1]"),
        (lambda d: {"delta": d.delta.astype(float)}, "not float32 or float16"),
        (lambda d: {"delta": d.delta[0]}, "[any, 3, any, any]"),
        (lambda d: {"delta": torch.from_numpy(d.delta)}, "numpy array"),
        (lambda d: {"mode": "klass"}, "mode is not valid text"),
        (lambda d: {"epsilon": "8"}, "epsilon is more than 1"),
        (lambda d: {"epsilon": 8 / 255}, "epsilon is not valid text"),
        (lambda d: {"dataset": "abc"}, "dataset is not a SHA-256"),
    ],
)
def test_no_function_takes_a_bad_delta(data, poisoned, change, told):
    bad = replace(poisoned.delta, **change(poisoned.delta))
    refused(lambda: cp.perturb(data, delta=bad), "`delta`: ", told)
    refused(lambda: cp.generate(data, init=bad), "`init`: ", told)
    refused(lambda: cp.plot(bad), "`inputs`: ", told)
    with pytest.raises(ValueError, match=re.escape(told)):
        cp.save(bad, "delta")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda e: {"tensors": {k: infinite(v) for k, v in e.tensors.items()}},
            "is not finite",
        ),
        (lambda e: {"tensors": {}}, "no backbone"),
        (lambda e: {"tensors": {**e.tensors, "x": np.zeros(1)}}, "'x' is not part of this kind"),
        (lambda e: {"input_size": 0}, "input_size is not an integer from 1"),
        (lambda e: {"width": 4.0}, "width is not an integer from 1"),
    ],
)  # fmt: skip
def test_no_function_takes_a_bad_encoder(data, encoder, change, told):
    bad = replace(encoder, **change(encoder))
    refused(lambda: cp.probe(bad), "`artifact`: ", told)
    refused(lambda: cp.select(data, "sas", 0.2, encoder=bad), "`encoder`: ", told)
    refused(lambda: cp.pretrain(data, "advcl", labels_from=bad), "`labels_from`: ", told)
    refused(lambda: cp.plot(bad), "`inputs`: ", told)


def test_an_encoder_is_for_images_of_one_size(data, small, encoder):
    told = "trained on images of 32 pixels, shapes has 16; load it with `size=32`"
    refused(lambda: cp.probe(encoder, small), told)
    refused(lambda: cp.probe(encoder, [data, small]), told)
    refused(lambda: cp.select(small, "sas", 0.5, encoder=encoder), told)
    refused(lambda: cp.pretrain(small, "advcl", labels_from=encoder), "`labels_from`: ", told)
    refused(lambda: cp.plot(encoder, small), told)
    refused(lambda: cp.pretrain(data, watch=small), "`watch` has 16-pixel images")


def test_weights_belong_to_their_architecture(encoder, data):
    for change in ({"width": 8}, {"architecture": "vgg19"}):
        bad = replace(encoder, **change)
        for call in (bad.network, lambda b=bad: cp.probe(b)):
            with pytest.raises(ValueError, match="the weights are not those of"):
                call()
    with pytest.raises(ValueError, match="unknown architecture 'resnet1'"):
        replace(encoder, architecture="resnet1").network()
    refused(lambda: encoder.network("tpu"), "`device`: unknown device 'tpu'")


def test_datasets_and_encoders_are_measured_each_in_its_way(data, poisoned, encoder):
    several = [data, data]
    refused(lambda: cp.probe(poisoned.dataset, several), "give `dataset` once")
    refused(lambda: cp.probe(poisoned.dataset, data, method="audit"), "`dataset` does not apply")
    refused(lambda: cp.probe(encoder, method="separability"), "`method=separability`")
    refused(lambda: cp.probe(encoder, method="head"), "`method`")
    refused(lambda: cp.probe(poisoned.delta), "`artifact` is a delta; give an encoder or a dataset")
    lost = replace(encoder, source=None)
    refused(lambda: cp.probe(lost), "but the header names no source; give `dataset`")
    no_test = replace(data, test_images=data.test_images[:0], test_labels=data.test_labels[:0])
    refused(lambda: cp.probe(encoder, no_test), "no test images")


def test_labels_are_given_where_they_are_learned(data, encoder):
    refused(lambda: cp.pretrain(data, "advcl"), "`alg=advcl`", "give it as `labels_from`")
    refused(lambda: cp.pretrain(data, labels_from=encoder), "`labels_from` does not apply")
    refused(lambda: cp.pretrain(data, labels_from=data), "does not apply")


def test_pictures_need_what_goes_together(data, small, encoder, poisoned):
    report = cp.audit(data)
    refused(cp.plot, "`inputs` are none")
    refused(lambda: cp.plot(data, encoder, encoder), "cannot be plotted together")
    refused(lambda: cp.plot(data, small), "differ in image size")
    refused(lambda: cp.plot(report, data), "`inputs` is a report")
    refused(lambda: cp.plot(data, reports={"a": report}), "`reports` are drawn by themselves")
    refused(lambda: cp.plot(reports={"a": 5}), "`reports`: a is neither a report")
    refused(lambda: cp.plot(reports=[report]), "`reports` are told apart by names")
    refused(lambda: cp.plot(reports={}), "`reports`: no reports")
    refused(lambda: cp.plot(report), "a ROC curve needs two conditions")
    refused(lambda: cp.plot(report, report, names=["a"]), "`names` ['a'] are not a name for each")
    refused(lambda: cp.plot(report, report, names=["a", "a"]), "`names`")
    refused(lambda: cp.plot(encoder, names="a"), "`names` 'a' are not a name")
    refused(lambda: cp.plot(poisoned.delta, subject="noise"), "`subject=noise` applies to data")
    refused(lambda: cp.plot(encoder, data, dataset=data), "`dataset` does not apply")


@pytest.mark.parametrize("paper", [{"b": 50}, {"a": 500}, {"a": "50"}, ["a"], "a"])
def test_values_of_a_paper_are_of_the_conditions(paper):
    record = {
        "accuracy_percent": 50, "low_percent": 40, "high_percent": 60, "settings": {"method": "x"},
    }  # fmt: skip
    refused(lambda: cp.plot(reports={"a": cp.Report((record,))}, paper=paper), "`paper` ")


def test_a_network_too_wide_for_its_weights_is_not_built(encoder):
    wide = replace(encoder, width=1 << 20)
    with pytest.raises(ValueError, match="of width 1048576, as no tensor is that large; give"):
        build_backbone(wide, torch.device("cpu"))
