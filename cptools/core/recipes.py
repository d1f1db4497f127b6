"""What the recipes `quick` and `paper` fill in, and the door for what the user says. Torch-free.

A setting that is absent from a recipe does not apply to its algorithm, attack or method.
"""

from collections.abc import Collection, Mapping
from typing import TypedDict, TypeVar, cast

from cptools.core.algorithms import ALGORITHMS
from cptools.core.encoders import default_width, is_foreign
from cptools.core.hardening import HARDENING
from cptools.core.plugins import suggest
from cptools.core.presets import (
    PAPER_TRAINING,
    QUICK_TRAINING,
    QUICK_VIEWS,
    VIEWS,
)
from cptools.core.settings import SETTINGS, Setting, Settings, check_value

Values = TypeVar("Values", bound=Mapping[str, object])

RECIPES = ("quick", "paper")


def check_recipe(recipe: str) -> None:
    """Refuse what is no recipe.

    Raises:
        ValueError: it is neither quick nor paper.
    """
    if recipe not in RECIPES:
        raise ValueError(
            f"`recipe={recipe}` is no recipe; {suggest(recipe, RECIPES, form='`recipe={}`')}"
        )


def split_recipe(recipe: str) -> tuple[str, list[str]]:
    """A recipe of a training such as quick+no-crop, and what hardens it.

    Raises:
        ValueError: it is neither quick nor paper, or what follows hardens nothing.
    """
    if not isinstance(recipe, str):
        check_recipe(recipe)
    base, *hardened = recipe.split("+")
    check_recipe(base)
    for name in hardened:
        if name not in HARDENING or hardened.count(name) > 1:
            form = f"`recipe={base}+{{}}`"
            near = suggest(name, HARDENING, form=form)
            what = "is twice in it" if name in HARDENING else f"has no {name}"
            raise ValueError(f"`recipe={recipe}` {what}; {near}")
    return base, hardened


def pretrain(recipe: str, *, alg: str, dataset: str) -> Settings:
    """Settings of the victim.

    Args:
        recipe: `quick` or `paper`, and what hardens it against poison, after plus signs.
        alg: a key of ALGORITHMS.
        dataset: its name; CP trains 200 epochs of batch 128 on ImageNet-100.

    Raises:
        ValueError: there is no such recipe or algorithm, or one does not apply to the other.
    """
    base, hardened = split_recipe(recipe)
    values = _pretrain(base, alg=alg, dataset=dataset)
    for name in hardened:
        try:
            values = HARDENING[name](values)
        except ValueError as error:
            raise ValueError(
                f"`recipe={recipe}` does not apply to `alg={alg}`: {error}; leave {name} out"
            ) from None
    return values


def _pretrain(recipe: str, *, alg: str, dataset: str) -> Settings:
    algorithm = ALGORITHMS.find(alg)
    if recipe == "quick":
        schedule: Settings = {"warmup_epochs": 0, "warmup_lr": 0.0, "bn_groups": 1}
        return QUICK_VIEWS | QUICK_TRAINING | schedule | algorithm.quick
    schedule = {"epochs": 1000, "warmup_epochs": 10, "warmup_lr": 0.01, "bn_groups": 1}
    if dataset.startswith("imagenet"):
        schedule |= {"epochs": 200, "batch_size": 128, "warmup_epochs": 0}
    return VIEWS | PAPER_TRAINING | schedule | algorithm.paper


def pretrain_settings() -> dict[str, Setting]:
    """Every setting that an algorithm has: the options of `cp-pretrain`."""
    used, own = set[str](), dict[str, Setting]()
    for alg, algorithm in ALGORITHMS.items():
        own |= algorithm.own_settings
        for recipe in RECIPES:
            used |= pretrain(recipe, alg=alg, dataset="").keys()
    return {name: setting for name, setting in SETTINGS.items() if name in used} | own


class ProbeSettings(TypedDict, total=False):
    """Resolved settings of a probe: its method, and what applies to that."""

    method: str
    l2: float
    iterations: int
    epochs: int
    batch_size: int
    lr: float
    select: str
    k: int
    temperature: float
    holdout: float


PROBE_METHODS: dict[str, ProbeSettings] = {
    "lbfgs": {"l2": 1e-3, "iterations": 200},
    "sgd": {"epochs": 100, "batch_size": 512, "lr": 1.0, "select": "last"},  # CP appendix B.2
    "knn": {"k": 200, "temperature": 0.1},
    "head": {},  # the classifier that a supervised encoder was trained with
    "distances": {},  # of two views of an image
    "separability": {"holdout": 0.2, "iterations": 1000},  # of noise, by class
    "audit": {},  # of a dataset that may be poisoned
    "changed": {},  # images of a dataset that are not the clean ones
}
PROBE_SETTINGS = {
    "method": Setting(tuple(PROBE_METHODS), "How to measure."),
    "l2": Setting(float, "Weight decay (lbfgs).", 0),
    "iterations": Setting(int, "Iterations at most (lbfgs, separability).", 1),
    "epochs": Setting(int, "Epochs (sgd).", 1),
    "batch_size": Setting(int, "Batch size (sgd).", 2),
    "lr": Setting(float, "Learning rate at the start (sgd).", 1e-9),
    "select": Setting(
        ("last", "best"),
        "Epoch to report (sgd): the last, or the best on the TEST images, as the official code "
        "does.",
    ),
    "k": Setting(int, "Number of neighbors (knn).", 1),
    "temperature": Setting(float, "Temperature of the weighted vote (knn).", 1e-3),
    "holdout": Setting(
        float, "Share of the noise that is tested on, not fitted to (separability).", 0, 1
    ),
}
"""Every setting that a probe has."""


def probe(recipe: str, *, method: str | None, dataset: str) -> ProbeSettings:
    """Settings of the probe: CP appendix B.2 (sgd), or a fast one on cached features (lbfgs).

    Args:
        recipe: `quick` or `paper`.
        method: a key of PROBE_METHODS; None: the recipe's.
        dataset: the name of the one that is probed on.

    Raises:
        ValueError: there is no such recipe or method.
    """
    check_recipe(recipe)
    name = method or {"quick": "lbfgs", "paper": "sgd"}[recipe]
    if name not in PROBE_METHODS:
        form = "`method={}`"
        raise ValueError(f"`method={name}` is no method; {suggest(name, PROBE_METHODS, form=form)}")
    values: ProbeSettings = {"method": name, **PROBE_METHODS[name]}
    if name == "sgd" and dataset.startswith("imagenet"):
        values["lr"] = 10.0
    return values


def resolve(
    recipe: Values,
    given: Mapping[str, object],
    *,
    context: str,
    table: Mapping[str, Setting] = SETTINGS,
) -> Values:
    """The recipe's values with what the user said in their place, each of its setting's type.

    Another encoder comes at its own width, unless that is said as well.

    Args:
        recipe: values that fill in what is left out; they tell what applies.
        given: what the user said; None is left out.
        context: what the settings are of, for messages, such as "`alg=simclr`".
        table: the settings that there are: `pretrain_settings()`, `attack_settings()` of the
            attacks, PROBE_SETTINGS.

    Raises:
        ValueError: a name is no setting, or does not apply here; a value has another type, is out
            of range or not finite, is no word of the setting, or is without effect.
    """
    typed: dict[str, object] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name not in table:
            known = [setting for setting in table if setting in recipe]
            form = "`{}`"
            near = suggest(name, known, form=form)
            raise ValueError(f"`{name}` is no setting of {context}; {near}")
        if name not in recipe:
            raise ValueError(f"`{name}` does not apply to {context}; leave it out")
        try:
            typed[name] = check_value(table[name], value)
        except ValueError as error:
            raise ValueError(f"`{name}`: {error}") from None
    if "encoder" in typed:
        typed.setdefault("width", default_width(str(typed["encoder"])))
    values = {**recipe, **typed}
    _check_effect([name for name in typed if typed[name] != recipe.get(name)], values)
    return cast("Values", values)


# What a setting says something about, of what `views` names.
_ABOUT = {
    "crop_area": "crop", "flip_prob": "flip", "jitter": "jitter", "jitter_prob": "jitter",
    "gray_prob": "gray", "blur_prob": "blur",
}  # fmt: skip
_WITHOUT_TEMPERATURE = ("hinge", "align-uniform", "cosine")


def _check_effect(changed: Collection[str], values: Mapping[str, object]) -> None:
    """Raise `ValueError` where a value that is not the recipe's would make no difference.

    The recipe's own are said by whoever repeats a history, which tells all of them.
    """
    views = str(values.get("views", "")).split(",")
    for name, augmentation in _ABOUT.items():
        if name in changed and augmentation not in views:
            needed = ",".join([*filter(None, views), augmentation])
            raise ValueError(f"`{name}` needs {augmentation}; give `views={needed}`")
    for name in filter(None, str(values.get("share_views", "")).split(",")):
        if name not in views:
            raise ValueError(
                f"`share_views={name}` is not among the views {','.join(views)}; leave it out or"
                " give it to `views` as well"
            )
    if "temperature" in changed and values.get("loss") in _WITHOUT_TEMPERATURE:
        raise ValueError(f"`temperature` does not apply to `loss={values['loss']}`; leave it out")
    encoder = str(values.get("encoder", ""))
    if is_foreign(encoder) and values["width"] != 1:
        raise ValueError(f"`width` does not apply to `encoder={encoder}`; leave it out")
