"""Clean datasets that a header names: it may come from a stranger, and nobody has typed it."""

import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cptools.artifacts import recorded  # noqa: TID253 - without numpy
from cptools.core.settings import Setting, check_value  # noqa: TID253 - without torch
from cptools.workflows.doors import check_seed, check_text, naming

if TYPE_CHECKING:
    from cptools.artifacts.schema import Source

MOST_BYTES = 4 << 30  # of images that are made because a header names them
_MOST_ENTRIES = 1 << 22  # of a folder
_MANY = 10_000  # images; making more of them takes seconds

_log = logging.getLogger(__name__)

CHOICES = {
    "limit": Setting(int, "Training images to keep, stratified by class.", 1),
    "fraction": Setting(float, "Fraction of the training images to keep.", 0, 1),
    "limit_test": Setting(int, "Test images to keep, stratified by class.", 1),
    "size": Setting(int, "Image size in pixels.", 1),
    "holdout": Setting(float, "Fraction of the training images held out for testing.", 0, 1),
    "contrast": Setting(float, "Contrast factor.", 0, 1),
}
"""Options of a dataset, besides its classes and the seed."""


def check_source(source: "Source", cache: Path, side: int) -> dict[str, Any]:
    """Refuse a source that nobody would type, and say what is read because a header names it.

    Args:
        source: from a header.
        cache: folder of what was downloaded before; nothing is downloaded for a header.
        side: width in pixels of the images that are wanted.

    Returns:
        Its options, as they could be typed.

    Raises:
        ValueError: an option is none, or has a value that it cannot have; it is not on this
            machine; or it is neither a regular file nor a folder that keeps to itself.
        OSError: the path cannot be looked at.
    """
    options = {name: _option(name, value, source.name) for name, value in source.options.items()}
    if options.get("size", side) != side:
        raise ValueError(f"`size={options['size']}` is not the {side} pixels that the file tells")
    if source.name.startswith("/"):
        _check_paths(source.name)
    elif source.name.startswith(recorded.HUB):
        raise ValueError("nothing is downloaded because a file names it")
    elif source.name not in recorded.SOURCES:
        raise ValueError("it is neither a source nor an absolute path")
    elif source.name != "shapes" and not (cache / source.name).is_dir():
        raise ValueError(
            "it is not on this machine, and nothing is downloaded because a file names it; get it"
            f" by `cp.load` {source.name}"
        )
    elif source.name != "shapes":
        _say_reading(source.name)
    return options


def check_bytes(num: int, side: int) -> None:
    """Refuse to make more images for a header than it should ask for, and say it if they are many.

    Raises:
        ValueError: they are more than 4 GiB.
    """
    if num > _MANY:
        _log.info("making the %d images of the clean dataset that the header names", num)
    if num * 3 * side**2 > MOST_BYTES:
        raise ValueError(
            f"{num} images of {side} pixels have more than {MOST_BYTES >> 30} GiB, too many to be"
            " made because a file names them"
        )


def _say_reading(name: str) -> None:
    _log.info("reading the clean dataset %s, which the header names", name)


def _option(name: str, value: object, source: str) -> Any:
    with naming(name):
        if name == "seed":
            return check_seed(value)
        if name == "columns":
            check_text(value, name=name, such_as="image,label")
            return value
        if name == "classes":
            if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                raise ValueError("these are no names")
            return value
        if name not in CHOICES:
            raise ValueError(f"`{name}` does not apply to {source}; leave it out")
        return check_value(CHOICES[name], value)


def _check_paths(name: str) -> None:
    from cptools.artifacts.csv_list import SUFFIXES
    from cptools.artifacts.formats import named_files

    if "\0" in name:
        raise ValueError("it is no path of a dataset")
    paths = named_files(name)
    paths += [path.parent for path in paths if path.suffix.lower() in SUFFIXES]  # what they list
    roots = [_root(path) for path in paths]
    _say_reading(name)
    for root in roots:
        _check_links(root)


def _root(path: Path) -> str:
    root = os.path.realpath(path)
    if root == "/":
        raise ValueError("it is no path of a dataset")
    mode = Path(root).stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError("it is neither a regular file nor a folder")
    return root


def _check_links(root: str) -> None:
    num = 0
    for folder, folders, files in os.walk(root):  # of a file there is nothing to walk
        num += len(folders) + len(files)
        if num > _MOST_ENTRIES:
            raise ValueError(f"it has more than {_MOST_ENTRIES} files")
        for link in filter(os.path.islink, (os.path.join(folder, n) for n in folders + files)):  # noqa: PTH118 - millions of them
            if not os.path.realpath(link).startswith(f"{root}/"):
                raise ValueError(f"{link} in it is a link to elsewhere")
