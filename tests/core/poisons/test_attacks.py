"""What every attack keeps: its budget, its bytes, its start, and a run that can be cut anywhere."""

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import (
    CLASSES,
    DRAWN,
    EPSILON,
    EVERY_ATTACK,
    IMAGES,
    LABELS,
    LATER,
    NUM,
    OF_ATTACKS,
    SIDE,
    assert_same,
    assert_same_rounds,
    attack_of,
    checkpoint,
    problem_of,
)

from cptools.core.lazy import load
from cptools.core.poisons import ATTACKS
from cptools.core.poisons.base import Round
from cptools.core.poisons.budget import check_bound, poison_uint8
from cptools.core.poisons.noise import random_noise
from cptools.core.random import stream

CONTRASTIVE = (
    "simclr", "moco", "byol", "simsiam", "cmc", "barlow-twins", "vicreg", "nnclr", "moco-v3",
    "dino", "swav",
)  # fmt: skip
FROM_ZERO = ("unlearnable", "aue", "aap", "robust-unlearnable", "hypocritical", *DRAWN)


def rows_of(mode: str) -> torch.Tensor:
    return LABELS if mode == "class" else torch.arange(NUM)


@pytest.mark.parametrize(("alg", "mode"), OF_ATTACKS)
def test_interrupted_run_is_the_uninterrupted_one(alg: str, mode: str) -> None:
    whole = attack_of(alg, mode)
    states, rounds = [checkpoint(whole)], []
    for done in whole.run():
        rounds.append(done)
        states.append(checkpoint(whole))
    assert [r.round for r in rounds] == list(range(1, whole.total + 1))
    assert not torch.equal(whole.delta, attack_of(alg, mode).delta)
    for num, state in enumerate(states):
        kept = {k: v.clone() for k, v in state.items()}
        carried = attack_of(alg, mode)
        carried.restore(state)
        assert carried.round == num
        assert_same_rounds(carried.run(), rounds[num:])
        assert_same(carried.state(), states[-1])
        assert_same(state, kept)  # going on does not change the tensors that were restored from


@pytest.mark.parametrize(("alg", "mode"), OF_ATTACKS)
def test_a_seed_determines_the_poison(alg: str, mode: str) -> None:
    deltas = []
    for global_seed, seed in ((0, 7), (1, 7), (0, 8)):
        torch.manual_seed(global_seed)
        work = attack_of(alg, mode, problem=problem_of(mode, seed=seed))
        before = torch.random.get_rng_state()
        list(work.run())
        assert torch.equal(torch.random.get_rng_state(), before)
        deltas.append(work.delta)
    assert torch.equal(deltas[0], deltas[1])
    assert torch.equal(deltas[0], deltas[2]) == (alg == "one-pixel")  # which is not random


@pytest.mark.parametrize(("alg", "mode"), OF_ATTACKS)
@given(step=st.floats(0.6, 2), levels=st.integers(0, 40))
@settings(max_examples=3)
def test_the_poison_stays_in_its_budget(alg: str, mode: str, step: float, levels: int) -> None:
    epsilon, clean = Fraction(levels, 255), IMAGES.clone()
    change = {"one-pixel": {}, "lsp": {"rms": 255 * step}, "autoregressive": {"rms": 255 * step}}
    changes = change.get(alg, {"step_size": step})
    work = attack_of(alg, mode, problem=problem_of(mode, epsilon=float(epsilon)), **changes)
    rounds = list(work.run())
    assert work.delta.shape == (CLASSES if mode == "class" else NUM, 3, SIDE, SIDE)
    assert work.delta.dtype == torch.float32
    assert float(work.delta.abs().max()) <= 1
    poisoned = poison_uint8(IMAGES, work.delta, rows_of(mode), epsilon)
    check_bound(IMAGES, poisoned, epsilon)
    assert torch.equal(poisoned, IMAGES) == (levels == 0)
    assert torch.equal(IMAGES, clean)  # what the problem holds is not written to
    assert all(math.isfinite(r.loss) or alg in DRAWN for r in rounds)


def test_where_the_noise_starts() -> None:
    for alg, mode in EVERY_ATTACK:
        start = attack_of(alg, mode).delta
        uniform = random_noise(start.shape, stream(7, "delta"))
        if alg in (*CONTRASTIVE, "tue"):
            assert torch.equal(start, uniform)
        elif alg in FROM_ZERO:
            assert not start.any()
        else:
            assert alg in ("adversarial", "entangled", "transferable")
            normal = torch.randn(start.shape, generator=stream(7, "delta"))
            assert torch.equal(start, normal.clamp(-1, 1))


@pytest.mark.parametrize(("alg", "mode"), [pair for pair in EVERY_ATTACK if pair[0] not in DRAWN])
def test_a_start_that_is_given_is_taken_and_kept(alg: str, mode: str) -> None:
    problem = problem_of(mode)
    init = 0.5 * random_noise(problem.shape, stream(1)).half()
    kept = init.clone()
    work = attack_of(alg, mode, problem=problem_of(mode, init=init), step_size=0.01)
    assert torch.equal(work.delta, init.float())
    list(work.run())
    assert torch.equal(init, kept)
    # Two steps of 0.01 on each picture, as often as it came up; another start would be far away.
    assert 0 < float((work.delta - init.float()).abs().max()) <= 0.5


@pytest.mark.parametrize(
    ("alg", "mode"), [(a, m) for a, m in EVERY_ATTACK if m == "sample" or a not in LATER]
)
def test_only_contrastive_noise_does_without_labels(alg: str, mode: str) -> None:
    deltas = []
    for labels in (LABELS, (LABELS + 1) % CLASSES, LABELS.flip(0)):
        work = attack_of(alg, mode, problem=problem_of(mode, labels=labels))
        list(work.run())
        deltas.append(work.delta)
    same = torch.equal(deltas[0], deltas[2])
    assert same == (alg in CONTRASTIVE and mode == "sample")


@pytest.mark.parametrize("alg", ["moco", "unlearnable", "adversarial"])
def test_bfloat16(alg: str) -> None:
    mode = ATTACKS[alg].modes[0]
    exact, rounded = (attack_of(alg, mode, problem=problem_of(mode, bf16=b)) for b in (False, True))
    losses = [[r.loss for r in work.run()] for work in (exact, rounded)]
    assert losses[0] != losses[1]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.1)
    assert rounded.delta.dtype == torch.float32
    assert float(rounded.delta.abs().max()) <= 1


@pytest.mark.parametrize("alg", [alg for alg in ATTACKS if alg not in DRAWN])
def test_divergence_is_an_error(alg: str) -> None:
    mode = ATTACKS[alg].modes[0]
    with pytest.raises(FloatingPointError, match="diverged"):
        list(attack_of(alg, mode, lr=1e30).run())


@pytest.mark.parametrize(("alg", "mode"), EVERY_ATTACK)
def test_the_recipes_of_an_attack(alg: str, mode: str) -> None:
    attack = ATTACKS[alg]
    assert set(attack.quick) == set(attack.paper) <= {"class", "sample"}
    assert attack.modes[0] == ("class" if "class" in attack.modes else "sample")
    for recipe in ("quick", "paper"):
        values: dict[str, Any] = attack.settings(recipe, mode)
        assert values.keys() == attack.settings("quick", mode).keys()
        values["anything"] = 1
        assert "anything" not in attack.settings(recipe, mode)
    assert callable(load(attack.build))


def test_loss_of_a_round() -> None:
    assert math.isnan(Round(1).loss)
    assert Round(1, model_loss=2.0).loss == 2
    assert Round(1, model_loss=2.0, noise_loss=3.0).loss == 3


def test_rows_and_shape_of_a_problem() -> None:
    assert problem_of("class").rows.tolist() == LABELS.tolist()
    assert problem_of("class").shape == (CLASSES, 3, SIDE, SIDE)
    assert problem_of("sample").rows.tolist() == list(range(NUM))
    assert problem_of("sample").shape == (NUM, 3, SIDE, SIDE)
    assert problem_of().epsilon == EPSILON
