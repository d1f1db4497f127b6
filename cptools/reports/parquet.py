"""Rows of reports as a parquet file."""

from collections.abc import Iterable, Mapping
from typing import IO, Any

from cptools.text import shown


def write_parquet(rows: Iterable[Mapping[str, Any]], stream: IO[bytes]) -> None:
    """Write rows as a table with every column that one of them has.

    A column is of integers, floats, booleans or text; one of several kinds is of floats if all are
    numbers, else of text. What a row lacks is null.

    Args:
        rows: Values by column: numbers, text, booleans or None.
        stream: Where to.

    Raises:
        ArtifactError: pyarrow is not installed.
    """
    from cptools.artifacts.tables import pyarrow_or_refuse

    pa = pyarrow_or_refuse("a parquet file")
    table = [{shown(name): value for name, value in row.items()} for row in rows]
    names = list(dict.fromkeys(name for row in table for name in row))
    columns = {name: _column([row.get(name) for row in table]) for name in names}
    pa.parquet.write_table(pa.table(columns), stream)


def _column(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if (kinds <= {int, float} and len(kinds) > 1) or (kinds == {int} and _is_large(values)):
        return [None if value is None else float(value) for value in values]
    if len(kinds) > 1 or kinds == {str}:
        return [None if value is None else shown(str(value)) for value in values]
    return values


def _is_large(values: list[Any]) -> bool:
    """Whether a number has no room in 64 bits."""
    return any(value is not None and not -(2**63) <= value < 2**63 for value in values)
