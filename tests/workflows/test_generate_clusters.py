"""Class-wise poison without labels: `cp.generate` over clusters."""

from dataclasses import replace

import numpy as np
import pytest

import cptools as cp
from cptools.artifacts.history import digest, shell
from cptools.artifacts.schema import UNLABELED
from cptools.workflows.assign import assign_rows


@pytest.fixture(scope="module")
def encoder(small):
    """What is trained where no encoder is given, were it not for its length."""
    return cp.pretrain(small, epochs=2)


@pytest.fixture(scope="module")
def made(small, encoder, tiny):
    return cp.generate(small, clusters=4, labels_from=encoder, **tiny.poison)


def test_each_image_gets_the_noise_of_its_cluster(small, made):
    delta = made.delta
    assert (delta.mode, delta.classes, len(delta.delta)) == ("class", (), 4)
    rows = assign_rows(delta, small.train_images)
    assert len(set(rows.tolist())) == 4
    noise = 8 * delta.delta[rows].astype(np.float64)
    poisoned = (small.train_images + noise).round().clip(0, 255).astype(np.uint8)
    assert np.array_equal(made.dataset.train_images, poisoned)
    assert np.array_equal(cp.perturb(small, delta=delta).train_images, poisoned)
    assert made.dataset.classes == small.classes
    assert np.array_equal(made.dataset.train_labels, small.train_labels)


def test_labels_are_not_looked_at(small, encoder, made, tiny):
    zeros = {f"{part}_labels": np.zeros_like(getattr(small, f"{part}_labels"))
             for part in ("train", "test")}  # fmt: skip
    blind = replace(small, classes=(UNLABELED,), **zeros)
    other = cp.generate(blind, clusters=4, labels_from=encoder, **tiny.poison)
    assert digest(other.delta.arrays()) == digest(made.delta.arrays())
    assert np.array_equal(other.dataset.train_images, made.dataset.train_images)
    assert other.dataset.classes == (UNLABELED,)


def test_attacks_that_look_at_classes_take_clusters_for_them(small, encoder, tiny):
    steps = {name: tiny.poison[name] for name in ("rounds", "model_steps", "noise_steps")}
    delta = cp.generate(small, "unlearnable", clusters=3, labels_from=encoder, **steps).delta
    assert (delta.mode, len(delta.delta), len(delta.assigner.tensors["centers"])) == ("class", 3, 3)


def test_the_encoder_is_trained_on_the_images_themselves(
    monkeypatch, tmp_path, small, encoder, made, tiny, tool, saved
):
    """The history says so, as if it had been given; with a checkpoint it is kept beside that."""
    given = []

    def pretrain(dataset, alg, **words):
        given.append((dataset, alg, words["seed"], words["checkpoint"]))
        return encoder

    monkeypatch.setattr("cptools.workflows.groups.pretrain", pretrain)
    own = cp.generate(small, clusters=4, checkpoint=tmp_path / "kept", **tiny.poison)
    assert given == [(small, "simclr", 0, f"{tmp_path}/kept.encoder")]
    assert (saved(own.delta), saved(own.dataset)) == (saved(made.delta), saved(made.dataset))
    told = shell(own.delta.history, "delta")
    assert "--clusters 4" in told
    assert "--labels-from <(cp-dataset shapes" in told
    assert "| cp-pretrain --alg simclr" in told
    assert saved(own.dataset) == tool(
        "cp-generate", small, "--clusters", "4", labels_from=encoder,
        **{name: str(value) for name, value in tiny.poison.items()},
    )  # fmt: skip


def test_noise_that_starts_from_clusters_keeps_them(small, made, tiny):
    more = cp.load("shapes", limit=40, limit_test=10, size=16, seed=1)
    still = {**tiny.poison, "step_size": 0}
    second = cp.generate(more, init=made.delta, **still).delta
    assert np.array_equal(second.delta, made.delta.delta)
    assert digest(second.assigner.tensors) == digest(made.delta.assigner.tensors)
    assert second.dataset != made.delta.dataset


def test_what_does_not_go_together_is_refused(small, data, encoder, made, tiny):
    for words, message in (
        ({"mode": "sample"}, "`clusters` does not apply to `mode=sample`; leave one of them out"),
        ({"clusters": 1}, "`clusters` 1 is no whole number from 2"),
        ({"clusters": 21}, "`clusters` 21 are more than 20 images; take fewer"),
        ({"init": made.delta}, "`clusters` does not apply to `init`, whose rows are of other"),
        ({"clusters": None}, "`labels_from` needs `clusters`; give their number, or leave it out"),
        ({"alg": "lsp"}, "`clusters` does not apply to `alg=lsp`; leave it out"),
        ({"labels_from": made.delta}, "`labels_from` is a delta; give an encoder"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            cp.generate(small, **({"clusters": 3, "labels_from": encoder} | words))
    with pytest.raises(ValueError, match=r"^`labels_from`: the encoder was trained on images"):
        cp.generate(data, clusters=3, labels_from=encoder)
