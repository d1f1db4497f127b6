"""`cp.learning_curve`: the encoder that it is about, the record, resuming, what it refuses."""

from dataclasses import replace

import pytest

import cptools as cp
from cptools.artifacts.history import digest

TINY = {"epochs": 3, "batch_size": 32, "precision": "fp32", "device": "cpu"}


@pytest.fixture(scope="module")
def data():
    return cp.load("shapes", limit=64, limit_test=48)


@pytest.fixture(scope="module")
def learned(data):
    return cp.learning_curve(data, every=2, **TINY)


def test_the_encoder_is_that_of_pretrain(data, learned):
    plain = cp.pretrain(data, **TINY)
    assert digest(learned.encoder.arrays()) == digest(plain.arrays())
    assert learned.encoder.history == plain.history


def test_the_record_is_that_of_the_probe_and_tells_the_way(data, learned):
    (told,) = learned.report.records
    (probed,) = cp.probe(learned.encoder, precision="fp32", device="cpu").records
    way = ("probe_every", "peak_percent", "peak_epoch", "epochs", "accuracies_percent")
    assert {name: value for name, value in told.items() if name not in way} == probed
    assert told["epochs"] == [2, 3]
    half = cp.pretrain(data, **TINY)
    assert told["accuracies_percent"][-1] == cp.probe(half, precision="fp32").accuracy
    assert told["peak_percent"] == max(told["accuracies_percent"])
    best = told["accuracies_percent"].index(told["peak_percent"])
    assert told["peak_epoch"] == told["epochs"][best]
    assert f"best {told['peak_percent']:.1f} % after epoch" in str(learned.report)


def test_an_epoch_on_the_way_is_probed_as_it_is(data, monkeypatch):
    """By the weights after that epoch, which a training of another length does not have."""
    from cptools.workflows import learning_curve

    seen = []
    measure = learning_curve.features_accuracy

    def watch(network, encoder, *others):
        seen.append((digest(encoder.arrays()), network.training))
        return measure(network, encoder, *others)

    monkeypatch.setattr(learning_curve, "features_accuracy", watch)
    learned = cp.learning_curve(data, every=1, **TINY)
    assert len({weights for weights, _ in seen}) == 3
    assert seen[-1][0] == digest(learned.encoder.arrays())


def test_a_supervised_one_by_its_own_classifier(data):
    encoder, report = cp.learning_curve(data, "supervised", every=1, **TINY)
    assert report.records[0]["settings"]["method"] == "head"
    assert report.records[0]["accuracies_percent"][-1] == cp.probe(encoder).accuracy


def test_it_resumes_with_what_it_has_counted(data, learned, tmp_path):
    def stop(items, **_):
        for number, item in enumerate(items, 1):
            yield item
            if number == 2:
                raise KeyboardInterrupt

    saved = tmp_path / "saved"
    with pytest.raises(KeyboardInterrupt):
        cp.learning_curve(data, every=2, checkpoint=saved, progress=stop, **TINY)
    again = cp.learning_curve(data, every=2, checkpoint=saved, **TINY)
    assert again.report == learned.report
    assert digest(again.encoder.arrays()) == digest(learned.encoder.arrays())
    with pytest.raises(ValueError, match="checkpoint of another command"):
        cp.learning_curve(data, every=1, checkpoint=saved, **TINY)


def test_what_cannot_be_probed_is_refused_before_training(data):
    def refused(message, dataset=data, **given):
        with pytest.raises(ValueError, match=message):
            cp.learning_curve(dataset, **{"every": 1, "epochs": 10**6, **given})

    nowhere = replace(data, source=None)
    refused("needs the clean dataset, but the header names no source; give `clean`", nowhere)
    untested = replace(data, test_images=data.test_images[:0], test_labels=data.test_labels[:0])
    refused("no test images", clean=untested)
    refused("images of 32 pixels", clean=cp.load("shapes", limit=40, limit_test=20, size=16))
    refused("`every` 0 is no whole number", every=0)
    more = replace(data, classes=(*data.classes, "more"))
    refused("not for 64 features and 11 classes", clean=more, alg="supervised")
