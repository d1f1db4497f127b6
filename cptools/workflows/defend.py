"""Defend a dataset: `cp.defend`, the workflow of `cp-defend`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

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
    seed: int = 0,
    device: "str | torch.device" = "auto",
    progress: Progress = None,
) -> "Dataset":
    """Apply defenses against poison to the training images, in the order given.

    Args:
        dataset: any; its test images are unchanged.
        steps: as text, e.g. "mc:rank=8,jpeg:10" (see `cptools.core.defenses`), or as steps.
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
    from cptools.core.defenses.steps import BATCH, defend_batches
    from cptools.core.random import stream

    check_artifact(dataset, "dataset", name="dataset")
    track = tracker(progress)
    seed = check_seed(seed)
    whole = _read_steps(steps)
    device = used_device(device)
    show_settings({"defend": ",".join(map(str, whole)), "seed": seed, "device": device.type})
    for step in whole:
        images = torch.from_numpy(dataset.train_images).to(device)
        defended = track(
            defend_batches(images, step, stream(seed, "defend", step.name)),
            total=-(-len(images) // BATCH),
            describe=lambda _: "",
            label=step.name,
        )
        parameters = {**step.settings(), "seed": seed, "device": device.type}
        command = entry("cp-defend", parameters, main_input(dataset_digest(dataset)))
        dataset = replace(
            dataset,
            train_images=torch.cat(list(defended)).cpu().numpy(),
            history=(*dataset.history, command),
        )
    return dataset


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
