"""`cptools`: list the tools; history, verification, import and export; reports and a page."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, report_error, run, say, tool
from cptools.cli._streams import deliver, delivery, plan_output, resolve_input
from cptools.reports import tables
from cptools.reports.parquet import write_parquet
from cptools.reports.records import read_conditions, read_paper, read_rows
from cptools.reports.report import to_csv
from cptools.text import shown
from cptools.trust import vouched
from cptools.workflows import weights
from cptools.workflows.foreign import SUFFIXES, UNITS, export_delta, import_delta, parse_radius

if TYPE_CHECKING:
    from cptools.artifacts.schema import Dataset, Delta, Encoder
    from cptools.workflows.comparing import Comparison

TOOLS = {
    "cp-dataset": "make a dataset from shapes, CIFAR, a folder or an archive; subsets, export",
    "cp-perturb": "perturb a dataset: natural corruptions, random noise, or a delta",
    "cp-generate": "poison a dataset against contrastive or supervised learning",
    "cp-pretrain": "train an encoder on a dataset",
    "cp-probe": "evaluate an encoder (linear probe, k-NN, views) or a poison; audit a dataset",
    "cp-defend": "defend a dataset against poison: matrix completion and other defenses",
    "cp-select": "select a coreset of a dataset: SAS, random, class-balanced",
    "cp-protect": "protect a folder of photographs, each at its own size and in its own format",
    "cp-visualize": "plot a poison, defenses, training curves, distances of views, reports",
}

app = make_app("cptools")

File = Annotated[str | None, typer.Argument(help="Artifact, or '-' for stdin (default).")]
Files = Annotated[list[str], typer.Argument(help="Artifacts; one may be '-' for stdin.")]
Reports = Annotated[list[str], typer.Argument(help="Reports of cp-probe (JSON lines).")]
Json = Annotated[bool, typer.Option("--json", help="Print the history as JSON.")]


@app.callback(invoke_without_command=True)
def tools(context: typer.Context, version: Version = False) -> None:
    """Tools for data poisoning of contrastive learning, designed for pipes.

    Without a command, list the tools. Each has --help and a man page.
    """
    if context.invoked_subcommand is None:
        width = max(map(len, TOOLS))
        for name, line in TOOLS.items():
            typer.echo(f"{name:{width}}  {line}")
        typer.echo(
            f"{'cptools':{width}}  this list; cptools history FILE, verify FILE..., report FILE...,"
            " row REPORT, leaderboard ROWS..., page FOLDER, import FILE, export FILE, estimate"
            " PHOTOS PROTECTED"
        )


@tool(app, "history")
def history(file: File = None, as_json: Json = False) -> None:
    """Print how an artifact was made.

    Prints a pipeline that reproduces it, for bash: side inputs are written as <(...). Prints
    nothing for an artifact without history. What cannot be vouched for is said in comments; a
    pipeline that would run code of another package is a comment as a whole, unless CPTOOLS_TRUST
    names that code.
    """
    path = resolve_input(file, starts_chain=False, sources=())

    from cptools.artifacts.history import script, unvouched
    from cptools.artifacts.stream import open_artifact

    with open_artifact(path) as reader:
        reader.skip()
    if as_json:
        typer.echo(json.dumps(reader.header["history"]))
    elif reader.history:
        for code in unvouched(reader.history, vouched()):
            say(f"note: the history runs code of another package, {code}; it is commented out")
        typer.echo(script(reader.history, reader.kind, vouched()))


@tool(app, "verify")
def verify(
    files: Files,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="PHOTOS",
            help="Folder of originals: compare the photographs that cp-protect wrote with them.",
        ),
    ] = None,
    epsilon: Annotated[
        str | None,
        opt.radius(
            "Bound of the noise of photographs. Default: what cp-protect recorded, or 8/255."
        ),
    ] = None,
    jobs: opt.Jobs = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Check that artifacts, or rows of a leaderboard, are valid, contents included.

    Prints the kind, digest and sizes of each. The digest is the SHA-256 of the tensors, as recorded
    in histories. All files are checked; the exit code is 2 if any is invalid.

    With --against, check a folder of protected photographs: names, count, format, size, metadata,
    transparency, and how far every pixel is from its original. Prints a line for each fault and a
    summary; the exit code is 2 if there is a fault.
    """
    if against is not None:
        if len(files) > 1:
            raise UsageError("--against compares one folder; give one")
        found = _compared(against, files[0], epsilon, jobs, quiet=quiet)
        _print_comparison(found, files[0], as_json=as_json)
        return
    used = {"--epsilon": epsilon, "--jobs": jobs, "--json": as_json}
    for name in (name for name, value in used.items() if value):
        raise UsageError(f"{name} is for photographs; give --against PHOTOS")
    if files.count("-") > 1:
        raise UsageError("- is given twice; standard input can be read only once")
    worst = 0
    for file in files:
        try:
            verdict = _verdict(file)
        except Exception as error:  # noqa: BLE001 - the others are looked at as well
            code, _ = report_error(error, "cptools")
            worst = max(worst, code)
        else:
            typer.echo(f"{shown(file)}: ok {verdict}")
    if worst:
        raise typer.Exit(worst)


def _compared(
    photos: Path, folder: str, epsilon: str | None, jobs: int | None, *, quiet: bool
) -> "Comparison":
    from cptools.cli._progress import bar
    from cptools.workflows.comparing import compare

    radius = None if epsilon is None else str(parse_radius(epsilon))
    return compare(photos, folder, epsilon=radius, jobs=jobs, progress=bar(quiet=quiet))


def _print_comparison(found: "Comparison", folder: str, *, as_json: bool) -> None:
    """Print what was found; exit code 2 if there is a fault."""
    facts = found.facts()
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        for one in found.faults:
            typer.echo(f"{shown(one.name)}: {shown(one.fault)}")
        typer.echo(f"{shown(folder)}: {'faulty' if found.faults else 'ok'} {_summary(facts)}")
    if found.faults:
        raise typer.Exit(2)


def _summary(facts: dict[str, Any]) -> str:
    told = f"{facts['good']} of {facts['photographs']} photographs are as they should be"
    if num := facts["left_out"]:
        told += f", {num} other file{'s' * (num > 1)} cannot be protected"
    told += f"; lossless ones differ by {facts['levels_max_lossless']} levels at most"
    if jpeg := facts.get("jpeg"):
        told += (
            f"; JPEG: 99.9% of the values are within {jpeg['levels_beyond_epsilon_99.9%']} levels"
            f" beyond epsilon, all within {jpeg['levels_beyond_epsilon_max']}"
        )
    return f"{told}; shrunk to 32 pixels, {facts['levels_mean_at_32_pixels']:.1f} on average"


@tool(app, "estimate")
def estimate(
    photos: Annotated[Path, typer.Argument(help="Folder of original photographs.")],
    protected: Annotated[Path, typer.Argument(help="Folder that cp-protect wrote.")],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Also write a page (HTML) with ten photographs: before, after, difference.",
        ),
    ] = None,
    size: Annotated[
        int, typer.Option("--size", min=8, help="Size in pixels at which is trained.")
    ] = 32,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=2, help="Repetitions.")] = 3,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=40, help="Photographs to take at most.")
    ] = 1000,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", metavar="N", min=1, help="Epochs. Default: of the quick recipe."),
    ] = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    jobs: opt.Jobs = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Measure how much the protection of photographs takes from who trains on them.

    Trains a small encoder on the originals and on the protected photographs, some times each, and
    tells what it recognizes in others. Classes are folders, or groups of similar photographs where
    there are none. Takes minutes on two cores. Prints what was measured, and what was not.
    """
    from cptools.cli._progress import bar
    from cptools.reports.protection import protection_page
    from cptools.workflows.estimate import LIMITS
    from cptools.workflows.estimate import estimate as measure

    if output is not None:
        plan_output(output, default_name="")
    settings = {} if epochs is None else {"epochs": epochs}
    found = measure(
        photos, protected, size=size, seeds=seeds, limit=limit, seed=seed, device=device,
        jobs=jobs, progress=bar(quiet=quiet), **settings,
    )  # fmt: skip
    if output is not None:
        with delivery(output, o=output, quiet=quiet) as file:
            file.write(protection_page(found.words(), LIMITS, found.facts(), found.pictures))
    if as_json:
        typer.echo(json.dumps(found.facts()))
    else:
        typer.echo("\n".join([*found.words(), "", "What this does not say:"]))
        typer.echo("\n".join(f"- {line}" for line in LIMITS))


@tool(app, "report")
def report(
    files: Reports,
    grid: Annotated[
        bool,
        typer.Option("--grid", help="Lay out conditions named ROW.COLUMN as rows and columns."),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="CONDITION",
            help="Baseline: show differences to this condition (with --grid: row), paired by seed.",
        ),
    ] = None,
    relative: Annotated[
        bool,
        typer.Option(
            "--relative", help="Show the degradation, in percent of the baseline (--against)."
        ),
    ] = False,
    paper: Annotated[
        Path | None,
        typer.Option(
            "--paper",
            metavar="FILE",
            help="Compare with a paper's values: JSON, accuracies in percent by condition.",
        ),
    ] = None,
    csv: Annotated[
        bool,
        typer.Option("--csv", help="In place of the table: every line of the reports, as CSV."),
    ] = False,
    parquet: Annotated[
        Path | None,
        typer.Option(
            "--parquet",
            metavar="FILE",
            help="In place of the table: write every line of the reports to this parquet file.",
        ),
    ] = None,
) -> None:
    """Summarize probes over seeds as a Markdown table.

    Reads the JSON lines of cp-probe. Each row is a condition; files whose names differ only in a
    trailing number (clean-0.jsonl, clean-1.jsonl) are seeds of the same condition. Several datasets
    or classifiers in one file get separate rows. The interval is Student's 95% interval over the
    seeds; for a single probe it is the probe's own, over the test images. For audits: scores,
    verdicts, and how well the score separates each condition from the first, the benign one.
    """
    used = {"grid": grid, "against": against, "relative": relative, "paper": paper}
    if csv and parquet:
        raise UsageError("--csv and --parquet are both given; leave one out")
    if rows_as := "csv" if csv else "parquet" if parquet else None:
        for name in (name for name, value in used.items() if value):
            raise UsageError(f"--{name} is for the table, not for --{rows_as}; leave one out")
    if csv:
        typer.echo(to_csv(read_rows(files)), nl=False)
        return
    if parquet:
        _write_parquet(files, str(parquet))
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
            raise UsageError("--relative needs a baseline; add --against CONDITION")
        else:
            table = (tables.grid if grid else tables.rows)(conditions, told)
    typer.echo("\n".join(table))


@tool(app, "row")
def row(
    report: Annotated[str, typer.Argument(help="Report of cp-probe on an encoder.")],
    attack: Annotated[
        str, typer.Option("--attack", metavar="NAME", help="Name of the attack; clean for none.")
    ],
    victim: Annotated[str, typer.Option("--victim", metavar="NAME", help="Name of the victim.")],
    defense: Annotated[
        str, typer.Option("--defense", metavar="NAME", help="Name of the defense.")
    ] = "none",
    seconds: Annotated[
        list[str],
        typer.Option(
            "--seconds",
            metavar="STAGE=N",
            help="What the attack, defense or victim took: attack=63, once for each.",
        ),
    ] = [],  # noqa: B006 - typer's way of an option that may be given again
    output: opt.Output = None,
    quiet: opt.Quiet = False,
) -> None:
    """Enter a report into a leaderboard.

    Prints a row: a JSON line of the report with the names under which it competes. It is refused
    where its history disagrees with them. The seed is that of the victim.
    """
    from cptools.reports.leaderboard import make_row
    from cptools.reports.report import parse_report, read_text

    target = plan_output(output, default_name="rows.jsonl")
    try:
        records = parse_report(read_text(Path(report))).records
    except (UnicodeDecodeError, ValueError):
        raise UsageError(f"{report} is not a report of cp-probe; write one with -o") from None
    if len(records) != 1:
        raise UsageError(f"{report} has {len(records)} reports; give one in a file")
    costs = dict(_cost(text) for text in seconds)
    entered = make_row(
        records[0], attack=attack, victim=victim, defense=defense, seconds=costs,
        seed=_seed_of_victim(records[0]),
    )  # fmt: skip
    with delivery(target, o=output, quiet=quiet) as file:
        file.write(f"{json.dumps(entered.to_json())}\n".encode())


def _cost(text: str) -> tuple[str, float]:
    stage, _, value = text.partition("=")
    try:
        return stage, float(value)
    except ValueError:
        raise UsageError(f"--seconds {text} is no cost; give such as victim=63") from None


def _seed_of_victim(record: dict[str, Any]) -> Any:
    """What the history says; None, which is refused, where it says nothing."""
    past = record.get("history") or [{}]
    trained = [one for one in past if isinstance(one, dict) and one.get("tool") == "cp-pretrain"]
    return trained[-1].get("parameters", {}).get("seed") if trained else 0


@tool(app, "leaderboard")
def leaderboard(
    files: Annotated[list[str], typer.Argument(metavar="ROWS...", help="Rows of cptools row.")],
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE",
            help="Also write a page with tables to sort and to filter (HTML).",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Rank attacks by the highest accuracy of any victim, and defenses by the lowest.

    Prints Markdown. Of attacks, those are compared that no defense was used against; of defenses,
    the victims that have some. Intervals are Student's over the seeds, differences paired by seed.
    """
    from cptools.reports import leaderboard as board

    rows = board.read_rows(files)
    if output is not None:
        plan_output(output, default_name="")
        with delivery(output, o=output) as file:
            file.write(board.page(rows))
    typer.echo(board.markdown(rows))


@tool(app, "page")
def page(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder with tables (NAME.md), figures (NAME.png, .svg) and reports."),
    ],
    output: opt.Output = None,
    title: Annotated[
        str | None, typer.Option("--title", help="Title of the page. Default: name of the folder.")
    ] = None,
    quiet: opt.Quiet = False,
) -> None:
    """Collect tables and figures in one HTML page.

    Each section shows NAME.svg or NAME.png, then NAME.md. The page starts with how well each table
    written by `report --paper` agrees with the paper. Each section ends with how the reports behind
    its rows and columns were made (click to unfold). The page is self-contained: one file, no
    network, no scripts.
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
        Path,
        typer.Argument(
            help="Perturbation (.pth, .pt, .npy), or perturbed images (folder, archive)."
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            metavar="CLEAN",
            help="The clean dataset: a file, '-' for stdin, a source, an image folder or archive.",
        ),
    ],
    output: opt.Output = None,
    epsilon: opt.Epsilon = "8/255",
    unit: Annotated[
        str | None,
        opt.one_of(
            "--unit",
            UNITS,
            "Unit of the values: epsilon (-1 to 1, multiples of epsilon), pixel (pixels in [0, 1]) "
            "or level (gray levels, of 255). Default: inferred from the largest value.",
        ),
    ] = None,
    mode: Annotated[
        str | None,
        opt.one_of(
            "--mode",
            ("class", "sample"),
            "Class-wise or sample-wise perturbation. Default: inferred from the shape.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="NAME",
            help="Tensor of the checkpoint, e.g. model.delta. Default: the only one that fits.",
        ),
    ] = None,
    algorithm: Annotated[
        str, typer.Option("--algorithm", metavar="NAME", help="Name of the attack, for the header.")
    ] = "imported",
    quiet: opt.Quiet = False,
) -> None:
    """Convert a perturbation in another format to a delta.

    PyTorch files are read without executing code in them. For perturbed images, the delta is their
    difference to the clean dataset. A perturbation that exceeds epsilon is an error.
    """
    from cptools.workflows.datasets import SOURCES, open_dataset, path_name

    radius = parse_radius(epsilon)
    path = Path(resolve_input(str(file), starts_chain=False, sources=()))
    if not (path.is_file() or path.is_dir()):
        raise UsageError(f"{path} is not a regular file or folder; save it to a file")
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
            "-o",
            "--output",
            metavar="FILE",
            help="Output file, written atomically. Its suffix is the format: .npy, .pt or .pth for "
            "a delta; .pth, .pt, .safetensors, .pt2 (torch.export) or .onnx for an encoder; .npz, "
            ".tar (WebDataset) or .parquet for a dataset.",
        ),
    ],
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="ARTIFACT",
            help="Delta, encoder or dataset: a file, or '-' for stdin (default).",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        opt.one_of(
            "--unit",
            UNITS,
            "Unit of a delta's values: epsilon (default: -1 to 1, multiples of epsilon), pixel "
            "(pixels in [0, 1]) or level (gray levels, integers).",
        ),
    ] = None,
) -> None:
    """Export a delta, an encoder or a dataset for other programs.

    The array of a delta is [K,3,H,W], float32, or int8 in gray levels. The official code of
    Contrastive Poisoning loads a .pth in unit epsilon. Epsilon, mode and history are not included.

    Of an encoder the backbone is exported, as a state dict with torchvision's or timm's names, or
    (.pt2, .onnx) as a network from normalized images to features. The mean and standard deviation
    of the normalization are printed to stderr.

    Of a dataset images, labels and class names are exported, and no history; see cp-dataset(1).
    """
    from cptools.artifacts import formats
    from cptools.artifacts.atomic import check_writable
    from cptools.artifacts.stream import open_artifact

    suffixes = {"delta": SUFFIXES, "encoder": weights.SUFFIXES, "dataset": formats.SUFFIXES}
    kinds = {"delta": "a delta", "encoder": "an encoder", "dataset": "a dataset"}
    told = ", ".join(f"{', '.join(some)} for {kinds[kind]}" for kind, some in suffixes.items())
    suffix = Path(output).suffix
    if not any(suffix in some for some in suffixes.values()):
        raise UsageError(f"{output} has an unsupported suffix; use {told}")
    path = resolve_input(file, starts_chain=False, sources=())
    for name in formats.export_files(output):
        check_writable(name)
    reader = open_artifact(path, expect=tuple(suffixes))
    if suffix not in suffixes[reader.kind]:
        raise UsageError(f"{output} has no suffix for kind {reader.kind}; use {told}")
    if reader.kind != "delta" and unit is not None:
        raise UsageError(f"--unit applies to a delta, not to {kinds[reader.kind]}; leave it out")
    if reader.kind == "delta":
        export_delta(cast("Delta", reader.read()), output, unit or "epsilon")
    elif reader.kind == "encoder":
        weights.export_encoder(cast("Encoder", reader.read()), output)
    else:
        formats.export(output, cast("Dataset", reader.read()))


def _write_parquet(files: list[str], path: str) -> None:
    from cptools.artifacts.atomic import atomic_write, check_writable

    check_writable(path)
    rows = read_rows(files)
    with atomic_write(path) as stream:
        write_parquet(rows, stream)


def _verdict(file: str) -> str:
    """Kind, digest and sizes of a valid artifact, or how many rows there are."""
    if Path(file).suffix == ".jsonl":
        from cptools.reports.leaderboard import read_file

        return f"{len(read_file(file))} rows of a leaderboard"

    from cptools.artifacts.history import digest
    from cptools.artifacts.stream import open_artifact

    artifact = open_artifact(resolve_input(file, starts_chain=False, sources=())).read()
    return f"{artifact.kind} sha256:{digest(artifact.arrays())} ({shown(artifact.summary())})"


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
