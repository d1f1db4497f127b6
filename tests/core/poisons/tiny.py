"""A problem small enough for slow references, and every attack at a size that runs in a blink."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from cptools.core.lazy import load
from cptools.core.poisons import ATTACKS
from cptools.core.poisons.base import Poisoning, Problem

NUM, SIDE, CLASSES, EPSILON = 10, 8, 3, Fraction(8, 255)
MEAN, STD = (0.5, 0.45, 0.4), (0.2, 0.25, 0.3)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1, 0])
IMAGES = torch.randint(
    256, (NUM, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8
)
# No pixel that full noise puts at exactly 0 or 1, where the slope of the outer clamp is a choice.
IMAGES[IMAGES == 8], IMAGES[IMAGES == 247] = 9, 246
SMALL: dict[str, Any] = {
    "width": 2, "head_hidden": 8, "head_dim": 6, "queue_size": 7, "batch_size": 4, "local_size": 5,
    "rounds": 2, "model_steps": 1, "noise_steps": 2, "pgd_steps": 2, "epochs": 2, "patch_size": 3,
    "stop_error": 0.0, "noise_draws": 2, "adv_steps": 1, "least_response": 0.5,
}  # fmt: skip
DRAWN = ("lsp", "autoregressive", "one-pixel")  # not learned: in one round, from no start
EVERY_ATTACK = [(alg, mode) for alg, attack in ATTACKS.items() for mode in attack.modes]
LATER = ("cmc", "simsiam", "barlow-twins", "vicreg", "nnclr", "moco-v3", "dino", "swav")
"""Learners whose poison is SimCLR's or MoCo's but for the loss: in one mode, where it costs."""
OF_ATTACKS = [(alg, mode) for alg, mode in EVERY_ATTACK if mode == "class" or alg not in LATER]


def problem_of(mode: str = "sample", **changes: Any) -> Problem:
    fields = {
        "images": IMAGES, "labels": LABELS, "num_classes": CLASSES, "mean": MEAN, "std": STD,
        "mode": mode, "epsilon": float(EPSILON), "seed": 7,
    }  # fmt: skip
    return Problem(**{**fields, **changes})


def settings_of(alg: str, mode: str, **changes: Any) -> dict[str, Any]:
    """The quick recipe of an attack, at a small size."""
    values = ATTACKS[alg].settings("quick", mode)
    small = {name: value for name, value in SMALL.items() if name in values}
    return {"alg": alg, **values, **small, **changes}


def attack_of(
    alg: str, mode: str = "sample", *, problem: Problem | None = None, **changes: Any
) -> Poisoning:
    attack: Poisoning = load(ATTACKS[alg].build)(
        problem or problem_of(mode), settings_of(alg, mode, **changes)
    )
    return attack


def checkpoint(work: Poisoning) -> dict[str, Tensor]:
    """The state as a file holds it: contiguous copies."""
    return {
        k: torch.from_numpy(v.detach().contiguous().numpy().copy()) for k, v in work.state().items()
    }


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [k for k in a if a[k].dtype != b[k].dtype or not torch.equal(a[k], b[k])] == []


def assert_same_rounds(a: Iterable[object], b: Iterable[object]) -> None:
    """Equal, where a loss that was not measured, NaN, equals another such."""
    assert [repr(r) for r in a] == [repr(r) for r in b]
