"""`cp-probe`: measure an encoder or the noise of a poisoned dataset, or audit a dataset."""

import json
import sys
from typing import Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, tool
from cptools.cli._data import clean_dataset
from cptools.cli._embedding import view_settings
from cptools.cli._probes import report_audit, report_changed, report_encoder, report_noise, sentence
from cptools.cli._streams import check_one_stdin, resolve_input
from cptools.cli._work import end_dry_run, show_settings
from cptools.core.recipes import PROBE_METHODS  # noqa: TID253 - without torch

app = make_app("cp-probe")

DATASET_METHODS = ("separability", "audit", "changed")


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
    typed = dict(locals())
    from cptools.core import recipes

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
    method = _method("audit" if audit else method, reader.header)
    artifact = reader.read()
    assert isinstance(artifact, Dataset | Encoder)
    source = artifact.source.name if artifact.source else ""
    base = recipes.probe(recipe, method=method, dataset=source.rpartition("/")[2])
    context = f"--method {base['method']}"
    table = recipes.PROBE_SETTINGS
    values = recipes.resolve(base, {n: typed[n] for n in table}, context=context, table=table)
    settings: dict[str, Any] = {"recipe": recipe, "seed": seed, **values}
    if isinstance(artifact, Encoder) and values["method"] == "distances":
        settings |= view_settings(artifact, recipe)
    if isinstance(artifact, Dataset):
        if dataset and method == "audit":
            raise UsageError(f"--dataset does not apply to {context}; leave it out")
        if dataset and len(dataset) > 1:
            raise UsageError("a poisoned dataset has one clean one; give --dataset once")
        if precision == "bf16":
            raise UsageError(f"--precision bf16 does not apply to {context}; leave it out")
        precision = "fp32"
    if dry_run:
        end_dry_run(settings)

    from cptools.core.device import choose_bf16, choose_device

    place = choose_device(device)
    bf16 = choose_bf16(precision, place)
    settings |= {"device": place.type, "precision": "bf16" if bf16 else "fp32"}
    show_settings(settings, verbose=verbose)
    given: list[str | None] = [*dataset] if dataset else [None]
    if isinstance(artifact, Dataset) and method == "audit":
        reports = [report_audit(artifact, settings, place, quiet=quiet)]
    elif isinstance(artifact, Dataset) and method == "changed":
        reports = [report_changed(artifact, given[0], settings)]
    elif isinstance(artifact, Dataset):
        reports = report_noise(artifact, given[0], settings, place, quiet=quiet)
    else:
        reports = [
            report_encoder(
                artifact,
                clean_dataset(artifact.source, name, need="the probe"),
                settings,
                place,
                quiet=quiet,
            )
            for name in given
        ]
    lines = "".join(json.dumps(report) + "\n" for report in reports)
    if output not in (None, "-"):
        with atomic_write(output) as file:
            file.write(lines.encode())
    elif as_json or output == "-" or not sys.stdout.isatty():
        typer.echo(lines, nl=False)
    else:
        for report in reports:
            typer.echo(sentence(report))


def _method(given: str | None, header: dict[str, Any]) -> str | None:
    """The method for an artifact with this header; None for the recipe's."""
    if header["kind"] == "dataset":
        if given not in (None, *DATASET_METHODS):
            raise UsageError(
                f"--method {given} measures an encoder, this is a dataset; train one on it with"
                " cp-pretrain, or leave --method out"
            )
        return given or "separability"
    if given in DATASET_METHODS:
        raise UsageError(
            f"--method {given} measures a dataset, this is an encoder; give the dataset that it"
            " was trained on"
        )
    return given or ("head" if header["algorithm"] == "supervised" else None)


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
