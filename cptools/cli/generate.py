"""`cp-generate`: poison a dataset against contrastive learning."""

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
    is_stdout,
    plan_output,
    resolve_input,
)
from cptools.core.poisons import ATTACKS, attack_settings  # noqa: TID253 - a registry, without torch
from cptools.workflows import generate as work
from cptools.workflows.checkpoints import check_checkpoint
from cptools.workflows.datasets import SOURCES, open_dataset
from cptools.workflows.deltas import read_delta
from cptools.workflows.encoders import open_encoder
from cptools.workflows.generate import generate_settings
from cptools.workflows.logs import check_log
from cptools.workflows.weights import open_weights

app = make_app("cp-generate")


@tool(app, options=opt.options_of(attack_settings()))
def generate(
    input: opt.StartInput = None,
    output: opt.Output = None,
    alg: Annotated[
        str,
        opt.one_of(
            "--alg",
            ATTACKS,
            "Attack; simclr to swav: Contrastive Poisoning by that learner.",
        ),
    ] = "simclr",
    mode: Annotated[
        str | None,
        opt.one_of(
            "--mode",
            ("class", "sample"),
            "Class-wise (one perturbation per class) or sample-wise (one per image). Default: "
            "class if the attack supports it.",
        ),
    ] = None,
    clusters: Annotated[
        int | None,
        typer.Option(
            "--clusters",
            metavar="K",
            min=2,
            help="Class-wise without labels: a perturbation for each of K clusters of the images' "
            "features. The delta carries what assigns later images.",
        ),
    ] = None,
    labels_from: Annotated[
        str | None,
        typer.Option(
            "--labels-from",
            metavar="ENCODER",
            help="Encoder whose features --clusters clusters. Default: SimCLR of the quick recipe, "
            "trained on the images themselves.",
        ),
    ] = None,
    epsilon: Annotated[
        str | None,
        opt.radius(
            "L-infinity bound of the perturbation, for pixels in [0, 1]. Default: 8/255; 1 "
            "of autoregressive and one-pixel, which bound something else."
        ),
    ] = None,
    delta: Annotated[
        str | None,
        typer.Option(
            "--delta",
            metavar="FILE",
            help="Write the delta to this file; with '-' (stdout) the dataset goes to -o only.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="DELTA",
            help="Initial delta; a class-wise one is expanded to each image if --mode is sample. "
            "One of clusters brings them along.",
        ),
    ] = None,
    encoder_init: Annotated[
        str | None,
        typer.Option(
            "--encoder-init",
            metavar="FILE",
            help="Weights that the attacker's encoder starts from: an encoder, or a state dict of "
            "other programs (.pth, plain .safetensors) with torchvision's or timm's names.",
        ),
    ] = None,
    half: Annotated[
        bool,
        typer.Option(
            "--half", help="Store the delta in float16 (half the size) and poison with it."
        ),
    ] = False,
    recipe: opt.Recipe = "quick",
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
    """Poison a dataset, by Contrastive Poisoning (He, Zha, Katabi, ICLR 2023) or another attack.

    Reads a dataset, optimizes a perturbation of its training images and writes the poisoned
    dataset. The test images are unchanged. Without input, the built-in shapes are poisoned.
    """
    settings = generate_settings(
        alg, mode, clusters=clusters, epsilon=epsilon, half=half, recipe=recipe, seed=seed,
        **typed,
    )  # fmt: skip
    if dry_run:
        end_dry_run(settings)
    path = resolve_input(input, starts_chain=True, sources=SOURCES, quiet=quiet)
    check_one_stdin(input=path, init=init, encoder_init=encoder_init, labels_from=labels_from)
    outputs = _plan_outputs(output, delta, f"{alg}-{settings['mode']}")
    inputs = [path, init, encoder_init, labels_from]
    check_apart(inputs, output=outputs, delta=delta, checkpoint=checkpoint)
    check_checkpoint(checkpoint)
    check_log(log)
    reader = open_dataset(path)
    start = None if init is None else read_delta(init)
    starter = None if encoder_init is None else open_weights(encoder_init)
    labeler = None if labels_from is None else open_encoder(labels_from)

    from cptools.core.device import choose_device

    torch_device = choose_device(device)
    poisoned, noise = work.generate(
        reader.read(),
        alg,
        mode,
        clusters=clusters,
        labels_from=None if labeler is None else labeler(),
        epsilon=epsilon,
        init=start,
        encoder_init=None if starter is None else starter(),
        half=half,
        recipe=recipe,
        seed=seed,
        device=torch_device,
        precision=precision,
        checkpoint=checkpoint,
        log=log,
        progress=bar(quiet=quiet),
        **typed,
    )
    if delta is not None:
        deliver(noise, delta, o=delta, quiet=quiet)
    if outputs is not None:
        deliver(poisoned, outputs, o=output, quiet=quiet)


def _plan_outputs(output: str | None, delta: str | None, name: str) -> str | None:
    """Where the dataset goes; None for nowhere, where the delta takes stdout."""
    if delta is not None:
        plan_output(delta, default_name="")
    if is_stdout(delta):
        if is_stdout(output):
            raise UsageError("dataset and delta both go to stdout; give one of them a file")
        return None if output is None else plan_output(output, default_name="")
    return plan_output(output, default_name=f"{name}.dataset.safetensors")


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
