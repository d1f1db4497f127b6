"""`cp-visualize`: plot artifacts and reports."""

import logging
import os
import re
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, say, tool
from cptools.cli._streams import (
    check_one_stdin,
    delivery,
    is_report,
    plan_output,
    resolve_input,
)
from cptools.reports.records import Audited, Condition, read_conditions, read_paper
from cptools.workflows.histories import chain_name
from cptools.workflows.plot import draw_artifacts, draw_reports

if TYPE_CHECKING:
    from cptools.artifacts.schema import Artifact

app = make_app("cp-visualize")

CSS_PIXELS = 96  # an inch of an SVG
SMALLEST, LARGEST = 0.5, 100  # inches
PREVIEW = 160  # characters wide, at most
LETTERS = 20  # named in a note, at most
SUFFIXES = (".safetensors", ".st", ".dataset", ".delta", ".encoder", ".jsonl")  # no part of a name


@tool(app)
def visualize(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT]...",
            help="Datasets, a delta, encoders, an encoder with datasets, or reports of cp-probe: "
            "files, or '-' for stdin (default).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Figure (.png or .svg), written atomically. Default: stdout, or a file with a "
            "generated name if stdout is a terminal.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="FILE",
            help="The clean dataset, if it cannot be loaded from the source recorded in the input.",
        ),
    ] = None,
    subject: Annotated[
        str | None,
        opt.one_of(
            "--subject",
            ("noise", "images", "separability"),
            "What to plot of a dataset: the noise of a poisoned one, the images, or how the noise "
            "clusters by class. Default: noise if there is any, else images.",
        ),
    ] = None,
    grid: Annotated[
        bool,
        typer.Option(
            "--grid", help="Reports: group the bars of conditions named ROW.COLUMN by row."
        ),
    ] = False,
    paper: Annotated[
        Path | None,
        typer.Option(
            "--paper",
            metavar="FILE",
            help="Reports: add a paper's values as diamonds (JSON, percent by condition).",
        ),
    ] = None,
    format: Annotated[
        str | None,
        opt.one_of(
            "--format", ("png", "svg"), "Image format. Default: by the suffix of FILE, else png."
        ),
    ] = None,
    dpi: Annotated[
        int, typer.Option("--dpi", min=30, max=1200, help="Resolution, pixels per inch.")
    ] = 200,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="WIDTH",
            help="Width of the figure, e.g. 8cm, 3.25in or 800px; text is scaled too. Default: "
            "natural size.",
        ),
    ] = None,
    show: Annotated[
        bool,
        typer.Option("--show", help="Also print a small preview on the terminal (stderr)."),
    ] = False,
    title: Annotated[
        str | None, typer.Option("--title", help="Title. Default: made from the history.")
    ] = None,
    device: opt.Device = "auto",
    quiet: opt.Quiet = False,
    version: Version = False,
) -> None:
    """Plot datasets, deltas, encoders or reports.

    A poisoned dataset or a delta: clean images, amplified noise and poisoned images, one column per
    class (figures 3 and 6 of the paper). A clean dataset: its first images, by class. Several
    datasets: the same images of each, one row per dataset (figure 9); for two also their amplified
    difference. Encoders: training curves of loss, alignment and uniformity in one plot. An
    encoder with datasets: histograms of the distance between two views of each image (figures 4d
    and 8). Reports: mean accuracies as bars, with 95% intervals over seeds (figure 1); those of
    cp-pretrain --probe-every: mean accuracy by epoch. Audits: ROC curve of each condition against
    the first, the benign one.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its notes do not help here
    kind = _format(format, output)
    width = None if size is None else _inches(size, dpi if kind == "png" else CSS_PIXELS)
    _check_title(title)
    names: list[str | None] = [*inputs] if inputs else [None]
    paths = [resolve_input(name, starts_chain=False, sources=(), quiet=quiet) for name in names]
    check_one_stdin(input=paths, dataset=dataset)

    if any(is_report(path) for path in paths):
        conditions, audits = _reports(paths, dataset, subject)
        for name in (name for name, value in (("grid", grid), ("paper", paper)) if value):
            if audits:
                raise UsageError(f"--{name} is for accuracies; leave it out")
        target = plan_output(output, default_name=f"{'roc' if audits else 'accuracy'}.{kind}")
        told = read_paper(paper, [c.name for c in conditions]) if paper else {}
        figure = draw_reports(conditions, audits, paper=told, grid=grid, title=title)
    else:
        for name in (name for name, value in (("grid", grid), ("paper", paper)) if value):
            raise UsageError(f"--{name} is for reports of cp-probe; leave it out")

        from cptools.artifacts.stream import open_artifact

        _check_no_pictures(paths)
        artifacts = [
            open_artifact(path, expect=("dataset", "delta", "encoder")).read() for path in paths
        ]
        target = plan_output(output, default_name=f"{_stem(paths[0], artifacts[0])}.{kind}")
        labels = [_stem(path, one) for path, one in zip(paths, artifacts, strict=True)]
        figure = draw_artifacts(artifacts, labels, dataset, subject, title, device)

    from cptools.figures.style import missing_letters, save_figure, shorten

    missing = shorten(missing_letters(figure), LETTERS)
    if missing:
        say(
            f"note: no font here has {missing}, drawn as boxes; install one such as Noto Sans CJK",
            quiet=quiet,
        )
    with delivery(target, o=output, quiet=quiet) as file:
        save_figure(figure, file, kind, dpi=dpi, width=width)
    if show:
        _show(figure, quiet=quiet)


def _format(format: str | None, output: str | None) -> Any:
    suffix = Path(output).suffix[1:].lower() if output else ""
    if format is not None:
        return str(format)
    if suffix in ("", "png", "svg") or not output or output.startswith("/dev/"):
        return suffix if suffix in ("png", "svg") else "png"
    raise UsageError(f"cannot write a .{suffix} figure; name it .png or .svg, or give --format")


def _inches(size: str, pixels: int) -> float:
    """A width with its unit, in inches, of which each has so many pixels."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(in|cm|mm|px)", size.strip().lower())
    units = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "px": 1 / pixels}
    inches = float(found[1]) * units[found[2]] if found else 0.0
    if not found or not SMALLEST <= inches <= LARGEST:
        raise UsageError(
            f"--size {size} is not a width from {SMALLEST} to {LARGEST} inches; give it with a"
            " unit, e.g. 8cm, 3.25in or 800px"
        )
    return inches


def _check_title(title: str | None) -> None:
    if title is None or title.isprintable():
        return
    from cptools.figures.style import is_control

    bad = next((letter for letter in title if is_control(letter)), None)
    if bad is not None:
        raise UsageError(
            f"--title contains the control character {bad!r}; give a line of plain text"
        )


def _check_no_pictures(paths: list[str]) -> None:
    """Refer from images in another format to the tool that reads them."""
    from cptools.artifacts.formats import sniff

    for path in paths:
        if path != "-" and sniff(path):
            what = "a folder" if Path(path).is_dir() else "an archive or a list"
            raise UsageError(
                f"{path} is {what}; make a dataset from it: cp-dataset {shlex.quote(path)} |"
                " cp-visualize"
            )


def _show(figure: Any, *, quiet: bool) -> None:
    """A preview on standard error, where that is a terminal that knows colors."""
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        say("--show needs a terminal with colors on standard error; no preview", quiet=quiet)
        return
    from cptools.figures.terminal import preview

    columns, lines = os.get_terminal_size(sys.stderr.fileno())
    with suppress(OSError):  # as `say` does
        sys.stderr.write(preview(figure, min(columns or 80, PREVIEW), max((lines or 24) - 2, 1)))
        sys.stderr.flush()


def _stem(path: str, artifact: "Artifact") -> str:
    """Name of the figure: that of the input's file, or from its history."""
    if path == "-":
        return chain_name(artifact.history) or artifact.kind
    name = Path(os.path.abspath(path))  # noqa: PTH100 - links kept
    while name.suffix in SUFFIXES:
        name = name.with_suffix("")
    return name.name


def _reports(
    paths: list[str], given: str | None, subject: str | None
) -> tuple[list[Condition], list[Audited]]:
    for path in paths:
        if not is_report(path):
            raise UsageError(f"{path} is not a report, but others are; plot one or the other")
    if given is not None or subject is not None:
        option = "dataset" if subject is None else "subject"
        raise UsageError(f"--{option} does not apply to reports; leave it out")
    return read_conditions(paths)


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
