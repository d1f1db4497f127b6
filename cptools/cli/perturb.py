"""`cp-perturb`: change the pictures of a dataset: random noise, or a given delta."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, tool
from cptools.cli._data import SOURCES, entry, main_input, open_dataset
from cptools.cli._delta import read_delta
from cptools.cli._streams import check_one_stdin, deliver, plan_output, resolve_input
from cptools.cli._work import end_dry_run, show_settings

if TYPE_CHECKING:
    from cptools.artifacts.schema import Dataset, Delta

app = make_app("cp-perturb")


@tool(app)
def perturb(
    input: opt.StartInput = None,
    output: opt.Output = None,
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
            help="Share of the training images to change: a fixed choice by the seed.",
        ),
    ] = 1.0,
    seed: opt.Seed = 0,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
) -> None:
    """Perturb the training images of a dataset, all of them or a fixed fraction.

    --noise is the row "Random Noise" of the paper's table 1: uniform in the L-infinity ball.
    --delta applies the perturbation that `cp-generate --delta FILE` wrote, within its own epsilon.
    """
    if noise == (delta is not None):
        raise UsageError("choose one of --noise and --delta FILE")
    if delta is not None and epsilon is not None:
        raise UsageError("--epsilon does not apply to --delta, which brings its own; leave it out")
    from cptools.core.epsilon import parse_epsilon

    if noise:
        epsilon = epsilon or "8/255"
        parse_epsilon(epsilon)
    settings: dict[str, Any] = {
        "noise": noise or None, "epsilon": epsilon, "fraction": fraction, "seed": seed,
    }  # fmt: skip
    if dry_run:
        end_dry_run(settings)
    path = resolve_input(input, starts_chain=True, sources=SOURCES, quiet=quiet)
    check_one_stdin(input=path, delta=delta)
    target = plan_output(
        output, default_name=f"{'noise' if noise else 'poisoned'}.dataset.safetensors"
    )
    reader = open_dataset(path)
    poison = None if delta is None else read_delta(delta)
    show_settings(settings, verbose=verbose)
    deliver(_perturb(reader.read(), poison, settings), target, o=output, quiet=quiet)


def _perturb(dataset: "Dataset", delta: "Delta | None", settings: dict[str, Any]) -> "Dataset":
    from dataclasses import replace

    import torch

    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.schema import Input
    from cptools.cli._delta import check_fits
    from cptools.core.epsilon import parse_epsilon
    from cptools.core.poisons.base import rows_of
    from cptools.core.poisons.budget import check_bound, poison_uint8
    from cptools.core.poisons.noise import random_noise
    from cptools.core.random import stream

    clean_digest = dataset_digest(dataset)
    inputs = main_input(clean_digest)
    images, labels = map(torch.from_numpy, (dataset.train_images, dataset.train_labels))
    seed = settings["seed"]
    if delta is None:
        radius = parse_epsilon(settings["epsilon"])
        rows = rows_of(labels, "sample")
        values = random_noise(images.shape, stream(seed, "noise"))
    else:
        check_fits(delta, dataset, clean_digest)
        inputs["delta"] = Input(digest(delta.arrays()), delta.history, "delta")
        radius = parse_epsilon(delta.epsilon)
        rows = rows_of(labels, delta.mode)
        values = torch.from_numpy(delta.delta)
    order = torch.randperm(len(images), generator=stream(seed, "fraction"))
    chosen = order[: round(settings["fraction"] * len(images))].sort().values
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
