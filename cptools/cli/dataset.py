"""`cp-dataset`: make a dataset from a source, take a subset, describe it, export it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, say, tool
from cptools.cli._streams import (
    check_apart,
    check_text_output,
    deliver,
    is_stdout,
    plan_output,
    resolve_input,
)
from cptools.text import shown
from cptools.workflows.datasets import (
    SOURCES,
    FileReader,
    choose,
    describe,
    is_source,
    make_dataset,
    path_name,
)
from cptools.workflows.lists import choose_listed, copy_listed, read_list
from cptools.workflows.names import listed_names, names_or_none, source_names, write_names

if TYPE_CHECKING:
    from cptools.artifacts.schema import Dataset
    from cptools.workflows.lists import ImageList

app = make_app("cp-dataset")


@tool(app)
def dataset(
    input: opt.StartInput = None,
    output: opt.Output = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="Number of training images to keep, stratified by class; for shapes: to generate "
            "[1000].",
        ),
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(
            "--fraction",
            min=0.0,
            max=1.0,
            help="Fraction of the training images to keep, instead of --limit; not for shapes.",
        ),
    ] = None,
    limit_test: Annotated[
        int | None,
        typer.Option(
            "--limit-test",
            min=1,
            help="Number of test images to keep, stratified by class; for shapes: to generate "
            "[2000].",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", metavar="A,B,...", help="Names of the classes to keep."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            min=1,
            help="Image size in pixels: resizes the images (folders and archives: after a square "
            "center crop); for shapes: size to generate [32].",
        ),
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(
            "--holdout",
            min=0.0,
            max=1.0,
            help="Fraction of the training images to split off as test images, if there is no test "
            "folder; 0: no test images.",
        ),
    ] = None,
    contrast: Annotated[
        float | None,
        typer.Option(
            "--contrast",
            min=0.0,
            max=1.0,
            help="Contrast factor: scales the deviation from mid gray [1; for shapes: 0.25].",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="IMAGE,LABEL",
            help="Columns of images and of labels, of CSV and parquet files and of Hugging Face "
            "datasets [path,label; image,label]; IMAGE alone: without labels.",
        ),
    ] = None,
    seed: opt.Seed = 0,
    drop: Annotated[
        str | None,
        typer.Option(
            "--drop",
            metavar="FILE",
            help="Leave out the training images that this CSV file lists by path, id or row: of "
            "scores of cp-probe --audit the suspects.",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="FILE",
            help="Keep only the training images that such a file lists.",
        ),
    ] = None,
    copy: Annotated[
        Path | None,
        typer.Option(
            "--copy",
            metavar="DIR",
            help="With --drop or --keep: copy the image files that are left, as they are, to a new "
            "folder.",
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="PATH",
            help="Export the images: to a new folder of PNG files, or to a file for other programs "
            "by its suffix, .npz, .tar (WebDataset) or .parquet; '{train,test}' in its name makes "
            "two.",
        ),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            "--names",
            metavar="FILE",
            help="Write the names of the files that the training images came from, which no "
            "dataset holds: a CSV file of row, id and path.",
        ),
    ] = None,
    info: Annotated[
        bool, typer.Option("--info", help="Print a description of the dataset.")
    ] = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    version: Version = False,
) -> None:
    """Make a dataset, or take a subset of one.

    INPUT is a source (shapes, cifar10, cifar100, stl10); a folder or archive of images laid out as
    train/CLASS/*.jpg and test/CLASS/*.jpg, or without labels; a .npz, CSV or parquet file,
    WebDataset shards, a folder of Hugging Face datasets, or hf:NAME of the hub; or a dataset. With
    --export, --names, --copy or --info the dataset itself is written only if -o is given.
    """
    path = resolve_input(input, starts_chain=True, sources=SOURCES, quiet=quiet)
    options: dict[str, Any] = {
        "limit": limit,
        "fraction": fraction,
        "limit_test": limit_test,
        "classes": None if classes is None else classes.split(","),
        "size": size,
        "holdout": holdout,
        "contrast": contrast,
        "columns": columns,
        "seed": seed,
    }
    if (info or as_json) and is_stdout(output):
        raise UsageError("dataset and description both go to stdout; give -o FILE")
    if drop is not None and keep is not None:
        raise UsageError("--drop and --keep are two ways to choose; give one of them")
    choice = "keep" if drop is None else "drop"
    images = None if drop is keep else read_list(drop or keep or "", name=choice)
    if images is not None and holdout and copy is None:
        raise UsageError(
            f"--holdout would take test images before --{choice}; give --holdout 0, or make a"
            " folder by --copy first"
        )
    if copy is not None:
        _copy(path, copy, images, options, choice, quiet=quiet)
        return
    target = None
    if output is not None or not (export or names or info or as_json):
        name = "dataset" if path == "-" else path_name(path)
        target = plan_output(output, default_name=f"{name}.dataset.safetensors")
    check_apart(output=target, export=export, names=names)
    if export is not None:
        _check_export(export)
    check_text_output(names)
    if is_source(path):
        made = make_dataset(path, options)
    else:
        made = choose(FileReader(path).read(), options)
    if images is not None:
        files = listed_names(path, options, made) if is_source(path) else names_or_none(made)
        made = choose_listed(made, images, files, name=choice)
    if names is not None:
        listed = listed_names(path, options, made) if is_source(path) else source_names(made)
        write_names(listed, made, names)
    if export is not None:
        _export(made, export, quiet=quiet)
    if info or as_json:
        _describe(made, as_json=as_json)
    if target is not None:
        deliver(made, target, o=output, quiet=quiet)


def _copy(
    path: str,
    folder: Path,
    images: "ImageList | None",
    options: dict[str, Any],
    choice: str,
    *,
    quiet: bool,
) -> None:
    """Copy the files that are left, of which none is decoded."""
    given = [name for name, value in options.items() if value is not None and name != "seed"]
    if images is None:
        raise UsageError("--copy copies what --drop or --keep leaves; give one of them")
    if given:
        raise UsageError(f"--{given[0].replace('_', '-')} does not apply to --copy; leave it out")
    if not is_source(path) or path in SOURCES:
        raise UsageError(f"--copy needs a folder or archive of images, not {path}; use --export")
    num = copy_listed(path, folder, images, name=choice)
    say(f"copied {num} images to {folder}", quiet=quiet)


def _check_export(path: Path) -> None:
    """Make sure, before any work, that files for other programs can be written."""
    from cptools.artifacts.atomic import check_writable
    from cptools.artifacts.formats import SUFFIXES, export_files

    if path.suffix in SUFFIXES:
        for file in export_files(str(path)):
            check_writable(file)


def _export(made: "Dataset", path: Path, *, quiet: bool) -> None:
    from cptools.artifacts.export import export_dataset
    from cptools.artifacts.formats import SUFFIXES, export

    if path.suffix in SUFFIXES:
        export(path, made)
    else:
        export_dataset(path, made)
    say(f"wrote {len(made.train_images) + len(made.test_images)} images to {path}", quiet=quiet)


def _describe(made: "Dataset", *, as_json: bool) -> None:
    """Print kind, sizes, statistics and digest."""
    facts = describe(made)
    if as_json or not sys.stdout.isatty():
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = [f"{name} {count}" for name, count in value.items()]
        told = ", ".join(map(str, value)) if isinstance(value, list) else value
        typer.echo(f"{name:14}  {shown(told)}")


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
