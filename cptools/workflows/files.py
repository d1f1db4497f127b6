"""From files and sources to artifacts and back: `cp.load` and `cp.save`."""

import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, cast

from cptools.core.settings import check_value  # noqa: TID253 - without torch
from cptools.workflows.datasets import SOURCES, choose, is_source, make_dataset, names_source
from cptools.workflows.doors import check_path, check_seed, naming
from cptools.workflows.origins import CHOICES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cptools.artifacts.schema import Artifact
    from cptools.reports.report import Report

PICTURES: "dict[str, Literal['png', 'svg']]" = {".png": "png", ".svg": "svg"}


def load(
    source: str | os.PathLike[str],
    *,
    limit: int | None = None,
    fraction: float | None = None,
    limit_test: int | None = None,
    classes: "str | Collection[str] | None" = None,
    size: int | None = None,
    holdout: float | None = None,
    contrast: float | None = None,
    columns: "str | Collection[str] | None" = None,
    seed: int = 0,
) -> Any:
    """Load a dataset from a source, or any artifact or report from a file.

    Args:
        source: `shapes`, `cifar10`, `cifar100` or `stl10`; a folder or archive of images in
            train/CLASS/*.jpg, test/CLASS/*.jpg layout; a .npz, CSV or parquet file, WebDataset
            shards, a folder of Hugging Face datasets, or `hf:NAME` of the hub; or a file written
            by cptools.
        limit: number of training images to keep, stratified by class; for shapes: to generate.
        fraction: fraction of the training images to keep; not for shapes.
        limit_test: number of test images to keep; for shapes: to generate.
        classes: names of the classes to keep.
        size: image size in pixels: images are resized (folders, archives: center-cropped).
        holdout: fraction of the training images held out for testing, without a test folder.
        contrast: factor in [0, 1] that scales the deviation from mid gray.
        columns: names of the columns of images and labels, of formats that have any.
        seed: random seed, at least 0.

    Returns:
        A `Dataset`, `Delta`, `Encoder` or `Report`.

    Raises:
        ValueError: there is no such source or file, it is damaged, or an argument does not apply.
        OSError: a download failed.
    """
    from cptools.workflows.artifacts import promote

    path = check_path(source, name="source")
    options: dict[str, Any] = {
        "limit": limit, "fraction": fraction, "limit_test": limit_test, "size": size,
        "holdout": holdout, "contrast": contrast, "seed": check_seed(seed),
    }  # fmt: skip
    options = {name: value for name, value in options.items() if value is not None}
    for name in CHOICES.keys() & options:
        with naming(name):
            options[name] = check_value(CHOICES[name], options[name])
    if classes is not None:
        options["classes"] = _names(classes)
    if columns is not None:
        options["columns"] = ",".join(_names(columns))
    if path not in SOURCES and not (path and (names_source(path) or Path(path).exists())):
        raise ValueError(
            f"`source`: there is no file or source {path!r}; give a file, a folder or"
            f" {', '.join(SOURCES)}"
        )
    if is_source(path):
        return promote(make_dataset(path, options))
    if _is_report(path):
        artifact: Any = load_report(path)
    else:
        from cptools.artifacts.stream import open_artifact

        artifact = open_artifact(path, expect=("dataset", "delta", "encoder")).read()
    if artifact.kind == "dataset":
        return promote(choose(artifact, options))
    unused = [name for name in options if name != "seed"]
    if unused:
        raise ValueError(f"`{unused[0]}` does not apply to a {artifact.kind}; leave it out")
    return artifact if artifact.kind == "report" else promote(artifact)


def _names(classes: "str | Collection[str]") -> list[str]:
    names = classes.split(",") if isinstance(classes, str) else classes
    if not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"`classes` {classes!r} are no names; give some, such as ['disk', 'ring']")
    return [*names]


def _is_report(path: str) -> bool:
    if not Path(path).is_file():  # to look into a pipe would take from it
        return False
    with Path(path).open("rb") as file:
        return file.read(1) == b"{"


def load_report(path: str | os.PathLike[str]) -> "Report":
    """Read a report of `cp.probe` from its JSON lines.

    Raises:
        ValueError: it is none.
    """
    from cptools.reports.report import parse_report, read_text

    try:
        return parse_report(read_text(Path(path)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def save(thing: "Artifact | Report | Figure", path: str | os.PathLike[str]) -> None:
    """Write an artifact, a report or a figure to a file, atomically.

    Args:
        thing: an artifact, a report or a figure of `cp.plot`.
        path: the file; for a figure its suffix, .png or .svg, is the format.

    Raises:
        ValueError: it cannot be written there, or is of another type.
        OSError: the disk is full or fails.
    """
    from cptools.artifacts.schema import KINDS
    from cptools.artifacts.stream import atomic_write, check_writable, write_artifact
    from cptools.reports.report import Report

    path = check_path(path, name="path")
    with naming("path"):
        check_writable(path)
    if isinstance(thing, tuple(KINDS.values())):
        write_artifact(cast("Artifact", thing), path)
    elif isinstance(thing, Report):
        with atomic_write(path) as file:
            file.write(thing.to_json().encode())
    elif _is_figure(thing):
        from cptools.figures.style import save_figure

        suffix = Path(path).suffix.lower()
        if suffix not in PICTURES:
            raise ValueError(
                f"`path`: cannot draw a {suffix or 'nameless'} file; name it .png or .svg"
            )
        with atomic_write(path) as file:
            save_figure(thing, file, PICTURES[suffix], dpi=200, width=None)
    else:
        raise ValueError(
            f"`thing` is of type {type(thing).__name__}; give a dataset, a delta, an encoder, a"
            " report or a figure, one at a time"
        )


def _is_figure(thing: object) -> "TypeGuard[Figure]":
    """Whether it is a figure, asked without importing matplotlib: whoever has one has that too."""
    figures = sys.modules.get("matplotlib.figure")
    return figures is not None and isinstance(thing, figures.Figure)
