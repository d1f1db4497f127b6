"""`cp-probe`: evaluate an encoder or the noise of a poisoned dataset, or audit a dataset."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, end_dry_run, make_app, run, tool
from cptools.cli._progress import bar
from cptools.cli._streams import (
    check_apart,
    check_one_stdin,
    check_text_output,
    deliver_report,
    is_stdout,
    resolve_input,
)
from cptools.core.recipes import (  # noqa: TID253 - without torch
    PROBE_METHODS,
    PROBE_SETTINGS,
)
from cptools.workflows import probe as work
from cptools.workflows.datasets import is_source, whole_dataset
from cptools.workflows.names import names_or_none
from cptools.workflows.probe import check_scores, choose_method, probe_settings

app = make_app("cp-probe")


@tool(app)
def probe(
    input: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT",
            help="Encoder or dataset: a file, or '-' for stdin (default); with --audit also images "
            "as cp-dataset takes them, such as a folder.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the report to this file as JSON lines, atomically. Default: stdout.",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            metavar="FILE",
            help="Labeled dataset to evaluate the encoder on (may be repeated); if INPUT is a "
            "poisoned dataset: its clean one. Default: the clean source recorded in INPUT.",
        ),
    ] = None,
    recipe: opt.Recipe = "quick",
    method: Annotated[
        str | None,
        opt.one_of(
            "--method",
            PROBE_METHODS,
            "Encoder: lbfgs (linear probe on cached features), sgd (linear probe, the paper's "
            "protocol), knn (nearest neighbors), head (the encoder's own classifier) or distances "
            "(between two views). Dataset: separability (of its noise, by class), audit (whether "
            "it looks poisoned) or changed (how many images differ from the clean ones).",
        ),
    ] = None,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit", help="Short for --method audit: check whether INPUT looks poisoned."
        ),
    ] = False,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            min=8,
            help="Size in pixels in which a folder or archive is audited, after a square center "
            "crop. Default: as the images are; 64 if they differ.",
        ),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            "--scores",
            metavar="FILE",
            help="Write what an audit has against each image to this CSV file, for cp-dataset "
            "--drop.",
        ),
    ] = None,
    l2: Annotated[float | None, typer.Option("--l2", min=0.0, help="Weight decay (lbfgs).")] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            "--iterations", min=1, help="Maximum number of iterations (lbfgs, separability)."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Number of epochs (sgd).")
    ] = None,
    batch_size: opt.BatchSize = None,
    lr: Annotated[
        float | None, typer.Option("--lr", min=1e-9, help="Initial learning rate (sgd).")
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
    k: Annotated[int | None, typer.Option("--k", min=1, help="Number of neighbors (knn).")] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", min=1e-3, help="Temperature of the weighted vote (knn)."),
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(
            "--holdout",
            min=0.0,
            max=1.0,
            help="Fraction of the images held out to test the classifiers (separability).",
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
    """Evaluate an encoder or the noise of a poisoned dataset, or audit a dataset.

    An encoder is evaluated by a classifier on its frozen features, trained on CLEAN labeled images
    even if the encoder was trained on poison (the paper's protocol), and tested on the test images.
    The 95% interval is Wilson's: it covers the choice of test images, not the randomness of
    training. For a poisoned dataset: how well classifiers predict the class from the noise. For a
    dataset of unknown provenance: --audit, a score of whether it looks poisoned. For a coreset of a
    partly poisoned dataset: --method changed, the number of poisoned images in it.
    """
    typed = {name: value for name, value in locals().items() if name in PROBE_SETTINGS}
    del typed["method"]
    if audit and method not in (None, "audit"):
        raise UsageError(f"--audit is a method of its own, as is --method {method}; leave one out")
    path = resolve_input(input, starts_chain=False, sources=(), quiet=quiet)
    check_one_stdin(input=path, dataset=dataset)

    from cptools.artifacts.schema import Artifact, Dataset, Encoder
    from cptools.artifacts.stream import open_artifact

    check_text_output(output)
    method = "audit" if audit else method
    names: tuple[str, ...] = ()
    artifact: Artifact
    if scores is not None:
        check_scores(scores, method)
        if is_stdout(scores) and (output is None or is_stdout(output)):
            raise UsageError("report and scores both go to stdout; give -o FILE")
        check_apart(output=output, scores=scores)
    if method == "audit" and is_source(path):
        artifact, names = whole_dataset(path, size)
    elif Path(path).is_dir():
        raise UsageError(
            f"{path} is a folder; --audit audits it, and cp-dataset makes a dataset of it"
        )
    elif size is not None:
        raise UsageError("--size applies to the audit of a folder or archive; leave it out")
    else:
        reader = open_artifact(path, expect=("encoder", "dataset"))
        choose_method(method, reader.kind, str(reader.header.get("algorithm")))
        artifact = reader.read()
    assert isinstance(artifact, Dataset | Encoder)
    if scores is not None and not names:
        assert isinstance(artifact, Dataset)
        names = names_or_none(artifact)
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
        scores=scores,
        names=names,
        **typed,
    )
    deliver_report(report, output, as_json=as_json)


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
