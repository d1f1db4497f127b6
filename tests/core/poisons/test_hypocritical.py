"""Hypocritical perturbations: P2 by hand, an image at a time."""

from typing import Any

import pytest
import torch
from tiny import EPSILON, IMAGES, LABELS, MEAN, NUM, STD, attack_of, problem_of, settings_of
from torch import Tensor

from cptools.core.poisons.adversarial import ReferencePGD
from cptools.core.poisons.hypocritical import hypocritical

STEPS, SIZE = 3, 0.15


def test_pgd_goes_down_the_loss_to_the_own_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    pictures = IMAGES.clamp(1, 254)  # where zero noise leaves a pixel room, and a slope
    problem = problem_of(images=pictures)
    work = attack_of("hypocritical", problem=problem, pgd_steps=STEPS, step_size=SIZE)
    assert isinstance(work, ReferencePGD)
    algorithm: Any = work.reference.learner.algorithm.double()
    work.delta = work.delta.double()
    rounds = work.run()
    for _ in range(work.reference.epochs):
        next(rounds)
    assert not work.delta.any()  # the noise waits for the classifier
    algorithm.eval()
    expected = torch.zeros_like(work.delta)
    for i in range(NUM):
        for _ in range(STEPS):
            noise = expected[i].clone().requires_grad_()
            x = (pictures[i].double() / 255 + float(EPSILON) * noise).clamp(0, 1)
            z = torch.stack([(x[c] - MEAN[c]) / STD[c] for c in range(3)])
            logits = algorithm.head["classifier"](algorithm.encoder(z[None]))[0]
            loss = torch.log(logits.exp().sum()) - logits[int(LABELS[i])]
            (gradient,) = torch.autograd.grad(loss, noise)
            expected[i] = (expected[i] - SIZE * gradient.sign()).clamp(-1, 1)
    found = [r.noise_loss for r in rounds]
    torch.testing.assert_close(work.delta, expected, atol=1e-9, rtol=0)
    assert len(found) == 3


def test_class_wise_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="image by image; give `mode=sample`"):
        hypocritical(problem_of("class"), settings_of("hypocritical", "sample"))
