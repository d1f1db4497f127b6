"""Datasets of the Hugging Face hub by name, through the package `datasets`; only if typed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cptools.artifacts.containers import one_line
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.found import Found, split_of
from cptools.artifacts.recorded import HUB
from cptools.artifacts.tables import Part, find_parts

_NAME = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")
_BATCH = 256  # rows of which the pictures are in memory


def find_on_hub(name: str, columns: Sequence[str] = ()) -> Found:
    """What a dataset of the hub holds, downloaded once into the cache of `datasets`.

    Args:
        name: `OWNER/NAME`, or `OWNER/NAME:CONFIGURATION`.
        columns: Names of the columns of images and of labels; see `find_columns`.

    Raises:
        ArtifactError: It is no name, `datasets` is missing, or the dataset has no images.
        OSError: It cannot be had.
    """
    whole = f"{HUB}{name}"
    repository, _, configuration = name.partition(":")
    if not _NAME.fullmatch(repository) or not re.fullmatch(r"[\w.-]*", configuration):
        raise ArtifactError(f"{whole} is no name on the hub; give {HUB}OWNER/NAME")
    if Path(repository).exists():  # which `datasets` would read in its place
        raise ArtifactError(f"{repository} is here as a file or folder; give it as a path")
    try:
        import datasets
    except ImportError:
        raise ArtifactError(
            f"{whole} needs the package datasets; run pip install 'cptools[hf]'"
        ) from None
    datasets.disable_progress_bars()
    try:
        splits = datasets.load_dataset(repository, configuration or None)
    except Exception as error:  # noqa: BLE001 - no network, no such name, a configuration missing
        raise OSError(
            f"cannot get {whole} ({one_line(error)}); without a network give a folder or parquet"
            " file instead"
        ) from None
    parts = [
        Part(
            f"{whole} ({split})",
            split_of(split),
            found.features.arrow_schema,
            len(found),
            partial(_batches, found),
        )
        for split, found in splits.items()
    ]
    return find_parts(whole, parts, columns)


def _batches(found: Any, columns: Sequence[str]) -> Iterator[Any]:
    from datasets.table import embed_table_storage

    table = found.select_columns([*columns]).with_format("arrow")
    for start in range(0, len(found), _BATCH):
        batch = table[start : start + _BATCH]
        yield from embed_table_storage(batch).combine_chunks().to_batches()
