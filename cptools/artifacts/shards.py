"""WebDataset shards: tar archives in which files of one name and several suffixes are a sample.

`KEY.jpg` (or any other image format) is the image; its label is the number or name in `KEY.cls`, or
`label` or `cls` of the object in `KEY.json`. The key ends at the first dot of the file's name. The
name of the class may stand in `KEY.json` as `class_name`. A shard whose name has the word `test`
(or `val`, `valid`, `validation`) holds test images.
"""

from __future__ import annotations

import fnmatch
import io
import itertools
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from cptools.artifacts.containers import container, members, one_line_errors
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.found import (
    MANY,
    MAX_ROWS,
    Found,
    Labels,
    Rows,
    number_labels,
    split_of,
    test_split,
)
from cptools.artifacts.pictures import Pixels, decode_pictures, encode_png, is_picture
from cptools.artifacts.strict_json import dump_json, parse_json

MAX_FILES = 10_000  # shards of a dataset

_MAX_LABEL = 1 << 20  # bytes of a label or of what is told about an image
_LOOKS = 200  # files until one is an image, in which a shard is told from another archive
_LABELS = ("label", "cls")
_GLOB = re.compile(r"[*?]|\[[^\]]+\]")
_BRACES = re.compile(r"\{[^{}]*(?:,|\.\.)[^{}]*\}")
_RANGE = re.compile(r"([0-9]{1,12})\.\.([0-9]{1,12})")


def is_pattern(path: str) -> bool:
    """Whether a path names several files: `x-{000..009}.tar`, `x-{train,test}.tar`, `x-*.tar`."""
    return bool(_GLOB.search(path) or _BRACES.search(path))


def expand(pattern: str) -> list[Path]:
    """The files that a pattern names: braces as in bash; `*`, `?`, `[...]` in the last part.

    Raises:
        ArtifactError: They are none or too many.
    """
    paths: list[Path] = []
    for name in itertools.islice(_braces(pattern), MAX_FILES + 1):
        path = Path(name)
        if not _GLOB.search(path.name):
            paths.append(path)
            continue
        try:
            with os.scandir(path.parent) as entries:
                names = sorted(e.name for e in entries if fnmatch.fnmatchcase(e.name, path.name))
        except OSError as error:
            raise ArtifactError(f"cannot read {path.parent}: {error.strerror}; check it") from None
        paths += [path.parent / one for one in names if not one.startswith(".")]
    for path in paths:
        if not path.is_file():
            raise ArtifactError(f"{pattern} names {path}, which is no file; get it, or name others")
    if not 1 <= len(paths) <= MAX_FILES:
        many = f"more than {MAX_FILES}" if paths else "no"
        raise ArtifactError(f"{pattern} names {many} files; give another pattern")
    return paths


def is_shard(path: Path) -> bool:
    """Whether the first image of a tar archive has a label beside it."""
    with one_line_errors(path):
        sample: dict[str, bytes] = {}
        key = ""
        for name, member in itertools.islice(members(path), _LOOKS):
            new, suffix = _parts(name)
            if new != key:
                if any(map(_is_image, sample)):
                    break
                key, sample = new, {}
            small = suffix in ("cls", "json") and member.size <= _MAX_LABEL
            sample[suffix] = member.read() if small else b""
    if not any(map(_is_image, sample)):
        return False
    return "cls" in sample or any(name in _told(sample.get("json", b"")) for name in _LABELS)


def find_shards(path: str, files: Sequence[Path], columns: Sequence[str] = ()) -> Found:
    """What shards hold.

    Args:
        path: What names them, for messages.
        files: The shards.
        columns: The second is the key of the label in `KEY.json`, in place of any other label.

    Raises:
        ArtifactError: A shard is damaged or cut short, an image has several labels, or some have
            none.
    """
    images: dict[str, list[tuple[int, str]]] = {}  # number of the shard, name in it
    labels: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for number, file in enumerate(files):
        split = split_of(file.name)
        for name, label, class_name in _samples(file, columns[1] if len(columns) > 1 else None):
            images.setdefault(split, []).append((number, name))
            labels.setdefault(split, []).append(label)
            if class_name:
                names[label] = class_name
            if len(images[split]) > MAX_ROWS:
                raise ArtifactError(f"{path} holds more than {MAX_ROWS} images; give a part of it")
    if "train" not in images:
        raise ArtifactError(f"{path} contains no images to train on; expected KEY.jpg and KEY.cls")
    test = test_split([*images])
    classes, train, held = number_labels(path, labels["train"], labels[test] if test else None)
    told = [names.get(name, "") for name in classes]
    if all(told) and len(set(told)) == len(told):
        classes = tuple(told)
    listed = [images["train"], images[test] if test else []]

    def read(train_rows: Rows, test_rows: Rows, size: int | None) -> Pixels:
        chosen = [listed[0][row] for row in train_rows] + [listed[1][row] for row in test_rows]
        shown = [f"{files[number].name}:{name}" for number, name in chosen]
        return decode_pictures(path, shown, _files(files, chosen), size=size)

    return Found(classes, train, held, read)


def write_shard(images: Pixels, labels: Labels, classes: Sequence[str], stream: IO[bytes]) -> None:
    """Write `KEY.png`, `KEY.cls` and `KEY.json`, with the name of the class, of each image.

    Args:
        images: uint8 (N, 3, H, W).
        labels: int64 (N,).
        classes: Names by label; none for images without labels, which have no such files.
        stream: Where to.
    """
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            parts = {"png": encode_png(image)}
            if classes:
                told = {"class_name": classes[label], "label": label}
                parts |= {"cls": str(label).encode(), "json": dump_json(told).encode()}
            for suffix, data in parts.items():
                info = tarfile.TarInfo(f"{row:08d}.{suffix}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            archive.members = []  # type: ignore[attr-defined] # else tarfile keeps every one


def _files(files: Sequence[Path], chosen: Sequence[tuple[int, str]]) -> Iterator[tuple[int, bytes]]:
    """Row and bytes of the chosen images, a shard after the other."""
    rows = {where: row for row, where in enumerate(chosen)}
    for number in sorted({number for number, _ in chosen}):
        with one_line_errors(files[number]):
            for name, member in members(files[number]):
                if (number, name) in rows:
                    yield rows[number, name], member.read()


def _samples(path: Path, key: str | None) -> Iterator[tuple[str, str, str]]:
    """(name of the image, label, class name) of each sample; empty text for what it lacks."""
    if container(path) != "tar":
        raise ArtifactError(f"{path} is no tar archive, as shards are; give others")
    seen: set[str] = set()
    sample: dict[str, Any] = {}
    with one_line_errors(path):
        for name, member in members(path):
            stem, suffix = _parts(name)
            if stem != sample.get("key"):
                yield from _whole(path, sample, key)
                sample = {"key": stem}
            if _is_image(suffix):
                if "image" in sample or name in seen:
                    raise ArtifactError(f"{path} contains {stem} twice; pack it again")
                sample["image"] = name
                seen.add(name)
            elif suffix in ("cls", "json"):
                if member.size > _MAX_LABEL:
                    raise ArtifactError(f"{path}: {name} is too large for a label; leave it out")
                sample[suffix] = member.read()
    yield from _whole(path, sample, key)


def _whole(
    path: Path, sample: Mapping[str, Any], key: str | None
) -> Iterator[tuple[str, str, str]]:
    if "image" not in sample:
        return
    name, told = sample["image"], _told(sample.get("json", b""))
    if key is not None:
        value = told.get(key)
        if value is None:
            raise ArtifactError(f"{path}: {name} has no {key!r} in its .json; give --columns")
    elif "cls" in sample:
        value = sample["cls"].decode("utf-8", "replace").strip()
    else:
        value = next((told[name] for name in _LABELS if name in told), "")
    if isinstance(value, list) or re.fullmatch(r"\s*\d+([,\s]+\d+)+\s*", str(value)):
        raise ArtifactError(f"{path}: {name} {MANY}")
    if not isinstance(value, str | int) or isinstance(value, bool) or len(str(value)) > 200:
        raise ArtifactError(f"{path}: the label of {name} is no number or name; pack it so")
    class_name = told.get("class_name", "")
    yield name, str(value), class_name if isinstance(class_name, str) else ""


def _told(data: bytes) -> dict[str, Any]:
    """The object in a `.json`; empty for what is none."""
    try:
        value = parse_json(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_image(suffix: str) -> bool:
    return "." not in suffix and is_picture(f"x.{suffix}")


def _parts(name: str) -> tuple[str, str]:
    """Key and suffix of a file, as WebDataset splits its name."""
    folder, _, file = name.rpartition("/")
    key, _, suffix = file.partition(".")
    return f"{folder}/{key}", suffix.lower()


def _braces(pattern: str) -> Iterator[str]:
    """The names that the braces of a pattern stand for, in order."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    inside = found[1] if found else ""
    numbers = _RANGE.fullmatch(inside)
    if numbers and int(numbers[1]) > int(numbers[2]):
        numbers = None
    if found is None or not (numbers or "," in inside):
        yield pattern
        return
    words: Iterator[str] = iter(inside.split(","))
    if numbers:
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        words = (f"{n:0{width}}" for n in range(int(numbers[1]), int(numbers[2]) + 1))
    for word in words:
        for rest in _braces(pattern[found.end() :]):
            yield pattern[: found.start()] + word + rest
