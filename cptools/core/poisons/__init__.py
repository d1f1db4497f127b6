"""Attacks. Adding one: a file here and an entry of ATTACKS. Torch-free.

An entry names the function that makes the attack, (task, values) -> Poisoning, the modes it has,
the first of them the default, and the settings that each recipe fills in, by mode. `paper` holds
the settings of the attack's paper or, where that is silent, of its official code; `quick` is sized
for the built-in `shapes` and two CPU cores.
"""

from collections.abc import Mapping
from typing import NamedTuple

from cptools.core.algorithms import ALGORITHMS
from cptools.core.epsilon import parse_epsilon
from cptools.core.plugins import Registry, check_spec, suggest
from cptools.core.presets import (
    PAPER_TRAINING,
    PLAIN_VIEWS,
    QUICK_TRAINING,
    QUICK_VIEWS,
    VIEWS,
    WEAK_VIEWS,
)
from cptools.core.recipes import check_recipe
from cptools.core.settings import SETTINGS, Setting, Settings, check_entry

MODES = ("class", "sample")


class Attack(NamedTuple):
    """An entry of ATTACKS.

    Attributes:
        build: "module:function" of (task, values) -> Poisoning.
        quick: settings of the recipe for two CPU cores, by mode.
        paper: settings of the paper, by mode.
        own_settings: settings that no other attack has.
        epsilon: the bound where none is given; 1 of those that bound not how far a pixel moves but
            how many do, or the norm of the noise.
    """

    build: str
    quick: Mapping[str, Settings]
    paper: Mapping[str, Settings]
    own_settings: Mapping[str, Setting] = {}
    epsilon: str = "8/255"

    @property
    def modes(self) -> tuple[str, ...]:
        """`class`, `sample` or both; the default first."""
        return tuple(self.paper)

    def settings(self, recipe: str, mode: str) -> Settings:
        """What a recipe fills in.

        Args:
            recipe: `quick` or `paper`.
            mode: one of `modes`.

        Raises:
            ValueError: there is no such recipe, or the attack has no such mode.
        """
        check_recipe(recipe)
        if mode not in self.modes:
            modes = suggest(mode, self.modes, form="`mode={}`")
            raise ValueError(f"the attack has no `mode={mode}`; {modes}")
        return (self.quick if recipe == "quick" else self.paper)[mode].copy()


def _check(_: str, attack: Attack) -> None:
    check_spec(attack.build)
    parse_epsilon(attack.epsilon)
    if not attack.modes or not set(attack.quick) == set(attack.modes) <= set(MODES):
        raise ValueError("its recipes are not by mode, class or sample, both by the same")
    recipes = [values[mode] for values in (attack.quick, attack.paper) for mode in values]
    others = [other.own_settings for other in ATTACKS.values()]
    check_entry(recipes, attack.own_settings, others)


_SURVIVE: Settings = {"survive": ""}  # of the attacks whose noise is learned through views


def _contrastive(
    alg: str,
    paper: Mapping[str, Settings],
    *,
    build: str = "cptools.core.poisons.contrastive:contrastive",
    own_settings: Mapping[str, Setting] | None = None,
    more: Settings | None = None,
    quick_more: Settings | None = None,
) -> Attack:
    """Contrastive poisoning by a learner; CP's attacker normalized over quarters of its batch."""
    quick = QUICK_VIEWS | QUICK_TRAINING | ALGORITHMS.own[alg].learner("quick")
    full = VIEWS | PAPER_TRAINING | ALGORITHMS.own[alg].learner("paper")
    quick |= {"bn_groups": 1, "branch": "dual"} | _SURVIVE
    full |= {"bn_groups": 4, "branch": "dual"} | _SURVIVE
    own, small = more or {}, quick_more or {}
    return Attack(
        build,
        {mode: quick | QUICK_CP[mode] | own | small for mode in paper},
        {mode: full | paper[mode] | own for mode in paper},
        own_settings or {},
    )


def _supervised(
    alg: str,
    quick: Mapping[str, Settings],
    paper: Mapping[str, Settings],
    own_settings: Mapping[str, Setting] | None = None,
    *,
    learner: str = "supervised",
    more: Settings = _SURVIVE,
) -> Attack:
    """An attack whose learner is a classifier, in the module of its name."""
    classifier = ALGORITHMS.own[learner]
    small = QUICK_TRAINING | classifier.learner("quick") | {"bn_groups": 1} | more
    large = PAPER_TRAINING | classifier.learner("paper") | {"bn_groups": 1} | more
    name = alg.replace("-", "_")
    return Attack(
        f"cptools.core.poisons.{name}:{name}",
        {mode: small | quick[mode] for mode in paper},
        {mode: large | paper[mode] for mode in paper},
        own_settings or {},
    )


def _strong(strength: float, views: Settings) -> Settings:
    """Views of strength s in [0, 1]: crops from 1 - 0.9 s, the rest s times contrastive's (AUE)."""
    return views | {
        "crop_area": round(1 - 0.9 * strength, 6),
        "jitter": round(strength * views["jitter"], 6),
        "jitter_prob": round(strength * views["jitter_prob"], 6),
        "gray_prob": round(strength * views["gray_prob"], 6),
    }


# The official code's README; step_size: CP appendix B.3.
PAPER_CP: dict[str, Settings] = {
    "class": {
        "rounds": 1000, "model_steps": 20, "noise_steps": 20, "pgd_steps": 1, "step_size": 0.1,
    },
    "sample": {
        "rounds": 200, "model_steps": 97, "noise_steps": 97, "pgd_steps": 5, "step_size": 0.1,
    },
}  # fmt: skip
QUICK_CP: dict[str, Settings] = {
    "class": {"rounds": 60, "model_steps": 10, "noise_steps": 20, "pgd_steps": 1, "step_size": 0.1},
    "sample": {
        "rounds": 30, "model_steps": 15, "noise_steps": 15, "pgd_steps": 5, "step_size": 0.1,
    },
}  # fmt: skip
# Forced by the official code, sample-wise only.
PAPER_CP_BYOL: dict[str, Settings] = PAPER_CP | {
    "sample": PAPER_CP["sample"] | {"pgd_steps": 1, "step_size": 0.02}
}

_RMS = Setting(
    float,
    "Root mean square of the noise, in gray levels of 255 (lsp, autoregressive).",
    0,
    255,
)

_SHIFTS: Settings = PLAIN_VIEWS | {"flip_prob": 0.5, "pad": 8}  # AP's official code

_OWN: dict[str, Attack] = {
    "simclr": _contrastive("simclr", PAPER_CP),
    "moco": _contrastive("moco", PAPER_CP),
    "byol": _contrastive("byol", PAPER_CP_BYOL),
    "simsiam": _contrastive("simsiam", PAPER_CP),
    "cmc": _contrastive("cmc", PAPER_CP),
    "barlow-twins": _contrastive("barlow-twins", PAPER_CP),
    "vicreg": _contrastive("vicreg", PAPER_CP),
    "nnclr": _contrastive("nnclr", PAPER_CP),
    "moco-v3": _contrastive("moco-v3", PAPER_CP),
    "dino": _contrastive("dino", PAPER_CP),
    "swav": _contrastive("swav", PAPER_CP),
    # Huang et al. 2021, section 4 and their official code. Noise for images as they are does not
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
        own_settings={
            "stop_error": Setting(
                float, "Stop when the training error is below this (unlearnable).", 0, 1
            ),
        },
    ),
    # Fu et al. 2022 and their official code on CIFAR-10: noise of 8, an adversary of 4 levels.
    "robust-unlearnable": _supervised(
        "robust-unlearnable",
        learner="advsupervised",
        quick={"sample": {
            "rounds": 100, "pgd_steps": 4, "step_size": 0.5, "noise_draws": 1,
            "adv_steps": 1, "adv_step_size": 1.0,
        }},
        paper={"sample": {
            "batch_size": 128, "rounds": 5000, "pgd_steps": 10, "step_size": 0.2, "noise_draws": 5,
        }},
        own_settings={
            "noise_draws": Setting(
                int, "J: views over which a step's gradient is averaged (robust-unlearnable).", 1
            ),
        },
    ),
    # Fowl et al. 2021 and their official code (one restart). Fewer steps do not converge: after
    # 50, a supervised victim of the quick recipe keeps some 88%.
    "adversarial": _supervised(
        "adversarial",
        quick={"sample": _SHIFTS | {
            "epochs": 30, "warmup_epochs": 0, "warmup_lr": 0.0, "pgd_steps": 150, "step_size": 0.05,
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
            "epochs": 30, "warmup_epochs": 0, "warmup_lr": 0.0, "pgd_steps": 150, "step_size": 0.05,
        }},
        paper={"sample": _strong(0.4, VIEWS) | {
            "lr": 0.5, "weight_decay": 1e-4, "min_lr": 2e-6, "epochs": 40, "warmup_epochs": 10,
            "warmup_lr": 0.05, "pgd_steps": 250, "step_size": 0.01,
        }},
    ),
    # Tao et al. 2021 and their official code: 150 epochs, 100 steps of epsilon / 5.
    "hypocritical": _supervised(
        "hypocritical",
        more={},  # its noise is learned without views
        quick={"sample": WEAK_VIEWS | {
            "epochs": 30, "warmup_epochs": 0, "warmup_lr": 0.0, "pgd_steps": 30, "step_size": 0.1,
        }},
        paper={"sample": WEAK_VIEWS | {
            "batch_size": 128, "epochs": 150, "warmup_epochs": 0, "warmup_lr": 0.0,
            "pgd_steps": 100, "step_size": 0.2,
        }},
    ),
    # Wen et al. 2023 and their official code: a reference of 4 levels.
    "entangled": _supervised(
        "entangled",
        learner="advsupervised",
        quick={"sample": WEAK_VIEWS | {
            "epochs": 20, "warmup_epochs": 0, "warmup_lr": 0.0, "pgd_steps": 40, "step_size": 0.1,
            "adv_steps": 1, "adv_step_size": 1.0, "entangle": "push",
        }},
        paper={"sample": WEAK_VIEWS | {
            "batch_size": 128, "epochs": 100, "warmup_epochs": 0, "warmup_lr": 0.0,
            "pgd_steps": 300, "step_size": 0.05, "adv_step_size": 0.5, "entangle": "push",
        }},
        own_settings={
            "entangle": Setting(
                ("push", "pull"),
                "Push features from the mean of their class, or pull them to the nearest other's "
                "(entangled).",
            ),
        },
    ),
    # Liu et al. 2023 and their official code; the classifier's epochs are adversarial poisons'.
    "transferable": _contrastive(
        "simclr",
        {"sample": PAPER_CP["sample"] | {
            "rounds": 250, "step_size": 0.05, "epochs": 40, "warmup_epochs": 0, "warmup_lr": 0.0,
            "classifier_lr": 0.1,
        }},
        build="cptools.core.poisons.transferable:transferable",
        quick_more={
            "rounds": 20, "pgd_steps": 3, "step_size": 0.1, "epochs": 20, "warmup_epochs": 0,
            "warmup_lr": 0.0, "classifier_lr": 3e-3,
        },
        own_settings={
            "classifier_lr": Setting(
                float, "Learning rate of the classifier at the start (transferable).", 0
            ),
        },
    ),
    # Ren et al. 2023; the weight of their demonstration that keeps both terms.
    "tue": _contrastive(
        "simclr",
        {"sample": PAPER_CP["sample"]},
        build="cptools.core.poisons.tue:tue",
        own_settings={
            "csd_weight": Setting(
                float, "Weight of the class-wise separability discriminant (tue).", 0
            ),
        },
        more={"csd_weight": 1.0},
    ),
    # Yu et al. 2022: 6 gray levels, patches of 8 pixels.
    "lsp": Attack(
        "cptools.core.poisons.lsp:lsp",
        quick={"sample": {"patch_size": 8, "rms": 6.0}},
        paper={"sample": {"patch_size": 8, "rms": 6.0}},
        own_settings={
            "patch_size": Setting(int, "Side of a patch in pixels (lsp).", 1),
            "rms": _RMS,
        },
    ),
    # Sandoval-Segura et al. 2022: L2 norm 1 on CIFAR-10; their official code's constants.
    "autoregressive": Attack(
        "cptools.core.poisons.autoregressive:autoregressive",
        quick={"sample": {"rms": 4.6, "least_response": 10.0}},
        paper={"sample": {"rms": 4.6, "least_response": 10.0}},
        own_settings={
            "rms": _RMS,
            "least_response": Setting(
                float,
                "T: of the filter of each class to the noise of the others; 3 for 100 classes "
                "(autoregressive).",
                0,
            ),
        },
        epsilon="1",
    ),
    # Wu et al. 2023.
    "one-pixel": Attack(
        "cptools.core.poisons.one_pixel:one_pixel",
        quick={"class": {}},
        paper={"class": {}},
        epsilon="1",
    ),
}  # fmt: skip

ATTACKS = Registry("attack", Attack, _OWN, group="cptools.attacks", check=_check)


def attack_settings() -> dict[str, Setting]:
    """Every setting that an attack has: the options of `cp-generate`."""
    used, own = set[str](), dict[str, Setting]()
    for attack in ATTACKS.values():
        own |= attack.own_settings
        for values in (*attack.quick.values(), *attack.paper.values()):
            used |= values.keys()
    return {name: setting for name, setting in SETTINGS.items() if name in used} | own
