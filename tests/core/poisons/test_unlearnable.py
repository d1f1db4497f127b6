"""Error-minimizing noise: when it ends, whose step it takes, and that both its signs are kept."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from tiny import (
    EPSILON,
    IMAGES,
    LABELS,
    MEAN,
    NUM,
    STD,
    assert_same,
    attack_of,
    checkpoint,
    problem_of,
)
from torch import Tensor

from cptools.core.poisons import ATTACKS
from cptools.core.poisons.budget import poison_uint8
from cptools.core.poisons.contrastive import AlternatingPoisoning
from cptools.core.poisons.unlearnable import training_error
from cptools.core.presets import PLAIN_VIEWS
from cptools.core.training import batch_number


def learning(mode: str = "sample", **changes: Any) -> AlternatingPoisoning:
    """A classifier that takes some rounds to learn its ten pictures."""
    options = {
        "rounds": 12, "model_steps": 3, "noise_steps": 2, "lr": 0.003, "batch_size": 5,
        "width": 4, **PLAIN_VIEWS, **changes,
    }  # fmt: skip
    work = attack_of("unlearnable", mode, **options)
    assert isinstance(work, AlternatingPoisoning)
    return work


def slow_error(work: AlternatingPoisoning) -> float:
    """Share of wrong answers, one picture and one channel at a time."""
    algorithm: Any = deepcopy(work.learner.algorithm).eval()
    wrong = 0
    for i in range(NUM):
        noise = work.delta[int(LABELS[i]) if work.problem.mode == "class" else i]
        x = (IMAGES[i] / 255 + float(EPSILON) * noise).clamp(0, 1)
        x = torch.stack([(x[c] - MEAN[c]) / STD[c] for c in range(3)])
        with torch.no_grad():
            scores = algorithm.head["classifier"](algorithm.encoder(x[None]))[0].tolist()
        wrong += scores.index(max(scores)) != int(LABELS[i])
    return wrong / NUM


@pytest.fixture(scope="module")
def errors() -> list[float]:
    """The training error after each of twelve rounds, and before them."""
    work = learning()
    found = [slow_error(work)]
    for _ in work.run():
        found.append(slow_error(work))
        for size in (1, 3, 512):
            assert training_error(work, size) == found[-1]
    assert len(set(found)) > 4
    assert 0 in found
    return found


def test_training_error_of_class_wise_noise() -> None:
    work = learning("class", rounds=2)
    list(work.run())
    assert 0 < training_error(work, 4) == slow_error(work) < 1


@pytest.mark.parametrize("stop", [0.0, 0.05, 0.15, 0.35, 0.45, 1.0])
def test_it_ends_when_the_error_is_below_the_threshold_and_not_before(
    stop: float, errors: list[float]
) -> None:
    work = learning(stop_error=stop)
    expected = next((r for r in range(1, 12) if errors[r] < stop), 12)
    assert len(list(work.run())) == expected == work.round
    assert work.total == 12
    carried = learning(stop_error=stop)
    carried.restore(checkpoint(work))
    assert list(carried.run()) == []  # what has ended stays so
    assert_same(carried.state(), work.state())


def test_an_error_of_the_threshold_itself_does_not_end_it(errors: list[float]) -> None:
    reached = errors[3]
    assert reached < min(errors[:3])
    assert len(list(learning(stop_error=reached).run())) > 3
    assert len(list(learning(stop_error=reached + 1e-6).run())) == 3


def test_measuring_the_error_does_not_touch_the_poison() -> None:
    measured, plain = learning(stop_error=0.0), learning(stop_error=0.0)
    plain.until = None
    for work in (measured, plain):
        list(work.run())
    assert_same(measured.state(), plain.state())


@pytest.mark.parametrize("mode", ["class", "sample"])
def test_both_signs_of_the_noise_survive_in_the_bytes(mode: str) -> None:
    images = IMAGES // 4 + 96  # far from black and white
    work = attack_of("unlearnable", mode, problem=problem_of(mode, images=images), step_size=0.5)
    list(work.run())
    moved = poison_uint8(images, work.delta, work.rows, EPSILON).int() - images.int()
    assert (int(moved.min()), int(moved.max())) == (-8, 8)
    for share in ((moved < 0).float().mean(), (moved > 0).float().mean()):
        assert float(share) > 0.25


def test_noise_leaves_black_and_white_pixels() -> None:
    pictures = (IMAGES > 127).to(torch.uint8) * 255
    work = learning(problem=problem_of(images=pictures), rounds=1, batch_size=4)
    list(work.run())
    reached = work.delta.flatten(1).any(1)
    poisoned = poison_uint8(pictures, work.delta, torch.arange(NUM), EPSILON)[reached]
    assert int(reached.sum()) == 8  # two batches of four
    moved = (poisoned != pictures[reached]).float().mean()
    assert 0.2 < float(moved) < 0.8  # those whose step does not lead out of the picture


@pytest.mark.parametrize("mode", ["class", "sample"])
def test_a_noise_step_is_the_one_that_its_pictures_agree_on(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    pictures = IMAGES.clamp(1, 254)
    work = learning(
        mode, problem=problem_of(mode, images=pictures), rounds=1, noise_steps=1, pgd_steps=1,
        step_size=0.25,
    )  # fmt: skip
    algorithm: Any = work.learner.algorithm.double()
    work.delta = work.delta.double()
    list(work.run())  # the noise was zero in the classifier's steps
    batch = batch_number(0, num=NUM, batch_size=5, seed=7, name="attacker/noise/0").tolist()
    expected = torch.zeros_like(work.delta)
    for i in batch:
        x = (pictures[i].double() / 255).requires_grad_()
        z = torch.stack([(x[c] - MEAN[c]) / STD[c] for c in range(3)])
        logits = algorithm.head["classifier"](algorithm.eval().encoder(z[None]))[0]
        loss = torch.log(logits.exp().sum()) - logits[int(LABELS[i])]
        row = int(LABELS[i]) if mode == "class" else i
        expected[row] += torch.autograd.grad(loss, x)[0]
    assert len({int(LABELS[i]) for i in batch}) < len(batch)  # some share a class
    assert torch.equal(work.delta, -0.25 * expected.sign())


def test_the_settings_of_the_paper() -> None:
    # Huang et al. 2021: steps of 0.8 of 255 where epsilon is 8; 20 of them sample-wise, until an
    # error of 1 percent; class-wise one step on a fifth of CIFAR-10, until 10 percent.
    for mode, expected in (
        ("sample", {"pgd_steps": 20, "stop_error": 0.01, "noise_steps": 97, "model_steps": 10}),
        ("class", {"pgd_steps": 1, "stop_error": 0.1, "noise_steps": 20, "model_steps": 10}),
    ):
        common = {"lr": 0.1, "min_lr": 1.0, "weight_decay": 5e-4, "step_size": 0.1,
                  "optimizer": "sgd", "batch_size": 512, "encoder": "resnet18"}  # fmt: skip
        values = ATTACKS["unlearnable"].settings("paper", mode)
        assert {**expected, **common, **PLAIN_VIEWS}.items() <= values.items()
