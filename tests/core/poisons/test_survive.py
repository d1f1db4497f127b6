"""Noise that survives what images go through: which attacks learn it, and that more is left."""

from typing import Any

import pytest
import torch
from tiny import EVERY_ATTACK, attack_of, problem_of

from cptools.core.degradations.linear import blur
from cptools.core.poisons import ATTACKS
from cptools.core.poisons.base import Poisoning
from cptools.core.random import stream


def finished(alg: str, mode: str, **changes: Any) -> Poisoning:
    attack = attack_of(alg, mode, **changes)
    for _ in attack.run():
        pass
    return attack


def test_it_is_every_attack_that_learns_noise_through_views() -> None:
    for recipe in ("quick", "paper"):
        without = {
            alg
            for alg, mode in EVERY_ATTACK
            if "survive" not in ATTACKS[alg].settings(recipe, mode)
        }
        assert without == {"hypocritical", "lsp", "autoregressive", "one-pixel"}


@pytest.mark.parametrize(
    "alg", ["simclr", "swav", "unlearnable", "adversarial", "robust-unlearnable", "transferable"]
)
def test_the_noise_is_another_and_in_its_ball(alg: str) -> None:
    delta = finished(alg, "sample", survive="jpeg:50,resize:0.5,blur:1").delta
    assert not torch.equal(delta, finished(alg, "sample").delta)
    assert float(delta.abs().max()) <= 1


def test_more_of_it_is_left() -> None:
    images = torch.randint(96, 160, (32, 3, 16, 16), generator=stream(0), dtype=torch.uint8)
    labels = torch.arange(32) % 2
    problem = problem_of("class", images=images, labels=labels, num_classes=2)

    def left(survive: str) -> float:
        """Share of the noise's energy that a blur leaves."""
        delta = finished(
            "simclr", "class", problem=problem, survive=survive, width=4, batch_size=16, rounds=8,
            noise_steps=5, model_steps=2,
        ).delta  # fmt: skip
        return float(blur(delta, 1.5).square().sum() / delta.square().sum())

    assert left("blur:1.5") > 2 * left("")  # measured: 0.30 and 0.06
