"""The alternation: algorithm 1 in slow loops, what moves when, both branches, determinism."""

import itertools
import math
from collections.abc import Iterator
from copy import deepcopy
from fractions import Fraction
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import (
    CLASSES,
    EPSILON,
    IMAGES,
    LABELS,
    MEAN,
    NUM,
    SIDE,
    STD,
    assert_same,
    checkpoint,
    problem_of,
)
from torch import Tensor

from cptools.core import recipes
from cptools.core.build import build_learner, build_views
from cptools.core.poisons.base import Problem, Round
from cptools.core.poisons.budget import check_bound, pgd_step, poison_uint8
from cptools.core.poisons.contrastive import (
    AlternatingPoisoning,
    Alternation,
    Penalty,
    algorithm_1,
)
from cptools.core.poisons.noise import random_noise
from cptools.core.random import stream
from cptools.core.training import Learner
from cptools.core.views import Views, draw_views

VALUES: dict[str, Any] = {
    "encoder": "resnet10", "width": 2, "head_hidden": 8, "head_dim": 6, "bn_groups": 1,
    "optimizer": "sgd", "lr": 0.1, "min_lr": 0.001, "weight_decay": 1e-4, "momentum": 0.9,
    "loss_scale": 1.7,
    **(recipes.VIEWS | {"crop_area": 0.3, "pad": 1}),
}  # fmt: skip
HEADS = ("head_hidden", "head_dim")
OF_ALGORITHM: dict[str, dict[str, Any]] = {  # what attackers learn by
    "simclr": {"temperature": 0.5},
    "moco": {"temperature": 0.2, "ema": 0.8, "queue_size": 11},
    "byol": {"ema": 0.8},
    "simsiam": {},
    "cmc": {"temperature": 0.02},
    "supervised": {},
}
TWO_BRANCHES = ("moco", "byol", "simsiam")
VIEWS = build_views(VALUES, size=SIDE, mean=(0.5, 0.45, 0.4), std=(0.2, 0.25, 0.3))
PLAIN = Views(
    size=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3, scale=(1, 1), ratio=(1, 1),
    flip=0, jitter_p=0, gray_p=0,
)  # fmt: skip


def learner_of(alg: str, **changes: Any) -> Learner:
    values = {**VALUES, **OF_ALGORITHM[alg], **changes}
    if alg == "supervised":
        values = {name: value for name, value in values.items() if name not in HEADS}
    return build_learner(
        alg, values, num_classes=CLASSES, mean=VIEWS.mean, std=VIEWS.std,
        device=torch.device("cpu"), bf16=False, seed=3,
    )  # fmt: skip


def poisoning(
    alg: str,
    mode: str = "sample",
    *,
    learner: Learner | None = None,
    views: Views = VIEWS,
    epsilon: float = float(EPSILON),
    seed: int = 7,
    **changes: Any,
) -> AlternatingPoisoning:
    options = {
        "rounds": 2, "model_steps": 2, "noise_steps": 2, "pgd_steps": 2, "step_size": 0.1,
        "batch_size": 4, **changes,
    }  # fmt: skip
    problem = problem_of(mode, epsilon=epsilon, seed=seed)
    start = random_noise(problem.shape, torch.Generator().manual_seed(1))
    others = {name: options.pop(name) for name in ("penalty", "until") if name in options}
    numbers = Alternation(**options)
    return AlternatingPoisoning(
        problem, start, learner or learner_of(alg), views, numbers, **others
    )


def finish(work: AlternatingPoisoning) -> list[Round]:
    return list(work.run())


# Algorithm 1 of the paper, an image and a weight at a time.


def slow_unit(z: Tensor) -> Tensor:
    return torch.stack([row / row.pow(2).sum().sqrt() for row in z])


def slow_loss(
    alg: Any,
    name: str,
    views: list[Tensor],
    labels: list[int],
    *,
    dual: bool,
    other: list[Tensor] | None = None,
) -> Tensor:
    """The loss of views, from the modules of `alg`.

    The momentum branch of MoCo and BYOL, and the stopped branch of SimSiam, looks at `other` where
    that is given; unless `dual`, it is taken as given numbers.
    """
    a, *rest = views
    total = torch.zeros((), dtype=a.dtype)

    def project(view: Tensor) -> Tensor:
        z: Tensor = alg.head["projector"](alg.encoder(view))
        return z

    def given(z: Tensor) -> Tensor:
        return z if dual else z.detach()

    if name == "supervised":
        for logits, label in zip(alg.head["classifier"](alg.encoder(a)), labels, strict=True):
            total = total - torch.log(logits[label].exp() / logits.exp().sum())
        return total / len(a)
    if name == "cmc":
        networks = zip(("projector", "color_projector"), ("lightness", "color"), strict=True)
        lightness, color = (
            slow_unit(alg.head[head](getattr(alg.encoder, network)(part)))
            for (head, network), part in zip(networks, alg.encoder.split(a), strict=True)
        )
        for one, other_one in ((lightness, color), (color, lightness)):
            for i, z in enumerate(one):
                scores = torch.stack([z @ o / alg.temperature for o in other_one]).exp()
                total = total - torch.log(scores[i] / scores.sum())
        return total / (2 * len(a))
    (b,) = rest
    if name == "simclr":
        num, z = len(a), slow_unit(project(torch.stack([a, b], 1).flatten(0, 1)))
        for i in range(2 * num):
            others = [z[i] @ z[j] / alg.temperature for j in range(2 * num) if j != i]
            positive = z[i] @ z[i + 1 - 2 * (i % 2)] / alg.temperature
            total = total - torch.log(torch.exp(positive) / torch.stack(others).exp().sum())
        return total / (2 * num)
    if name == "moco":
        seen = b if other is None else other[1]
        q, k = slow_unit(project(a)), slow_unit(alg.momentum_projector(alg.momentum_encoder(seen)))
        alg.keys = k.detach()
        for query, key in zip(q, given(k), strict=True):
            scores = torch.stack([query @ o / alg.temperature for o in (key, *alg.queue)]).exp()
            total = total - torch.log(scores[0] / scores.sum())
        return total / len(a)
    z_a, z_b = project(a), project(b)
    p_a, p_b = (slow_unit(alg.head["predictor"](z)) for z in (z_a, z_b))
    if name == "byol":
        z_a, z_b = (alg.momentum_projector(alg.momentum_encoder(v)) for v in other or (a, b))
    elif other is not None:
        z_a, z_b = (project(v) for v in other)
    for p, z in ((p_a, slow_unit(given(z_b))), (p_b, slow_unit(given(z_a)))):
        pairs = zip(p, z, strict=True)
        if name == "byol":  # squared distance, both directions summed
            total = total + sum((u - v).pow(2).sum() for u, v in pairs) / len(a)
        else:  # negative cosine, half of each direction
            total = total - sum(u @ v for u, v in pairs) / len(a) / 2
    return total


def slow_poison(x: Tensor, delta: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x + float(EPSILON) * delta, x * 0), x * 0 + 1)


def slow_views(x: list[Tensor], num: int, generator: torch.Generator) -> list[Tensor]:
    """`num` views of every image, made one image at a time."""
    params = VIEWS.draw(num * len(x), SIDE, SIDE, generator)
    made = [VIEWS.apply(v[None], params[i : i + 1]) for i, v in enumerate(x * num)]
    return [torch.cat(made[i * len(x) : (i + 1) * len(x)]) for i in range(num)]


def slow_batches(name: str, first: int, num: int, size: int) -> Iterator[list[int]]:
    """`num` batches from number `first` of a walk through shuffled epochs."""
    walk: list[list[int]] = []
    for epoch in range(1 + (first + num) // (NUM // size)):
        order = torch.randperm(NUM, generator=stream(7, name, epoch)).tolist()
        walk += [order[i * size : (i + 1) * size] for i in range(NUM // size)]
    yield from walk[first : first + num]


def slow_after_step(name: str, alg: Any) -> None:
    """A moving average of 0.8, weight by weight; the new keys before the old ones."""
    pairs: list[tuple[Any, Any]] = []
    if name in ("moco", "byol"):
        pairs = [
            (alg.momentum_encoder, alg.encoder),
            (alg.momentum_projector, alg.head["projector"]),
        ]
    if name == "moco":
        alg.queue = torch.stack([*alg.keys, *alg.queue][: len(alg.queue)])
    for slow, fast in pairs:
        for p, o in zip(slow.parameters(), fast.parameters(), strict=True):
            p.copy_(0.8 * p + 0.2 * o)


def slow_algorithm_1(name: str, alg: Any, rows: list[int], delta: Tensor, *, dual: bool) -> Tensor:
    """2 rounds of 2 encoder steps and 2 batches of 2 PGD steps; changes `alg`, returns delta."""
    images, labels = IMAGES.double() / 255, LABELS.tolist()
    num_views = 1 if name in ("supervised", "cmc") else 2
    delta = delta.clone()
    weights = [p for p in alg.parameters() if p.requires_grad]
    speed = [torch.zeros_like(p) for p in weights]
    for t in range(2):
        rng = stream(7, "attacker", "views", t)
        low = 0.1 * 0.001
        lr = low + (0.1 - low) * (1 + math.cos(math.pi * (t + 1) / 2)) / 2
        alg.train()
        for batch in slow_batches("attacker/model", 2 * t, 2, 4):  # theta steps, delta fixed
            noisy = [slow_poison(images[i], delta[rows[i]]) for i in batch]
            views = slow_views(noisy, num_views, rng)
            own = [labels[i] for i in batch]
            loss = 1.7 * slow_loss(alg, name, views, own, dual=False)
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for p, v, g in zip(weights, speed, gradients, strict=True):
                    v.mul_(0.9).add_(g + 1e-4 * p)
                    p.sub_(lr * v)
                slow_after_step(name, alg)
        alg.eval()
        for batch in slow_batches(f"attacker/noise/{t}", 0, 2, 4):  # delta steps, theta fixed
            own = [labels[i] for i in batch]
            for _ in range(2):
                noise = [delta[rows[i]].clone().requires_grad_() for i in batch]
                noisy = [slow_poison(images[i], d) for i, d in zip(batch, noise, strict=True)]
                views = slow_views(noisy, num_views, rng)
                gradients = torch.autograd.grad(slow_loss(alg, name, views, own, dual=dual), noise)
                for row in {rows[i] for i in batch}:  # an image's gradient counts for its row
                    mine = [g for i, g in zip(batch, gradients, strict=True) if rows[i] == row]
                    delta[row] -= 0.1 * torch.stack(mine).sum(0).sign()
                    delta[row] = delta[row].clamp(-1, 1)
    return delta


@pytest.mark.parametrize("mode", ["class", "sample"])
@pytest.mark.parametrize("name", OF_ALGORITHM)
def test_it_is_algorithm_1(name: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # In float64, where rounding turns no sign: the code's float32 casts become float64 ones.
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    for dual in (True, False) if name in TWO_BRANCHES else (True,):
        work = poisoning(name, mode, dual=dual)
        work.learner.algorithm.double()
        work.delta = work.delta.double()
        slow = deepcopy(work.learner.algorithm)
        start = work.delta.clone()
        expected = slow_algorithm_1(name, slow, work.rows.tolist(), start, dual=dual)
        finish(work)
        torch.testing.assert_close(work.delta, expected, atol=1e-9, rtol=0)
        assert float((expected - start).abs().mean()) > 0.08  # up to four steps of 0.1
        for key, value in slow.state_dict().items():
            got = work.learner.algorithm.state_dict()[key]
            torch.testing.assert_close(got, value, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("mode", ["class", "sample"])
def test_only_the_rows_of_a_batch_need_a_gradient(mode: str) -> None:
    # Algorithm 1 in the plainest PyTorch: the gradient of all of delta, an optimizer of torch's.
    work = poisoning("simclr", mode)
    alg = deepcopy(work.learner.algorithm)
    optimizer = torch.optim.SGD(alg.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    delta, images = work.delta.clone(), IMAGES.float() / 255
    row = LABELS if mode == "class" else torch.arange(NUM)
    for t in range(2):
        rng = stream(7, "attacker", "views", t)
        low = 0.1 * 0.001
        optimizer.param_groups[0]["lr"] = (
            low + (0.1 - low) * (1 + math.cos(math.pi * (t + 1) / 2)) / 2
        )
        alg.train()
        for batch in slow_batches("attacker/model", 2 * t, 2, 4):
            x = (images[batch] + float(EPSILON) * delta[row[batch]]).clamp(0, 1)
            optimizer.zero_grad()
            (1.7 * alg.loss(*draw_views(VIEWS, x, 2, rng))).backward()
            optimizer.step()
        alg.eval()
        for batch in slow_batches(f"attacker/noise/{t}", 0, 2, 4):
            for _ in range(2):
                delta.requires_grad_()
                x = (images[batch] + float(EPSILON) * delta[row[batch]]).clamp(0, 1)
                loss = alg.loss(*draw_views(VIEWS, x, 2, rng))
                (gradient,) = torch.autograd.grad(loss, delta)
                assert gradient.shape == work.delta.shape
                delta = (delta.detach() - 0.1 * gradient.sign()).clamp(-1, 1)
    finish(work)
    assert torch.equal(work.delta, delta)
    for name, value in alg.state_dict().items():
        assert torch.equal(work.learner.algorithm.state_dict()[name], value), name


# The step.


def test_pgd_step_is_the_papers() -> None:
    delta = torch.tensor([-1.0, -0.95, 0.0, 0.3, 0.95, 1.0])
    down = pgd_step(delta, torch.full((6,), 1e-9), step_size=0.1)
    torch.testing.assert_close(down, torch.tensor([-1.0, -1.0, -0.1, 0.2, 0.85, 0.9]))
    up = pgd_step(delta, torch.full((6,), -50.0), step_size=0.1)
    torch.testing.assert_close(up, torch.tensor([-0.9, -0.85, 0.1, 0.4, 1.0, 1.0]))
    assert torch.equal(pgd_step(delta, torch.zeros(6), step_size=0.1), delta)


@given(st.integers(0, 2**31), st.floats(0, 2))
def test_pgd_step_moves_by_the_step_and_stays_in_the_ball(seed: int, step: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    delta = random_noise((2, 3, 4, 4), generator)
    gradient = torch.randn(delta.shape, generator=generator)
    after = pgd_step(delta, gradient, step_size=step)
    for d, g, a in zip(*(t.flatten().tolist() for t in (delta, gradient, after)), strict=True):
        assert a == pytest.approx(max(-1.0, min(1.0, d - math.copysign(step, g))), abs=1e-6)
        assert -1 <= a <= 1


# The gradient of the noise.

BATCH, ROWS = [0, 1, 2, 4], torch.tensor([0, 1, 1, 0])  # images, and the row applied to each


def a_trained(name: str) -> Any:
    """An algorithm in float64 and eval mode whose momentum branch is no copy any more."""
    learner = learner_of(name)
    finish(poisoning(name, learner=learner, rounds=1, noise_steps=0))
    return learner.algorithm.double().eval()


def some_noise() -> Tensor:
    return 0.9 * random_noise((2, 3, SIDE, SIDE), torch.Generator().manual_seed(2)).double()


def noise_gradient(
    alg: Any,
    x: Tensor,
    labels: Tensor,
    delta: Tensor,
    rows: Tensor,
    views: Views,
    *,
    epsilon: float | Fraction,
    dual: bool,
    penalty: Penalty | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of the first noise step of algorithm 1 on a batch: overheard."""

    class Given(Problem):
        def batch(self, number: int, batch_size: int, name: str) -> tuple[Tensor, Tensor, Tensor]:
            return x, labels, rows

    problem = Given(IMAGES, LABELS, CLASSES, MEAN, STD, "sample", epsilon, seed=7)
    learner = Learner(alg, optimizer="sgd", lr=0.1, min_lr=1.0, weight_decay=0.0, momentum=0.0)
    once = Alternation(1, 0, 1, 1, 0.1, len(x), dual)
    heard = []
    grad = torch.autograd.grad

    def overhear(loss: Tensor, leaf: Tensor) -> tuple[Tensor, ...]:
        heard.extend(grad(loss, leaf))
        return tuple(heard)

    with mock.patch("torch.autograd.grad", overhear):
        (ended,) = algorithm_1(problem, learner, views, delta.clone(), once, penalty=penalty)
    (gradient,) = heard
    return torch.tensor(ended.noise_loss, dtype=delta.dtype), gradient


def gradient_at(alg: Any, delta: Tensor, *, dual: bool, **options: Any) -> tuple[Tensor, Tensor]:
    x = IMAGES[BATCH].double().div(255)
    return noise_gradient(
        alg, x, LABELS[BATCH], delta, ROWS, VIEWS, epsilon=EPSILON, dual=dual, **options
    )


def views_at(alg: Any, delta: Tensor) -> list[Tensor]:
    """The views of those images under the noise, the same draws each time."""
    x = IMAGES[BATCH].double() / 255
    noisy = torch.stack([slow_poison(v, delta[r]) for v, r in zip(x, ROWS.tolist(), strict=True)])
    return list(draw_views(VIEWS, noisy, alg.num_views, stream(7, "attacker", "views", 0)))


@pytest.mark.parametrize("name", OF_ALGORITHM)
def test_gradient_of_the_noise_is_the_losss(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alg, delta = a_trained(name), some_noise()
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # for exact differences
    loss, gradient = gradient_at(alg, delta, dual=True)
    with torch.no_grad():
        expected = slow_loss(alg, name, views_at(alg, delta), LABELS[BATCH].tolist(), dual=True)
    torch.testing.assert_close(loss, expected)
    assert gradient.shape == delta.shape
    assert not loss.requires_grad
    assert not gradient.requires_grad
    for seed in range(3):
        way = torch.randn(delta.shape, generator=torch.Generator().manual_seed(seed)).double()
        ahead, behind = (gradient_at(alg, delta + s * way, dual=True)[0] for s in (1e-6, -1e-6))
        numeric = float(ahead - behind) / 2e-6
        assert float((gradient * way).sum()) == pytest.approx(numeric, rel=1e-4, abs=1e-7)
    assert all(p.grad is None for p in alg.parameters() if not p.requires_grad)


@pytest.mark.parametrize("name", TWO_BRANCHES)
def test_gradient_through_the_branch_that_is_held_constant(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the dual scheme adds to the single one is the derivative of the loss where the noise
    # moves before the momentum branch (MoCo, BYOL) or the stopped one (SimSiam) alone.
    alg, delta = a_trained(name), some_noise()
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    dual, single = (gradient_at(alg, delta, dual=dual)[1] for dual in (True, False))
    through = dual - single
    assert float(through.norm()) > 0.05 * float(single.norm()) > 0
    still = views_at(alg, delta)
    ways = [
        torch.randn(delta.shape, generator=torch.Generator().manual_seed(seed)).double()
        for seed in range(3)
    ]
    for row, channel, y, x in ((0, 0, 3, 3), (1, 2, 4, 2), (1, 1, 2, 5)):
        ways.append(torch.zeros_like(delta))
        ways[-1][row, channel, y, x] = 1.0
    with torch.no_grad():
        for way in ways:
            for got, other in ((through, True), (single, False)):
                ahead, behind = (
                    slow_loss(
                        alg, name, still if other else moved, LABELS[BATCH].tolist(), dual=True,
                        other=moved if other else still,
                    )
                    for moved in (views_at(alg, delta + s * way) for s in (1e-5, -1e-5))
                )  # fmt: skip
                numeric = float(ahead - behind) / 2e-5
                assert float((got * way).sum()) == pytest.approx(numeric, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("end", [-1.0, 1.0])
def test_noise_at_the_edge_of_the_ball_can_come_back(end: float) -> None:
    # The projection leaves delta at exactly -1 or 1; its gradient there is the loss's, not zero.
    algorithm = learner_of("simclr").algorithm.eval()
    x = torch.full((2, 3, SIDE, SIDE), 0.5) + 0.2 * (IMAGES[:2] / 255 - 0.5)

    def gradient(delta: Tensor) -> Tensor:
        return noise_gradient(
            algorithm, x, LABELS[:2], delta, torch.arange(2), PLAIN, epsilon=0.1, dual=True
        )[1]

    edge = torch.full_like(x, end)
    at, near = gradient(edge), gradient(edge * 0.9999)
    assert float((near != 0).float().mean()) > 0.5
    torch.testing.assert_close(at, near, atol=float(near.abs().max()) * 0.01, rtol=0.01)


@pytest.mark.parametrize("name", TWO_BRANCHES)
def test_branches_give_different_poison(name: str) -> None:
    dual, single = (poisoning(name, dual=dual, model_steps=4) for dual in (True, False))
    finish(dual)
    finish(single)
    assert float((dual.delta - single.delta).abs().mean()) > 0.01


@pytest.mark.parametrize("name", ["simclr", "supervised"])
def test_one_branch_gives_the_same_poison_either_way(name: str) -> None:
    dual, single = (poisoning(name, dual=dual) for dual in (True, False))
    finish(dual)
    finish(single)
    assert torch.equal(dual.delta, single.delta)


# A penalty, and an end before the last round.


def penalty_of(noise: Tensor, labels: Tensor) -> Tensor:
    weight = 1 + labels.to(noise.dtype)
    return (weight.view(-1, 1, 1, 1) * noise.pow(3)).sum()


def test_a_penalty_adds_its_value_and_its_gradient() -> None:
    alg, delta = a_trained("simclr"), some_noise()
    plain_loss, plain = gradient_at(alg, delta, dual=True)
    loss, gradient = gradient_at(alg, delta, dual=True, penalty=penalty_of)
    expected = torch.zeros_like(delta)
    for image, row in zip(BATCH, ROWS.tolist(), strict=True):
        expected[row] += 3 * (1 + int(LABELS[image])) * delta[row].pow(2)
    torch.testing.assert_close(gradient - plain, expected)
    assert float(loss - plain_loss) == pytest.approx(
        sum(
            (1 + int(LABELS[i])) * float(delta[r].pow(3).sum())
            for i, r in zip(BATCH, ROWS.tolist(), strict=True)
        )
    )


def test_a_strong_penalty_leads_the_noise_and_the_encoder_does_not_see_it() -> None:
    work = poisoning("simclr", penalty=lambda noise, _: 1e4 * noise.sum(), rounds=1)
    start = work.delta.clone()
    finish(work)
    batches = [i for batch in slow_batches("attacker/noise/0", 0, 2, 4) for i in batch]
    expected = start.clone()
    expected[batches] = (start[batches] - 0.2).clamp(-1, 1)  # two steps of 0.1 downwards
    torch.testing.assert_close(work.delta, expected)
    plain = poisoning("simclr", rounds=1)
    finish(plain)
    assert_same(work.learner.state(), plain.learner.state())


def test_until_is_asked_before_each_round() -> None:
    asked = []

    def until(work: AlternatingPoisoning) -> bool:
        asked.append(work.round)
        return work.round == 2

    work = poisoning("simclr", until=until, rounds=5)
    assert [r.round for r in work.run()] == [1, 2]
    assert asked == [0, 1, 2]
    assert work.total == 5
    whole = poisoning("simclr", rounds=5)
    list(itertools.islice(whole.run(), 2))
    assert torch.equal(work.delta, whole.delta)  # the schedule is that of all rounds
    assert list(work.run()) == []


# What moves when.


@pytest.mark.parametrize("name", OF_ALGORITHM)
def test_noise_steps_leave_the_encoder_alone(name: str) -> None:
    learner = learner_of(name)
    finish(poisoning(name, learner=learner, rounds=1))  # an optimizer with a past
    before = {k: v.clone() for k, v in learner.state().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in learner.trainable]
    work = poisoning(name, learner=learner, model_steps=0)
    start = work.delta.clone()
    metrics = finish(work)
    assert_same(before, learner.state())  # weights, batch norm, momentum branch, queue, optimizer
    assert float((work.delta - start).abs().max()) > 0.05
    for p, gradient in zip(learner.trainable, gradients, strict=True):
        assert gradient is not None
        assert p.grad is not None
        assert torch.equal(p.grad, gradient)
    assert [m.round for m in metrics] == [1, 2]
    assert all(math.isnan(m.model_loss) and math.isfinite(m.noise_loss) for m in metrics)
    assert [m.loss for m in metrics] == [m.noise_loss for m in metrics]


@pytest.mark.parametrize("name", OF_ALGORITHM)
def test_model_steps_leave_the_noise_alone(name: str) -> None:
    work = poisoning(name, noise_steps=0)
    start, before = work.delta.clone(), checkpoint(work)
    metrics = finish(work)
    assert torch.equal(work.delta, start)
    after = work.state()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    parts = {
        "simclr": ("head.projector",),
        "moco": ("head.projector", "momentum_encoder", "momentum_projector", "queue"),
        "byol": ("head.projector", "head.predictor", "momentum_encoder", "momentum_projector"),
        "simsiam": ("head.projector", "head.predictor"),
        "cmc": ("head.projector", "head.color_projector", "encoder.color.conv1.weight"),
        "supervised": ("head.classifier",),
    }[name]
    network = "encoder.lightness" if name == "cmc" else "encoder"
    for part in (f"{network}.conv1.weight", f"{network}.bn1.running_mean", *parts):
        assert any(k.startswith(f"model.{part}") for k in moved), part
    assert all(math.isfinite(m.model_loss) and math.isnan(m.noise_loss) for m in metrics)
    assert [m.loss for m in metrics] == [m.model_loss for m in metrics]


@pytest.mark.parametrize("name", OF_ALGORITHM)
def test_one_tick_of_momentum_a_model_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = []
    work = poisoning(name, rounds=3, model_steps=2, noise_steps=3)
    algorithm = work.learner.algorithm
    tick = algorithm.after_step

    def spy() -> None:
        ticks.append(algorithm.training)
        tick()

    monkeypatch.setattr(algorithm, "after_step", spy)
    finish(work)
    assert ticks == [True] * 6


def test_rows_outside_the_batches_stay() -> None:
    work = poisoning("simclr", rounds=1, noise_steps=1)
    start = work.delta.clone()
    finish(work)
    (batch,) = slow_batches("attacker/noise/0", 0, 1, 4)
    changed = (work.delta != start).flatten(1).any(1)
    assert sorted(batch) == changed.nonzero().flatten().tolist()


def test_classes_outside_the_batches_stay() -> None:
    work = poisoning("simclr", "class", rounds=1, noise_steps=1, batch_size=2)
    start = work.delta.clone()
    finish(work)
    (batch,) = slow_batches("attacker/noise/0", 0, 1, 2)
    changed = (work.delta != start).flatten(1).any(1)
    applied = {int(LABELS[i]) for i in batch}
    assert len(applied) < CLASSES
    assert applied == set(changed.nonzero().flatten().tolist())


@pytest.mark.parametrize("mode", ["class", "sample"])
@pytest.mark.parametrize("name", OF_ALGORITHM)
def test_noise_loss_falls(name: str, mode: str) -> None:
    # The encoder and the views are fixed, and every batch holds all images: pure descent.
    work = poisoning(
        name, mode, learner=learner_of(name, width=8), views=PLAIN, model_steps=0, rounds=8,
        noise_steps=1, pgd_steps=1, batch_size=NUM, epsilon=0.1, step_size=0.02,
    )  # fmt: skip
    losses = [m.noise_loss for m in work.run()]
    assert all(after < before for before, after in itertools.pairwise(losses))
    assert losses[-1] < losses[0] - 0.005


@given(step=st.floats(0, 2), seed=st.integers(0, 99), mode=st.sampled_from(["class", "sample"]))
@settings(max_examples=8)
def test_the_poison_stays_in_its_budget(step: float, seed: int, mode: str) -> None:
    work = poisoning("simclr", mode, step_size=step, seed=seed, rounds=1)
    finish(work)
    assert float(work.delta.abs().max()) <= 1
    assert work.delta.dtype == torch.float32
    poisoned = poison_uint8(IMAGES, work.delta, work.rows, EPSILON)
    check_bound(IMAGES, poisoned, EPSILON)
    assert not torch.equal(poisoned, IMAGES)


@pytest.mark.parametrize("name", OF_ALGORITHM)
def test_class_wise_poison_is_the_sample_wise_one_it_expands_to(name: str) -> None:
    work = poisoning(name, "class")
    finish(work)
    expanded = torch.stack([work.delta[label] for label in LABELS.tolist()])
    assert torch.equal(
        poison_uint8(IMAGES, work.delta, LABELS, EPSILON),
        poison_uint8(IMAGES, expanded, torch.arange(NUM), EPSILON),
    )
    # And a model sees the same from both: encoder steps alone end with the same weights.
    learners = []
    for mode, delta in (("class", work.delta), ("sample", expanded)):
        victim = poisoning(name, mode, noise_steps=0)
        victim.delta = delta
        finish(victim)
        learners.append(victim.learner.state())
    assert_same(*learners)


# Stopping, carrying on, repeating.


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", OF_ALGORITHM)
def test_interrupted_run_is_the_uninterrupted_one(name: str, optimizer: str) -> None:
    mode = "class" if optimizer == "sgd" else "sample"

    def fresh() -> AlternatingPoisoning:
        return poisoning(name, mode, learner=learner_of(name, optimizer=optimizer), rounds=3)

    whole = fresh()
    states, metrics = [checkpoint(whole)], []
    for metric in whole.run():
        metrics.append(metric)
        states.append(checkpoint(whole))
    for done, state in enumerate(states):
        carried = fresh()
        carried.restore(state)
        assert carried.round == done
        assert finish(carried) == metrics[done:]
        assert_same(carried.state(), states[-1])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_restoring_copies(optimizer: str) -> None:
    learner = learner_of("moco", optimizer=optimizer)
    work = poisoning("moco", learner=learner, rounds=3)
    next(work.run())
    saved = checkpoint(work)
    kept = {k: v.clone() for k, v in saved.items()}
    work.restore(saved)
    finish(work)
    assert_same(saved, kept)  # going on does not change the tensors that were restored from


def test_state_holds_tensors_alone() -> None:
    work = poisoning("moco")
    finish(work)
    state = work.state()
    assert all(isinstance(v, Tensor) for v in state.values())
    assert {k.split(".")[0] for k in state} == {"model", "optimizer", "poison"}
    assert int(state["poison.round"]) == 2


@pytest.mark.parametrize("name", OF_ALGORITHM)
def test_a_seed_determines_the_poison(name: str) -> None:
    runs = []
    for global_seed, seed in ((0, 7), (1, 7), (0, 8)):
        torch.manual_seed(global_seed)
        work = poisoning(name, seed=seed)
        before = torch.random.get_rng_state()
        finish(work)
        assert torch.equal(torch.random.get_rng_state(), before)
        runs.append(work.delta)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_a_batch_size_above_the_number_of_images_takes_them_all() -> None:
    large, all_of_them = poisoning("simclr", batch_size=512), poisoning("simclr", batch_size=NUM)
    start = large.delta.clone()
    finish(large)
    finish(all_of_them)
    assert torch.equal(large.delta, all_of_them.delta)
    assert bool((large.delta != start).flatten(1).any(1).all())


def test_divergence_is_an_error() -> None:
    learner = learner_of("simclr", lr=1e30)
    with pytest.raises(FloatingPointError, match="diverged"):
        finish(poisoning("simclr", learner=learner, rounds=4))
