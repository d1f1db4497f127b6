"""`cp-perturb`: change the pictures of a dataset: as nature does, by noise, by a given delta."""

import sys
from typing import Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import Version, end_dry_run, make_app, run, tool
from cptools.cli._progress import bar
from cptools.cli._streams import check_one_stdin, deliver, plan_output, resolve_input
from cptools.core.perturbations import (  # noqa: TID253 - a registry, without torch
    PERTURBATIONS,
    SUITES,
)
from cptools.workflows import perturb as work
from cptools.workflows.datasets import SOURCES, open_dataset
from cptools.workflows.deltas import read_delta
from cptools.workflows.natural import ANY, SEVERITY, SPLITS, check_strength
from cptools.workflows.perturb import perturb_settings

app = make_app("cp-perturb")


_SUITES = " ".join(f"{name}: {suite.text}" for name, suite in SUITES.items())


def _strength(text: str) -> str:
    try:
        return check_strength(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@tool(app)
def perturb(
    input: opt.StartInput = None,
    output: opt.Output = None,
    suite: Annotated[
        str | None,
        opt.one_of(
            "--suite", SUITES, f"Natural perturbations, all of a suite or its --kind. {_SUITES}"
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="NAMES",
            help="Natural perturbations by name, with commas between them: "
            f"{', '.join(PERTURBATIONS)}.",
        ),
    ] = None,
    severity: Annotated[
        str | None,
        typer.Option(
            "--severity",
            metavar=f"N|{ANY}",
            parser=_strength,
            help=f"Strength as in CIFAR-10-C, 1 to 5; {ANY}: drawn for each image. {SEVERITY} if "
            "left out.",
        ),
    ] = None,
    frame: Annotated[
        str | None,
        typer.Option(
            "--frame",
            metavar=f"N|{ANY}",
            parser=_strength,
            help=f"Strength as in CIFAR-10-P, 0 to 30 at most; {ANY}: drawn for each image, as it "
            "is if left out.",
        ),
    ] = None,
    mix: Annotated[
        bool, typer.Option("--mix", help="One of the perturbations, drawn for each image.")
    ] = False,
    layer: Annotated[
        bool,
        typer.Option("--layer", help="All of them on one another on every image, in their order."),
    ] = False,
    split: Annotated[
        str | None,
        opt.one_of(
            "--split", SPLITS, "Images that natural perturbations change; train if left out."
        ),
    ] = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="Uniform random noise in the ball, an image its own.")
    ] = False,
    delta: Annotated[
        str | None, typer.Option("--delta", metavar="FILE", help="Apply this delta.")
    ] = None,
    epsilon: Annotated[
        str | None,
        typer.Option(
            "--epsilon",
            metavar="RADIUS",
            help="L-infinity bound of --noise, on the pixel scale 0 to 1; 8/255 if left out.",
        ),
    ] = None,
    fraction: Annotated[
        float,
        typer.Option(
            "--fraction",
            min=0.0,
            max=1.0,
            help="Share of the images to change: a fixed choice by the seed.",
        ),
    ] = 1.0,
    seed: opt.Seed = 0,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
) -> None:
    """Perturb the images of a dataset, all of them or a fixed fraction.

    --suite and --kind are natural perturbations: weather, blur, noise, geometry. Which of them each
    image has is recorded in the dataset.
    --noise is the row "Random Noise" of the paper's table 1: uniform in the L-infinity ball.
    --delta applies the perturbation that `cp-generate --delta FILE` wrote, within its own epsilon.
    """
    words: dict[str, Any] = {
        "suite": suite, "kind": kind, "severity": severity, "frame": frame, "mix": mix,
        "layer": layer, "split": split, "noise": noise, "epsilon": epsilon, "fraction": fraction,
        "seed": seed,
    }  # fmt: skip
    settings, _ = perturb_settings(has_delta=delta is not None, **words)
    if dry_run:
        end_dry_run(settings)
    path = resolve_input(input, starts_chain=True, sources=SOURCES, quiet=quiet)
    check_one_stdin(input=path, delta=delta)
    name = "noise" if noise else kind or suite or "poisoned"
    target = plan_output(output, default_name=f"{name}.dataset.safetensors")
    reader = open_dataset(path)
    poison = None if delta is None else read_delta(delta)
    made = work.perturb(reader.read(), delta=poison, progress=bar(quiet=quiet), **words)
    deliver(made, target, o=output, quiet=quiet)


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
