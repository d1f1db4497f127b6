"""Augmented unlearnable examples: the strength of the augmentations, and where they act."""

import pytest
import torch
from tiny import MEAN, STD, attack_of

from cptools.core.build import build_views
from cptools.core.poisons import ATTACKS
from cptools.core.poisons.contrastive import AlternatingPoisoning
from cptools.core.views import Views


def of_strength(s: float) -> Views:
    """Wang, Zhu, Gao 2024: RandomResizedCrop(scale=(1 - 0.9 s, 1)), ColorJitter(0.4 s, 0.4 s,
    0.4 s, 0.1 s) with probability 0.8 s, grayscale with probability 0.2 s."""
    return Views(
        size=32, mean=MEAN, std=STD, scale=(1 - 0.9 * s, 1.0), flip=0.5,
        jitter=(0.4 * s, 0.4 * s, 0.4 * s, 0.1 * s), jitter_p=0.8 * s, gray_p=0.2 * s,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "mode"), [("aue", "class"), ("aue", "sample"), ("aap", "sample")])
def test_augmentations_of_the_paper(name: str, mode: str) -> None:
    views = build_views(ATTACKS[name].settings("paper", mode), size=32, mean=MEAN, std=STD)
    expected = of_strength({"aue": 0.6, "aap": 0.4}[name])  # for CIFAR-10
    assert views.scale == pytest.approx(expected.scale)
    assert views.jitter == pytest.approx(expected.jitter)
    assert (views.jitter_p, views.gray_p) == pytest.approx((expected.jitter_p, expected.gray_p))
    assert (views.flip, views.ratio, views.pad) == (expected.flip, expected.ratio, 0)


def test_schedule_of_the_paper() -> None:
    # 60 rounds; an epoch of CIFAR-10 in batches of 128 of each kind of step; epsilon / 10.
    for mode, steps in (("sample", 5), ("class", 1)):
        expected = {
            "rounds": 60, "model_steps": 50000 // 128, "noise_steps": 50000 // 128,
            "batch_size": 128, "pgd_steps": steps, "step_size": 0.1, "lr": 0.1,
            "weight_decay": 1e-4, "optimizer": "sgd", "momentum": 0.9,
        }  # fmt: skip
        assert expected.items() <= ATTACKS["aue"].settings("paper", mode).items()


@pytest.mark.parametrize("mode", ["class", "sample"])
def test_it_is_the_alternation_of_a_classifier_under_those_views(mode: str) -> None:
    aue, plain = attack_of("aue", mode), attack_of("aue", mode, crop_area=1.0, gray_prob=0.0)
    for work in (aue, plain):
        assert isinstance(work, AlternatingPoisoning)
        assert not work.delta.any()
        assert (work.until, work.penalty) == (None, None)
        assert len(list(work.run())) == work.total
    assert not torch.equal(aue.delta, plain.delta)
