"""Lists of images as CSV files."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os


def write_csv(
    path: "str | os.PathLike[str]", columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """Write a CSV file; names of files keep their bytes, whatever these are.

    Args:
        path: the file, or `-` for standard output.
        columns: the first line.
        rows: the others.
    """
    from cptools.artifacts.atomic import atomic_write

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    with atomic_write(path) as stream:
        stream.write(text.getvalue().encode("utf-8", "surrogateescape"))
