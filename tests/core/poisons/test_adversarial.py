"""Adversarial poisons: the classifier first, then targeted PGD, by hand in float64."""

import pytest
import torch
from tiny import CLASSES, EPSILON, IMAGES, LABELS, MEAN, NUM, SIDE, STD, attack_of, problem_of
from torch import Tensor
from torch.nn import functional as F

from cptools.core import presets
from cptools.core.algorithms.supervised import Supervised
from cptools.core.build import build_learner, build_views
from cptools.core.checks import to_float
from cptools.core.poisons.adversarial import ReferencePGD
from cptools.core.random import stream
from cptools.core.training import Pretraining
from cptools.core.views.recipe import normalize

BATCH, STEPS, SIZE = 4, 3, 0.15


def work_of(alg: str = "adversarial", **changes: object) -> ReferencePGD:
    work = attack_of(alg, **{"pgd_steps": STEPS, "step_size": SIZE, **changes})
    assert isinstance(work, ReferencePGD)
    return work


@pytest.mark.parametrize("alg", ["adversarial", "aap"])
def test_pgd_goes_down_the_loss_to_the_next_class(
    alg: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    work = work_of(alg)
    work.reference.learner.algorithm.double()
    work.delta = work.delta.double()
    start = work.delta.clone()
    rounds = work.run()
    for _ in range(work.reference.epochs):
        next(rounds)
    assert torch.equal(work.delta, start)  # the noise waits for the classifier
    algorithm = work.reference.learner.algorithm.eval()
    weights = [p.detach().clone() for p in algorithm.parameters()]
    expected = start.clone()
    losses = []
    for number, index in enumerate(torch.arange(NUM).split(BATCH)):
        rng = stream(7, "attacker", "pgd", number)
        target = torch.tensor([(int(LABELS[i]) + 1) % CLASSES for i in index])
        for _ in range(STEPS):
            noise = expected[index].clone().requires_grad_()
            noisy = to_float(IMAGES[index]) + float(EPSILON) * noise
            zero = torch.zeros((), dtype=torch.float64)
            x = torch.minimum(torch.maximum(noisy, zero), zero + 1)
            params = work.views.draw(len(index), SIDE, SIDE, rng)
            logits = algorithm.head["classifier"](algorithm.encoder(work.views.apply(x, params)))
            loss = F.cross_entropy(logits, target)
            (gradient,) = torch.autograd.grad(loss, noise)
            expected[index] = (expected[index] - SIZE * gradient.sign()).clamp(-1, 1)
            losses.append(float(loss.detach()))
    found = list(rounds)
    torch.testing.assert_close(work.delta, expected, atol=1e-9, rtol=0)
    assert [r.round for r in found] == [3, 4, 5]
    means = [sum(losses[i : i + STEPS]) / STEPS for i in range(0, len(losses), STEPS)]
    assert [r.noise_loss for r in found] == pytest.approx(means)
    for before, after in zip(weights, algorithm.parameters(), strict=True):
        assert torch.equal(before, after)


def test_the_classifier_is_an_ordinary_one_of_the_clean_pictures() -> None:
    work = work_of()
    list(work.run())
    values = {
        "encoder": "resnet10", "width": 2, "bn_groups": 1, "optimizer": "adamw", "lr": 3e-3,
        "min_lr": 0.001, "weight_decay": 1e-4, "momentum": 0.9, "loss_scale": 1.0,
    }  # fmt: skip
    learner = build_learner(
        "supervised", values, num_classes=CLASSES, mean=MEAN, std=STD, device=torch.device("cpu"),
        bf16=False, seed=7, role="attacker",
    )  # fmt: skip
    plain = presets.PLAIN_VIEWS | {"flip_prob": 0.5, "pad": 8}
    views = build_views(plain, size=SIDE, mean=MEAN, std=STD)
    alone = Pretraining(IMAGES, LABELS, learner, views, epochs=2, batch_size=BATCH, seed=7)
    list(alone.run())
    ours = work.reference.learner.algorithm.state_dict()
    for name, value in learner.algorithm.state_dict().items():
        assert torch.equal(ours[name], value), name


def test_poisoned_pictures_pass_for_the_next_class() -> None:
    # Pictures that a small classifier can learn: a color a class.
    pictures = IMAGES // 8 + 80
    for image, label in zip(pictures, LABELS, strict=True):
        image[int(label)] += 40
    work = work_of(
        problem=problem_of(images=pictures, epsilon=32 / 255), epochs=60, batch_size=NUM,
        pgd_steps=40, width=4, pad=0, flip_prob=0.0,
    )  # fmt: skip
    list(work.run())
    algorithm = work.reference.learner.algorithm.eval()
    assert isinstance(algorithm, Supervised)
    x = to_float(pictures)
    with torch.no_grad():
        clean, poisoned = (
            algorithm.classify(normalize(view, MEAN, STD)).argmax(1)
            for view in (x, (x + 32 / 255 * work.delta).clamp(0, 1))
        )
    assert float((clean == LABELS).float().mean()) >= 0.9
    assert float((poisoned == (LABELS + 1) % CLASSES).float().mean()) >= 0.9


def test_aap_starts_at_zero_and_ap_in_the_ball() -> None:
    assert not work_of("aap").delta.any()
    start = work_of("adversarial").delta
    assert float(start.abs().max()) == 1
    assert 0.5 < float(start.std()) < 0.9  # a normal one, cut off at one standard deviation
