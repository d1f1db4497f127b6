"""Contrastive Poisoning: algorithm 1 in slow loops, what moves when, resuming, determinism."""

import itertools
import math
from collections.abc import Iterator
from copy import deepcopy
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cptools.core.algorithms import ALGORITHMS
from cptools.core.build import build_learner, build_views
from cptools.core.poisons.budget import check_bound, poison_uint8
from cptools.core.poisons.contrastive import (
    ContrastivePoisoning,
    Round,
    delta_gradient,
    pgd_step,
    random_delta,
)
from cptools.core.random import stream
from cptools.core.training import Learner, two_views
from cptools.core.views import Views

NUM, SIDE, CLASSES, EPSILON = 10, 8, 3, Fraction(8, 255)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1, 0])
IMAGES = torch.randint(
    256, (NUM, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8
)
# No pixel that full noise puts at exactly 0 or 1, where the slope of the outer clamp is a choice.
IMAGES[IMAGES == 8], IMAGES[IMAGES == 247] = 9, 246
VALUES: dict[str, Any] = {
    "encoder": "resnet10", "width": 2, "head_hidden": 8, "head_dim": 6, "bn_groups": 1,
    "optimizer": "sgd", "lr": 0.1, "min_lr": 0.001, "weight_decay": 1e-4, "momentum": 0.9,
    "loss_scale": 1.7,
    "crop_area": 0.3, "flip_prob": 0.5, "jitter": 1.0, "jitter_prob": 0.8, "gray_prob": 0.2,
}  # fmt: skip
OF_ALGORITHM: dict[str, dict[str, Any]] = {
    "simclr": {"temperature": 0.5},
    "moco": {"temperature": 0.2, "ema": 0.8, "queue_size": 11},
    "byol": {"ema": 0.8},
}
VIEWS = build_views(VALUES, size=SIDE, mean=(0.5, 0.45, 0.4), std=(0.2, 0.25, 0.3))
PLAIN = Views(
    size=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3, scale=(1, 1), ratio=(1, 1),
    flip=0, jitter_p=0, gray_p=0,
)  # fmt: skip


def learner_of(alg: str, **changes: Any) -> Learner:
    values = {**VALUES, **OF_ALGORITHM[alg], **changes}
    return build_learner(alg, values, device=torch.device("cpu"), bf16=False, seed=3)


def rows_of(mode: str) -> Tensor:
    return LABELS.clone() if mode == "class" else torch.arange(NUM)


def poisoning(
    alg: str, mode: str = "sample", *, learner: Learner | None = None, **changes: Any
) -> ContrastivePoisoning:
    settings = {
        "views": VIEWS, "epsilon": float(EPSILON), "rounds": 2, "model_steps": 2, "noise_steps": 2,
        "pgd_steps": 2, "step_size": 0.1, "batch_size": 4, "seed": 7, **changes,
    }  # fmt: skip
    start = random_delta(
        CLASSES if mode == "class" else NUM, (3, SIDE, SIDE), torch.Generator().manual_seed(1)
    )
    return ContrastivePoisoning(
        IMAGES, rows_of(mode), start, learner or learner_of(alg), **settings
    )


def finish(work: ContrastivePoisoning) -> list[Round]:
    return list(work.run())


def checkpoint(work: ContrastivePoisoning) -> dict[str, Tensor]:
    """The state as a file holds it: contiguous copies."""
    return {
        k: torch.from_numpy(v.detach().contiguous().numpy().copy()) for k, v in work.state().items()
    }


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [k for k in a if a[k].dtype != b[k].dtype or not torch.equal(a[k], b[k])] == []


# Algorithm 1 of the paper, an image and a weight at a time.


def slow_unit(z: Tensor) -> Tensor:
    return torch.stack([row / row.pow(2).sum().sqrt() for row in z])


def slow_loss(alg: Any, name: str, a: Tensor, b: Tensor, *, dual: bool) -> Tensor:
    """The loss of two views, from the modules of `alg`."""
    zero = torch.zeros((), dtype=a.dtype)
    project = lambda view: alg.head["projector"](alg.encoder(view))  # noqa: E731
    if name == "simclr":
        num, z = len(a), slow_unit(project(torch.cat([a, b])))
        total = zero
        for i in range(2 * num):
            others = [z[i] @ z[j] / alg.temperature for j in range(2 * num) if j != i]
            positive = z[i] @ z[(i + num) % (2 * num)] / alg.temperature
            total = total - torch.log(torch.exp(positive) / torch.stack(others).exp().sum())
        return total / (2 * num)
    if name == "moco":
        q, k = slow_unit(project(a)), slow_unit(alg.key_head["projector"](alg.key_encoder(b)))
        alg.keys = k.detach()
        k = k if dual else k.detach()
        total = zero
        for query, key in zip(q, k, strict=True):
            scores = torch.stack([query @ o / alg.temperature for o in (key, *alg.queue)]).exp()
            total = total - torch.log(scores[0] / scores.sum())
        return total / len(a)
    total = zero
    p_a, p_b = (slow_unit(alg.head["predictor"](project(view))) for view in (a, b))
    z_a, z_b = (slow_unit(alg.target_projector(alg.target_encoder(view))) for view in (a, b))
    for p, z in ((p_a, z_b), (p_b, z_a)):
        total = total + (p - (z if dual else z.detach())).pow(2).sum() / len(a)
    return total


def slow_poison(x: Tensor, delta: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x + float(EPSILON) * delta, x * 0), x * 0 + 1)


def slow_views(x: list[Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two views of every image, made one image at a time."""
    params = VIEWS.draw(2 * len(x), SIDE, SIDE, generator)
    made = [VIEWS.apply(v[None], params[i : i + 1]) for i, v in enumerate(x + x)]
    return torch.cat(made[: len(x)]), torch.cat(made[len(x) :])


def slow_batches(name: str, first: int, num: int, size: int) -> Iterator[list[int]]:
    """`num` batches from number `first` of a walk through shuffled epochs."""
    walk: list[list[int]] = []
    for epoch in range(1 + (first + num) // (NUM // size)):
        order = torch.randperm(NUM, generator=stream(7, name, epoch)).tolist()
        walk += [order[i * size : (i + 1) * size] for i in range(NUM // size)]
    yield from walk[first : first + num]


def algorithm_1(name: str, alg: Any, rows: list[int], delta: Tensor, *, dual: bool) -> Tensor:
    """2 rounds of 2 encoder steps and 2 batches of 2 PGD steps; changes `alg`, returns delta."""
    images = IMAGES.double() / 255
    delta = delta.clone()
    weights = [p for p in alg.parameters() if p.requires_grad]
    speed = [torch.zeros_like(p) for p in weights]
    for t in range(2):
        rng = stream(7, "attacker", "views", t)
        low = 0.1 * 0.001
        lr = low + (0.1 - low) * (1 + math.cos(math.pi * (t + 1) / 2)) / 2
        alg.train()
        for batch in slow_batches("attacker/model", 2 * t, 2, 4):  # theta steps, delta fixed
            a, b = slow_views([slow_poison(images[i], delta[rows[i]]) for i in batch], rng)
            loss = 1.7 * slow_loss(alg, name, a, b, dual=False)
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for p, v, g in zip(weights, speed, gradients, strict=True):
                    v.mul_(0.9).add_(g + 1e-4 * p)
                    p.sub_(lr * v)
                pairs: list[tuple[Any, Any]] = []
                if name == "moco":
                    pairs = [(alg.key_encoder, alg.encoder), (alg.key_head, alg.head)]
                    kept = [*alg.keys, *alg.queue][: len(alg.queue)]
                    alg.queue = torch.stack(kept)
                elif name == "byol":
                    pairs = [
                        (alg.target_encoder, alg.encoder),
                        (alg.target_projector, alg.head["projector"]),
                    ]
                for slow, fast in pairs:
                    for p, o in zip(slow.parameters(), fast.parameters(), strict=True):
                        p.copy_(0.8 * p + 0.2 * o)
        alg.eval()
        for batch in slow_batches(f"attacker/noise/{t}", 0, 2, 4):  # delta steps, theta fixed
            for _ in range(2):
                worn = [delta[rows[i]].clone().requires_grad_() for i in batch]
                noisy = [slow_poison(images[i], d) for i, d in zip(batch, worn, strict=True)]
                a, b = slow_views(noisy, rng)
                gradients = torch.autograd.grad(slow_loss(alg, name, a, b, dual=dual), worn)
                for row in {rows[i] for i in batch}:  # an image's gradient counts for its row
                    mine = [g for i, g in zip(batch, gradients, strict=True) if rows[i] == row]
                    delta[row] -= 0.1 * torch.stack(mine).sum(0).sign()
                    delta[row] = delta[row].clamp(-1, 1)
    return delta


@pytest.mark.parametrize("mode", ["class", "sample"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_is_algorithm_1(name: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # In float64, where rounding turns no sign: the code's float32 casts become float64 ones.
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    for dual in (True,) if name == "simclr" else (True, False):
        work = poisoning(name, mode, dual=dual)
        work.learner.algorithm.double()
        work.delta = work.delta.double()
        slow = deepcopy(work.learner.algorithm)
        start = work.delta.clone()
        expected = algorithm_1(name, slow, work.rows.tolist(), start, dual=dual)
        finish(work)
        torch.testing.assert_close(work.delta, expected, atol=1e-9, rtol=0)
        assert float((expected - start).abs().mean()) > 0.08  # up to four steps of 0.1
        for key, value in slow.state_dict().items():
            got = work.learner.algorithm.state_dict()[key]
            torch.testing.assert_close(got, value, atol=1e-8, rtol=1e-8)


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
    delta = random_delta(2, (3, 4, 4), generator)
    gradient = torch.randn(delta.shape, generator=generator)
    after = pgd_step(delta, gradient, step_size=step)
    for d, g, a in zip(*(t.flatten().tolist() for t in (delta, gradient, after)), strict=True):
        assert a == pytest.approx(max(-1.0, min(1.0, d - math.copysign(step, g))), abs=1e-6)
        assert -1 <= a <= 1


def test_random_delta_is_uniform_in_the_ball() -> None:
    delta = random_delta(50, (3, 8, 8), torch.Generator().manual_seed(0))
    assert delta.shape == (50, 3, 8, 8)
    assert delta.dtype == torch.float32
    assert -1 <= float(delta.min()) < -0.99
    assert 0.99 < float(delta.max()) <= 1
    assert abs(float(delta.mean())) < 0.03
    assert float(delta.var()) == pytest.approx(1 / 3, rel=0.03)
    assert torch.equal(delta, random_delta(50, (3, 8, 8), torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_gradient_of_the_noise_is_the_losss(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of(name)
    finish(poisoning(name, learner=learner, rounds=1, noise_steps=0))  # momentum is not a copy now
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # for exact differences
    algorithm = learner.algorithm.double().eval()
    x = IMAGES[:4].double().div(255)
    delta = 0.9 * random_delta(2, (3, SIDE, SIDE), torch.Generator().manual_seed(2)).double()
    rows = torch.tensor([0, 1, 1, 0])

    def at(delta: Tensor) -> tuple[Tensor, Tensor]:
        return delta_gradient(
            algorithm, x, delta, rows, VIEWS, stream(1), epsilon=float(EPSILON), dual=True
        )

    loss, gradient = at(delta)
    noisy = torch.stack([slow_poison(v, delta[r]) for v, r in zip(x, rows.tolist(), strict=True)])
    with torch.no_grad():
        expected = slow_loss(algorithm, name, *two_views(VIEWS, noisy, stream(1)), dual=True)
    torch.testing.assert_close(loss, expected)
    assert gradient.shape == delta.shape
    assert not loss.requires_grad
    assert not gradient.requires_grad
    for seed in range(3):
        way = torch.randn(delta.shape, generator=torch.Generator().manual_seed(seed)).double()
        numeric = float(at(delta + 1e-6 * way)[0] - at(delta - 1e-6 * way)[0]) / 2e-6
        assert float((gradient * way).sum()) == pytest.approx(numeric, rel=1e-4, abs=1e-7)
    assert all(p.grad is None for p in algorithm.parameters() if not p.requires_grad)


@pytest.mark.parametrize("end", [-1.0, 1.0])
def test_noise_at_the_edge_of_the_ball_can_come_back(end: float) -> None:
    # The projection leaves delta at exactly -1 or 1; its gradient there is the loss's, not zero.
    algorithm = learner_of("simclr").algorithm.eval()
    x = torch.full((2, 3, SIDE, SIDE), 0.5) + 0.2 * (IMAGES[:2] / 255 - 0.5)

    def gradient(delta: Tensor) -> Tensor:
        return delta_gradient(
            algorithm, x, delta, torch.arange(2), PLAIN, stream(1), epsilon=0.1, dual=True
        )[1]

    edge = torch.full_like(x, end)
    at, near = gradient(edge), gradient(edge * 0.9999)
    assert float((near != 0).float().mean()) > 0.5
    torch.testing.assert_close(at, near, atol=float(near.abs().max()) * 0.01, rtol=0.01)


@pytest.mark.parametrize("name", ["moco", "byol"])
def test_branches_give_different_poison(name: str) -> None:
    dual, single = (poisoning(name, dual=dual, model_steps=4) for dual in (True, False))
    finish(dual)
    finish(single)
    assert float((dual.delta - single.delta).abs().mean()) > 0.01


def test_branches_give_the_same_poison_for_simclr() -> None:
    dual, single = (poisoning("simclr", dual=dual) for dual in (True, False))
    finish(dual)
    finish(single)
    assert torch.equal(dual.delta, single.delta)


# What moves when.


@pytest.mark.parametrize("name", ALGORITHMS)
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


@pytest.mark.parametrize("name", ALGORITHMS)
def test_model_steps_leave_the_noise_alone(name: str) -> None:
    work = poisoning(name, noise_steps=0)
    start, before = work.delta.clone(), checkpoint(work)
    metrics = finish(work)
    assert torch.equal(work.delta, start)
    after = work.state()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    parts = {"simclr": (), "moco": ("key_encoder", "key_head", "queue"), "byol": (
        "target_encoder", "target_projector")}[name]  # fmt: skip
    for part in ("encoder.conv1.weight", "encoder.bn1.running_mean", "head.projector", *parts):
        assert any(k.startswith(f"model.{part}") for k in moved), part
    assert all(math.isfinite(m.model_loss) and math.isnan(m.noise_loss) for m in metrics)


@pytest.mark.parametrize("name", ALGORITHMS)
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
    worn = {int(LABELS[i]) for i in batch}
    assert len(worn) < CLASSES
    assert worn == set(changed.nonzero().flatten().tolist())


@pytest.mark.parametrize("mode", ["class", "sample"])
@pytest.mark.parametrize("name", ALGORITHMS)
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


@pytest.mark.parametrize("name", ALGORITHMS)
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
@pytest.mark.parametrize("name", ALGORITHMS)
def test_interrupted_run_is_the_uninterrupted_one(name: str, optimizer: str) -> None:
    mode = "class" if optimizer == "sgd" else "sample"

    def fresh() -> ContrastivePoisoning:
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


@pytest.mark.parametrize("name", ALGORITHMS)
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
