"""`cptools`: list the tools; history, verification, import and export; reports and a page."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, say, tool
from cptools.cli._streams import deliver, delivery, plan_output, resolve_input
from cptools.reports import tables
from cptools.reports.records import read_conditions, read_paper, read_rows
from cptools.reports.report import to_csv
from cptools.workflows.foreign import SUFFIXES, UNITS, export_delta, import_delta, parse_radius

TOOLS = {
    "cp-dataset": "make a dataset from shapes, CIFAR, a folder or an archive; subsets, export",
    "cp-perturb": "perturb a dataset: as nature does, by random noise, by a delta",
    "cp-generate": "poison a dataset, against contrastive or supervised learning",
    "cp-pretrain": "train an encoder on a dataset",
    "cp-probe": "measure an encoder (linear probe, neighbors, views) or a poison; audit a dataset",
    "cp-defend": "clean a dataset of poison: matrix completion and other defenses",
    "cp-select": "keep a part of a dataset, a coreset: SAS, at random, class-balanced",
    "cp-visualize": "draw a poison, defenses, training curves, distances of views, reports",
}

app = make_app("cptools")

File = Annotated[str | None, typer.Argument(help="Artifact, or - for standard input.")]
Files = Annotated[list[str], typer.Argument(help="Artifacts; one may be - for standard input.")]
Reports = Annotated[list[str], typer.Argument(help="Reports of cp-probe, JSON lines.")]
Json = Annotated[bool, typer.Option("--json", help="Print the history itself, as JSON.")]


@app.callback(invoke_without_command=True)
def tools(context: typer.Context, version: Version = False) -> None:
    """Tools for data poisoning of contrastive learning, made to be piped.

    Without a command, list the tools. Each has --help and a man page.
    """
    if context.invoked_subcommand is None:
        width = max(map(len, TOOLS))
        for name, line in TOOLS.items():
            typer.echo(f"{name:{width}}  {line}")
        typer.echo(
            f"{'cptools':{width}}  this list; cptools history FILE, verify FILE..., report FILE...,"
            " page FOLDER, import FILE, export DELTA"
        )


@tool(app, "history")
def history(file: File = None, as_json: Json = False) -> None:
    """Print how an artifact was made.

    Prints a pipeline that can be run again, for bash, as side inputs are written as <(...). Nothing
    is printed for an artifact without history.
    """
    path = resolve_input(file, starts_chain=False, sources=())

    from cptools.artifacts.history import shell
    from cptools.artifacts.stream import open_artifact

    with open_artifact(path) as reader:
        reader.skip()
    if as_json:
        typer.echo(json.dumps(reader.header["history"]))
    elif reader.history:
        typer.echo(shell(reader.history, reader.kind))


@tool(app, "verify")
def verify(files: Files) -> None:
    """Check artifacts, contents included.

    Prints kind, digest and sizes of each. The digest is SHA-256 over the tensors, and the one that
    histories name. All files are looked at; the exit code is 2 if any is bad.
    """
    from cptools.artifacts.errors import ArtifactError

    if files.count("-") > 1:
        raise UsageError("- is given twice; there is one standard input")
    is_bad = False
    for file in files:
        try:
            verdict = _verdict(file)
        except (ArtifactError, UsageError, OSError) as error:
            say(f"error: {error}")
            is_bad = True
        else:
            typer.echo(f"{file}: ok {verdict}")
    if is_bad:
        raise typer.Exit(2)


@tool(app, "report")
def report(
    files: Reports,
    grid: Annotated[
        bool,
        typer.Option("--grid", help="Rows and columns, of conditions that are named ROW.COLUMN."),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="CONDITION",
            help="Differences to this condition, paired by seed; with --grid, to this row.",
        ),
    ] = None,
    relative: Annotated[
        bool,
        typer.Option("--relative", help="Degradation, in percent of what --against names."),
    ] = False,
    paper: Annotated[
        Path | None,
        typer.Option(
            "--paper",
            metavar="FILE",
            help="A paper's values beside ours: JSON, accuracies in percent by condition.",
        ),
    ] = None,
    csv: Annotated[
        bool,
        typer.Option("--csv", help="In place of the table: every line of the reports, as CSV."),
    ] = False,
) -> None:
    """Sum up probes over seeds as a Markdown table.

    Reads the JSON lines of cp-probe. A row is a condition: files whose names are alike but for a
    number at the end (clean-0.jsonl, clean-1.jsonl) are seeds of one. Datasets and classifiers that
    one file tells apart are rows of their own. The interval is Student's, 95%, over the seeds; of
    a single probe it is that probe's own, over the test images. Of audits: scores, verdicts, and
    how well the score tells each condition from the first, which is to be the benign one.
    """
    used = {"grid": grid, "against": against, "relative": relative, "paper": paper}
    if csv:
        for name in (name for name, value in used.items() if value):
            raise UsageError(f"--{name} is for the table, not for --csv; leave one out")
        typer.echo(to_csv(read_rows(files)), nl=False)
        return
    conditions, audits = read_conditions(files)
    if audits:
        for name in (name for name, value in used.items() if value):
            raise UsageError(f"--{name} is for accuracies; leave it out")
        table = tables.audits(audits)
    else:
        names = [condition.name for condition in conditions]
        told = read_paper(paper, names) if paper else {}
        if against is not None:
            table = tables.differences(
                conditions, against, told, is_grid=grid, is_relative=relative
            )
        elif relative:
            raise UsageError("--relative needs what to compare with; add --against CONDITION")
        else:
            table = (tables.grid if grid else tables.rows)(conditions, told)
    typer.echo("\n".join(table))


@tool(app, "page")
def page(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of tables (NAME.md), pictures (NAME.png, .svg) and reports."),
    ],
    output: opt.Output = None,
    title: Annotated[
        str | None, typer.Option("--title", help="Of the page; left out: the folder's name.")
    ] = None,
    quiet: opt.Quiet = False,
) -> None:
    """Collect tables and pictures in one HTML page.

    A section a name: NAME.svg or NAME.png, then NAME.md. Above them, how far each table that
    `report --paper` wrote agrees with the paper. Below each, to be opened: how the reports that its
    rows and columns name were made. The page needs no other file, no network and no script.
    """
    from cptools.reports.page import build_page, read_results

    sections = read_results(folder)
    name = folder.resolve().name or "results"
    target = plan_output(output, default_name=f"{name}.html")
    data = build_page(sections, name if title is None else title)
    with delivery(target, o=output, quiet=quiet) as file:
        file.write(data)


@tool(app, "import")
def import_foreign(
    file: Annotated[
        Path, typer.Argument(help="Perturbation: .pth, .pt, .npy, or pictures, perturbed.")
    ],
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            metavar="CLEAN",
            help="The dataset that it perturbs: a file, - (stdin), a source, folder or archive.",
        ),
    ],
    output: opt.Output = None,
    epsilon: opt.Epsilon = "8/255",
    unit: Annotated[
        str | None,
        opt.one_of(
            "--unit",
            UNITS,
            "Of the values: epsilon is -1 to 1, pixel the scale 0 to 1, level of 255; left out: "
            "judged by the largest.",
        ),
    ] = None,
    mode: Annotated[
        str | None,
        opt.one_of(
            "--mode",
            ("class", "sample"),
            "A perturbation a class or an image; left out: judged by their number.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="NAME",
            help="Tensor of a checkpoint, such as model.delta; left out: the one that fits.",
        ),
    ] = None,
    algorithm: Annotated[
        str, typer.Option("--algorithm", metavar="NAME", help="What made it, for the header.")
    ] = "imported",
    quiet: opt.Quiet = False,
) -> None:
    """Read a perturbation as others store it, and write a delta.

    PyTorch's files are read without running code in them. Of pictures, a folder or archive, the
    difference to the dataset is taken. What leaves the ball is refused.
    """
    from cptools.workflows.datasets import SOURCES, open_dataset, path_name

    radius = parse_radius(epsilon)
    path = Path(resolve_input(str(file), starts_chain=False, sources=()))
    if not (path.is_file() or path.is_dir()):
        raise UsageError(f"{path} is no file; save it as one")
    clean = resolve_input(dataset, starts_chain=False, sources=SOURCES, quiet=quiet)
    target = plan_output(output, default_name=f"{path_name(str(path))}.delta.safetensors")
    delta = import_delta(
        path,
        open_dataset(clean).read(),
        radius,
        unit=unit,
        mode=mode,
        key=key,
        algorithm=algorithm,
    )
    deliver(delta, target, o=output, quiet=quiet)


@tool(app, "export")
def export(
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write here, atomically: .npy, .pt or .pth."
        ),
    ],
    file: Annotated[
        str | None, typer.Argument(metavar="DELTA", help="Delta, or - for standard input.")
    ] = None,
    unit: Annotated[
        str,
        opt.one_of(
            "--unit",
            UNITS,
            "Of the values: epsilon is -1 to 1, pixel the scale 0 to 1, level of 255, in integers.",
        ),
    ] = "epsilon",
) -> None:
    """Write a delta as an array that others can read.

    The array is [K,3,H,W] and float32, or int8 for levels. The official code takes a .pth in unit
    epsilon as it is. Epsilon, mode and history are not in it.
    """
    if Path(output).suffix not in SUFFIXES:
        raise UsageError(f"{output} has no known suffix; name a file {', '.join(SUFFIXES)}")
    from cptools.artifacts.atomic import check_writable
    from cptools.workflows.deltas import read_delta

    path = resolve_input(file, starts_chain=False, sources=())
    check_writable(output)
    export_delta(read_delta(path), output, unit)


def _verdict(file: str) -> str:
    """Kind, digest and sizes of a valid artifact."""
    from cptools.artifacts.history import digest
    from cptools.artifacts.stream import open_artifact

    artifact = open_artifact(resolve_input(file, starts_chain=False, sources=())).read()
    return f"{artifact.kind} sha256:{digest(artifact.arrays())} ({artifact.summary()})"


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
