"""`cp-generate`: poison a dataset against contrastive learning."""

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
)

if TYPE_CHECKING:
    from cptools.artifacts.schema import Dataset, Delta

app = make_app("cp-generate")


@tool(app)
def generate(
    input: opt.StartInput = None,
    output: opt.Output = None,
    alg: opt.Alg = "simclr",
    mode: Annotated[
        str,
        opt.one_of(
            "--mode", ("class", "sample"), "One perturbation a class, or one an image (sample)."
        ),
    ] = "class",
    branch: Annotated[
        str,
        opt.one_of(
            "--branch",
            ("dual", "single"),
            "Gradient through the momentum branch too (dual), or not.",
        ),
    ] = "dual",
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
    recipe: opt.Recipe = "quick",
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="T: alternations of encoder and noise.")
    ] = None,
    model_steps: Annotated[
        int | None, typer.Option("--model-steps", min=0, help="T_theta: encoder steps a round.")
    ] = None,
    noise_steps: Annotated[
        int | None, typer.Option("--noise-steps", min=0, help="T_delta: noise batches a round.")
    ] = None,
    pgd_steps: Annotated[
        int | None, typer.Option("--pgd-steps", min=1, help="T_p: PGD steps on each noise batch.")
    ] = None,
    step_size: Annotated[
        float | None,
        typer.Option("--step-size", min=0.0, max=2.0, help="Of a PGD step, in units of epsilon."),
    ] = None,
    encoder: opt.Encoder = None,
    width: opt.Width = None,
    head_hidden: opt.HeadHidden = None,
    head_dim: opt.HeadDim = None,
    temperature: opt.Temperature = None,
    ema: opt.Ema = None,
    queue_size: opt.QueueSize = None,
    bn_groups: opt.BnGroups = None,
    batch_size: opt.BatchSize = None,
    optimizer: opt.Optimizer = None,
    lr: opt.Lr = None,
    min_lr: opt.MinLr = None,
    weight_decay: opt.WeightDecay = None,
    momentum: opt.Momentum = None,
    loss_scale: opt.LossScale = None,
    crop_area: opt.CropArea = None,
    flip_prob: opt.FlipProb = None,
    jitter: opt.Jitter = None,
    jitter_prob: opt.JitterProb = None,
    gray_prob: opt.GrayProb = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    checkpoint: opt.CheckpointFile = None,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
) -> None:
    """Poison a dataset by Contrastive Poisoning (He, Zha, Katabi, ICLR 2023).

    Reads a dataset, learns a perturbation of its training images by algorithm 1 of the paper and
    writes the poisoned dataset. The test images stay as they are. Without input, the built-in
    shapes are poisoned.
    """
    typed = dict(locals())
    from cptools.core import recipes
    from cptools.core.poisons.epsilon import parse_epsilon

    values = recipes.resolve(
        recipes.generate(recipe, alg=alg, mode=mode),
        {name: typed[name] for name in recipes.GENERATE},
        context=f"--alg {alg}",
    )
    parse_epsilon(epsilon)
    settings: dict[str, Any] = {
        "alg": alg, "mode": mode, "branch": branch, "epsilon": epsilon, "recipe": recipe,
        "seed": seed, **values,
    }  # fmt: skip
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

    import torch

    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.schema import Delta, Input
    from cptools.cli._delta import check_fits, image_shape, rows_of
    from cptools.core.build import build_learner, build_views
    from cptools.core.poisons.budget import check_bound, poison_uint8
    from cptools.core.poisons.contrastive import ContrastivePoisoning, random_delta
    from cptools.core.poisons.epsilon import parse_epsilon
    from cptools.core.random import stream

    clean_digest = dataset_digest(dataset)
    inputs = main_input(clean_digest)
    if init is not None:
        check_fits(init, dataset, clean_digest)
        inputs["init"] = Input(digest(init.arrays()), init.history, "delta")
    command = entry("cp-generate", settings, inputs)

    images = torch.from_numpy(dataset.train_images).to(device)
    note_queue(settings, len(images), quiet=quiet)
    rows = rows_of(dataset, settings["mode"]).to(device)
    num = len(dataset.classes) if settings["mode"] == "class" else len(images)
    if init is None:
        start = random_delta(num, image_shape(images), stream(settings["seed"], "delta"))
    elif init.mode == settings["mode"]:
        start = torch.from_numpy(init.delta).float()
    elif init.mode == "class":
        start = torch.from_numpy(init.delta).float()[torch.from_numpy(dataset.train_labels)]
    else:
        raise UsageError(
            "--init: a sample-wise delta cannot start a class-wise one; give --mode sample"
        )
    learner = build_learner(
        settings["alg"],
        settings,
        device=device,
        bf16=settings["precision"] == "bf16",
        seed=settings["seed"],
        role="attacker",
    )
    radius = parse_epsilon(settings["epsilon"])
    work = ContrastivePoisoning(
        images,
        rows,
        start.to(device, copy=True),
        learner,
        build_views(settings, size=images.shape[-1], mean=dataset.mean, std=dataset.std),
        epsilon=float(radius),
        dual=settings["branch"] == "dual",
        seed=settings["seed"],
        **{
            name: settings[name]
            for name in (
                "rounds", "model_steps", "noise_steps", "pgd_steps", "step_size", "batch_size",
            )
        },
    )  # fmt: skip
    run_work(
        work,
        total=work.rounds,
        done=lambda: work.round,
        describe=lambda r: f"loss {r.noise_loss:.3f}",
        label=f"poisoning ({settings['alg']}, {settings['mode']}-wise)",
        quiet=quiet,
        checkpoint=checkpoint,
        command=command,
    )
    poisoned = poison_uint8(images, work.delta, rows, radius)
    check_bound(images, poisoned, radius)
    history = (*dataset.history, command)
    noise = Delta(
        to_arrays({"delta": work.delta})["delta"],
        mode=settings["mode"],
        epsilon=settings["epsilon"],
        algorithm=settings["alg"],
        dataset=clean_digest,
        history=history,
    )
    return replace(dataset, train_images=poisoned.cpu().numpy(), history=history), noise


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
