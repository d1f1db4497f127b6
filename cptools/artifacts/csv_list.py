"""CSV files with the path of an image and its label in each line.

The first line names the columns: `path`, `label`, or others that are asked for, and `split` where
it is there (`train`, `test`, `val`). Paths are relative to the folder of the CSV file, and none may
lead out of it. Classes are sorted by name, numbers by value, unless a `classes.txt` beside the file
lists them in another order.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cptools.artifacts.containers import file_member, one_line, one_line_errors
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.export import CLASSES_FILE
from cptools.artifacts.found import (
    MANY,
    MAX_ROWS,
    Found,
    Rows,
    number_labels,
    split_of,
    test_split,
)
from cptools.artifacts.pictures import Pixels, decode_pictures

COLUMNS = ("path", "label")
SUFFIXES = (".csv", ".tsv")

_MAX_LABEL = 200  # characters of a label
_MAX_NAME = 400  # characters of a path below the folder
_MAX_BYTES = 1 << 30  # of a file; four million lines of 200 characters have 0.8


def find_csv(path: Path, columns: Sequence[str] = ()) -> Found:
    """What a CSV file lists.

    Args:
        path: The file.
        columns: Names of the columns of paths and of labels; the second may be left out. Empty:
            `path`, and `label` if it is there.

    Raises:
        ArtifactError: It is damaged, lacks a column, names files outside its folder or none, or
            several labels an image.
    """
    names: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    with one_line_errors(path):
        for split, name, label in _rows(path, columns):
            names.setdefault(split, []).append(name)
            labels.setdefault(split, []).append(label)
        order = _order(path.parent / CLASSES_FILE)
    if "train" not in names:
        raise ArtifactError(f"{path} lists no image to train on; add lines")
    test = test_split([*names])
    found = number_labels(path, labels["train"], labels[test] if test else None, order=order)
    listed = [names["train"], names[test] if test else []]

    def read(train_rows: Rows, test_rows: Rows, size: int | None) -> Pixels:
        chosen = [listed[0][row] for row in train_rows] + [listed[1][row] for row in test_rows]
        return decode_pictures(path, chosen, _files(path, chosen), size=size)

    return Found(*found, read, names=tuple(listed[0]))


def _files(path: Path, names: Sequence[str]) -> Iterator[tuple[int, bytes]]:
    folder = Path(os.path.abspath(path.parent))  # noqa: PTH100 - links kept
    for row, name in enumerate(names):
        with one_line_errors(folder / name):
            data = file_member(folder, folder / name).read()
        yield row, data


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(split, path below the folder of the file, label) of each line; no label is empty text."""
    if path.stat().st_size > _MAX_BYTES:
        raise ArtifactError(f"{path} is larger than {_MAX_BYTES >> 30} GiB; give a part of it")
    folder = os.path.abspath(path.parent)  # noqa: PTH100 - links kept
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline(1 << 16)
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=head.count), strict=True)
        try:
            header = next(reader, [])
            image, label, split = _places(path, header, columns)
            for number, cells in enumerate(reader):
                if not cells:
                    continue
                where = f"{path}, line {reader.line_num}"
                if len(cells) != len(header) or number >= MAX_ROWS:
                    raise ArtifactError(
                        f"{where} has {len(cells)} columns, the first {len(header)}; set it right"
                        if number < MAX_ROWS
                        else f"{path} has more than {MAX_ROWS} lines; give a part of it"
                    )
                told = "" if label is None else cells[label].strip()
                if label is not None and not told:
                    raise ArtifactError(f"{where} has no label; add it, or leave the line out")
                if len(told) > _MAX_LABEL:
                    raise ArtifactError(f"{where}: a label has {len(told)} characters; shorten it")
                if "|" in told:
                    raise ArtifactError(f"{where}: {told!r} {MANY}")
                part = "train" if split is None else split_of(cells[split])
                yield part, _below(folder, cells[image], where), told
        except csv.Error as error:
            raise ArtifactError(
                f"{path}, line {reader.line_num} is no CSV ({one_line(error)}); set it right"
            ) from None


def _places(
    path: Path, header: Sequence[str], columns: Sequence[str]
) -> tuple[int, int | None, int | None]:
    """Where image, label and split stand in a line."""
    there = [name.strip() for name in header]
    wanted = [*columns] or [name for name in COLUMNS if name in there or name == COLUMNS[0]]
    for name in wanted:
        if name not in there:
            shown = ", ".join(repr(one[:40]) for one in there[:12]) or "nothing"
            raise ArtifactError(
                f"{path} has no column {name!r}, but {shown}; give --columns PATH,LABEL"
            )
    label = there.index(wanted[1]) if len(wanted) > 1 else None
    return there.index(wanted[0]), label, there.index("split") if "split" in there else None


def _below(folder: str, name: str, where: str) -> str:
    """A path relative to the folder; one that leads out of it is refused."""
    if len(name) > _MAX_NAME:
        raise ArtifactError(f"{where}: a path has {len(name)} characters; give a shorter one")
    whole = os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 - links kept
    if not name or "\0" in name or not whole.startswith(f"{folder.rstrip('/')}/"):
        raise ArtifactError(
            f"{where}: {name[:200]!r} is no file below the folder of the list; put the list above"
            " its images"
        )
    return os.path.relpath(whole, folder)


def _order(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return file_member(path.parent, path).read().decode("utf-8", "replace").splitlines()
