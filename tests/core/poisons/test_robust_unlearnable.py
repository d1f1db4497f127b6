"""Robust unlearnable examples: their algorithm 1, a view and an adversary at a time."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from tiny import EPSILON, IMAGES, LABELS, NUM, attack_of, problem_of, settings_of
from torch import Tensor
from torch.nn import functional as F

from cptools.core.poisons.noise import random_noise
from cptools.core.poisons.robust_unlearnable import RobustMinimization, robust_unlearnable
from cptools.core.random import stream
from cptools.core.training import batch_number, cosine_lr

STEPS, SIZE, DRAWS, ROUNDS = 2, 0.3, 2, 2


def work_of(**changes: Any) -> RobustMinimization:
    work = attack_of(
        "robust-unlearnable",
        **{
            "rounds": ROUNDS,
            "pgd_steps": STEPS,
            "step_size": SIZE,
            "noise_draws": DRAWS,
            **changes,
        },
    )
    assert isinstance(work, RobustMinimization)
    return work


def poisoned(index: Tensor, noise: Tensor) -> Tensor:
    # The half slope at exactly black or white does not occur: `IMAGES` holds no such pixel.
    return (IMAGES[index].double() / 255 + float(EPSILON) * noise).clamp(0, 1)


class Slow:
    """Algorithm 1 in float64, by the definition of the gradient: at t(x + du) + da, through t."""

    def __init__(self, work: RobustMinimization) -> None:
        self.algorithm: Any = deepcopy(work.learner.algorithm)
        self.views, self.attack = work.views, self.algorithm.attack
        parameters = list(self.algorithm.parameters())
        self.optimizer = torch.optim.AdamW(
            parameters, lr=0.003, betas=(0.9, 0.999), weight_decay=1e-4
        )

    def cross_entropy(self, view: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.algorithm.head["classifier"](self.algorithm.encoder(view)), y)

    def adversarial(self, x: Tensor, y: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        view, _, start = self.algorithm.draw(x, self.views, rng)
        self.algorithm.eval()
        worst = self.attack(lambda v: self.cross_entropy(v, y), view, start)
        return view, worst

    def noise(self, index: Tensor, noise: Tensor, rng: torch.Generator) -> Tensor:
        y = LABELS[index]
        for _ in range(STEPS):
            total = torch.zeros_like(noise)
            leaf = noise.clone().requires_grad_()
            x = poisoned(index, leaf)
            for _ in range(DRAWS):
                view, worst = self.adversarial(x, y, rng)
                point = worst.clone().requires_grad_()
                self.algorithm.eval()
                (at,) = torch.autograd.grad(self.cross_entropy(point, y), point)
                (g,) = torch.autograd.grad((view * at).sum(), leaf, retain_graph=True)
                total += g
            noise = (noise - SIZE * total.sign()).clamp(-1, 1)
        return noise

    def step(self, index: Tensor, noise: Tensor, rng: torch.Generator, lr: float) -> None:
        _, worst = self.adversarial(poisoned(index, noise), LABELS[index], rng)
        self.algorithm.train()
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.zero_grad()
        self.cross_entropy(worst, LABELS[index]).backward()
        self.optimizer.step()


def start_of(index: Tensor, number: int) -> Tensor:
    return random_noise((len(index), *IMAGES.shape[1:]), stream(7, "delta", number)).double()


def test_it_is_algorithm_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    work = work_of()
    work.learner.algorithm.double()
    work.delta = work.delta.double()
    slow, rounds = Slow(work), work.run()
    for number in range(ROUNDS):
        next(rounds)
        assert not work.delta.any()  # what a batch learned from is not kept
        rng = stream(7, "attacker", "views", number)
        index = batch_number(number, num=NUM, batch_size=4, seed=7, name="attacker/model")
        noise = slow.noise(index, start_of(index, number), rng)
        slow.step(index, noise, rng, cosine_lr(number + 1, ROUNDS, lr=0.003, floor=0.001))
    for name, value in slow.algorithm.state_dict().items():
        torch.testing.assert_close(
            work.learner.algorithm.state_dict()[name], value, atol=1e-8, rtol=1e-6
        )
    expected = torch.zeros_like(work.delta)
    for number, index in enumerate(torch.arange(NUM).split(4), ROUNDS):
        rng = stream(7, "attacker", "views", number)
        expected[index] = slow.noise(index, start_of(index, number), rng)
    assert [r.round for r in rounds] == [3, 4, 5]
    torch.testing.assert_close(work.delta, expected, atol=1e-9, rtol=0)


def test_class_wise_noise_is_refused() -> None:
    values = settings_of("robust-unlearnable", "sample")
    with pytest.raises(ValueError, match="image by image; give `mode=sample`"):
        robust_unlearnable(problem_of("class"), values)


@pytest.mark.parametrize("name", ["rounds", "pgd_steps", "noise_draws"])
def test_numbers_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` is 0; give a whole number from 1"):
        work_of(**{name: 0})
