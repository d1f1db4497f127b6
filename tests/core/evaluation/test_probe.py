"""Probes against slow loops and against problems whose answer is known."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from cptools.core.evaluation.probe import (
    ProbeResult,
    SGDProbe,
    classifier_accuracy,
    features,
    knn,
    learning_rate,
    linear_probe_lbfgs,
)
from cptools.core.evaluation.statistics import wilson
from cptools.core.views import Views, normalize

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
VIEWS = Views(8, MEAN, STD, jitter_p=0, gray_p=0)


def blobs(num: int, classes: int, dim: int, spread: float, seed: int) -> tuple[Any, Any]:
    """Gaussian clouds around fixed centers."""
    centers = torch.randn((classes, dim), generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(num) % classes
    return centers[y] + spread * torch.randn((num, dim), generator=generator), y


def colored(num: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 images whose class is the channel that is brighter, plus noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(num) % 3
    x = torch.randint(60, 140, (num, 3, 8, 8), generator=generator)
    x[torch.arange(num), y] += 60
    return x.to(torch.uint8), y


def encoder() -> nn.Module:
    """A small frozen network with what eval mode matters for."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def test_features_are_those_of_eval_mode_and_leave_no_trace() -> None:
    net, (images, _) = encoder(), colored(10, 0)
    net.train()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    got = features(net, images, mean=MEAN, std=STD, batch_size=4)
    assert [module.training for module in net] == [True, False, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    net.eval()
    expected = net(normalize(images / 255, MEAN, STD)).detach()
    assert not got.requires_grad
    torch.testing.assert_close(got, expected)


def test_knn_equals_a_slow_loop() -> None:
    (train, y), (test, labels) = blobs(60, 4, 5, 1.5, 1), blobs(30, 4, 5, 1.5, 2)
    for k, temperature in ((1, 0.1), (7, 0.1), (7, 1.0), (1000, 0.5)):
        correct = 0
        for query, label in zip(test, labels, strict=True):
            cosines = [float(query @ row / query.norm() / row.norm()) for row in train]
            votes = [0.0] * 4
            for i in sorted(range(60), key=lambda j: -cosines[j])[:k]:
                votes[int(y[i])] += math.exp(cosines[i] / temperature)
            correct += votes.index(max(votes)) == int(label)
        got = knn(train, y, test, labels, k=k, temperature=temperature, num_classes=4, batch_size=7)
        assert got == ProbeResult(correct, 30, correct / 30, *wilson(correct, 30))


def test_knn_at_tiny_temperature_is_the_nearest_neighbor() -> None:
    (train, y), (test, labels) = blobs(60, 4, 5, 1.5, 1), blobs(30, 4, 5, 1.5, 2)
    options: Any = {"num_classes": 4}
    sharp = knn(train, y, test, labels, k=50, temperature=1e-6, **options)
    assert sharp == knn(train, y, test, labels, k=1, **options)


def test_classifier_of_the_encoder_equals_a_slow_loop() -> None:
    (test, labels), (weight, _) = blobs(50, 4, 5, 1.5, 2), blobs(4, 4, 5, 0.5, 3)
    bias = torch.tensor([0.5, -0.5, 0.0, 1.0])
    correct = 0
    for row, label in zip(test.tolist(), labels.tolist(), strict=True):
        scores = [
            sum(a * b for a, b in zip(row, w, strict=True)) + c
            for w, c in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
        correct += scores.index(max(scores)) == label
    assert 15 < correct < 50
    for dtype in (torch.float32, torch.float16):
        got = classifier_accuracy(test, labels, weight.to(dtype), bias.to(dtype))
        assert got == ProbeResult(correct, 50, correct / 50, *wilson(correct, 50))
    for bad_weight, bad_bias in ((weight[:, :4], bias), (weight, bias[:3]), (weight[0], bias)):
        with pytest.raises(ValueError, match="does not fit"):
            classifier_accuracy(test, labels, bad_weight, bad_bias)
    with pytest.raises(ValueError, match="expected test labels from 0 to 2, got 0 to 3"):
        classifier_accuracy(test, labels, weight[:3], bias[:3])


def newton(x: torch.Tensor, y: torch.Tensor, num_classes: int, l2: float) -> torch.Tensor:
    """Multinomial logistic regression by Newton's method in float64: parameters [C, D + 1]."""
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    num, dim = x.shape
    ridge = torch.full((num_classes, dim), l2, dtype=x.dtype)
    ridge[:, -1] = 0
    w = torch.zeros(num_classes * dim, dtype=x.dtype)
    for _ in range(30):
        p = (x @ w.view(num_classes, dim).T).softmax(1)
        target = nn.functional.one_hot(y, num_classes).to(x.dtype)
        gradient = ((p - target).T @ x / num + ridge * w.view(num_classes, dim)).flatten()
        curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        hessian = torch.einsum("ncd,ni,nj->cidj", curvature, x, x) / num
        hessian = hessian.reshape(len(w), len(w)) + torch.diag(ridge.flatten() + 1e-12)
        w = w - torch.linalg.solve(hessian, gradient)
    return w.view(num_classes, dim)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lbfgs_finds_the_optimum_that_newton_finds(dtype: torch.dtype) -> None:
    (train, y), (test, labels) = blobs(150, 3, 4, 1.2, 3), blobs(600, 3, 4, 1.2, 4)
    train, test = 10 * train.to(dtype) + 3, 10 * test.to(dtype) + 3
    got = linear_probe_lbfgs(train, y, test, labels, num_classes=3, l2=1e-2, max_iter=500)
    mean, std = train.double().mean(0), train.double().std(0, correction=0)
    w = newton((train.double() - mean) / std, y, 3, 1e-2)
    scores = ((test.double() - mean) / std) @ w[:, :-1].T + w[:, -1]
    assert abs(got.correct - int((scores.argmax(1) == labels).sum())) <= 1
    assert 0.5 < got.accuracy < 0.99
    again = linear_probe_lbfgs(train, y, test, labels, num_classes=3, l2=1e-2, max_iter=500)
    assert again == got


def test_lbfgs_survives_constant_and_huge_features() -> None:
    (train, y), (test, labels) = blobs(90, 3, 6, 0.3, 5), blobs(90, 3, 6, 0.3, 6)
    scale = torch.tensor([1.0, 1e6, 1e-6, 1.0, 1.0, 0.0])
    got = linear_probe_lbfgs(
        train * scale + 1e-3, y, test * scale + 1e-3, labels, num_classes=3, l2=1e-3, max_iter=100
    )
    assert got.accuracy > 0.95


def test_lbfgs_on_noise_is_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randn((2, 400, 5), generator=generator)
    y = torch.randint(0, 4, (2, 400), generator=generator)
    got = linear_probe_lbfgs(train, y[0], test, y[1], num_classes=4, l2=1e-3, max_iter=100)
    assert got.low < 0.25 < got.high + 0.03


def test_learning_rate_steps_where_the_paper_steps() -> None:
    rates = [learning_rate(epoch, 100, 1.0) for epoch in range(100)]
    expected = [1.0] * 60 + [0.2] * 15 + [0.04] * 15 + [0.008] * 10
    assert rates == pytest.approx(expected)
    assert [learning_rate(e, 10, 10.0) for e in range(10)] == pytest.approx(
        [10.0] * 6 + [2.0] * 2 + [0.4] + [0.08]
    )


def test_sgd_probe_equals_torchs_own_sgd_and_scheduler() -> None:
    """The same images each epoch (views of a centered full crop), torch.optim for the update."""
    net, (images, y), (test, labels) = encoder(), colored(30, 1), colored(30, 2)
    views = Views(8, MEAN, STD, scale=(1, 1), ratio=(1, 1), flip=0, jitter_p=0, gray_p=0)
    probe = SGDProbe(
        net, images, y, test, labels, views=views, num_classes=3, epochs=10, batch_size=30, lr=0.5
    )
    linear = nn.Linear(6, 3)
    with torch.no_grad():
        linear.weight.copy_(probe.parameters[:, :-1])
        linear.bias.copy_(probe.parameters[:, -1])
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.5, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [6, 8, 9], gamma=0.2)
    z = features(net, images, mean=MEAN, std=STD)
    for epoch in probe.run():
        loss = nn.functional.cross_entropy(linear(z), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        assert epoch.loss == pytest.approx(float(loss.detach()), rel=1e-4)
    torch.testing.assert_close(probe.parameters[:, :-1], linear.weight.detach())
    torch.testing.assert_close(probe.parameters[:, -1], linear.bias.detach())


def run(seed: int, **options: Any) -> list[Any]:
    (images, y), (test, labels) = colored(90, 1), colored(60, 2)
    return list(
        SGDProbe(
            encoder(), images, y, test, labels,
            views=VIEWS, num_classes=3, epochs=6, batch_size=32, seed=seed, **options,
        ).run()
    )  # fmt: skip


def test_sgd_probe_learns_and_reports_last_and_best() -> None:
    epochs = run(0)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4, 5, 6]
    assert epochs[-1].loss < epochs[0].loss
    assert epochs[-1].accuracy > 0.6
    for position, epoch in enumerate(epochs):
        so_far = [e.correct for e in epochs[: position + 1]]
        assert epoch.best_correct == max(so_far)
        assert epoch.best_epoch == so_far.index(max(so_far)) + 1
    assert epochs[-1].result == ProbeResult.of(epochs[-1].correct, 60)
    assert epochs[-1].best.accuracy >= epochs[-1].result.accuracy


def test_sgd_probe_repeats_by_seed_and_leaves_the_encoder_alone() -> None:
    assert run(3) == run(3)
    assert run(3) != run(4)
    net, (images, y) = encoder(), colored(40, 1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for _ in SGDProbe(net, images, y, images, y, views=VIEWS, num_classes=3, epochs=2).run():
        assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_restored_probe_ends_as_one_that_ran_through() -> None:
    (images, y), (test, labels) = colored(50, 1), colored(40, 2)

    def make() -> SGDProbe:
        return SGDProbe(
            encoder(), images, y, test, labels,
            views=VIEWS, num_classes=3, epochs=5, batch_size=16, seed=7,
        )  # fmt: skip

    through, stopped, carried = make(), make(), make()
    expected = list(through.run())
    steps = stopped.run()
    first = [next(steps), next(steps)]
    state = stopped.state()
    next(steps)  # the state is a copy: going on does not change it
    carried.restore(state)
    assert first + list(carried.run()) == expected
    assert torch.equal(carried.parameters, through.parameters)
    assert torch.equal(carried.velocity, through.velocity)


def test_divergence_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="probe diverged"):
        run(0, lr=1e38)


def test_bad_arguments_are_refused() -> None:
    x, y = torch.zeros(4, 2), torch.tensor([0, 1, 2, 3])
    with pytest.raises(ValueError, match="training labels from 0 to 2, got 0 to 3"):
        knn(x, y, x, y, num_classes=3)
    with pytest.raises(ValueError, match="one label for each of N >= 1 test images"):
        linear_probe_lbfgs(x, y, x, y[:2], num_classes=4)
    with pytest.raises(ValueError, match="temperature > 0"):
        knn(x, y, x, y, num_classes=4, temperature=0)
    with pytest.raises(ValueError, match="l2 >= 0"):
        linear_probe_lbfgs(x, y, x, y, num_classes=4, l2=-1)
    with pytest.raises(ValueError, match="no images"):
        features(encoder(), torch.zeros((0, 3, 8, 8), dtype=torch.uint8), mean=MEAN, std=STD)
    images, labels = colored(4, 0)
    with pytest.raises(ValueError, match="epochs, batch size and lr"):
        SGDProbe(encoder(), images, labels, images, labels, views=VIEWS, num_classes=3, epochs=0)
