"""Which images a delta may be applied to, and which row of it each gets."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

import cptools as cp
from cptools.artifacts.history import dataset_digest
from cptools.artifacts.schema import UNLABELED, Assigner
from cptools.core.build import build_encoder
from cptools.core.evaluation.probe import features
from cptools.workflows.assign import assign_rows

ANOTHER = "the delta was made for dataset"


@pytest.fixture(scope="module")
def later(data):
    """Other images, of some of the classes in another order."""
    wanted = data.classes[7:2:-1]
    return cp.load("shapes", limit=60, limit_test=20, seed=1), wanted


@pytest.fixture(scope="module")
def class_wise(data):
    noise = np.random.default_rng(0).uniform(-1, 1, (10, 3, 32, 32)).astype(np.float32)
    return cp.Delta(
        noise, "class", "8/255", "simclr", dataset_digest(data), data.history, data.classes
    )


@pytest.fixture(scope="module")
def clustered(data, class_wise):
    """The first ten images are what the centers are the features of."""
    network = build_encoder("resnet10", 2, generator=torch.Generator().manual_seed(0)).eval()
    stats = {"mean": data.mean, "std": data.std}
    centers = features(network, torch.from_numpy(data.train_images[:10]), **stats).numpy()
    backbone = {f"backbone.{name}": w.numpy() for name, w in network.state_dict().items()}
    assigner = Assigner({**backbone, "centers": centers}, "resnet10", 2, **stats)
    return replace(class_wise, classes=(), assigner=assigner)


def some_classes(dataset, wanted):
    """The images of some classes, in that order of the classes."""
    kept = [i for i, label in enumerate(dataset.train_labels) if dataset.classes[label] in wanted]
    part = dataset.take(np.array(kept), np.zeros(0, np.int64))
    number = {dataset.classes.index(name): label for label, name in enumerate(wanted)}
    labels = np.array([number[label] for label in part.train_labels])
    return replace(part, train_labels=labels, classes=tuple(wanted))


def unlabeled(dataset):
    zeros = {f"{part}_labels": np.zeros_like(getattr(dataset, f"{part}_labels"))
             for part in ("train", "test")}  # fmt: skip
    return replace(dataset, classes=(UNLABELED,), **zeros)


def applied(delta, dataset, rows):
    """The poisoned images, by hand."""
    noise = 8 * delta.delta[rows].astype(np.float64)
    return (dataset.train_images + noise).round().clip(0, 255).astype(np.uint8)


def test_later_images_get_the_noise_of_their_class_by_its_name(caplog, later, class_wise):
    dataset, wanted = later
    part = some_classes(dataset, wanted)
    with caplog.at_level(logging.WARNING):
        made = cp.perturb(part, delta=class_wise)
    rows = [class_wise.classes.index(part.classes[label]) for label in part.train_labels]
    assert np.array_equal(made.train_images, applied(class_wise, part, rows))
    assert f"{ANOTHER} {class_wise.dataset[:12]}, this one is" in caplog.text
    told = made.history[-1].inputs
    assert told["delta"].history == class_wise.history
    assert told["input"].digest == dataset_digest(part) != class_wise.dataset


def test_nothing_is_noted_of_the_images_that_a_delta_was_made_for(caplog, data, class_wise):
    made = cp.perturb(data, delta=class_wise)
    assert np.array_equal(made.train_images, applied(class_wise, data, data.train_labels))
    assert ANOTHER not in caplog.text


def test_what_assigns_is_asked_whatever_the_classes_are_called(caplog, later, clustered):
    dataset = later[0]
    rows = assign_rows(clustered, dataset.train_images)
    assert len(set(rows.tolist())) > 3
    renamed = replace(dataset, classes=tuple(f"other {name}" for name in dataset.classes))
    for one in (dataset, renamed, unlabeled(dataset)):
        made = cp.perturb(one, delta=clustered)
        assert np.array_equal(made.train_images, applied(clustered, one, rows))
        assert (made.classes, made.train_labels.tolist()) == (
            one.classes,
            one.train_labels.tolist(),
        )
    assert "applied by the nearest cluster of each image" in caplog.text


def test_what_a_delta_does_not_fit_is_refused(data, small, later, poisoned, class_wise, clustered):
    other = later[0]
    strange = replace(other, classes=(*other.classes[:8], "cat", "dog"))
    sample = replace(class_wise, mode="sample", classes=(), delta=class_wise.delta[[0] * 60])
    again = poisoned.dataset
    for delta, dataset, message in (
        (class_wise, strange, "has no row for cat, dog, but for bar, crescent, cross, disk, ell"),
        (class_wise, unlabeled(other), "needs labels, and shapes has none; give"),
        (class_wise, small, "for images of 32x32 pixels, this dataset has 16x16; load it with"),
        (clustered, small, "for images of 32x32 pixels, this dataset has 16x16; load it with"),
        (replace(class_wise, classes=()), other, "or a delta that names its classes"),
        (sample, other, "sample-wise delta was made for dataset .*give the dataset that it was"),
        (class_wise, again, "poisoned already, and twice would exceed the bound; give the clean"),
        (clustered, again, "poisoned already, and twice would exceed the bound; give the clean"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^`delta`: .*{message}"):
            cp.perturb(dataset, delta=delta)
    cp.perturb(data, delta=replace(class_wise, classes=()))


def test_noise_starts_from_the_rows_that_images_would_get(later, class_wise, clustered, tiny):
    """No step is made: what comes out is the start."""
    dataset, wanted = later
    part = some_classes(dataset, wanted)
    still = {**tiny.poison, "step_size": 0}
    whole = cp.generate(part, init=class_wise, **still).delta
    rows = [class_wise.classes.index(name) for name in wanted]
    assert whole.classes == tuple(wanted)
    assert np.array_equal(whole.delta, class_wise.delta[rows])
    for init, of_image in (
        (class_wise, np.array(rows)[part.train_labels]),
        (clustered, assign_rows(clustered, part.train_images)),
    ):
        each = cp.generate(part, mode="sample", init=init, **still).delta
        assert (each.classes, each.assigner) == ((), None)
        assert np.array_equal(each.delta, init.delta[of_image])
