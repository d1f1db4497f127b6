"""Transferable poisoning: a step by the classifier, then a round by SimCLR, in turns."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from tiny import CLASSES, EPSILON, IMAGES, LABELS, NUM, SIDE, attack_of, problem_of, settings_of
from torch import Tensor
from torch.nn import functional as F

from cptools.core.poisons.contrastive import algorithm_1
from cptools.core.poisons.transferable import Transferable, transferable
from cptools.core.random import stream

SIZE = 0.15


def work_of(**changes: Any) -> Transferable:
    work = attack_of("transferable", **{"step_size": SIZE, "rounds": 2, "epochs": 1, **changes})
    assert isinstance(work, Transferable)
    return work


def test_it_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    work = work_of()
    work.reference.learner.algorithm.double()
    work.learner.algorithm.double()
    work.delta = work.delta.double()
    start, rounds = work.delta.clone(), work.run()
    next(rounds)
    assert torch.equal(work.delta, start)  # the noise waits for the classifier
    algorithm: Any = work.reference.learner.algorithm.eval()
    weights = [p.detach().clone() for p in algorithm.parameters()]
    learner, expected = deepcopy(work.learner), start.clone()
    alternation = algorithm_1(work.problem, learner, work.views, expected, work.numbers)
    weak = work.views.weak()
    for t in range(2):
        rng = stream(7, "attacker", "pgd", t)
        for index in torch.arange(NUM).split(4):
            noise = expected[index].clone().requires_grad_()
            x = (IMAGES[index].double() / 255 + float(EPSILON) * noise).clamp(0, 1)
            view = weak.apply(x, weak.draw(len(index), SIDE, SIDE, rng))
            logits = algorithm.head["classifier"](algorithm.encoder(view))
            loss = F.cross_entropy(logits, (LABELS[index] + 1) % CLASSES)
            (gradient,) = torch.autograd.grad(loss, noise)
            expected[index] = (expected[index] - SIZE * gradient.sign()).clamp(-1, 1)
        ended, ours = next(alternation), next(rounds)
        assert (ours.round, ours.noise_loss) == (t + 2, pytest.approx(ended.noise_loss))
        torch.testing.assert_close(work.delta, expected, atol=1e-9, rtol=0)
    for before, after in zip(weights, algorithm.parameters(), strict=True):
        assert torch.equal(before, after)


def test_the_classifier_has_a_learning_rate_of_its_own() -> None:
    work = work_of(lr=0.5, classifier_lr=0.01)
    assert (work.learner.lr, work.reference.learner.lr) == (0.5, 0.01)
    assert work.reference.views == work.views.weak()


def test_class_wise_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="image by image; give `mode=sample`"):
        transferable(problem_of("class"), settings_of("transferable", "sample"))
