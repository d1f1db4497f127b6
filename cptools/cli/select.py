"""`cp-select`: select a coreset, a subset that is nearly as good to train on as the whole."""

import sys
from typing import Annotated

import typer

from cptools.cli import _options as opt
from cptools.cli._app import Version, end_dry_run, make_app, run, tool
from cptools.cli._streams import check_one_stdin, deliver, plan_output, resolve_input
from cptools.core.coresets import CORESETS  # noqa: TID253 - a registry, without torch
from cptools.workflows import select as work
from cptools.workflows.datasets import SOURCES, open_dataset
from cptools.workflows.encoders import open_encoder
from cptools.workflows.select import check_proxy, select_settings

app = make_app("cp-select")

METHODS = " ".join(f"{name}: {entry.text}" for name, entry in CORESETS.items())


@tool(app)
def select(
    input: opt.StartInput = None,
    output: opt.Output = None,
    method: Annotated[str, opt.one_of("--method", CORESETS, METHODS)] = "sas",
    fraction: Annotated[
        float | None,
        typer.Option(
            "--fraction",
            min=0.0,
            max=1.0,
            help="Fraction of the training images to keep; for sas below 0.5.",
            show_default=False,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="FILE",
            help="Proxy encoder whose embeddings are compared (sas, sas-topk, paper2).",
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            "--classes",
            min=1,
            help="Number of latent classes, k-means clusters of the proxy's features. Default: the "
            "number of classes.",
        ),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Use the labels as latent classes.")
    ] = False,
    views: Annotated[
        int | None,
        typer.Option(
            "--num-views",
            min=1,
            help="Number of augmented views whose embeddings are averaged (sas) [8].",
        ),
    ] = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
) -> None:
    """Select a coreset of the training images.

    The test images are unchanged. Selected images keep their order; the tensor train.index records
    their rows in the full dataset.
    """
    settings = select_settings(
        method,
        fraction,
        has_encoder=encoder is not None,
        classes=classes,
        labels=labels,
        num_views=views,
        seed=seed,
    )
    if dry_run:
        end_dry_run(settings)
    check_proxy(method, is_given=encoder is not None)
    path = resolve_input(input, starts_chain=True, sources=SOURCES, quiet=quiet)
    target = plan_output(output, default_name="coreset.dataset.safetensors")
    check_one_stdin(input=path, encoder=encoder)
    reader = open_dataset(path)
    proxy = None if encoder is None else open_encoder(encoder)()

    from cptools.core.device import choose_device

    torch_device = choose_device(device)
    coreset = work.select(
        reader.read(),
        method,
        fraction,
        encoder=proxy,
        classes=classes,
        labels=labels,
        num_views=views,
        seed=seed,
        device=torch_device,
        precision=precision,
    )
    deliver(coreset, target, o=output, quiet=quiet)


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
