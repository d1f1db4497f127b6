"""`cp-pretrain`: train an encoder on a dataset, e.g. the victim of a poison."""

import sys
from typing import Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, end_dry_run, make_app, run, tool
from cptools.cli._progress import bar
from cptools.cli._streams import (
    check_apart,
    check_one_stdin,
    deliver,
    delivery,
    is_stdout,
    plan_output,
    resolve_input,
)
from cptools.core.algorithms import ALGORITHMS  # noqa: TID253 - a registry, without torch
from cptools.core.defenses import ON_THE_FLY  # noqa: TID253 - a registry, without torch
from cptools.core.recipes import pretrain_settings as table  # noqa: TID253 - without torch
from cptools.workflows import pretrain as work
from cptools.workflows.checkpoints import check_checkpoint
from cptools.workflows.datasets import SOURCES, open_dataset
from cptools.workflows.encoders import open_encoder
from cptools.workflows.logs import check_log
from cptools.workflows.pretrain import pretrain_settings
from cptools.workflows.pseudo_labels import check_labels_from
from cptools.workflows.weights import open_weights

app = make_app("cp-pretrain")


@tool(app, options=opt.options_of(table()))
def pretrain(
    input: opt.StartInput = None,
    output: opt.Output = None,
    alg: Annotated[str, opt.one_of("--alg", ALGORITHMS, "Training algorithm.")] = "simclr",
    recipe: opt.TrainingRecipe = "quick",
    watch: Annotated[
        str | None,
        typer.Option(
            "--watch",
            metavar="FILE",
            help="Second dataset, e.g. the clean one, whose loss, alignment and uniformity are "
            "recorded after each epoch.",
        ),
    ] = None,
    labels_from: Annotated[
        str | None,
        typer.Option(
            "--labels-from",
            metavar="ENCODER",
            help="Encoder whose features on the training images are clustered into pseudo-labels "
            "(advcl).",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="FILE",
            help="Weights that the backbone starts from: an encoder, or a state dict of other "
            "programs (.pth, plain .safetensors) with torchvision's or timm's names.",
        ),
    ] = None,
    defend: Annotated[
        str | None,
        typer.Option(
            "--defend",
            metavar="STEPS",
            help="Defenses of cp-defend, applied on the fly to every view, e.g. mc:rank=8,jpeg:10.",
        ),
    ] = None,
    defend_at: Annotated[
        str | None,
        opt.one_of(
            "--defend-at",
            tuple(ON_THE_FLY),
            "Apply the defenses to the image before augmentation (default) or to each view.",
        ),
    ] = None,
    probe_every: Annotated[
        int | None,
        typer.Option(
            "--probe-every",
            metavar="N",
            min=1,
            help="Probe the encoder after every N epochs and the last, on clean labeled images, "
            "as cp-probe does, and write accuracy by epoch to --report.",
        ),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Report of --probe-every (JSON line), as that of cp-probe on the encoder.",
        ),
    ] = None,
    clean: Annotated[
        str | None,
        typer.Option(
            "--clean",
            metavar="FILE",
            help="Labeled dataset for --probe-every. Default: the clean source recorded in INPUT.",
        ),
    ] = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    checkpoint: opt.CheckpointFile = None,
    log: opt.Log = None,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
    **typed: Any,
) -> None:
    """Train an encoder by contrastive learning, without labels, or by supervised learning.

    Reads a dataset, clean or poisoned, and writes the encoder with its training curves: loss,
    alignment and uniformity. Without input, it trains on the built-in shapes. With --probe-every, a
    report says how accurate the encoder was on the way.
    """
    _check_probing(probe_every, report=report, clean=clean)
    path = resolve_input(input, starts_chain=True, sources=SOURCES, quiet=quiet)
    target = "-" if dry_run else plan_output(output, default_name=f"{alg}.encoder.safetensors")
    if report is not None:
        plan_output(report, default_name="")
    check_apart(
        [path, watch, labels_from, clean], output=target, report=report, checkpoint=checkpoint
    )
    check_checkpoint(checkpoint)
    check_log(log)
    check_one_stdin(input=path, watch=watch, labels_from=labels_from, init=init, clean=clean)
    reader = open_dataset(path)
    watched = None if watch is None else open_dataset(watch)
    if labels_from is not None:
        check_labels_from(alg, is_given=True)
    labeler = None if labels_from is None else open_encoder(labels_from)
    starter = None if init is None else open_weights(init)
    settings = pretrain_settings(
        alg,
        dataset_name=reader.name,
        defend=defend,
        defend_at=defend_at,
        recipe=recipe,
        seed=seed,
        **typed,
    )
    if dry_run:
        end_dry_run(settings)
    check_labels_from(alg, is_given=labels_from is not None)

    from cptools.core.device import choose_device

    torch_device = choose_device(device)
    source = reader.read()
    options: dict[str, Any] = {
        "watch": None if watched is None else watched.read(),
        "labels_from": None if labeler is None else labeler(),
        "init": None if starter is None else starter(),
        "defend": defend,
        "defend_at": defend_at,
        "recipe": recipe,
        "seed": seed,
        "device": torch_device,
        "precision": precision,
        "checkpoint": checkpoint,
        "log": log,
        "progress": bar(quiet=quiet),
        **typed,
    }
    if probe_every is None or report is None:
        deliver(work.pretrain(source, alg, **options), target, o=output, quiet=quiet)
        return
    from cptools.workflows.learning_curve import learning_curve

    learned = learning_curve(source, alg, every=probe_every, clean=clean, **options)
    with delivery(report, o=report, quiet=quiet) as file:
        file.write(learned.report.to_json().encode())
    deliver(learned.encoder, target, o=output, quiet=quiet)


def _check_probing(every: int | None, *, report: str | None, clean: str | None) -> None:
    """Refuse options of probing without each other."""
    if every is not None and report is None:
        raise UsageError("--probe-every needs --report; give a file for accuracy by epoch")
    for name, value in (("report", report), ("clean", clean)):
        if every is None and value is not None:
            raise UsageError(f"--{name} needs --probe-every; give that as well")
    if is_stdout(report):
        raise UsageError("the encoder goes to stdout, so the report cannot; give --report a file")


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
