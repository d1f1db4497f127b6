"""Copies of image files as they are, some left out."""

import os
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from cptools.artifacts.containers import container, members, one_line_errors
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.export import new_folder
from cptools.artifacts.images import list_images


def copy_images(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], left_out: Collection[str]
) -> int:
    """Copy the images of a folder or archive, byte for byte and under their names.

    Args:
        path: A folder or archive of images; see `images`.
        folder: Made here, whole or not at all; may exist if it is empty.
        left_out: Names of images, as `list_images` has them, that are not copied.

    Returns:
        How many are.

    Raises:
        ArtifactError: `path` is neither, `folder` cannot be made or lies in it, or a name in an
            archive leads out of it.
        OSError: The disk is full or fails.
    """
    path, folder = Path(path), Path(folder)
    if container(path) is None:
        raise ArtifactError(f"{path} is no folder or archive, whose files could be copied; export")
    if folder.resolve().is_relative_to(path.resolve()):
        raise ArtifactError(f"{folder} lies in {path}, which is copied; name another folder")
    listing = list_images(path)
    names = {*listing.train.names, *(listing.test.names if listing.test else ())} - {*left_out}
    num = 0
    with new_folder(folder) as made, one_line_errors(path):
        for name, member in members(path):
            if name not in names:
                continue
            inside = PurePosixPath(name)
            if inside.is_absolute() or ".." in inside.parts:
                raise ArtifactError(f"{path}: {name} leads out of it; pack it again")
            (made / inside).parent.mkdir(parents=True, exist_ok=True)
            (made / inside).write_bytes(member.read())
            num += 1
    return num
