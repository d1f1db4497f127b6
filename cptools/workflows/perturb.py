"""Perturb a dataset: `cp.perturb`, the workflow of `cp-perturb`."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cptools.workflows.checkpoints import show_settings
from cptools.workflows.deltas import rows_of_images
from cptools.workflows.doors import (
    check_artifact,
    check_flag,
    check_labeled,
    check_seed,
    check_share,
    check_word,
    read_epsilon,
)
from cptools.workflows.histories import earlier_perturbations, entry, main_input
from cptools.workflows.natural import SPLITS, Plan, choose_share, perturb_naturally, read_plan
from cptools.workflows.progress import Progress, tracker

if TYPE_CHECKING:
    from fractions import Fraction

    from cptools.artifacts.schema import Dataset, Delta


def perturb_settings(
    *,
    suite: str | None = None,
    kind: str | None = None,
    severity: "int | str | None" = None,
    frame: "int | str | None" = None,
    mix: bool = False,
    layer: bool = False,
    split: str | None = None,
    noise: bool = False,
    mode: str | None = None,
    has_delta: bool = False,
    epsilon: "str | float | Fraction | None" = None,
    fraction: float = 1.0,
    seed: int = 0,
) -> tuple[dict[str, Any], Plan | None]:
    """Settings of a perturbation, for its history, and the plan of natural corruptions.

    Raises:
        ValueError: not one of `suite` or `kind`, `noise` and a delta is given, or something that
            does not apply to it.
    """
    for name, flag in (("noise", noise), ("mix", mix), ("layer", layer)):
        check_flag(flag, name=name)
    is_natural = suite is not None or kind is not None
    if is_natural + noise + has_delta != 1:
        raise ValueError("choose one of `noise`, `delta` and natural corruptions (`suite`, `kind`)")
    natural = {"severity": severity, "frame": frame, "mix": mix, "layer": layer, "split": split}
    for name, given in natural.items():
        if given not in (None, False) and not is_natural:
            raise ValueError(
                f"`{name}` does not apply to {'`noise`' if noise else '`delta`'}; leave it out"
            )
    if mode is not None:
        if not noise:
            raise ValueError("`mode` is of `noise`; leave it out")
        check_word(mode, ("class", "sample"), name="mode")
    if is_natural and epsilon is not None:
        raise ValueError("`epsilon` does not apply to natural corruptions; leave it out")
    if has_delta and epsilon is not None:
        raise ValueError("`epsilon` does not apply to `delta`, which has its own; leave it out")
    seed = check_seed(seed)
    fraction = check_share(fraction, name="fraction")
    if not is_natural:
        told: dict[str, Any] = {"fraction": fraction, "seed": seed}
        if noise:
            epsilon = "8/255" if epsilon is None else epsilon
            radius = read_epsilon(epsilon)
            told = {
                "noise": True, "epsilon": epsilon if isinstance(epsilon, str) else str(radius),
                **({"mode": mode} if mode == "class" else {}),
            } | told  # fmt: skip
        return told, None
    plan = read_plan(suite=suite, kind=kind, severity=severity, frame=frame, mix=mix, layer=layer)
    if split is not None:
        check_word(split, tuple(SPLITS), name="split")
    return {
        "suite": suite, "kind": None if kind is None else ",".join(plan.kinds),
        plan.by: plan.strength, "mix": mix or None, "layer": layer or None,
        "split": split or "train", "fraction": fraction, "seed": seed,
    }, plan  # fmt: skip


def perturb(
    dataset: "Dataset",
    *,
    suite: str | None = None,
    kind: str | None = None,
    severity: "int | str | None" = None,
    frame: "int | str | None" = None,
    mix: bool = False,
    layer: bool = False,
    split: str | None = None,
    noise: bool = False,
    mode: str | None = None,
    delta: "Delta | None" = None,
    epsilon: "str | float | Fraction | None" = None,
    fraction: float = 1.0,
    seed: int = 0,
    progress: Progress = None,
) -> "Dataset":
    """Perturb images: natural corruptions, random noise in the L-infinity ball, or a given delta.

    Args:
        dataset: any.
        suite: natural corruptions, a key of `cptools.core.perturbations.SUITES`.
        kind: natural corruptions by name, separated by commas.
        severity: as in CIFAR-10-C, 1 to 5, or "any": random for each image.
        frame: as in CIFAR-10-P, up to 30, or "any": random for each image.
        mix: apply one of the corruptions, chosen at random, to each image.
        layer: apply all of them to every image, in the order given.
        split: images to corrupt: `train`, `test` or `both`; None: train.
        noise: add uniform random noise in the L-infinity ball (CP table 1).
        mode: of `noise`: `sample`, drawn for each image, or `class`, for each class; None: sample.
        delta: a perturbation: a sample-wise one that was made for this dataset, or a class-wise one
            that knows its classes, or what assigns images to its rows.
        epsilon: L-infinity bound of `noise`, for pixels in [0, 1]; None: "8/255".
        fraction: fraction of the images to perturb, a subset fixed by the seed.
        seed: random seed, at least 0.
        progress: whether to show a progress bar; None: only in a notebook.

    Returns:
        The perturbed dataset; natural corruptions are recorded for each image.

    Raises:
        ValueError: arguments are invalid or contradict each other, or the delta was made for
            other images.
    """
    check_artifact(dataset, "dataset", name="dataset")
    if delta is not None:
        check_artifact(delta, "delta", name="delta")
    track = tracker(progress)
    told, plan = perturb_settings(
        suite=suite,
        kind=kind,
        severity=severity,
        frame=frame,
        mix=mix,
        layer=layer,
        split=split,
        noise=noise,
        mode=mode,
        has_delta=delta is not None,
        epsilon=epsilon,
        fraction=fraction,
        seed=seed,
    )
    if plan is not None:
        return perturb_naturally(dataset, plan, told, track)
    return _within_the_ball(dataset, delta, told)


def _within_the_ball(dataset: "Dataset", delta: "Delta | None", told: dict[str, Any]) -> "Dataset":
    """Random noise where no delta is given."""
    import torch

    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.schema import Input
    from cptools.core.epsilon import parse_epsilon
    from cptools.core.poisons.base import rows_of
    from cptools.core.poisons.budget import check_bound, poison_uint8
    from cptools.core.poisons.noise import random_noise
    from cptools.core.random import stream

    show_settings(told)
    clean_digest = dataset_digest(dataset)
    inputs = main_input(clean_digest)
    images = torch.from_numpy(dataset.train_images)
    seed, place = told["seed"], earlier_perturbations(dataset.history)
    if delta is None:
        radius = parse_epsilon(told["epsilon"])
        mode = told.get("mode", "sample")
        if mode == "class":
            check_labeled(dataset, "`mode=class`", ", or `mode=sample`")
        rows = rows_of(torch.from_numpy(dataset.train_labels), mode)
        num = len(dataset.classes) if mode == "class" else len(images)
        values = random_noise((num, *images.shape[1:]), stream(seed, "noise", *place))
    else:
        rows = torch.from_numpy(rows_of_images(delta, dataset, clean_digest, name="delta"))
        inputs["delta"] = Input(digest(delta.arrays()), delta.history, "delta")
        radius = parse_epsilon(delta.epsilon)
        values = torch.from_numpy(delta.delta)
    chosen = choose_share(len(images), told["fraction"], seed, *place)
    perturbed = images.clone()
    perturbed[chosen] = poison_uint8(images[chosen], values, rows[chosen], radius)
    check_bound(images, perturbed, radius)
    command = entry("cp-perturb", told, inputs)
    return replace(dataset, train_images=perturbed.numpy(), history=(*dataset.history, command))
