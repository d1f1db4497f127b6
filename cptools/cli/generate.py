"""`cp-generate`: poison a dataset against contrastive learning."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, tool
from cptools.cli._data import SOURCES, entry, main_input, open_dataset
from cptools.cli._delta import read_delta
from cptools.cli._streams import check_one_stdin, deliver, is_stdout, plan_output, resolve_input
from cptools.cli._work import (
    check_checkpoint,
    end_dry_run,
    note_queue,
    run_work,
    show_settings,
    to_arrays,
    training_tensors,
)
from cptools.core.poisons import ATTACKS, SETTINGS  # noqa: TID253 - a registry, without torch

if TYPE_CHECKING:
    from torch import Tensor

    from cptools.artifacts.schema import Dataset, Delta

app = make_app("cp-generate")


@tool(app, options=opt.options_of(SETTINGS))
def generate(
    input: opt.StartInput = None,
    output: opt.Output = None,
    alg: Annotated[
        str,
        opt.one_of("--alg", ATTACKS, "Attack; a contrastive learner means Contrastive Poisoning."),
    ] = "simclr",
    mode: Annotated[
        str | None,
        opt.one_of(
            "--mode",
            ("class", "sample"),
            "One perturbation a class, or one an image (sample); left out: class where the attack "
            "has it.",
        ),
    ] = None,
    epsilon: opt.Epsilon = "8/255",
    delta: Annotated[
        str | None,
        typer.Option(
            "--delta",
            metavar="FILE",
            help="Write the delta here; '-' is stdout, the dataset then goes to -o only.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="DELTA",
            help="Start from this delta; a class-wise one is copied to each image.",
        ),
    ] = None,
    half: Annotated[
        bool,
        typer.Option("--half", help="Keep the delta in float16, half the size, and poison by it."),
    ] = False,
    recipe: opt.Recipe = "quick",
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    checkpoint: opt.CheckpointFile = None,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
    **typed: Any,
) -> None:
    """Poison a dataset, by Contrastive Poisoning (He, Zha, Katabi, ICLR 2023) or another attack.

    Reads a dataset, learns a perturbation of its training images and writes the poisoned dataset.
    The test images stay as they are. Without input, the built-in shapes are poisoned.
    """
    from cptools.core.epsilon import parse_epsilon
    from cptools.core.recipes import resolve

    mode = mode or ATTACKS[alg].modes[0]
    if mode not in ATTACKS[alg].modes:
        raise UsageError(
            f"--alg {alg} has no mode {mode}; give --mode {' or '.join(ATTACKS[alg].modes)}"
        )
    values = resolve(ATTACKS[alg].settings(recipe, mode), typed, context=f"--alg {alg}")
    radius = parse_epsilon(epsilon)
    epsilon = "".join(epsilon.split()) if "/" in epsilon else str(radius)  # deltas hold fractions
    settings: dict[str, Any] = {
        "alg": alg, "mode": mode, "epsilon": epsilon, "recipe": recipe, "seed": seed, **values,
    }  # fmt: skip
    if half:
        settings["half"] = True
    if dry_run:
        end_dry_run(settings)
    path = resolve_input(input, starts_chain=True, sources=SOURCES, quiet=quiet)
    check_one_stdin(input=path, init=init)
    outputs = _plan_outputs(output, delta, f"{alg}-{mode}")
    check_checkpoint(checkpoint)
    reader = open_dataset(path)
    start = None if init is None else read_delta(init)

    from cptools.core.device import choose_bf16, choose_device

    place = choose_device(device)
    bf16 = choose_bf16(precision, place)
    settings |= {"device": place.type, "precision": "bf16" if bf16 else "fp32"}
    show_settings(settings, verbose=verbose)
    poisoned, noise = _poison(
        reader.read(), start, settings, place, quiet=quiet, checkpoint=checkpoint
    )
    if delta is not None:
        deliver(noise, delta, o=delta, quiet=quiet)
    if outputs is not None:
        deliver(poisoned, outputs, o=output, quiet=quiet)


def _plan_outputs(output: str | None, delta: str | None, name: str) -> str | None:
    """Where the dataset goes; None for nowhere, where the delta takes stdout."""
    if delta is not None:
        plan_output(delta, default_name="")
        if delta == output and not is_stdout(delta) and not delta.startswith("/dev/"):
            raise UsageError(f"dataset and delta both go to {delta}; give one another file")
    if is_stdout(delta):
        if is_stdout(output):
            raise UsageError("dataset and delta both go to stdout; give one of them a file")
        return None if output is None else plan_output(output, default_name="")
    return plan_output(output, default_name=f"{name}.dataset.safetensors")


def _poison(
    dataset: "Dataset",
    init: "Delta | None",
    settings: dict[str, Any],
    device: Any,
    *,
    quiet: bool,
    checkpoint: Path | None,
) -> "tuple[Dataset, Delta]":
    from dataclasses import replace

    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.schema import Delta, Input
    from cptools.cli._delta import check_fits
    from cptools.core.epsilon import parse_epsilon
    from cptools.core.lazy import load
    from cptools.core.poisons.base import Poisoning, Problem
    from cptools.core.poisons.budget import check_bound, poison_uint8

    clean_digest = dataset_digest(dataset)
    inputs = main_input(clean_digest)
    if init is not None:
        check_fits(init, dataset, clean_digest)
        inputs["init"] = Input(digest(init.arrays()), init.history, "delta")
    command = entry("cp-generate", settings, inputs)

    images, labels = training_tensors(dataset, device)
    note_queue(settings, len(images), quiet=quiet)
    radius = parse_epsilon(settings["epsilon"])
    problem = Problem(
        images,
        labels,
        num_classes=len(dataset.classes),
        mean=dataset.mean,
        std=dataset.std,
        mode=settings["mode"],
        epsilon=radius,
        seed=settings["seed"],
        init=None if init is None else _start(init, settings["mode"], labels.cpu()),
        bf16=settings["precision"] == "bf16",
    )
    work: Poisoning = load(ATTACKS[settings["alg"]].build)(problem, settings)
    run_work(
        work,
        total=work.total,
        done=lambda: work.round,
        describe=lambda r: "" if math.isnan(r.loss) else f"loss {r.loss:.3f}",
        label=f"poisoning ({settings['alg']}, {settings['mode']}-wise)",
        quiet=quiet,
        checkpoint=checkpoint,
        command=command,
    )
    delta = work.delta.half() if "half" in settings else work.delta
    poisoned = poison_uint8(images, delta, problem.rows, radius)
    check_bound(images, poisoned, radius)
    history = (*dataset.history, command)
    noise = Delta(
        to_arrays({"delta": delta})["delta"],
        mode=settings["mode"],
        epsilon=settings["epsilon"],
        algorithm=settings["alg"],
        dataset=clean_digest,
        history=history,
    )
    return replace(dataset, train_images=poisoned.cpu().numpy(), history=history), noise


def _start(init: "Delta", mode: str, labels: "Tensor") -> "Tensor":
    """Where the noise starts: a delta of the mode, or a class-wise one copied to each image."""
    import torch

    start = torch.from_numpy(init.delta).float()
    if init.mode == mode:
        return start
    if init.mode == "class":
        return start[labels]
    raise UsageError(
        "--init: a sample-wise delta cannot start a class-wise one; give --mode sample"
    )


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
