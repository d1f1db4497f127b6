"""What `--recipe quick` and `--recipe paper` fill in where the user is silent. Torch-free.

`paper`: CP appendix B and, where the paper's text is silent, its official code. `quick`: the
miniature for two CPU cores, found by measurement on the built-in `shapes`. A key that is absent
does not apply to that algorithm.
"""

from collections.abc import Mapping
from typing import Any

Values = dict[str, Any]

VIEWS: Values = {  # CP appendix A; torchvision defaults of the official code
    "crop_area": 0.2,  # smallest share of the image that a crop covers
    "flip_prob": 0.5,
    "jitter": 1.0,  # times (0.4, 0.4, 0.4, 0.1): brightness, contrast, saturation, hue
    "jitter_prob": 0.8,
    "gray_prob": 0.2,
}

PAPER_ALGORITHM: dict[str, Values] = {  # CP table 9; loss_scale: the official code's on 4 GPUs
    "simclr": {
        "lr": 0.5, "loss_scale": 1.786, "temperature": 0.5, "head_hidden": 512, "head_dim": 128,
    },
    "moco": {
        "lr": 0.3, "loss_scale": 2.857, "temperature": 0.2, "head_hidden": 512, "head_dim": 128,
        "ema": 0.99, "queue_size": 4096,
    },
    "byol": {"lr": 1.0, "loss_scale": 0.25, "head_hidden": 4096, "head_dim": 256, "ema": 0.999},
}  # fmt: skip
PAPER_TRAINING: Values = {
    "encoder": "resnet18", "width": 64, "batch_size": 512,
    "optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-4, "min_lr": 0.001,
}  # fmt: skip
PAPER_POISON: dict[str, Values] = {  # official code's README; step_size: CP appendix B.3
    "class": {
        "rounds": 1000, "model_steps": 20, "noise_steps": 20, "pgd_steps": 1, "step_size": 0.1,
    },
    "sample": {
        "rounds": 200, "model_steps": 97, "noise_steps": 97, "pgd_steps": 5, "step_size": 0.1,
    },
}  # fmt: skip
PAPER_POISON_BYOL: Values = {"pgd_steps": 1, "step_size": 0.02}  # forced by the official code

QUICK_VIEWS: Values = VIEWS | {
    # Brightness jitter of 0.4 about mid gray would swamp pictures of a quarter of the contrast.
    "jitter": 0.25,
}
QUICK_ALGORITHM: dict[str, Values] = {
    "simclr": {
        "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.5, "head_hidden": 64, "head_dim": 64,
    },
    "moco": {
        "lr": 1e-3, "loss_scale": 1.0, "temperature": 0.2, "head_hidden": 64, "head_dim": 64,
        "ema": 0.99, "queue_size": 512,
    },
    "byol": {"lr": 1e-3, "loss_scale": 1.0, "head_hidden": 256, "head_dim": 64, "ema": 0.99},
}  # fmt: skip
QUICK_TRAINING: Values = {
    "encoder": "resnet10", "width": 8, "batch_size": 64,
    "optimizer": "adamw", "momentum": 0.9, "weight_decay": 1e-4, "min_lr": 0.001,
}  # fmt: skip
QUICK_POISON: dict[str, Values] = {
    "class": {"rounds": 60, "model_steps": 10, "noise_steps": 20, "pgd_steps": 1, "step_size": 0.1},
    "sample": {
        "rounds": 30, "model_steps": 15, "noise_steps": 15, "pgd_steps": 5, "step_size": 0.1,
    },
}  # fmt: skip


def generate(recipe: str, *, alg: str, mode: str) -> Values:
    """Settings of the attacker: contrastive poisoning by `alg` in `mode`."""
    if recipe == "quick":
        return (
            QUICK_VIEWS
            | QUICK_TRAINING
            | QUICK_ALGORITHM[alg]
            | QUICK_POISON[mode]
            | {"bn_groups": 1}
        )
    poison = PAPER_POISON[mode] | (PAPER_POISON_BYOL if alg == "byol" else {})
    return VIEWS | PAPER_TRAINING | PAPER_ALGORITHM[alg] | poison | {"bn_groups": 4}


def pretrain(recipe: str, *, alg: str, dataset: str) -> Values:
    """Settings of the victim; CP trains 200 epochs of batch 128 on ImageNet-100."""
    if recipe == "quick":
        schedule = {"epochs": 50, "warmup_epochs": 0, "warmup_lr": 0.0, "bn_groups": 1}
        return QUICK_VIEWS | QUICK_TRAINING | QUICK_ALGORITHM[alg] | schedule
    schedule = {"epochs": 1000, "warmup_epochs": 10, "warmup_lr": 0.01, "bn_groups": 1}
    if dataset.startswith("imagenet"):
        schedule |= {"epochs": 200, "batch_size": 128, "warmup_epochs": 0}
    return VIEWS | PAPER_TRAINING | PAPER_ALGORITHM[alg] | schedule


PROBE_METHODS: dict[str, Values] = {
    "lbfgs": {"l2": 1e-3, "iterations": 200},
    "sgd": {"epochs": 100, "batch_size": 512, "lr": 1.0, "select": "last"},  # CP appendix B.2
    "knn": {"k": 200, "temperature": 0.1},
}


def probe(recipe: str, *, method: str | None, dataset: str) -> Values:
    """Settings of the probe: CP appendix B.2 (sgd), or a fast one on cached features (lbfgs)."""
    name = method or {"quick": "lbfgs", "paper": "sgd"}[recipe]
    values = {"method": name, **PROBE_METHODS[name]}
    if name == "sgd" and dataset.startswith("imagenet"):
        values["lr"] = 10.0
    return values


def _names(*recipes: Values) -> tuple[str, ...]:
    """Every option that one of the recipes holds."""
    return tuple(dict.fromkeys(name for values in recipes for name in values))


_EACH = [(recipe, alg) for recipe in ("quick", "paper") for alg in PAPER_ALGORITHM]
GENERATE = _names(*(generate(recipe, alg=alg, mode="class") for recipe, alg in _EACH))
PRETRAIN = _names(*(pretrain(recipe, alg=alg, dataset="") for recipe, alg in _EACH))
PROBE = _names(*(probe("quick", method=method, dataset="") for method in PROBE_METHODS))


def resolve(recipe: Mapping[str, Any], given: Mapping[str, Any], *, context: str) -> Values:
    """The recipe's values with what the user typed in their place.

    Raises:
        ValueError: the user set an option that does not apply here.
    """
    typed = {key: value for key, value in given.items() if value is not None}
    for key in typed:
        if key not in recipe:
            flag = "--" + key.replace("_", "-")
            raise ValueError(f"{flag} does not apply to {context}; leave it out")
    return {**recipe, **typed}
