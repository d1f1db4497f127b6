"""Parquet files, folders of Hugging Face `datasets`, and tables of the hub, read by pyarrow.

The image is a column of encoded pictures: a struct with `bytes`, as `datasets` stores them, or
binary. The label is a column of integers, whose names are those of the feature `ClassLabel`, or of
text. A file whose path has the word `test` (or `val`, `valid`, `validation`) holds test images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cptools.artifacts.containers import allowance, one_line, one_line_errors
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.found import (
    MANY,
    MAX_ROWS,
    Found,
    Labels,
    Rows,
    number_labels,
    numbered,
    split_of,
    test_split,
    unlabeled,
)
from cptools.artifacts.pictures import Pixels, decode_pictures, encode_png
from cptools.artifacts.strict_json import dump_json, parse_json

if TYPE_CHECKING:
    import pyarrow

IMAGES = ("image", "img")
LABELS = ("label", "labels")
SUFFIXES = (".parquet", ".arrow")

_BATCH = 256  # rows decoded at a time
_THRIFT = {"thrift_string_size_limit": 1 << 26, "thrift_container_size_limit": 1 << 22}
_MAX_FOLDERS = 64  # folders in a folder that are looked into


class Part(NamedTuple):
    """A table, or a part of one.

    Attributes:
        name: For messages.
        split: `train`, or a test split.
        schema: Names and types of its columns.
        num: Its rows.
        batches: From names of columns to record batches, all of them.
    """

    name: str
    split: str
    schema: pyarrow.Schema
    num: int
    batches: Callable[[Sequence[str]], Iterable[pyarrow.RecordBatch]]


def is_parquet(path: Path) -> bool:
    """Whether a file starts as parquet does."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def table_files(folder: Path) -> list[Path]:
    """The files of tables in a folder or in one of its folders, by name."""
    found: list[Path] = []
    waiting = [folder]
    for depth in range(2):
        inner: list[Path] = []
        for place in waiting:
            with one_line_errors(place), os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.endswith(SUFFIXES) and not entry.name.startswith("."):
                        found.append(Path(entry.path))
                    elif depth == 0 and len(inner) < _MAX_FOLDERS and entry.is_dir():
                        inner.append(Path(entry.path))
        waiting = inner
    return sorted(found)


def find_tables(path: str, files: Sequence[Path], columns: Sequence[str] = ()) -> Found:
    """What parquet and Arrow files hold.

    Args:
        path: What names them, for messages.
        files: The files.
        columns: Names of the columns of images and of labels; the second may be left out. Empty:
            see `find_columns`.

    Raises:
        ArtifactError: pyarrow is missing, a file is damaged, a column is no image or label, or an
            image has several labels.
    """
    root = Path(os.path.commonpath([file.parent for file in files]))
    parts = []
    for file in files:
        if not file.is_file():
            raise ArtifactError(f"{file} is no regular file; leave it out")
        parts.append(_open(file, split_of(file.relative_to(root).as_posix())))
    return find_parts(path, parts, columns)


def find_parts(path: str, parts: Sequence[Part], columns: Sequence[str] = ()) -> Found:
    """What tables hold; see `find_tables`."""
    with _arrow_errors(path):  # of columns that have one name, or none
        image, label = find_columns(path, parts[0].schema, columns)
    by_split: dict[str, list[Part]] = {}
    for part in parts:
        for name in filter(None, (image, label)):
            if name not in part.schema.names:
                raise ArtifactError(f"{part.name} has no column {name!r}; leave it out")
        by_split.setdefault(part.split, []).append(part)
    if sum(part.num for part in parts) > MAX_ROWS:
        raise ArtifactError(f"{path} holds more than {MAX_ROWS} images; give a part of it")
    with _arrow_errors(path):
        labels = {split: _labels(some, label) for split, some in by_split.items()}
    # The test images of a challenge have the label -1.
    labels = {s: x for s, x in labels.items() if s == "train" or x is None or {*x} - {-1}}
    if not any(part.num for part in by_split.get("train", ())):
        raise ArtifactError(f"{path} holds no rows to train on; give others")
    test = test_split([*labels])
    names = _class_names(parts[0].schema, label)
    found = _found(path, labels["train"], labels[test] if test else None, by_split, test, names)
    chosen_parts = [by_split["train"], by_split[test] if test else []]

    def read(train_rows: Rows, test_rows: Rows, size: int | None) -> Pixels:
        wanted = {(0, int(row)): i for i, row in enumerate(train_rows)}
        wanted |= {(1, int(row)): i for i, row in enumerate(test_rows, len(train_rows))}
        shown = [f"row {row} of {('train', test)[which]}" for which, row in wanted]
        return decode_pictures(path, shown, _pictures(path, chosen_parts, image, wanted), size=size)

    return Found(*found, read)


def find_columns(
    path: str, schema: pyarrow.Schema, columns: Sequence[str] = ()
) -> tuple[str, str | None]:
    """The columns of images and of labels.

    Args:
        path: For messages.
        schema: Of the table.
        columns: What was asked for. Empty: images are in `image` or `img`, or else in the only
            column that can hold any; labels in `label` or `labels`, or else in the only one whose
            feature is `ClassLabel`; without any the images are unlabeled.

    Raises:
        ArtifactError: There is no such column, more than one that could be meant, or it holds
            something else.
    """
    there = ", ".join(repr(name[:40]) for name in schema.names[:12]) or "none"
    hint = "give --columns IMAGE,LABEL"
    for name in columns:
        if name not in schema.names:
            raise ArtifactError(f"{path} has no column {name!r}, but {there}; {hint}")
    if not columns:
        able = [name for name in schema.names if _is_image(schema.field(name).type)]
        image = [name for name in IMAGES if name in schema.names] or able
        known = [name for name in schema.names if _class_names(schema, name)]
        label = [name for name in LABELS if name in schema.names] or known
        if len(image) != 1 and image[:1] not in [[n] for n in IMAGES]:
            what = "no column of images" if not able else f"images in {' and '.join(able[:6])}"
            raise ArtifactError(f"{path} has {what}, and the columns {there}; {hint}")
        if len(label) > 1 and label[0] not in LABELS:
            raise ArtifactError(f"{path} has labels in {' and '.join(label[:6])}; {hint}")
        columns = [image[0], *label[:1]]
    kind = schema.field(columns[0]).type
    if not _is_image(kind):
        raise ArtifactError(f"{path}: the column {columns[0]!r} is no image, but {kind}; {hint}")
    return columns[0], columns[1] if len(columns) > 1 else None


def pyarrow_or_refuse(path: object) -> Any:
    """The modules of pyarrow that are used here.

    Raises:
        ArtifactError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise ArtifactError(f"{path} needs pyarrow; run pip install 'cptools[parquet]'") from None
    return pyarrow


@contextmanager
def _arrow_errors(path: object) -> Iterator[None]:
    """Turn what pyarrow raises into `ArtifactError`."""
    try:
        yield
    except ArtifactError:
        raise
    except Exception as error:  # noqa: BLE001 - of a damaged file it raises nearly anything
        raise ArtifactError(
            f"{path} is truncated or damaged ({one_line(error)}); get it again"
        ) from None


def _open(path: Path, split: str) -> Part:
    pa = pyarrow_or_refuse(path)
    with _arrow_errors(path):
        if path.suffix == ".arrow":
            return _open_arrow(pa, path, split)
        with pa.parquet.ParquetFile(path, **_THRIFT) as file:
            about, schema = file.metadata, file.schema_arrow
            size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        if about.num_rows > MAX_ROWS or not 0 <= size <= allowance(path):
            raise ArtifactError(
                f"{path} would become {size} bytes of {about.num_rows} rows; give a part of it"
            )
    return Part(str(path), split, schema, about.num_rows, partial(_parquet_batches, path))


def _parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    pa = pyarrow_or_refuse(path)
    with _arrow_errors(path), pa.parquet.ParquetFile(path, **_THRIFT) as file:
        yield from file.iter_batches(_BATCH, columns=[*columns], use_threads=False)


def _open_arrow(pa: Any, path: Path, split: str) -> Part:
    """A file of `Dataset.save_to_disk`, which is a stream of Arrow."""
    num = 0
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        schema = reader.schema
        for batch in reader:
            num += batch.num_rows
    return Part(str(path), split, schema, num, partial(_arrow_batches, path))


def _arrow_batches(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    pa = pyarrow_or_refuse(path)
    with (
        _arrow_errors(path),
        pa.OSFile(str(path)) as file,
        pa.ipc.open_stream(file) as reader,
    ):
        for batch in reader:
            batch.validate(full=True)  # its offsets are taken as they are, and may lead anywhere
            yield batch.select([*columns])


def _pictures(
    path: str,
    parts: Sequence[Sequence[Part]],
    image: str,
    wanted: Mapping[tuple[int, int], int],
) -> Iterator[tuple[int, bytes]]:
    """Row of the result and bytes of the wanted images, by (which split, row in it)."""
    for which, some in enumerate(parts):
        row = 0
        for part in some:
            if not any((which, number) in wanted for number in range(row, row + part.num)):
                row += part.num
                continue
            for column in _chunks(part, image):
                for number in range(len(column)):
                    if (which, row + number) in wanted:
                        with _arrow_errors(part.name):
                            data = _bytes(column[number].as_py())
                        if not data:
                            raise ArtifactError(
                                f"{part.name}: row {row + number} of {image!r} holds no bytes of an"
                                " image; save it with its pictures in it"
                            )
                        yield wanted[which, row + number], data
                row += len(column)


def _chunks(part: Part, name: str) -> Iterator[Any]:
    """A column, chunk by chunk: as many rows as the table says that it has."""
    num = 0
    for batch in part.batches([name]):
        num += batch.num_rows
        if num > part.num:
            break
        yield batch.column(0)
    if num != part.num:
        raise ArtifactError(
            f"{part.name} is truncated or damaged (its columns differ in rows); get it again"
        )


def _bytes(value: Any) -> bytes | None:
    return value.get("bytes") if isinstance(value, dict) else value


def _is_image(kind: Any) -> bool:
    """Whether a column of a type may hold encoded pictures."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _is_image(kind.field(place).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _labels(parts: Sequence[Part], name: str | None) -> list[Any] | None:
    """The labels of the rows, integers or text; None without a column of them."""
    import pyarrow as pa

    if name is None:
        return None
    values: list[Any] = []
    for part in parts:
        kind = part.schema.field(name).type
        if pa.types.is_nested(kind):
            raise ArtifactError(f"{part.name}: {name!r} {MANY}")
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not (pa.types.is_integer(kind) or is_text):
            raise ArtifactError(
                f"{part.name}: the column {name!r} is no label, but {kind}; give --columns"
                " IMAGE,LABEL"
            )
        for column in _chunks(part, name):
            with _arrow_errors(part.name):
                values += column.to_pylist()
        if None in values or "" in values:
            raise ArtifactError(f"{part.name}: a row of {name!r} has no label; leave it out")
    return values


def _found(
    path: str,
    train: list[Any] | None,
    test: list[Any] | None,
    by_split: Mapping[str, Sequence[Part]],
    split: str | None,
    names: Sequence[str],
) -> tuple[tuple[str, ...], Labels, Labels | None]:
    """Classes and labels of rows."""
    if train is None:
        num = [sum(part.num for part in by_split[s]) if s else None for s in ("train", split)]
        return unlabeled(num[0] or 0, num[1])
    if isinstance(train[0], int):
        held = None if test is None else np.array(test)
        return numbered(path, np.array(train), held, names)
    return number_labels(path, train, test)


def _class_names(schema: pyarrow.Schema, column: str | None) -> list[str]:
    """The names of the feature `ClassLabel`, as `datasets` writes it; else none."""
    try:
        text = (schema.metadata or {}).get(b"huggingface", b"{}")
        feature = parse_json(text)["info"]["features"][column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else []
    except (ValueError, KeyError, TypeError):
        return []
    is_names = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    return names if is_names and len(set(names)) == len(names) else []


def write_parquet(
    images: Pixels, labels: Labels, classes: Sequence[str], stream: IO[bytes]
) -> None:
    """Write a column of images, as PNG, and one of labels, as Hugging Face's `datasets` know them.

    Args:
        images: uint8 (N, 3, H, W).
        labels: int64 (N,).
        classes: Names by label; none for images without labels, which have no such column.
        stream: Where to.
    """
    pa = pyarrow_or_refuse("a parquet file")
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = [("image", picture)]
    if classes:
        features["label"] = {"names": list(classes), "_type": "ClassLabel"}
        columns.append(("label", pa.int64()))
    about = {"huggingface": dump_json({"info": {"features": features}})}
    schema = pa.schema(columns, metadata=about)
    with pa.parquet.ParquetWriter(stream, schema) as writer:
        for start in range(0, len(images), _BATCH):
            rows = slice(start, start + _BATCH)
            pictures = [{"bytes": encode_png(image), "path": None} for image in images[rows]]
            made = {"image": pictures, "label": labels[rows]}
            arrays = [pa.array(made[name], kind) for name, kind in columns]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
