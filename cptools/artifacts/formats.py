"""Datasets in the formats of others: which one a path is, and the reader of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cptools.artifacts import csv_list, images, npz, shards, tables
from cptools.artifacts.atomic import atomic_write
from cptools.artifacts.containers import container, one_line_errors
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.found import Found
from cptools.artifacts.schema import Dataset

__all__ = ["SUFFIXES", "export", "export_files", "find", "named_files", "sniff"]

SUFFIXES = (".npz", ".tar", ".parquet")
"""Of the files that `export` writes."""

_BOTH = "{train,test}"


def sniff(path: str | os.PathLike[str]) -> bool:
    """Whether a path is data that `find` may read, by its first bytes; CSV files by their suffix.

    A safetensors file, a pipe, and a path that is not there are none. A pattern is, where it is no
    path itself.
    """
    whole = Path(path)
    if _is_pattern(os.fspath(path)) or whole.is_dir():
        return True
    if not whole.is_file():
        return False
    if whole.suffix.lower() in (*csv_list.SUFFIXES, ".arrow"):
        return True
    return container(whole) is not None or tables.is_parquet(whole)


def named_files(path: str) -> list[Path]:
    """What a path names: itself, or the files of a pattern.

    Raises:
        ArtifactError: It is a pattern that names none.
    """
    return shards.expand(path) if _is_pattern(path) else [Path(path)]


def find(path: str | os.PathLike[str], columns: Sequence[str] = ()) -> Found:
    """What a path holds: its classes and labels; no image is decoded yet.

    Args:
        path: A folder or archive of images, a `.npz` file, a CSV file, a parquet file or a folder
            of these or of `datasets`, a WebDataset shard, or a pattern of shards or of parquet
            files.
        columns: Names of the columns of images and of labels, of formats that have any.

    Raises:
        ArtifactError: It is none of these, is damaged, or holds no images.
    """
    path = os.fspath(path)
    files = named_files(path)
    whole = files[0]
    if files != [Path(path)]:
        if all(file.suffix in tables.SUFFIXES for file in files):
            return tables.find_tables(path, files, columns)
        return shards.find_shards(path, files, columns)
    kind = container(whole)
    if kind == "folder":
        found = tables.table_files(whole)
        if found:
            return tables.find_tables(path, found, columns)
    elif kind is None:
        if whole.suffix.lower() in csv_list.SUFFIXES:
            return csv_list.find_csv(whole, columns)
        with one_line_errors(whole):
            if whole.suffix == ".arrow" or tables.is_parquet(whole):
                return tables.find_tables(path, [whole], columns)
    elif kind == "tar" and shards.is_shard(whole):
        return shards.find_shards(path, files, columns)
    if columns:
        raise ArtifactError(f"{path} has no columns; leave --columns out")
    if kind == "zip" and npz.is_npz(whole):
        return npz.find_npz(whole)
    return images.find_images(whole)


def export(path: str | os.PathLike[str], dataset: Dataset) -> None:
    """Write images, labels and class names for other programs: no history, no source.

    Args:
        path: Its suffix, one of `SUFFIXES`, is the format. With `{train,test}` in its name it is
            two files; .tar and .parquet hold one split, so that they need it if there are test
            images.
        dataset: What to write.

    Raises:
        ArtifactError: There are test images and one name, or pyarrow is missing.
        OSError: The disk is full or fails.
    """
    path = os.fspath(path)
    suffix = Path(path).suffix
    if suffix == ".npz":
        with atomic_write(path) as stream:
            npz.write_npz(dataset, stream)
        return
    parts = {path: (dataset.train_images, dataset.train_labels)}
    if _BOTH in path:
        before, _, after = path.partition(_BOTH)
        tests = (dataset.test_images, dataset.test_labels)
        parts = {f"{before}train{after}": parts[path], f"{before}test{after}": tests}
    elif len(dataset.test_images):
        stem = path.removesuffix(suffix)
        raise ArtifactError(
            f"{path} would hold training and test images alike; name two files, such as"
            f" '{stem}-{_BOTH}{suffix}'"
        )
    write = shards.write_shard if suffix == ".tar" else tables.write_parquet
    if suffix == ".parquet":
        tables.pyarrow_or_refuse(path)
    for name, (pictures, labels) in parts.items():
        with atomic_write(name) as stream:
            write(pictures, labels, dataset.classes if dataset.is_labeled else (), stream)


def export_files(path: str) -> list[str]:
    """The files that `export` may write, to look whether it can."""
    return [path.replace(_BOTH, split) for split in ("train", "test")] if _BOTH in path else [path]


def _is_pattern(path: str) -> bool:
    return shards.is_pattern(path) and not os.path.exists(path)  # noqa: PTH110 - false for any error
