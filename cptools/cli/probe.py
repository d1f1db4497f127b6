"""`cp-probe`: measure an encoder or the noise of a poisoned dataset, or audit a dataset."""

import sys
from typing import Annotated

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, end_dry_run, make_app, run, tool
from cptools.cli._progress import bar
from cptools.cli._streams import check_one_stdin, resolve_input
from cptools.core.recipes import (  # noqa: TID253 - without torch
    PROBE_METHODS,
    PROBE_SETTINGS,
)
from cptools.workflows import probe as work
from cptools.workflows.probe import choose_method, probe_settings

app = make_app("cp-probe")


@tool(app)
def probe(
    input: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT",
            help="Encoder or dataset: a file, or '-' for stdin, the default.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the report here as JSON lines, atomically; left out: stdout.",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            metavar="FILE",
            help="Dataset to probe the encoder on, may be repeated; of a poisoned dataset: the "
            "clean one. Left out: the clean source that INPUT names.",
        ),
    ] = None,
    recipe: opt.Recipe = "quick",
    method: Annotated[
        str | None,
        opt.one_of(
            "--method",
            PROBE_METHODS,
            "lbfgs: linear, on cached features; sgd: linear, the paper's protocol; knn: nearest "
            "neighbors; head: the encoder's own classifier; distances: of two views; separability: "
            "of a dataset's noise, by class; audit: whether a dataset looks poisoned; changed: how "
            "many of its images are not the clean ones.",
        ),
    ] = None,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Short for --method audit: whether INPUT looks poisoned."),
    ] = False,
    l2: Annotated[float | None, typer.Option("--l2", min=0.0, help="Weight decay (lbfgs).")] = None,
    iterations: Annotated[
        int | None,
        typer.Option("--iterations", min=1, help="Iterations at most (lbfgs, separability)."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Epochs (sgd).")] = None,
    batch_size: opt.BatchSize = None,
    lr: Annotated[
        float | None, typer.Option("--lr", min=1e-9, help="Learning rate at the start (sgd).")
    ] = None,
    select: Annotated[
        str | None,
        opt.one_of(
            "--select",
            ("last", "best"),
            "Epoch to report (sgd): the last, or the best on the TEST "
            "images, as the official code does.",
        ),
    ] = None,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Neighbors (knn).")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=1e-3, help="Of the votes (knn).")
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(
            "--holdout",
            min=0.0,
            max=1.0,
            help="Share of the noise that is tested on, not fitted to (separability).",
        ),
    ] = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
) -> None:
    """Measure an encoder or the noise of a poisoned dataset, or audit a dataset.

    An encoder is measured by a classifier on its frozen features. It trains on CLEAN labeled
    images, also for an encoder that was trained on poison (the paper's protocol), and is tested on
    the test images. The interval is Wilson's, 95%: it covers the choice of test images, not the
    randomness of training. A poisoned dataset is measured by how well its noise tells the classes.
    A dataset of unknown make is audited: a score that says whether it looks poisoned. Of a coreset
    of partly poisoned images, `--method changed` tells how many are poisoned.
    """
    typed = {name: value for name, value in locals().items() if name in PROBE_SETTINGS}
    del typed["method"]
    if audit and method not in (None, "audit"):
        raise UsageError(f"--audit is a method of its own, as is --method {method}; leave one out")
    path = resolve_input(input, starts_chain=False, sources=(), quiet=quiet)
    check_one_stdin(input=path, dataset=dataset)

    from cptools.artifacts.atomic import atomic_write, check_writable
    from cptools.artifacts.schema import Dataset, Encoder
    from cptools.artifacts.stream import open_artifact

    if output not in (None, "-"):
        check_writable(output)
    reader = open_artifact(path, expect=("encoder", "dataset"))
    method = "audit" if audit else method
    choose_method(method, reader.kind, str(reader.header.get("algorithm")))
    artifact = reader.read()
    assert isinstance(artifact, Dataset | Encoder)
    settings = probe_settings(
        artifact,
        method,
        given=dataset or (),
        recipe=recipe,
        seed=seed,
        precision=precision,
        **typed,
    )
    if dry_run:
        end_dry_run(settings)
    report = work.probe(
        artifact,
        dataset,
        method=method,
        recipe=recipe,
        seed=seed,
        device=device,
        precision=precision,
        progress=bar(quiet=quiet),
        **typed,
    )
    if output not in (None, "-"):
        with atomic_write(output) as file:
            file.write(report.to_json().encode())
    elif as_json or output == "-" or not sys.stdout.isatty():
        typer.echo(report.to_json(), nl=False)
    else:
        typer.echo(str(report))


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
