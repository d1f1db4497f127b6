"""Augmented adversarial poisons: the schedule; the steps are tested with adversarial poisons."""

import torch
from tiny import attack_of

from cptools.core.poisons import ATTACKS
from cptools.core.poisons.adversarial import ReferencePGD


def test_schedule_of_the_paper() -> None:
    # Wang, Zhu, Gao 2024: a reference of 40 epochs at learning rate 0.5; 250 steps of 2.5 epsilon
    # / 250.
    assert ATTACKS["aap"].modes == ("sample",)
    expected = {
        "epochs": 40, "lr": 0.5, "weight_decay": 1e-4, "optimizer": "sgd", "pgd_steps": 250,
        "step_size": 2.5 / 250, "warmup_epochs": 10,
    }  # fmt: skip
    assert expected.items() <= ATTACKS["aap"].settings("paper", "sample").items()


def test_classifier_and_noise_see_the_augmentations() -> None:
    deltas, losses = [], []
    for changes in ({}, {"crop_area": 1.0, "jitter_prob": 0.0, "gray_prob": 0.0}):
        work = attack_of("aap", **changes)
        assert isinstance(work, ReferencePGD)
        assert work.views is work.reference.views
        losses.append([r.model_loss for r in work.run()][: work.reference.epochs])
        deltas.append(work.delta)
    assert losses[0] != losses[1]
    assert not torch.equal(*deltas)
