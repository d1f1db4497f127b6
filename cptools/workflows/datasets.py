"""Datasets by name, folder, archive, file or pipe; and the clean data that a probe needs."""

import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cptools.artifacts import recorded  # noqa: TID253 - without numpy
from cptools.text import few
from cptools.workflows.doors import naming
from cptools.workflows.histories import chain_name, entry, main_input
from cptools.workflows.origins import check_bytes, check_source

if TYPE_CHECKING:
    from cptools.artifacts.export import About
    from cptools.artifacts.found import Found
    from cptools.artifacts.schema import Dataset, Source
    from cptools.core.sources.select import Selection

SOURCES = recorded.SOURCES
HUB = recorded.HUB
MIXED = 64  # pixels in which images of several sizes are looked at

_log = logging.getLogger(__name__)


class SourceReader:
    """A source with the interface of `FileReader`: the dataset is made when read.

    Attributes:
        name: of the dataset.
        file_name: name for files made from it.
    """

    def __init__(self, path: str):
        self.path = path
        self.name = path if path in SOURCES else path_name(path)
        self.file_name = self.name

    def read(self) -> "Dataset":
        """Make the dataset, as `cp-dataset` does without options.

        Raises:
            ValueError: it needs some.
        """
        from cptools.artifacts.errors import ArtifactError

        try:
            return make_dataset(self.path, {"seed": 0})
        except ArtifactError:
            raise
        except ValueError as error:
            raise ValueError(f"`cp.load` {self.path}: {error}") from None


class FileReader:
    """The reader of a dataset file or stream, its header checked.

    Attributes:
        name: of the dataset.
        file_name: name for files made from it.
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
    """Whether a path is a source's name or data in another format: no artifact."""
    if path in SOURCES or path.startswith(HUB):
        return True
    if path == "-":
        return False
    from cptools.artifacts.formats import sniff

    return sniff(path)


def names_source(path: str) -> bool:
    """Whether text names data without being a path: of the hub, or a pattern of files."""
    if path.startswith(HUB):
        return True
    from cptools.artifacts.shards import is_pattern

    return is_pattern(path)


def open_dataset(path: str) -> SourceReader | FileReader:
    """Open a source or a file; a file's header is checked now, contents when read."""
    return SourceReader(path) if is_source(path) else FileReader(path)


def path_name(path: str) -> str:
    """Name of a folder or file without its suffixes; `.` has one too."""
    return Path(os.path.abspath(path)).name.split(".")[0]  # noqa: PTH100 - links kept


def as_typed(options: dict[str, Any]) -> dict[str, Any]:
    """Options of `cp-dataset` as typed, for the history."""
    return {name: ",".join(v) if name == "classes" else v for name, v in options.items()}


def make_dataset(path: str, options: dict[str, Any], *, side: int | None = None) -> "Dataset":
    """Make a dataset from a source: a clean one, or the one that a folder was exported from.

    A folder written by `cp-dataset --export`, or an archive of it, gives the exported dataset
    again, history and source included, if no option is given and the images are unchanged.
    Otherwise it is a source like any other, except that images which were not clean when
    exported are not a clean source.

    Args:
        path: name of a source, or data in another format; see `cptools.artifacts.formats`.
        options: of `cp-dataset`: limit, fraction, limit_test, classes, size, holdout, contrast,
            columns, seed; None or absent if not given.
        side: width in pixels of the images that are wanted, where a header names the path: others
            are refused, and more than it should ask for. None: whatever there is.

    Raises:
        ValueError: an option does not apply to the source.
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
        name, arrays, classes = path, *_shapes(options, side)
    elif path in SOURCES:
        name, arrays, classes = path, *_torchvision(path, options, side)
    else:
        if not path.startswith(HUB):
            path = os.path.abspath(path)  # noqa: PTH100 - a source is an absolute path, links kept
        found = find_source(path, options)
        name, arrays, classes = path_name(path), *_images(path, found, options, side)
        for remark in found.remarks:
            _log.warning("%s", remark)
        if found.about is not None:
            about, restored = _exported(path, found.about, arrays, classes, options)
            if restored is not None:
                return restored
            is_clean = about is not None and about.is_clean
    train_images, train_labels, test_images, test_labels, train_index = arrays
    if "contrast" in options and path != "shapes":  # shapes are drawn at their contrast
        train_images, test_images = (
            scale_contrast(images, options["contrast"]) for images in (train_images, test_images)
        )
    mean, std = channel_statistics(train_images)
    if not any(std):
        raise ValueError("all training images are of one color; use other images")
    if not all(std):
        _log.warning("a color channel has one value in all training images; it is not scaled")
        std = (std[0] or 1.0, std[1] or 1.0, std[2] or 1.0)
    _note_untested(test_labels, classes)
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


def whole_dataset(path: str, size: int | None) -> "tuple[Dataset, tuple[str, ...]]":
    """All images of a source, to be looked at: no test images are held out.

    Args:
        path: data in another format; see `make_dataset`.
        size: width in pixels; None: as they are, or `MIXED` where they have several sizes.

    Returns:
        The dataset, and the names of the files of its training images, if they have any.
    """
    from cptools.artifacts.errors import SizesDiffer
    from cptools.workflows.names import listed_names

    found = find_source(path, {})
    options: dict[str, Any] = {"seed": 0}
    if found.test is None and found.about is None:
        options["holdout"] = 0
    if size is not None:
        options["size"] = size
    try:
        dataset = make_dataset(path, options)
    except SizesDiffer:
        _log.warning("images differ in size; they are audited in %d pixels, or `size`", MIXED)
        options["size"] = MIXED
        dataset = make_dataset(path, options)
    return dataset, listed_names(path, options, dataset)


def clean_dataset(
    source: "Source | None", given: "str | Dataset | None", *, need: str, side: int
) -> "Dataset":
    """The clean dataset of a source: given by the user, or loaded again and verified.

    Args:
        source: from an artifact's header.
        given: the clean dataset or its path; None: the source.
        need: what it is needed for, for the message.
        side: width in pixels of the images of the artifact.

    Raises:
        ValueError: it cannot be loaded, or is not the one that the artifact was made from.
    """
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.history import dataset_digest

    if given is not None:
        return read_given(given)
    if source is None:
        raise ValueError(
            f"{need} needs the clean dataset, but the header names no source; give `dataset`"
        )
    wanted = f"the clean dataset {source.name} (sha256 {source.digest[:12]})"
    try:
        options = check_source(source, cache_folder(), side)
        dataset = make_dataset(source.name, options, side=side)
    except (ArtifactError, OSError, ValueError) as error:
        raise ValueError(f"{need} needs {wanted}: {error}; or give it with `dataset`") from None
    if dataset_digest(dataset) != source.digest:
        raise ValueError(f"{need} needs {wanted}, but its source has changed; give `dataset`")
    return dataset


def read_given(given: "str | Dataset") -> "Dataset":
    """The dataset that a parameter `dataset` names, or is.

    Raises:
        ValueError: it cannot be read.
    """
    if not isinstance(given, str):
        return given
    with naming("dataset"):
        return open_dataset(given).read()


def cache_folder() -> Path:
    """The folder of what was downloaded."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cptools"


def _shapes(options: dict[str, Any], side: int | None) -> tuple[Any, tuple[str, ...]]:
    from cptools.core.sources.shapes import CLASSES, shapes

    _allow(options, "shapes", ("limit", "limit_test", "contrast", "size", "seed"))
    if side is not None:
        check_bytes(options.get("limit", 1000) + options.get("limit_test", 2000), side)
    names = {"limit": "train", "limit_test": "test"}
    arrays = shapes(**{names.get(name, name): value for name, value in options.items()})
    return (*arrays, None), CLASSES


def _torchvision(
    name: str, options: dict[str, Any], side: int | None
) -> tuple[Any, tuple[str, ...]]:
    from cptools.core.sources.resize import resize
    from cptools.core.sources.torchvision_sets import SETS

    choices = ("limit", "fraction", "limit_test", "classes", "size", "contrast", "seed")
    _allow(options, name, choices)
    *arrays, names = SETS[name](cache_folder())
    (train, labels, test, test_labels, index), classes = select_rows(
        (*arrays, None), names, options
    )
    if side is not None:
        check_bytes(len(train) + len(test), side)
    if "size" in options:
        train, test = (resize(images, options["size"]) for images in (train, test))
    return (train, labels, test, test_labels, index), classes


def find_source(path: str, options: dict[str, Any]) -> "Found":
    """What data in another format holds, if the options apply to it."""
    from cptools.artifacts.formats import find

    choices = ("limit", "fraction", "limit_test", "classes", "size", "holdout", "contrast", "seed")
    _allow(options, path, (*choices, "columns"))
    columns = options["columns"].split(",") if "columns" in options else ()
    if len(columns) > 2 or not all(columns):
        raise ValueError(f"`columns={options['columns']}` are not one or two names; give some")
    if path.startswith(HUB):
        from cptools.artifacts.hub import find_on_hub

        return find_on_hub(path.removeprefix(HUB), columns)
    return find(path, columns)


def _images(
    path: str, found: "Found", options: dict[str, Any], side: int | None
) -> tuple[Any, tuple[str, ...]]:
    import numpy as np

    from cptools.core.sources.select import relabel

    if found.test is None and found.about is not None:
        options = {"holdout": 0, **options}  # it was exported without a test split
    chosen = choose_rows(found.train, found.test, found.classes, options)
    test = found.train if found.test is None else found.test
    num, size = len(chosen.train), options.get("size")
    if side is not None:
        check_bytes(num + len(chosen.test), side)
        if size is None and found.read(chosen.train[:1], chosen.test[:0], None).shape[-1] != side:
            raise ValueError(f"its images are not {side} pixels wide, as the file tells")
    rows = (chosen.train, chosen.test)
    if chosen.held_out:
        rows = (np.concatenate(rows), chosen.test[:0])
    images = found.read(*rows, size)
    return (
        images[:num],
        relabel(found.train[chosen.train], chosen.classes),
        images[num:],
        relabel(test[chosen.test], chosen.classes),
        _index(chosen.train, len(found.train)),
    ), tuple(found.classes[label] for label in chosen.classes)


def _exported(
    path: str,
    data: bytes,
    arrays: Any,
    classes: tuple[str, ...],
    options: dict[str, Any],
) -> "tuple[About | None, Dataset | None]":
    """The description in an export, if valid, and the exported dataset, if unchanged."""
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.export import ABOUT_FILE, read_about

    names = ("train.images", "train.labels", "test.images", "test.labels")
    named = dict(zip(names, arrays[:4], strict=True))
    try:
        about = read_about(data, named)
    except ArtifactError as error:
        _log.warning("ignoring %s in %s: %s", ABOUT_FILE, path, error)
        return None, None
    if set(options) - {"seed"}:
        return about, None
    restored = about.restore(named, classes)
    if restored is None:
        _log.warning(
            "%s has changed since it was exported; reading it as images without a history",
            path,
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


def choose(found: "Dataset", options: dict[str, Any]) -> "Dataset":
    """Rows of a dataset that exists, by the options of `cp-dataset`.

    Args:
        found: the dataset.
        options: limit, fraction, limit_test, classes, seed; what is None or absent was not given.

    Raises:
        ValueError: what cannot be changed any more is asked for, or rows that are not there.
    """
    from cptools.artifacts.history import dataset_digest
    from cptools.core.sources.select import relabel

    for name in ("size", "holdout", "contrast", "columns"):
        if options.get(name) is not None:
            raise ValueError(
                f"`{name}` applies to sources, not to an existing dataset; leave it out"
            )
    given = {name: value for name, value in options.items() if value is not None}
    if set(given) <= {"seed"}:
        return found
    chosen = choose_rows(found.train_labels, found.test_labels, found.classes, given)
    kept = found.take(chosen.train, chosen.test)
    if found.train_index is None and len(kept.train_labels) < len(found.train_labels):
        kept = replace(kept, train_index=chosen.train)
    command = entry("cp-dataset", as_typed(given), main_input(dataset_digest(found)))
    return replace(
        kept,
        train_labels=relabel(kept.train_labels, chosen.classes),
        test_labels=relabel(kept.test_labels, chosen.classes),
        classes=tuple(found.classes[label] for label in chosen.classes),
        history=(*found.history, command),
    )


def _note_untested(test_labels: Any, classes: tuple[str, ...]) -> None:
    """Say which classes have no test image, unless there are too few for all."""
    if len(test_labels) >= len(classes):
        tested = {*test_labels.tolist()}
        left = [name for label, name in enumerate(classes) if label not in tested]
        if left:
            _log.warning("no test images of %s", few(left))


def describe(dataset: "Dataset") -> dict[str, Any]:
    """Sizes, statistics and digest of a dataset, under stable names with their units."""
    from cptools.artifacts.history import dataset_digest

    _, _, height, width = dataset.train_images.shape
    facts: dict[str, Any] = {
        "name": dataset.name,
        "train_images": len(dataset.train_images),
        "test_images": len(dataset.test_images),
        "height_pixels": height,
        "width_pixels": width,
        "classes": list(dataset.classes),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "sha256": dataset_digest(dataset),
        "source": dataset.source.name if dataset.source else None,
    }
    for part in ("train", "test"):
        numbers = getattr(dataset, f"{part}_perturbation")
        if numbers is not None:
            facts[f"{part}_perturbed"] = _count_kinds(dataset.perturbations[n] for n in numbers)
    return facts


def _count_kinds(names: Iterable[str]) -> dict[str, int]:
    """Number of images by natural corruption, over all strengths."""
    kinds = Counter("+".join(s.partition(":")[0] for s in name.split("+")) for name in names)
    return dict(kinds.most_common())


def _index(rows: Any, num: int) -> Any:
    """The chosen rows, or None where they are all of them."""
    return None if len(rows) == num else rows


def _allow(options: dict[str, Any], name: str, allowed: tuple[str, ...]) -> None:
    for option in options:
        if option not in allowed:
            raise ValueError(f"`{option}` does not apply to {name}; leave it out")
