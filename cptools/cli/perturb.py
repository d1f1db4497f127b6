"""`cp-perturb`: perturb images: natural corruptions, random noise, or a given delta."""

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
            "--suite",
            SUITES,
            f"Suite of natural corruptions: all of it, or those of --kind. {_SUITES}",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="NAMES",
            help=f"Natural corruptions by name, separated by commas: {', '.join(PERTURBATIONS)}.",
        ),
    ] = None,
    severity: Annotated[
        str | None,
        typer.Option(
            "--severity",
            metavar=f"N|{ANY}",
            parser=_strength,
            help=f"Severity as in CIFAR-10-C, 1 to 5, or {ANY}: random for each image. Default: "
            f"{SEVERITY}.",
        ),
    ] = None,
    frame: Annotated[
        str | None,
        typer.Option(
            "--frame",
            metavar=f"N|{ANY}",
            parser=_strength,
            help=f"Frame as in CIFAR-10-P, up to 30, or {ANY}: random for each image (default).",
        ),
    ] = None,
    mix: Annotated[
        bool,
        typer.Option(
            "--mix", help="Apply one of the corruptions, chosen at random, to each image."
        ),
    ] = False,
    layer: Annotated[
        bool,
        typer.Option(
            "--layer", help="Apply all of the corruptions to every image, in the order given."
        ),
    ] = False,
    split: Annotated[
        str | None,
        opt.one_of(
            "--split", SPLITS, "Which images natural corruptions are applied to. Default: train."
        ),
    ] = None,
    noise: Annotated[
        bool,
        typer.Option(
            "--noise", help="Add uniform random noise, drawn for each image or, by --mode, class."
        ),
    ] = False,
    mode: Annotated[
        str | None,
        opt.one_of(
            "--mode",
            ("class", "sample"),
            "Of --noise: one draw per class or per image. Default: sample.",
        ),
    ] = None,
    delta: Annotated[
        str | None, typer.Option("--delta", metavar="FILE", help="Apply this delta.")
    ] = None,
    epsilon: Annotated[
        str | None,
        opt.radius("L-infinity bound of --noise, for pixels in [0, 1]. Default: 8/255."),
    ] = None,
    fraction: Annotated[
        float,
        typer.Option(
            "--fraction",
            min=0.0,
            max=1.0,
            help="Fraction of the images to perturb, a subset fixed by the seed.",
        ),
    ] = 1.0,
    seed: opt.Seed = 0,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
) -> None:
    """Perturb the images of a dataset, all of them or a fixed fraction.

    --suite and --kind are natural corruptions: weather, blur, noise, geometry. The dataset records
    which of them were applied to each image.
    --noise is "Random Noise" in the paper's table 1: uniform in the L-infinity ball. With --mode
    class the images of a class share one noise: the control of class-wise poison.
    --delta applies the perturbation written by `cp-generate --delta FILE`, with its own epsilon.
    """
    words: dict[str, Any] = {
        "suite": suite, "kind": kind, "severity": severity, "frame": frame, "mix": mix,
        "layer": layer, "split": split, "noise": noise, "mode": mode,
        "epsilon": epsilon, "fraction": fraction, "seed": seed,
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
