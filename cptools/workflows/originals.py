"""Folders of photographs that are given to be protected, or compared."""

from pathlib import Path
from typing import TYPE_CHECKING

from cptools.workflows.doors import check_path

if TYPE_CHECKING:
    import os

    from cptools.artifacts.photo_folder import Photographs


def photo_folder(path: "str | os.PathLike[str]", *, name: str) -> Path:
    """A folder that is there.

    Args:
        path: what was given.
        name: of the parameter.

    Raises:
        ValueError: it is none.
    """
    root = Path(check_path(path, name=name))
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; give one of photographs")
    return root


def find_originals(root: Path) -> "Photographs":
    """What a folder holds.

    Raises:
        ValueError: there are no photographs in it.
        OSError: a folder cannot be read.
    """
    from cptools.artifacts.photo_folder import find_photographs

    found = find_photographs(root)
    if not found.names:
        raise ValueError(f"{root} holds no JPEG, PNG or WebP files; give a folder that does")
    return found
