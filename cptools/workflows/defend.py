"""Defend a dataset: `cp.defend`, the workflow of `cp-defend`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cptools.core.defenses import DEFENSES  # noqa: TID253 - a registry, without torch
from cptools.workflows.checkpoints import show_settings
from cptools.workflows.doors import check_artifact, check_seed, naming, used_device
from cptools.workflows.histories import entry, main_input
from cptools.workflows.progress import Progress, tracker

if TYPE_CHECKING:
    import torch

    from cptools.artifacts.schema import Dataset
    from cptools.core.defenses.steps import Step


def defend(
    dataset: "Dataset",
    steps: "str | Sequence[Step]",
    *,
    trusted: "Dataset | None" = None,
    seed: int = 0,
    device: "str | torch.device" = "auto",
    progress: Progress = None,
) -> "Dataset":
    """Apply defenses against poison to the training images, in the order given.

    Args:
        dataset: any; its test images are unchanged.
        steps: as text, e.g. "mc:rank=8,jpeg:10" (see `cptools.core.defenses`), or as steps.
        trusted: clean images, of any classes, that a step that learns (purify) learns from; None:
            from the dataset itself.
        seed: random seed, at least 0.
        device: auto, cpu, cuda or cuda:N.
        progress: whether to show a progress bar; None: only in a notebook.

    Returns:
        The defended dataset, with a line of history for each step.

    Raises:
        ValueError: a step, setting or value is invalid, or cannot be applied to these images.
    """
    import torch

    from cptools.artifacts.history import dataset_digest
    from cptools.artifacts.schema import Input
    from cptools.core.defenses.steps import BATCH, defend_batches
    from cptools.core.random import stream

    check_artifact(dataset, "dataset", name="dataset")
    track = tracker(progress)
    seed = check_seed(seed)
    whole = _read_steps(steps)
    known = None if trusted is None else _check_trusted(trusted, dataset, whole)
    device = used_device(device)
    show_settings({"defend": ",".join(map(str, whole)), "seed": seed, "device": device.type})
    for step in whole:
        images = torch.from_numpy(dataset.train_images).to(device)
        defended = track(
            defend_batches(
                images,
                step,
                stream(seed, "defend", step.name),
                trusted=None if known is None else torch.from_numpy(known.train_images).to(device),
            ),
            total=-(-len(images) // BATCH),
            describe=lambda _: "",
            label=step.name,
        )
        parameters = {**step.settings(), "seed": seed, "device": device.type}
        inputs = main_input(dataset_digest(dataset))
        if known is not None and DEFENSES[step.name].learns:
            inputs["trusted"] = Input(dataset_digest(known), known.history, "dataset")
        command = entry("cp-defend", parameters, inputs)
        dataset = replace(
            dataset,
            train_images=torch.cat(list(defended)).cpu().numpy(),
            history=(*dataset.history, command),
        )
    return dataset


def _check_trusted(trusted: "Dataset", dataset: "Dataset", steps: "Sequence[Step]") -> "Dataset":
    """Refuse trusted images that no step learns from, or of another size."""
    check_artifact(trusted, "dataset", name="trusted")
    learning = [name for name, defense in DEFENSES.items() if defense.learns]
    if not any(step.name in learning for step in steps):
        raise ValueError(f"`trusted` is for {', '.join(learning)}; leave it out")
    side, wanted = trusted.train_images.shape[-1], dataset.train_images.shape[-1]
    if side != wanted:
        raise ValueError(
            f"`trusted` has {side}-pixel images, the input {wanted}-pixel ones; give images of that"
            " size"
        )
    if not len(trusted.train_images):
        raise ValueError("`trusted` has no training images; give some")
    return trusted


def _read_steps(steps: "str | Sequence[Step]") -> "Sequence[Step]":
    """Steps, whatever they were given as."""
    from cptools.core.defenses.steps import Step, parse_steps

    if isinstance(steps, str):
        with naming("steps"):
            return parse_steps(steps)
    if isinstance(steps, list | tuple) and steps and all(isinstance(s, Step) for s in steps):
        return steps
    raise ValueError(
        f"`steps` {steps!r} names no defense; give some as text, such as 'mc:rank=8,jpeg:10'"
    )
