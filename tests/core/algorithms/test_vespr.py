"""VESPR: the adversary of the classifier, the sum of two losses, what each weight learns."""

from copy import deepcopy

import pytest
import torch
from learners import Tiny
from torch.nn import functional as F

from cptools.core.algorithms.losses import nt_xent
from cptools.core.algorithms.vespr import VESPR
from cptools.core.views import Views, draw_views

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
EPSILON, STEPS, STEP, BETA, TAU = 0.1, 3, 0.4, 0.7, 0.5
LABELS = torch.tensor([0, 1, 0, 2, 1, 0])
VIEWS = Views(8, MEAN, STD)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def vespr(**changes):
    return VESPR(
        Tiny(), num_classes=3, mean=MEAN, std=STD, generator=seeded(0), hidden=7, dim=4,
        **{"epsilon": EPSILON, "steps": STEPS, "step_size": STEP, "ce_weight": BETA, **changes},
    )  # fmt: skip


def drawn_by(algorithm):
    x = torch.rand(6, 3, 8, 8, generator=seeded(1))
    return algorithm.draw(x, VIEWS, seeded(2))


def slow_loss(algorithm, view, other, start):
    """L_CL + beta L_CE; the adversary climbs the classifier's loss on the first view alone."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    training = algorithm.training
    algorithm.eval()
    x, middle = start * std + mean, view * std + mean
    for _ in range(STEPS):
        x.requires_grad_()
        logits = algorithm.head["classifier"](algorithm.encoder((x - mean) / std))
        picked = logits.log_softmax(1)[range(6), LABELS]
        (gradient,) = torch.autograd.grad(-picked.mean(), x)
        x = x.detach() + STEP * EPSILON * gradient.sign()
        x = torch.minimum(torch.maximum(x, middle - EPSILON), middle + EPSILON).clamp(0, 1)
    algorithm.train(training)
    adversarial = (x - mean) / std
    joint = algorithm.encoder(torch.cat([adversarial, other]))
    z = F.normalize(algorithm.head["projector"](joint)).chunk(2)
    logits = algorithm.head["classifier"](joint).chunk(2)
    entropies = [F.cross_entropy(one, LABELS) for one in logits]
    return nt_xent(*z, temperature=TAU) + BETA * (entropies[0] + entropies[1]) / 2


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_the_papers(training):
    algorithm = vespr().train(training)
    slow = deepcopy(algorithm)
    views = drawn_by(algorithm)
    found, expected = algorithm.loss(*views, labels=LABELS), slow_loss(slow, *views)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert algorithm.training is training
    for name, value in slow.state_dict().items():  # the attack moves no running statistics
        torch.testing.assert_close(algorithm.state_dict()[name], value, atol=1e-5, rtol=1e-5)
    assert algorithm.loss(*views, labels=LABELS.flip(0)) != found


def test_the_adversary_raises_cross_entropy():
    algorithm, still = vespr().eval(), vespr(epsilon=0.0).eval()
    views = drawn_by(algorithm)
    moved = algorithm.loss(*views, labels=LABELS)
    plain = still.loss(views[0], views[1], views[0], labels=LABELS)
    assert moved > plain
    drawn = list(draw_views(VIEWS, torch.rand(6, 3, 8, 8, generator=seeded(1)), 2, seeded(2)))
    assert all(torch.equal(a, b) for a, b in zip(views[:2], drawn, strict=True))


def test_every_weight_learns_and_the_attack_leaves_no_gradient():
    algorithm = vespr().train()
    loss = algorithm.loss(*drawn_by(algorithm), labels=LABELS)
    assert all(p.grad is None for p in algorithm.parameters())
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in algorithm.parameters())


@pytest.mark.parametrize("wrong", [{"ce_weight": -1}, {"steps": 0}, {"epsilon": 2}])
def test_what_no_adversary_can_be_made_of(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        vespr(**wrong)
