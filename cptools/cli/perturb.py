"""`cp-perturb`: change the pictures of a dataset: as nature does, by noise, by a given delta."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, tool
from cptools.workflows.datasets import SOURCES, entry, main_input, open_dataset
from cptools.workflows.deltas import read_delta
from cptools.workflows.natural import (
    ANY,
    SEVERITY,
    SPLITS,
    choose_share,
    parse_strength,
    perturb_naturally,
    place_of,
    read_plan,
)
from cptools.cli._streams import check_one_stdin, deliver, plan_output, resolve_input
from cptools.workflows.checkpoints import end_dry_run, show_settings
from cptools.core.perturbations import (  # noqa: TID253 - a registry, without torch
    PERTURBATIONS,
    SUITES,
)

if TYPE_CHECKING:
    from cptools.artifacts.schema import Dataset, Delta

app = make_app("cp-perturb")


_SUITES = " ".join(f"{name}: {suite.text}" for name, suite in SUITES.items())


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
            parser=parse_strength,
            help=f"Strength as in CIFAR-10-C, 1 to 5; {ANY}: drawn for each image. {SEVERITY} if "
            "left out.",
        ),
    ] = None,
    frame: Annotated[
        str | None,
        typer.Option(
            "--frame",
            metavar=f"N|{ANY}",
            parser=parse_strength,
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
    is_natural = suite is not None or kind is not None
    if is_natural + noise + (delta is not None) != 1:
        raise UsageError(
            "choose one of --noise, --delta FILE and natural perturbations (--suite, --kind);"
            " cp-perturb --help says more"
        )
    natural = {
        "--severity": severity, "--frame": frame, "--mix": mix, "--layer": layer, "--split": split
    }  # fmt: skip
    for flag, given in natural.items():
        if given and not is_natural:
            raise UsageError(
                f"{flag} does not apply to {'--noise' if noise else '--delta'}; leave it out"
            )
    if is_natural and epsilon is not None:
        raise UsageError("--epsilon does not apply to natural perturbations; leave it out")
    if delta is not None and epsilon is not None:
        raise UsageError("--epsilon does not apply to --delta, which brings its own; leave it out")
    from cptools.core.epsilon import parse_epsilon

    if noise:
        epsilon = epsilon or "8/255"
        parse_epsilon(epsilon)
    settings: dict[str, Any] = {
        "noise": noise or None, "epsilon": epsilon, "fraction": fraction, "seed": seed,
    }  # fmt: skip
    name, plan = "noise" if noise else "poisoned", None
    if is_natural:
        plan = read_plan(
            suite=suite, kind=kind, severity=severity, frame=frame, mix=mix, layer=layer
        )
        name = str(kind or suite)
        settings = {
            "suite": suite, "kind": None if kind is None else ",".join(plan.kinds),
            plan.by: plan.strength, "mix": mix or None, "layer": layer or None,
            "split": split or "train", "fraction": fraction, "seed": seed,
        }  # fmt: skip
    if dry_run:
        end_dry_run(settings)
    path = resolve_input(input, starts_chain=True, sources=SOURCES, quiet=quiet)
    check_one_stdin(input=path, delta=delta)
    target = plan_output(output, default_name=f"{name}.dataset.safetensors")
    reader = open_dataset(path)
    poison = None if delta is None else read_delta(delta)
    show_settings(settings, verbose=verbose)
    dataset = reader.read()
    if plan is None:
        made = _perturb(dataset, poison, settings)
    else:
        made = perturb_naturally(dataset, plan, settings, quiet=quiet)
    deliver(made, target, o=output, quiet=quiet)


def _perturb(dataset: "Dataset", delta: "Delta | None", settings: dict[str, Any]) -> "Dataset":
    from dataclasses import replace

    import torch

    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.schema import Input
    from cptools.workflows.deltas import check_fits
    from cptools.core.epsilon import parse_epsilon
    from cptools.core.poisons.base import rows_of
    from cptools.core.poisons.budget import check_bound, poison_uint8
    from cptools.core.poisons.noise import random_noise
    from cptools.core.random import stream

    clean_digest = dataset_digest(dataset)
    inputs = main_input(clean_digest)
    images, labels = map(torch.from_numpy, (dataset.train_images, dataset.train_labels))
    seed, place = settings["seed"], place_of(dataset.history)
    if delta is None:
        radius = parse_epsilon(settings["epsilon"])
        rows = rows_of(labels, "sample")
        values = random_noise(images.shape, stream(seed, "noise", *place))
    else:
        check_fits(delta, dataset, clean_digest)
        inputs["delta"] = Input(digest(delta.arrays()), delta.history, "delta")
        radius = parse_epsilon(delta.epsilon)
        rows = rows_of(labels, delta.mode)
        values = torch.from_numpy(delta.delta)
    chosen = choose_share(len(images), settings["fraction"], seed, *place)
    perturbed = images.clone()
    perturbed[chosen] = poison_uint8(images[chosen], values, rows[chosen], radius)
    check_bound(images, perturbed, radius)
    command = entry("cp-perturb", settings, inputs)
    return replace(dataset, train_images=perturbed.numpy(), history=(*dataset.history, command))


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
