"""The training loop: batches, schedules, one step by hand, resuming, curves, divergence."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cptools.core import recipes
from cptools.core.algorithms import ALGORITHMS
from cptools.core.algorithms.advcl import AdvCL
from cptools.core.build import build_learner, build_views
from cptools.core.checks import to_float
from cptools.core.random import stream
from cptools.core.training import (
    OPTIMIZERS,
    Epoch,
    Learner,
    Pretraining,
    batch_number,
    cosine_lr,
    epoch_batches,
    mean_loss,
    optimizer_state,
    restore_optimizer,
    set_lr,
    warmup,
    with_prefix,
    without_prefix,
)
from cptools.core.views import Views, draw_views

NUM, SIDE = 11, 8
IMAGES = torch.randint(
    256, (NUM, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8
)
LABELS = torch.arange(NUM) % 3
VALUES: dict[str, Any] = {
    "encoder": "resnet10", "width": 2, "head_hidden": 8, "head_dim": 6, "bn_groups": 1,
    "optimizer": "sgd", "lr": 0.1, "min_lr": 0.001, "weight_decay": 1e-4, "momentum": 0.9,
    "loss_scale": 1.0,
    **(recipes.VIEWS | {"crop_area": 0.3}),
}  # fmt: skip
OF_ALGORITHM: dict[str, dict[str, Any]] = {
    "simsiam": {},
    "supervised": {},
    "advsupervised": {"adv_epsilon": "8/255", "adv_steps": 2, "adv_step_size": 0.5},
    "ueraser": {"draws": 2, "intensity": 0.5},
    "simclr": {"temperature": 0.5, "loss": "hinge"},
    "cmc": {"temperature": 0.2},
    "barlow-twins": {"redundancy_weight": 0.1},
    "vicreg": {"invariance_weight": 25.0, "variance_weight": 25.0, "covariance_weight": 1.0},
    "nnclr": {"temperature": 0.2, "queue_size": 11},
    "moco-v3": {"temperature": 0.2, "ema": 0.8},
    "dino": {
        "temperature": 0.2, "ema": 0.8, "prototypes": 7, "frozen_epochs": 1, "teacher_warmup": 2,
        "teacher_temperature": 0.1, "teacher_start": 0.05,
        "local_views": 2, "local_size": 5, "local_area": 0.1,
    },
    "swav": {
        "temperature": 0.2, "prototypes": 7, "sinkhorn_epsilon": 0.1, "frozen_epochs": 1,
        "queue_size": 6, "queue_start": 1, "local_views": 2, "local_size": 5, "local_area": 0.1,
    },
    "mae": {
        "encoder": "vit-tiny", "width": 3, "mask_ratio": 0.75, "decoder_width": 32,
        "decoder_layers": 1,
    },
    "supcon": {"temperature": 0.2},
    "moco": {"temperature": 0.2, "ema": 0.8, "queue_size": 11},
    "byol": {"ema": 0.8},
    "advsimclr": {
        "temperature": 0.5, "adv_epsilon": "8/255", "adv_steps": 2, "adv_step_size": 0.5,
    },
    "advcl": {
        "temperature": 0.5, "adv_epsilon": "8/255", "adv_steps": 2, "adv_step_size": 0.5,
        "ce_weight": 0.1,
    },
    "vespr": {
        "temperature": 0.5, "adv_epsilon": "8/255", "adv_steps": 2, "adv_step_size": 0.5,
        "ce_weight": 0.1, "loss": "nt-xent",
    },
}  # fmt: skip
VIEWS = build_views(VALUES, size=SIDE, mean=(0.5, 0.45, 0.4), std=(0.2, 0.25, 0.3))


def learner_of(alg: str = "simclr", **changes: Any) -> Learner:
    values = {**VALUES, **OF_ALGORITHM[alg], **changes}
    if alg in ("supervised", "advsupervised", "ueraser", "mae"):
        del values["head_hidden"], values["head_dim"]
    return build_learner(
        alg, values, num_classes=(2, 3) if alg == "advcl" else 3, mean=VIEWS.mean, std=VIEWS.std,
        device=torch.device("cpu"), bf16=False, seed=3, size=SIDE,
    )  # fmt: skip


def labels_for(learner: Learner) -> Tensor:
    """Labels, or two labelings where the learner takes several."""
    if isinstance(learner.algorithm, AdvCL):
        return torch.stack([LABELS % 2, LABELS], dim=1)
    return LABELS


def pretraining(
    learner: Learner | None = None, *, epochs: int = 3, batch_size: int = 4, **changes: Any
) -> Pretraining:
    learner = learner or learner_of()
    if "watch" in changes:
        changes["watch_labels"] = labels_for(learner)
    return Pretraining(
        IMAGES,
        labels_for(learner),
        learner,
        VIEWS,
        epochs=epochs,
        batch_size=batch_size,
        **changes,
    )


def checkpoint(work: Pretraining) -> dict[str, Tensor]:
    """The state as a file holds it: contiguous copies."""
    return {
        k: torch.from_numpy(v.detach().contiguous().numpy().copy()) for k, v in work.state().items()
    }


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [k for k in a if a[k].dtype != b[k].dtype or not torch.equal(a[k], b[k])] == []


# Batches.


@given(num=st.integers(1, 60), size=st.integers(1, 60), seed=st.integers(0, 2**31))
def test_epoch_batches_are_full_and_disjoint(num: int, size: int, seed: int) -> None:
    size = min(num, size)
    batches = epoch_batches(num, size, stream(seed))
    assert len(batches) == num // size
    assert all(len(batch) == size for batch in batches)
    seen = [i for batch in batches for i in batch.tolist()]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(num))
    again = epoch_batches(num, size, stream(seed))
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))


@given(
    num=st.integers(1, 40), size=st.integers(1, 40), epoch=st.integers(0, 5), seed=st.integers(0, 9)
)
def test_batch_number_walks_through_whole_epochs(
    num: int, size: int, epoch: int, seed: int
) -> None:
    size = min(num, size)
    per_epoch = num // size
    walk = [
        batch_number(step, num=num, batch_size=size, seed=seed, name="a")
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch)
    ]
    expected = epoch_batches(num, size, stream(seed, "a", epoch))
    assert [b.tolist() for b in walk] == [b.tolist() for b in expected]


def test_walks_differ_by_epoch_seed_and_name() -> None:
    def batch(step: int = 0, seed: int = 0, name: str = "a") -> list[int]:
        return batch_number(step, num=50, batch_size=50, seed=seed, name=name).tolist()

    walks = [batch(), batch(step=1), batch(seed=1), batch(name="b")]
    assert len({tuple(w) for w in walks}) == 4
    assert all(sorted(w) == list(range(50)) for w in walks)


def test_to_float() -> None:
    assert to_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx(
        [0, 0.2, 1]
    )


# Schedules.


@given(epochs=st.integers(1, 1000), lr=st.floats(1e-4, 2), floor=st.floats(0, 1))
def test_cosine_falls_from_lr_to_the_floor(epochs: int, lr: float, floor: float) -> None:
    rates = [cosine_lr(e, epochs, lr=lr, floor=floor) for e in range(epochs + 1)]
    assert rates[0] == pytest.approx(lr)
    assert rates[-1] == pytest.approx(lr * floor)
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(rates))
    if epochs % 2 == 0:
        assert rates[epochs // 2] == pytest.approx(lr * (1 + floor) / 2)


def test_the_papers_schedule() -> None:
    # The official code: lr 0.5, 1000 epochs, eta_min = lr * 0.1^3, warm-up from 0.01 over ten
    # epochs of 97 iterations to eta_min + (lr - eta_min)(1 + cos(pi 10 / 1000)) / 2.
    assert cosine_lr(500, 1000, lr=0.5, floor=0.001) == pytest.approx(0.25025)
    assert cosine_lr(1000, 1000, lr=0.5, floor=0.001) == pytest.approx(0.0005)
    peak = 0.0005 + 0.4995 * (1 + math.cos(0.01 * math.pi)) / 2
    assert cosine_lr(10, 1000, lr=0.5, floor=0.001) == pytest.approx(peak)
    assert warmup(0, 970, start=0.01, end=peak) == 0.01
    assert warmup(485, 970, start=0.01, end=peak) == pytest.approx((0.01 + peak) / 2)
    assert warmup(969, 970, start=0.01, end=peak) == pytest.approx(peak - (peak - 0.01) / 970)


def rates_of(work: Pretraining, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate at each optimizer step."""
    optimizer, rates = work.learner.optimizer, []
    step = optimizer.step

    def spy(*args: Any, **kwargs: Any) -> Any:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(*args, **kwargs)

    monkeypatch.setattr(optimizer, "step", spy)
    list(work.run())
    return rates


def test_learning_rate_of_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def at(epoch: int) -> float:
        return 0.0001 + 0.0999 * (1 + math.cos(math.pi * epoch / 5)) / 2

    work = pretraining(epochs=5, batch_size=4, warmup_epochs=2, warmup_lr=0.01)  # two steps each
    expected = [0.01 + (at(2) - 0.01) * step / 4 for step in range(4)]
    expected += [at(3)] * 2 + [at(4)] * 2 + [at(5)] * 2
    assert rates_of(work, monkeypatch) == pytest.approx(expected)
    plain = pretraining(epochs=2, batch_size=4)
    low = 0.0001
    halfway = (0.1 + low) / 2
    assert rates_of(plain, monkeypatch) == pytest.approx([halfway, halfway, low, low])


def test_warm_up_goes_on_where_a_run_was_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pretraining(epochs=4, warmup_epochs=3)
    rates = rates_of(whole, monkeypatch)
    first = pretraining(epochs=4, warmup_epochs=3)
    next(first.run())
    second = pretraining(epochs=4, warmup_epochs=3)
    second.restore(checkpoint(first))
    assert rates_of(second, monkeypatch) == rates[2:]


# One step.


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_a_step_of_sgd_by_hand(scale: float) -> None:
    learner = learner_of(loss_scale=scale, weight_decay=0.1, lr=0.05, min_lr=1.0)
    reference = learner_of()
    pretraining(learner, epochs=1, batch_size=NUM)
    (batch,) = epoch_batches(NUM, NUM, stream(0, "shuffle", 1))
    view_a, view_b = draw_views(VIEWS, to_float(IMAGES[batch]), 2, stream(0, "views", 1))
    loss = reference.algorithm.train().loss(view_a, view_b)
    gradients = torch.autograd.grad(loss, reference.trainable)
    (epoch,) = pretraining(learner, epochs=1, batch_size=NUM).run()
    assert epoch.loss == float(loss.detach())  # textbook scale
    for p, g, got in zip(reference.trainable, gradients, learner.trainable, strict=True):
        expected = p - 0.05 * (scale * g + 0.1 * p)  # weight decay is not scaled
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("alg", ["moco", "byol"])
def test_the_momentum_branch_is_not_trained(alg: str) -> None:
    learner = learner_of(alg)
    online = [*learner.algorithm.encoder.parameters(), *learner.algorithm.head.parameters()]
    assert {id(p) for p in learner.trainable} == {id(p) for p in online}
    assert sum(len(g["params"]) for g in learner.optimizer.param_groups) == len(online)
    list(pretraining(learner).run())
    for p in learner.algorithm.parameters():
        assert p.requires_grad or p.grad is None


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_one_tick_of_after_step_a_step(alg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, ticks = learner_of(alg), []
    tick = learner.algorithm.after_step

    def spy() -> None:
        ticks.append(1)
        tick()

    monkeypatch.setattr(learner.algorithm, "after_step", spy)
    list(pretraining(learner, epochs=3, batch_size=5).run())
    assert len(ticks) == 3 * 2


def test_training_lowers_the_loss() -> None:
    learner = learner_of("simclr", optimizer="adamw", lr=3e-3, loss="nt-xent")
    plain = Views(size=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3, scale=(1, 1), jitter_p=0, gray_p=0)
    losses = [
        e.loss for e in Pretraining(IMAGES, LABELS, learner, plain, epochs=20, batch_size=NUM).run()
    ]
    assert losses[-1] < losses[0] - 0.25


# Stopping, carrying on, repeating.


@pytest.mark.parametrize(
    ("alg", "optimizer"),
    [(alg, "adamw") for alg in ALGORITHMS]
    + [("moco", name) for name in OPTIMIZERS if name != "adamw"],
)
def test_interrupted_run_is_the_uninterrupted_one(alg: str, optimizer: str) -> None:
    def fresh() -> Pretraining:
        learner = learner_of(alg, optimizer=optimizer, lr=0.02)
        return pretraining(learner, epochs=3, warmup_epochs=1, warmup_lr=0.001)

    whole = fresh()
    states, epochs = [checkpoint(whole)], []
    for epoch in whole.run():
        epochs.append(epoch)
        states.append(checkpoint(whole))
    for done, state in enumerate(states):
        carried = fresh()
        carried.restore(state)
        assert carried.history == epochs[:done]
        assert list(carried.run()) == epochs[done:]
        assert_same(carried.state(), states[-1])


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_seed_determines_the_run(alg: str) -> None:
    runs = []
    for global_seed, seed in ((0, 7), (1, 7), (0, 8)):
        torch.manual_seed(global_seed)
        learner = learner_of(alg)
        before = torch.random.get_rng_state()
        work = pretraining(learner, seed=seed)
        list(work.run())
        assert torch.equal(torch.random.get_rng_state(), before)
        runs.append(work)
    assert_same(runs[0].state(), runs[1].state())
    assert runs[0].history == runs[1].history
    assert runs[0].history != runs[2].history


def test_measuring_the_curves_does_not_touch_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    with_curves = pretraining()
    list(with_curves.run())
    without = pretraining()
    monkeypatch.setattr(without, "_measure", lambda images, labels, epoch: (0.0, 0.0, 0.0))
    list(without.run())
    assert_same(with_curves.learner.state(), without.learner.state())


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_watching_other_images_does_not_touch_the_training(alg: str) -> None:
    plain = pretraining(learner_of(alg))
    watching = pretraining(learner_of(alg), watch=255 - IMAGES)
    first = pretraining(learner_of(alg), watch=255 - IMAGES)
    epochs = [list(work.run()) for work in (plain, watching)]
    assert_same(plain.learner.state(), watching.learner.state())
    for before, after in zip(*epochs, strict=True):
        assert (before.loss, before.alignment) == (after.loss, after.alignment)
        assert before.watch_loss is None
        assert after.watch_alignment is not None
        assert after.watch_alignment != after.alignment
    assert set(watching.curves()) == {
        "loss", "alignment", "uniformity", "eval_loss", "watch_loss", "watch_alignment",
        "watch_uniformity",
    }  # fmt: skip
    next(first.run())
    carried = pretraining(learner_of(alg), watch=255 - IMAGES)
    carried.restore(checkpoint(first))
    list(carried.run())
    assert_same(carried.state(), watching.state())


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_images_are_watched_as_the_training_images_are_measured(alg: str) -> None:
    work = pretraining(learner_of(alg), watch=IMAGES)
    for epoch in work.run():
        assert epoch.eval_loss == epoch.watch_loss
        assert epoch.alignment == epoch.watch_alignment
        assert epoch.uniformity == epoch.watch_uniformity
    algorithm = work.learner.algorithm.eval()
    drawn = algorithm.draw(to_float(IMAGES), VIEWS, stream(0, "curve", work.epochs))
    if alg in ("supervised", "ueraser"):
        drawn = draw_views(VIEWS, to_float(IMAGES), 2, stream(0, "curve", work.epochs))[:1]
    with torch.no_grad():
        expected = algorithm.loss(*drawn, labels=labels_for(work.learner))
    assert work.history[-1].watch_loss == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizer_state_and_back(optimizer: str) -> None:
    def trained(steps: int, model: nn.Module, state: dict[str, Tensor] | None = None) -> Any:
        made = OPTIMIZERS[optimizer](list(model.parameters()), 0.1, 0.01, 0.9)
        if state is not None:
            restore_optimizer(made, state)
        set_lr(made, 0.05)
        for step in range(steps):
            made.zero_grad()
            model(torch.full((1, 3), 1.0 + step)).square().sum().backward()
            made.step()
        return made

    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    assert optimizer_state(trained(0, model)) == {}
    first = trained(3, model)
    state = {k: v.clone() for k, v in optimizer_state(first).items()}
    entries = {
        "sgd": {"momentum_buffer"},
        "adamw": {"step", "exp_avg", "exp_avg_sq"},
        "lars": {"velocity"},
    }[optimizer]
    assert set(state) == {f"{i}.{entry}" for i in (0, 1) for entry in entries}
    other.load_state_dict(model.state_dict())
    trained(2, other, state)
    restore_optimizer(first, optimizer_state(first))
    for step in range(2):
        first.zero_grad()
        model(torch.full((1, 3), 1.0 + step)).square().sum().backward()
        first.step()
    assert_same(dict(model.state_dict()), dict(other.state_dict()))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_restoring_copies(optimizer: str) -> None:
    work = pretraining(learner_of("moco", optimizer=optimizer))
    next(work.run())
    saved = checkpoint(work)
    kept = {k: v.clone() for k, v in saved.items()}
    work.restore(saved)
    list(work.run())
    assert_same(saved, kept)  # going on does not change the tensors that were restored from


def test_weight_decay_and_momentum_reach_the_optimizers() -> None:
    (sgd,) = learner_of(optimizer="sgd", momentum=0.7, weight_decay=0.3).optimizer.param_groups
    assert (sgd["momentum"], sgd["weight_decay"], sgd["nesterov"]) == (0.7, 0.3, False)
    (adamw,) = learner_of(optimizer="adamw", momentum=0.7, weight_decay=0.3).optimizer.param_groups
    assert (adamw["betas"], adamw["weight_decay"]) == ((0.7, 0.999), 0.3)


def test_prefixes() -> None:
    tensors = {"a": torch.ones(1), "b.c": torch.zeros(1)}
    both = with_prefix("x", tensors) | with_prefix("xy", {"a": torch.zeros(2)})
    assert list(both) == ["x.a", "x.b.c", "xy.a"]
    assert without_prefix("x", both) == tensors
    assert list(without_prefix("xy", both)) == ["a"]


# Curves and divergence.


def test_curves() -> None:
    work = pretraining(epochs=3)
    assert {k: v.shape for k, v in work.curves().items()} == {
        "loss": (0,), "alignment": (0,), "uniformity": (0,)
    }  # fmt: skip
    epochs = list(work.run())
    assert [e.epoch for e in epochs] == [1, 2, 3]
    curves = work.curves()
    for name, curve in curves.items():
        assert curve.dtype == torch.float32
        assert curve.tolist() == [getattr(e, name) for e in epochs]
        assert bool(curve.isfinite().all())
    assert 0 <= float(curves["alignment"].min()) <= float(curves["alignment"].max()) <= 4
    assert -8 <= float(curves["uniformity"].min()) <= float(curves["uniformity"].max()) <= 0
    # The last point, by the definitions (Wang and Isola 2020), pair by pair.
    algorithm = work.learner.algorithm.eval()
    with torch.no_grad():
        z_a, z_b = (
            algorithm.embed(v)
            for v in draw_views(VIEWS, to_float(IMAGES), 2, stream(0, "curve", 3))
        )
    distances = [float((a - b).pow(2).sum()) for a, b in zip(z_a, z_b, strict=True)]
    assert epochs[-1].alignment == pytest.approx(sum(distances) / NUM, rel=1e-4)
    pairs = [
        math.exp(-2 * float((z_a[i] - z_a[j]).pow(2).sum())) for i in range(NUM) for j in range(i)
    ]
    assert epochs[-1].uniformity == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-4)


def test_restored_curves_are_the_same_numbers() -> None:
    work = pretraining(epochs=2)
    list(work.run())
    other = pretraining(epochs=2)
    other.restore(checkpoint(work))
    assert other.history == work.history
    assert all(isinstance(e, Epoch) for e in other.history)
    assert list(other.run()) == []


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_divergence_is_an_error(alg: str) -> None:
    with pytest.raises(FloatingPointError, match=r"diverged.*lower `lr`"):
        list(pretraining(learner_of(alg, lr=1e30), epochs=4).run())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_mean_loss(bad: float) -> None:
    assert mean_loss([torch.tensor(1.0), torch.tensor(2.0)]) == 1.5
    with pytest.raises(FloatingPointError, match="not finite"):
        mean_loss([torch.tensor(1.0), torch.tensor(bad)])


def test_divergence_in_the_last_step_is_an_error() -> None:
    # Its loss is still finite, but the weights that it leaves are useless.
    work = pretraining(learner_of(lr=1e38, min_lr=1.0), epochs=1, batch_size=NUM)
    with pytest.raises(FloatingPointError, match="diverged"):
        list(work.run())


def test_a_batch_size_above_the_number_of_images_takes_them_all() -> None:
    works = [pretraining(batch_size=size) for size in (512, NUM)]
    for work in works:
        list(work.run())
    assert works[0].history == works[1].history


@pytest.mark.parametrize("alg", ["moco", "advsimclr", "advcl"])
def test_images_stay_as_they_are_and_bf16_trains(alg: str) -> None:
    kept = IMAGES.clone()
    learner = learner_of(alg)
    learner.bf16 = True
    exact = list(pretraining(learner_of(alg), epochs=1).run())
    rounded = list(pretraining(learner, epochs=1).run())
    assert torch.equal(IMAGES, kept)
    assert rounded[0].loss != exact[0].loss
    assert rounded[0].loss == pytest.approx(exact[0].loss, rel=0.1)
    assert all(p.dtype == torch.float32 for p in learner.algorithm.parameters())


def test_views_of_one_pixel_value_are_finite() -> None:
    views = Views(size=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3)
    for value in (0, 255):
        images = torch.full((4, 3, SIDE, SIDE), value, dtype=torch.uint8)
        work = Pretraining(images, LABELS[:4], learner_of(), views, epochs=1, batch_size=4)
        assert math.isfinite(next(work.run()).loss)
