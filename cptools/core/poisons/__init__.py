"""Attacks. Adding one: a file here and an entry in ATTACKS. Torch-free.

An entry names the function that makes the attack, (task, values) -> Poisoning, the modes it has,
the first of them the default, and the settings that each recipe fills in, by mode. `paper` holds
the settings of the attack's paper or, where that is silent, of its official code; `quick` is sized
for the built-in `shapes` and two CPU cores.
"""

from collections.abc import Mapping
from typing import NamedTuple

from cptools.core import recipes
from cptools.core.knobs import KNOBS, Knob
from cptools.core.recipes import PLAIN_VIEWS, QUICK_VIEWS, VIEWS, WEAK_VIEWS, Values


class Attack(NamedTuple):
    """An entry of ATTACKS.

    Attributes:
        build: "module:function" of (task, values) -> Poisoning.
        quick: settings of the recipe for two CPU cores, by mode.
        paper: settings of the paper, by mode.
        knobs: settings that no other attack has.
    """

    build: str
    quick: Mapping[str, Values]
    paper: Mapping[str, Values]
    knobs: Mapping[str, Knob] = {}

    @property
    def modes(self) -> tuple[str, ...]:
        """`class`, `sample` or both; the default first."""
        return tuple(self.paper)

    def settings(self, recipe: str, mode: str) -> Values:
        """What a recipe fills in."""
        return dict((self.quick if recipe == "quick" else self.paper)[mode])


def _contrastive(
    alg: str,
    paper: Mapping[str, Values],
    *,
    build: str = "cptools.core.poisons.contrastive:contrastive",
    knobs: Mapping[str, Knob] | None = None,
    **more: object,
) -> Attack:
    """Contrastive poisoning by a learner; CP's attacker normalized over quarters of its batch."""
    quick = QUICK_VIEWS | recipes.QUICK_TRAINING | recipes.QUICK_ALGORITHM[alg]
    full = VIEWS | recipes.PAPER_TRAINING | recipes.PAPER_ALGORITHM[alg]
    return Attack(
        build,
        {
            mode: quick | {"bn_groups": 1, "branch": "dual"} | QUICK_CP[mode] | more
            for mode in paper
        },
        {mode: full | {"bn_groups": 4, "branch": "dual"} | paper[mode] | more for mode in paper},
        knobs or {},
    )


def _supervised(
    alg: str,
    quick: Mapping[str, Values],
    paper: Mapping[str, Values],
    knobs: Mapping[str, Knob] | None = None,
) -> Attack:
    """An attack whose learner is a classifier."""
    small = recipes.QUICK_TRAINING | recipes.QUICK_ALGORITHM["supervised"] | {"bn_groups": 1}
    large = recipes.PAPER_TRAINING | recipes.PAPER_ALGORITHM["supervised"] | {"bn_groups": 1}
    return Attack(
        f"cptools.core.poisons.{alg}:{alg}",
        {mode: small | quick[mode] for mode in paper},
        {mode: large | paper[mode] for mode in paper},
        knobs or {},
    )


def _strong(strength: float, views: Values) -> Values:
    """Views of strength s in [0, 1]: crops from 1 - 0.9 s, the rest s times contrastive's (AUE)."""
    weaker = {name: strength * views[name] for name in ("jitter", "jitter_prob", "gray_prob")}
    strong = {"crop_area": 1 - 0.9 * strength, **weaker}
    return views | {name: round(value, 6) for name, value in strong.items()}


# The official code's README; step_size: CP appendix B.3.
PAPER_CP: dict[str, Values] = {
    "class": {
        "rounds": 1000, "model_steps": 20, "noise_steps": 20, "pgd_steps": 1, "step_size": 0.1,
    },
    "sample": {
        "rounds": 200, "model_steps": 97, "noise_steps": 97, "pgd_steps": 5, "step_size": 0.1,
    },
}  # fmt: skip
QUICK_CP: dict[str, Values] = {
    "class": {"rounds": 60, "model_steps": 10, "noise_steps": 20, "pgd_steps": 1, "step_size": 0.1},
    "sample": {
        "rounds": 30, "model_steps": 15, "noise_steps": 15, "pgd_steps": 5, "step_size": 0.1,
    },
}  # fmt: skip
# Forced by the official code.
PAPER_CP_BYOL = {
    mode: values | {"pgd_steps": 1, "step_size": 0.02} for mode, values in PAPER_CP.items()
}

_SHIFTS = PLAIN_VIEWS | {"flip_prob": 0.5, "pad": 8}  # AP's official code

ATTACKS: dict[str, Attack] = {
    "simclr": _contrastive("simclr", PAPER_CP),
    "moco": _contrastive("moco", PAPER_CP),
    "byol": _contrastive("byol", PAPER_CP_BYOL),
    "simsiam": _contrastive("simsiam", PAPER_CP),
    "cmc": _contrastive("cmc", PAPER_CP),
    # Huang et al. 2021, section 4 and their official code. Noise for pictures as they are does not
    # survive the shifts that a quick victim trains with, so the quick attacker shifts them too.
    "unlearnable": _supervised(
        "unlearnable",
        quick={
            "class": WEAK_VIEWS | {
                "rounds": 30, "model_steps": 10, "noise_steps": 15, "pgd_steps": 1,
                "step_size": 0.1, "stop_error": 0.01, "min_lr": 1.0,
            },
            "sample": WEAK_VIEWS | {
                "rounds": 30, "model_steps": 10, "noise_steps": 15, "pgd_steps": 5,
                "step_size": 0.1, "stop_error": 0.01, "min_lr": 1.0,
            },
        },
        paper={
            "class": PLAIN_VIEWS | {
                "batch_size": 512, "rounds": 100, "model_steps": 10, "noise_steps": 20,
                "pgd_steps": 1, "step_size": 0.1, "stop_error": 0.1, "min_lr": 1.0,
            },
            "sample": PLAIN_VIEWS | {
                "batch_size": 512, "rounds": 100, "model_steps": 10, "noise_steps": 97,
                "pgd_steps": 20, "step_size": 0.1, "stop_error": 0.01, "min_lr": 1.0,
            },
        },
        knobs={"stop_error": Knob(float, "Training error below which it ends.", 0, 1)},
    ),
    # Fowl et al. 2021 and their official code (one restart).
    "adversarial": _supervised(
        "adversarial",
        quick={"sample": _SHIFTS | {
            "epochs": 30, "warmup_epochs": 0, "warmup_lr": 0.0, "pgd_steps": 50, "step_size": 0.05,
        }},
        paper={"sample": _SHIFTS | {
            "epochs": 40, "warmup_epochs": 0, "warmup_lr": 0.0, "pgd_steps": 250,
            "step_size": 0.05,
        }},
    ),
    # Wang, Zhu and Gao 2024 and their official code, strengths for CIFAR-10.
    "aue": _supervised(
        "aue",
        quick={
            mode: _strong(0.6, QUICK_VIEWS) | {
                "rounds": 30, "model_steps": 15, "noise_steps": 15, "pgd_steps": steps,
                "step_size": 0.1,
            } for mode, steps in (("class", 1), ("sample", 5))
        },
        paper={
            mode: _strong(0.6, VIEWS) | {
                "weight_decay": 1e-4, "min_lr": 1e-5, "rounds": 60, "model_steps": 390,
                "noise_steps": 390, "pgd_steps": steps, "step_size": 0.1,
            } for mode, steps in (("class", 1), ("sample", 5))
        },
    ),
    "aap": _supervised(
        "aap",
        quick={"sample": _strong(0.4, QUICK_VIEWS) | {
            "epochs": 30, "warmup_epochs": 0, "warmup_lr": 0.0, "pgd_steps": 50, "step_size": 0.05,
        }},
        paper={"sample": _strong(0.4, VIEWS) | {
            "lr": 0.5, "weight_decay": 1e-4, "min_lr": 2e-6, "epochs": 40, "warmup_epochs": 10,
            "warmup_lr": 0.05, "pgd_steps": 250, "step_size": 0.01,
        }},
    ),
    # Ren et al. 2023; the weight of their demonstration that keeps both terms.
    "tue": _contrastive(
        "simclr",
        {"sample": PAPER_CP["sample"]},
        build="cptools.core.poisons.tue:tue",
        knobs={
            "csd_weight": Knob(float, "Weight of the separability of the classes (tue).", 0),
        },
        csd_weight=1.0,
    ),
    # Yu et al. 2022: 6 gray levels, patches of 8 pixels.
    "lsp": Attack(
        "cptools.core.poisons.lsp:lsp",
        quick={"sample": {"patch_size": 8, "rms": 6.0}},
        paper={"sample": {"patch_size": 8, "rms": 6.0}},
        knobs={
            "patch_size": Knob(int, "Pixels on the side of a patch (lsp).", 1),
            "rms": Knob(float, "Root mean square of the noise in gray levels (lsp).", 0, 255),
        },
    ),
}  # fmt: skip

_USED = {
    name
    for attack in ATTACKS.values()
    for recipe in (attack.quick, attack.paper)
    for values in recipe.values()
    for name in values
}
SETTINGS = {name: knob for name, knob in KNOBS.items() if name in _USED} | {
    name: knob for attack in ATTACKS.values() for name, knob in attack.knobs.items()
}
"""Every setting that an attack has."""
