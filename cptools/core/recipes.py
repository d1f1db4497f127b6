"""What `--recipe quick` and `--recipe paper` fill in where the user is silent. Torch-free.

`paper`: CP appendix B and, where the paper's text is silent, its official code. `quick`: the
miniature for two CPU cores, found by measurement on the built-in `shapes`. A key that is absent
does not apply to that algorithm.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cptools.core.encoders import DEFAULT_WIDTH

Values = dict[str, Any]

VIEWS: Values = {  # CP appendix A; torchvision defaults of the official code
    "views": "crop,flip,jitter,gray",
    "share_views": "",
    "crop_area": 0.2,  # smallest share of the image that a crop covers
    "flip_prob": 0.5,
    "jitter": 1.0,  # times (0.4, 0.4, 0.4, 0.1): brightness, contrast, saturation, hue
    "jitter_prob": 0.8,
    "gray_prob": 0.2,
    "blur_prob": 0.5,  # where --views names blur, as SimCLR's do on ImageNet
    "pad": 0,
}
PLAIN_VIEWS: Values = VIEWS | {  # the image as it is
    "crop_area": 1.0, "flip_prob": 0.0, "jitter": 1.0, "jitter_prob": 0.0, "gray_prob": 0.0,
    "pad": 0,
}  # fmt: skip
WEAK_VIEWS = PLAIN_VIEWS | {"flip_prob": 0.5, "pad": 4}  # of supervised learning on CIFAR

PAPER_ALGORITHM: dict[str, Values] = {  # CP table 9; loss_scale: the official code's on 4 GPUs
    "simclr": {
        "loss": "nt-xent",
        "lr": 0.5, "loss_scale": 1.786, "temperature": 0.5, "head_hidden": 512, "head_dim": 128,
    },
    "moco": {
        "loss": "infonce",
        "lr": 0.3, "loss_scale": 2.857, "temperature": 0.2, "head_hidden": 512, "head_dim": 128,
        "ema": 0.99, "queue_size": 4096,
    },
    "byol": {"lr": 1.0, "loss_scale": 0.25, "head_hidden": 4096, "head_dim": 256, "ema": 0.999},
    # Chen and He 2021, appendix D, at batch 512: learning rate 0.03 batch / 256, weight decay 5e-4.
    "simsiam": {
        "lr": 0.06, "weight_decay": 5e-4, "loss_scale": 1.0, "head_hidden": 2048,
        "head_dim": 2048,
    },
    # Tian et al. 2020, section 4.2 and their official code: learning rate 0.03 at batch 128, crops
    # and flips alone (gray pictures have no color to be told by); beside SimCLR and MoCo in
    # everything else.
    "cmc": {
        "views": "crop,flip",
        "lr": 0.12, "loss_scale": 1.0, "temperature": 0.07, "head_hidden": 512, "head_dim": 128,
    },
    # CP names no settings for table 4: those of the supervised poisons it compares with
    # (Huang et al. 2021), unconfirmed.
    "supervised": {"lr": 0.1, "weight_decay": 5e-4, "loss_scale": 1.0, "batch_size": 128},
    # SimCLR as CP trains it, and the attack of the official code (Kim et al. 2020): steps of 0.007.
    "advsimclr": {
        "lr": 0.5, "loss_scale": 1.786, "temperature": 0.5, "head_hidden": 512, "head_dim": 128,
        "adv_epsilon": "8/255", "adv_steps": 7, "adv_step_size": 0.223,
    },
    # Defaults of the official code (Fan et al. 2021), which CP used; its weight of 0.2 stands
    # beside a contrastive loss that is 0.5 / 0.07 times the textbook one.
    "advcl": {
        "lr": 0.5, "loss_scale": 7.143, "temperature": 0.5, "head_hidden": 512, "head_dim": 128,
        "adv_epsilon": "8/255", "adv_steps": 5, "adv_step_size": 0.25, "ce_weight": 0.028,
    },
}  # fmt: skip
PAPER_TRAINING: Values = {
    "encoder": "resnet18", "width": 64, "batch_size": 512,
    "optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-4, "min_lr": 0.001,
}  # fmt: skip
QUICK_VIEWS: Values = VIEWS | {
    # Brightness jitter of 0.4 about mid gray would swamp pictures of a quarter of the contrast.
    "jitter": 0.25,
}
QUICK_ALGORITHM: dict[str, Values] = {
    "simclr": {
        "loss": "nt-xent",
        "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.5, "head_hidden": 64, "head_dim": 64,
    },
    "moco": {
        "loss": "infonce",
        "lr": 1e-3, "loss_scale": 1.0, "temperature": 0.2, "head_hidden": 64, "head_dim": 64,
        "ema": 0.99, "queue_size": 512,
    },
    "byol": {
        "lr": 3e-3, "weight_decay": 0.3, "loss_scale": 1.0, "head_hidden": 256, "head_dim": 64,
        "ema": 0.99,
    },
    "simsiam": {"lr": 3e-3, "loss_scale": 1.0, "head_hidden": 256, "head_dim": 64},
    "cmc": {
        "views": "crop,flip",
        "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.07, "head_hidden": 64, "head_dim": 64,
    },
    "supervised": {"lr": 3e-3, "loss_scale": 1.0},
    "advsimclr": {
        "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.5, "head_hidden": 64, "head_dim": 64,
        "adv_epsilon": "8/255", "adv_steps": 1, "adv_step_size": 1.0,
    },
    "advcl": {
        "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.5, "head_hidden": 64, "head_dim": 64,
        "adv_epsilon": "4/255", "adv_steps": 3, "adv_step_size": 0.5, "ce_weight": 1.0,
    },
}  # fmt: skip
QUICK_EPOCHS = {
    "simclr": 50, "moco": 100, "byol": 60, "simsiam": 60, "cmc": 50, "supervised": 30,
    "advsimclr": 50, "advcl": 50,
}  # fmt: skip
QUICK_TRAINING: Values = {
    "encoder": "resnet10", "width": 8, "batch_size": 64,
    "optimizer": "adamw", "momentum": 0.9, "weight_decay": 1e-4, "min_lr": 0.001,
}  # fmt: skip


def pretrain(recipe: str, *, alg: str, dataset: str) -> Values:
    """Settings of the victim; CP trains 200 epochs of batch 128 on ImageNet-100."""
    views = WEAK_VIEWS if alg == "supervised" else VIEWS if recipe == "paper" else QUICK_VIEWS
    if recipe == "quick":
        schedule = {"warmup_epochs": 0, "warmup_lr": 0.0, "bn_groups": 1}
        schedule["epochs"] = QUICK_EPOCHS[alg]
        return views | QUICK_TRAINING | QUICK_ALGORITHM[alg] | schedule
    schedule = {"epochs": 1000, "warmup_epochs": 10, "warmup_lr": 0.01, "bn_groups": 1}
    if dataset.startswith("imagenet"):
        schedule |= {"epochs": 200, "batch_size": 128, "warmup_epochs": 0}
    if alg == "supervised":
        schedule |= {"epochs": 100, "warmup_epochs": 0}
    return views | PAPER_TRAINING | PAPER_ALGORITHM[alg] | schedule


# What an option says something about, of what --views names.
_ABOUT = {
    "crop_area": "crop", "flip_prob": "flip", "jitter": "jitter", "jitter_prob": "jitter",
    "gray_prob": "gray", "blur_prob": "blur",
}  # fmt: skip
_WITHOUT_TEMPERATURE = ("hinge", "align-uniform", "cosine")

PROBE_METHODS: dict[str, Values] = {
    "lbfgs": {"l2": 1e-3, "iterations": 200},
    "sgd": {"epochs": 100, "batch_size": 512, "lr": 1.0, "select": "last"},  # CP appendix B.2
    "knn": {"k": 200, "temperature": 0.1},
    "head": {},  # the classifier that a supervised encoder was trained with
    "distances": {},  # of two views of an image
    "separability": {"holdout": 0.2, "iterations": 1000},  # of noise, by class
    "audit": {},  # of a dataset that may be poisoned
    "changed": {},  # images of a dataset that are not the clean ones
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


PRETRAIN = _names(
    *(
        pretrain(recipe, alg=alg, dataset="")
        for recipe in ("quick", "paper")
        for alg in PAPER_ALGORITHM
    )
)
PROBE = _names(*(probe("quick", method=method, dataset="") for method in PROBE_METHODS))


def resolve(recipe: Mapping[str, Any], given: Mapping[str, Any], *, context: str) -> Values:
    """The recipe's values with what the user typed in their place.

    Another encoder comes at its own width, unless that is typed as well.

    Raises:
        ValueError: the user set an option that does not apply here, or is without effect.
    """
    typed = {key: value for key, value in given.items() if value is not None}
    for key in typed:
        if key not in recipe:
            flag = "--" + key.replace("_", "-")
            raise ValueError(f"{flag} does not apply to {context}; leave it out")
    if "encoder" in typed:
        typed.setdefault("width", DEFAULT_WIDTH[typed["encoder"]])
    values = {**recipe, **typed}
    _check_effect([key for key in typed if typed[key] != recipe[key]], values)
    return values


def _check_effect(changed: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise `ValueError` where a value that is not the recipe's would make no difference.

    The recipe's own are typed by whoever repeats a history, which tells all of them.
    """
    views = values.get("views", "").split(",")
    for key, name in _ABOUT.items():
        if key in changed and name not in views:
            flag = "--" + key.replace("_", "-")
            raise ValueError(f"{flag} needs {name}; give --views {','.join([*views, name])}")
    for name in filter(None, values.get("share_views", "").split(",")):
        if name not in views:
            raise ValueError(
                f"--share-views {name} is not among the views {','.join(views)}; leave it out or"
                " give it to --views as well"
            )
    if "temperature" in changed and values.get("loss") in _WITHOUT_TEMPERATURE:
        raise ValueError(f"--temperature does not apply to --loss {values['loss']}; leave it out")
