"""Datasets by name, folder, archive, file or pipe; and the clean data that a probe needs."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cptools import __version__
from cptools.cli._app import UsageError, say
from cptools.core.defenses import DEFENSES  # noqa: TID253 - a registry, without torch

if TYPE_CHECKING:
    from cptools.artifacts.export import About
    from cptools.artifacts.images import Listing
    from cptools.artifacts.schema import Dataset, Entry, Input, Source
    from cptools.core.sources.select import Selection

SOURCES = ("shapes", "cifar10", "cifar100", "stl10")


class SourceReader:
    """A source that looks like the reader of a dataset file: it is made when read.

    Attributes:
        name: of the dataset.
        file_name: what files made of it are called.
    """

    def __init__(self, path: str, *, quiet: bool = False):
        self.path = path
        self.quiet = quiet
        self.name = path if path in SOURCES else path_name(path)
        self.file_name = self.name

    def read(self) -> "Dataset":
        """Make the dataset, as `cp-dataset` does without options.

        Raises:
            UsageError: it needs some.
        """
        from cptools.artifacts.errors import ArtifactError

        try:
            return make_dataset(self.path, {"seed": 0}, quiet=self.quiet)
        except (ArtifactError, UsageError):
            raise
        except ValueError as error:
            raise UsageError(f"cp-dataset {self.path}: {error}") from None


class FileReader:
    """The reader of a dataset file or stream, its header checked.

    Attributes:
        name: of the dataset.
        file_name: what files made of it are called.
    """

    def __init__(self, path: str):
        from cptools.artifacts.stream import open_artifact

        self.reader = open_artifact(path, expect=("dataset",))
        self.name = str(self.reader.header["name"])
        self.file_name = chain_name(self.reader.history) or self.name

    def read(self) -> "Dataset":
        """Read and check the contents."""
        from cptools.artifacts.schema import Dataset

        dataset = self.reader.read()
        assert isinstance(dataset, Dataset)
        return dataset


def is_source(path: str) -> bool:
    """Whether a path is a source's name, an image folder or an archive: no artifact."""
    if path in SOURCES:
        return True
    if path == "-":
        return False
    from cptools.artifacts.images import sniff

    return sniff(path)


def open_dataset(path: str, *, quiet: bool = False) -> SourceReader | FileReader:
    """Open what `resolve_input` returned; a file's header is checked now, contents when read."""
    return SourceReader(path, quiet=quiet) if is_source(path) else FileReader(path)


def path_name(path: str) -> str:
    """Name of a folder or file without its suffixes; `.` has one too."""
    return Path(os.path.abspath(path)).name.split(".")[0]  # noqa: PTH100 - links kept


def chain_name(history: "Sequence[Entry]") -> str:
    """What was done to a dataset, for a file name such as `byol-class-mc`; empty for nothing."""
    words = []
    for step in history:
        match step.tool:
            case "cp-generate":
                words += [step.parameters.get("alg"), step.parameters.get("mode")]
            case "cp-perturb":
                told = step.parameters
                natural = told.get("kind") or told.get("suite")
                words += [natural or ("noise" if told.get("noise") else "poisoned")]
            case "cp-defend":
                words += [name for name in DEFENSES if name in step.parameters]
            case "cp-pretrain":
                words += [step.parameters.get("alg")]
    return "-".join(str(word) for word in words if word)


def entry(tool: str, parameters: dict[str, Any], inputs: "dict[str, Input]") -> "Entry":
    """A line of history: what is None was not used."""
    from cptools.artifacts.schema import Entry

    used = {name: value for name, value in parameters.items() if value is not None}
    return Entry(tool=tool, version=__version__, parameters=used, inputs=inputs)


def as_typed(options: dict[str, Any]) -> dict[str, Any]:
    """Options of `cp-dataset` as they are typed, for the history."""
    return {name: ",".join(v) if name == "classes" else v for name, v in options.items()}


def main_input(digest: str) -> "dict[str, Input]":
    """The inputs of a tool that read one artifact, whose history comes before its own."""
    from cptools.artifacts.schema import Input

    return {"input": Input(digest)}


def make_dataset(path: str, options: dict[str, Any], *, quiet: bool = False) -> "Dataset":
    """Make a dataset from a source: a clean one, or the one that a folder was exported from.

    A folder that `cp-dataset --export` wrote, or an archive of it, gives the exported dataset
    back, history and source included, if nothing is chosen and the pictures are still the same.
    If not, it is a source like any other, except that pictures which were not clean when they
    were exported are no clean source.

    Args:
        path: name of a source, or an image folder or archive.
        options: of `cp-dataset`: limit, fraction, limit_test, classes, size, holdout, contrast,
            seed; what is None or absent was not given.
        quiet: whether to leave out the line about an export that has changed.

    Raises:
        UsageError: an option does not apply to the source.
        ArtifactError: folder or archive cannot be read.
        OSError: a download failed.
    """
    from cptools.artifacts.history import digest
    from cptools.artifacts.schema import Dataset, Source
    from cptools.core.sources.contrast import scale_contrast
    from cptools.core.sources.select import channel_statistics

    options = {name: value for name, value in options.items() if value is not None}
    is_clean = True
    if path == "shapes":
        name, arrays, classes = path, *_shapes(options)
    elif path in SOURCES:
        name, arrays, classes = path, *_torchvision(path, options)
    else:
        path = os.path.abspath(path)  # noqa: PTH100 - a source is an absolute path, links kept
        found = _list(path, options)
        name, arrays, classes = path_name(path), *_images(path, found, options)
        if found.about is not None:
            about, restored = _exported(path, found.about, arrays, classes, options, quiet=quiet)
            if restored is not None:
                return restored
            is_clean = about is not None and about.is_clean
    train_images, train_labels, test_images, test_labels, train_index = arrays
    if "contrast" in options and path != "shapes":  # shapes are drawn at their contrast
        train_images, test_images = (
            scale_contrast(images, options["contrast"]) for images in (train_images, test_images)
        )
    mean, std = channel_statistics(train_images)
    if not all(std):
        raise UsageError("a color channel is the same in every pixel; such pictures teach nothing")
    dataset = Dataset(
        train_images,
        train_labels,
        test_images,
        test_labels,
        train_index,
        name=name,
        classes=classes,
        mean=mean,
        std=std,
        source=None,
        history=(entry("cp-dataset", {"input": path, **as_typed(options)}, {}),),
    )
    if not is_clean:
        return dataset
    source = Source(name=path, options=options, digest=digest(dataset.arrays()))
    return replace(dataset, source=source)


def clean_dataset(
    source: "Source | None", given: "str | Dataset | None", *, need: str
) -> "Dataset":
    """The clean dataset of a source: read where the user says, or made again and compared.

    Args:
        source: from an artifact's header.
        given: what `--dataset` said, or the dataset that was read there.
        need: what it is needed for, for the message.

    Raises:
        UsageError: it cannot be had, or is another one than the artifact was made of.
    """
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.history import dataset_digest

    if given is not None:
        return open_dataset(given).read() if isinstance(given, str) else given
    if source is None:
        raise UsageError(
            f"{need} needs the clean dataset, of which nothing is known; give --dataset"
        )
    wanted = f"the clean dataset {source.name} (sha256 {source.digest[:12]})"
    try:
        dataset = make_dataset(source.name, source.options, quiet=True)
    except (ArtifactError, OSError, UsageError, TypeError, ValueError) as error:  # anybody's header
        raise UsageError(f"{need} needs {wanted}: {error}; or give it with --dataset") from None
    if dataset_digest(dataset) != source.digest:
        raise UsageError(f"{need} needs {wanted}, but what is there now differs; give --dataset")
    return dataset


def _shapes(options: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
    from cptools.core.sources.shapes import CLASSES, shapes

    _allow(options, "shapes", ("limit", "limit_test", "contrast", "size", "seed"))
    names = {"limit": "train", "limit_test": "test"}
    arrays = shapes(**{names.get(name, name): value for name, value in options.items()})
    return (*arrays, None), CLASSES


def _torchvision(name: str, options: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
    from cptools.core.sources.resize import resize
    from cptools.core.sources.torchvision_sets import SETS

    choices = ("limit", "fraction", "limit_test", "classes", "size", "contrast", "seed")
    _allow(options, name, choices)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    *arrays, names = SETS[name](Path(cache) / "cptools")
    (train, labels, test, test_labels, index), classes = select_rows(
        (*arrays, None), names, options
    )
    if "size" in options:
        train, test = (resize(images, options["size"]) for images in (train, test))
    return (train, labels, test, test_labels, index), classes


def _list(path: str, options: dict[str, Any]) -> "Listing":
    """What a folder or archive holds, if the options apply to one."""
    from cptools.artifacts.images import list_images

    choices = ("limit", "fraction", "limit_test", "classes", "size", "holdout", "contrast", "seed")
    _allow(options, path, choices)
    return list_images(path)


def _images(path: str, found: "Listing", options: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
    from cptools.artifacts.images import read_images
    from cptools.core.sources.select import relabel

    if found.test is None and found.about is not None:
        options = {"holdout": 0, **options}  # it was exported without a test split
    test = found.test or found.train
    chosen = choose_rows(
        found.train.labels, found.test.labels if found.test else None, found.classes, options
    )
    names = [found.train.names[row] for row in chosen.train]
    test_names = [test.names[row] for row in chosen.test]
    images = read_images(path, names + test_names, size=options.get("size"))
    return (
        images[: len(names)],
        relabel(found.train.labels[chosen.train], chosen.classes),
        images[len(names) :],
        relabel(test.labels[chosen.test], chosen.classes),
        _index(chosen.train, len(found.train.labels)),
    ), tuple(found.classes[label] for label in chosen.classes)


def _exported(
    path: str,
    data: bytes,
    arrays: Any,
    classes: tuple[str, ...],
    options: dict[str, Any],
    *,
    quiet: bool,
) -> "tuple[About | None, Dataset | None]":
    """What an export says of itself, if that can be read, and the dataset, if it still is that."""
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.export import ABOUT_FILE, read_about

    names = ("train.images", "train.labels", "test.images", "test.labels")
    named = dict(zip(names, arrays[:4], strict=True))
    try:
        about = read_about(data, named)
    except ArtifactError as error:
        say(f"note: {ABOUT_FILE} in {path} is left out of account: {error}", quiet=quiet)
        return None, None
    if set(options) - {"seed"}:
        return about, None
    restored = about.restore(named, classes)
    if restored is None:
        say(
            f"note: {path} is not what was exported into it any more; it counts as pictures"
            " without a history",
            quiet=quiet,
        )
    return about, restored


def select_rows(
    arrays: Any, names: tuple[str, ...], options: dict[str, Any]
) -> tuple[Any, tuple[str, ...]]:
    """Rows and classes of arrays in memory, by the options of `cp-dataset`.

    Args:
        arrays: train images and labels, test images and labels, train index or None.
        names: class names.
        options: limit, fraction, limit_test, classes, seed.
    """
    from cptools.core.sources.select import relabel

    train_images, train_labels, test_images, test_labels, index = arrays
    chosen = choose_rows(train_labels, test_labels, names, options)
    rows = _index(chosen.train, len(train_labels))
    return (
        train_images[chosen.train],
        relabel(train_labels[chosen.train], chosen.classes),
        test_images[chosen.test],
        relabel(test_labels[chosen.test], chosen.classes),
        index if rows is None else rows if index is None else index[rows],
    ), tuple(names[label] for label in chosen.classes)


def choose_rows(
    train_labels: Any, test_labels: Any, names: Any, options: dict[str, Any]
) -> "Selection":
    """Rows and classes by the options of `cp-dataset`; see `cptools.core.sources.select.select`."""
    from cptools.core.sources.select import select

    return select(
        train_labels,
        test_labels,
        names,
        limit=options.get("limit"),
        fraction=options.get("fraction"),
        limit_test=options.get("limit_test"),
        classes=options.get("classes"),
        holdout=options.get("holdout"),
        seed=options.get("seed", 0),
    )


def _index(rows: Any, num: int) -> Any:
    """The chosen rows, or None where they are all of them."""
    return None if len(rows) == num else rows


def _allow(options: dict[str, Any], name: str, allowed: tuple[str, ...]) -> None:
    for option in options:
        if option not in allowed:
            raise UsageError(f"--{option.replace('_', '-')} does not apply to {name}; leave it out")
