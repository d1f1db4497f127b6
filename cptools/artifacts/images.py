"""Image folders and archives in ImageFolder layout, and export to PNG files.

Layout: `train/CLASS/FILE` and `test/CLASS/FILE` (`val/` is taken where there is no `test/`), or
`CLASS/FILE` alone, which has no test split. All of it may lie in one top folder. Hidden files and
`__MACOSX` are passed over, and so are files whose suffix no image format has. Containers: folder,
.zip, .tar, and .tar compressed by gzip, bzip2 or xz, told by content and not by name. Archives are
never extracted to disk, so names such as `../x` or `/x` in them do no harm.

Classes are sorted by name, unless a `classes.txt` beside `train/` lists exactly these classes in
another order. Files are sorted by class, then naturally (`9.png` before `10.png`). Where all names
in a split are numbers and no number occurs twice in it, they are row ids, as `export_images`
writes them, and images come in the order of the ids.

Listing and decoding are separate, so that a choice of rows is made before anything is decoded:

    found = list_images(path)
    names = [found.train.names[row] for row in rows]
    images = read_images(path, names, size=32)
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cptools.artifacts.errors import ArtifactError

Pixels = NDArray[np.uint8]

CLASSES_FILE = "classes.txt"
_TEST_FOLDERS = ("test", "val")  # the first that is there
_MAX_FILE = 256 << 20  # bytes of one encoded image; a larger one is an attack or a mistake
_BATCH_BYTES = 256 << 10  # encoded bytes handed to a thread at a time
_MAX_DEPTH = 12  # folders in folders; also ends loops of symbolic links
_TAR_BLOCK = 512
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    gzip.BadGzipFile,
    NotImplementedError,  # zip: compression method
    RuntimeError,  # zip: encrypted
)


class Files(NamedTuple):
    """The images of a split: names inside the container, and int64 labels (N,)."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Listing:
    """What a folder or archive holds.

    Attributes:
        classes: Class names by label.
        train: Training images; every class has one or more.
        test: Test images, or None where there is no test folder.
    """

    classes: tuple[str, ...]
    train: Files
    test: Files | None


def sniff(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder or an archive that `list_images` may read, by its first bytes.

    A safetensors file, a pipe, and a path that is not there are none.
    """
    path = Path(path)
    if path.is_dir():
        return True
    return path.is_file() and _container(path) is not None


def list_images(path: str | os.PathLike[str]) -> Listing:
    """List images and labels without decoding any.

    Raises:
        ArtifactError: The path is no image folder or archive, is damaged, holds no images, a class
            without training images, or a test class that the training split lacks.
    """
    path = Path(path)
    names, class_lines = _names(path)
    if not names:
        raise ArtifactError(f"{path} holds no images; expected train/CLASS/*.jpg or the like")
    table = _by_split(path, names)
    train_classes = {name for name, _, _ in table["train"]}
    classes = _class_order(train_classes, class_lines)
    test = None
    if "test" in table:
        for name, _, file in table["test"]:
            if name not in train_classes:
                raise ArtifactError(
                    f"{path}: class {name!r} ({file}) has test images but no training images;"
                    " add some or leave it out"
                )
        test = _ordered(table["test"], classes)
    return Listing(classes, _ordered(table["train"], classes), test)


def read_images(
    path: str | os.PathLike[str], names: Sequence[str], *, size: int | None = None
) -> Pixels:
    """Decode images, in the order of `names`.

    Any mode becomes 8-bit RGB: alpha is dropped, 16-bit gray is scaled, JPEG photographs are
    turned upright by their EXIF orientation, of an animation the first frame is taken.

    Args:
        path: Folder or archive.
        names: As `list_images` gave them, without repetition.
        size: Height and width of the result, >= 1: the central square, resized by Lanczos. None
            takes the pixels as they are; all images must then have one size.

    Returns:
        uint8 (N, 3, H, W), N = len(names).

    Raises:
        ArtifactError: A file is missing, broken, too large, or differs in size.
        ValueError: No or repeated names, or `size` below 1.
    """
    path = Path(path)
    row_of = {name: row for row, name in enumerate(names)}
    if not names or len(row_of) != len(names):
        raise ValueError("expected one name or more, none of them twice")
    if size is not None and size < 1:
        raise ValueError(f"expected size at least 1, got {size}")
    first: Pixels | None = None
    first_name = ""
    images: Pixels = np.empty((0, 3, 0, 0), dtype=np.uint8)
    left = set(row_of)
    with _quiet_pillow():
        for name, pixels in _decoded(path, row_of.keys(), size):
            if first is None:
                first, first_name = pixels, name
                images = np.empty((len(names), 3, *pixels.shape[:2]), dtype=np.uint8)
            elif pixels.shape != first.shape:
                raise ArtifactError(
                    f"{path}: images differ in size ({first_name} is {_by(first)}, {name} is"
                    f" {_by(pixels)}); give --size to bring them to one"
                )
            images[row_of[name]] = pixels.transpose(2, 0, 1)
            left.discard(name)
    if left:
        raise ArtifactError(f"{path}: {min(left)} is not there any more; list it again")
    return images


def export_images(
    folder: str | os.PathLike[str],
    *,
    train_images: Pixels,
    train_labels: NDArray[np.int64],
    test_images: Pixels,
    test_labels: NDArray[np.int64],
    classes: Sequence[str],
    train_index: NDArray[np.int64] | None = None,
) -> None:
    """Write `train/CLASS/000123.png`, `test/CLASS/000045.png` and `classes.txt`.

    The number is the row in the dataset that the image came from (`train_index`, or else its own
    row), so reading the folder gives images, labels and class names back in the order of the ids.
    The folder appears whole or not at all.

    Args:
        folder: Made here; may exist if it is empty.
        train_images: uint8 (N, 3, H, W).
        train_labels: int64 (N,), positions in `classes`.
        test_images: uint8 (M, 3, H, W), M may be 0.
        test_labels: int64 (M,).
        classes: Class names; each names a folder.
        train_index: int64 (N,) distinct row ids, >= 0.

    Raises:
        ArtifactError: The folder is not empty or cannot be made, or a class name cannot be a
            folder's name.
        ValueError: `train_index` has repeated or negative ids.
    """
    folder = Path(folder)
    _check_class_names(classes)
    ids = np.arange(len(train_labels)) if train_index is None else train_index
    if len(np.unique(ids)) != len(train_labels) or (len(ids) and ids.min() < 0):
        raise ValueError("expected one id for each training image, all different and not negative")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArtifactError(f"{folder} is there and not empty; name a new folder")
    target = folder.resolve()
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ArtifactError(
            f"cannot make {folder}: {error.strerror}; name a folder in one that can be written"
        ) from None
    try:
        temporary.chmod(0o777 & ~_umask())
        (temporary / CLASSES_FILE).write_text("".join(f"{name}\n" for name in classes), "utf-8")
        _write_split(temporary / "train", train_images, train_labels, ids, classes)
        test_ids = np.arange(len(test_labels))
        if len(test_ids):
            _write_split(temporary / "test", test_images, test_labels, test_ids, classes)
        temporary.replace(target)  # POSIX: also over an empty folder
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


# Layout


def _by_split(path: Path, names: Sequence[str]) -> dict[str, list[tuple[str, str, str]]]:
    """(class, file in class, name) by split, "train" and perhaps "test"."""
    parts = [tuple(part for part in name.split("/") if part not in ("", ".")) for name in names]
    splits = ("train", *_TEST_FOLDERS)
    tops = {p[0] for p in parts}
    if len(tops) == 1 and not tops & set(splits) and any(len(p) > 2 for p in parts):
        parts = [p[1:] for p in parts]  # everything lies in one top folder
        tops = {p[0] for p in parts if len(p) > 1}
    if "train" not in tops:
        if tops & set(splits):
            found = ", ".join(sorted(tops & set(splits)))
            raise ArtifactError(f"{path} has {found} but no train folder; add train/CLASS/*.jpg")
        parts = [("train", *p) for p in parts]
    table: dict[str, list[tuple[str, str, str]]] = {}
    for part, name in zip(parts, names, strict=True):
        if part[0] not in splits:
            continue
        if len(part) < 3:
            if part[0] in _TEST_FOLDERS:
                continue  # unlabeled test images, as ImageNet has them
            raise ArtifactError(
                f"{path}: {name} is in no class folder; expected train/CLASS/{part[-1]}"
            )
        table.setdefault(part[0], []).append((part[1], "/".join(part[2:]), name))
    for test_folder in _TEST_FOLDERS:
        if test_folder in table:
            return {"train": table["train"], "test": table[test_folder]}
    return {"train": table["train"]}


def _class_order(names: set[str], lines: Sequence[str]) -> tuple[str, ...]:
    listed = len(lines) == len(names) and set(lines) == names
    return tuple(lines) if listed else tuple(sorted(names))


def _ordered(rows: list[tuple[str, str, str]], classes: Sequence[str]) -> Files:
    label_of = {name: label for label, name in enumerate(classes)}
    stems = [re.fullmatch(r"([0-9]{1,18})\.[^.]*", file) for _, file, _ in rows]
    ids = [int(stem[1]) for stem in stems if stem]
    if len(ids) == len(rows) == len(set(ids)):
        rows = [row for _, row in sorted(zip(ids, rows, strict=True))]
    else:
        rows = sorted(rows, key=lambda row: (label_of[row[0]], _natural(row[1])))
    labels = np.array([label_of[row[0]] for row in rows], dtype=np.int64)
    return Files(tuple(row[2] for row in rows), labels)


def _natural(name: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """Sort key in which a run of digits counts as a number; the name itself breaks ties."""
    pieces: list[str | tuple[int, str]] = list(re.split(r"([0-9]+)", name))
    for k in range(1, len(pieces), 2):
        digits = str(pieces[k]).lstrip("0")
        pieces[k] = (len(digits), digits)
    return tuple(pieces), name


@cache
def _formats() -> dict[str, str]:
    """Pillow's formats that are read here, by suffix.

    EPS runs Ghostscript, WMF needs Windows; the stubs (BUFR, GRIB, HDF5, MPEG) decode nothing.
    """
    left_out = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "FITS"}
    suffixes = Image.registered_extensions()
    return {k: f for k, f in suffixes.items() if f in Image.OPEN and f not in left_out}


def _is_image(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith(".") and part != "." for part in parts)
    suffix = os.path.splitext(parts[-1])[1].lower()  # noqa: PTH122 (names in archives)
    return not hidden and "__MACOSX" not in parts and suffix in _formats()


def _is_classes_file(name: str) -> bool:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return parts[-1:] == [CLASSES_FILE] and len(parts) <= 2


# Containers


def _container(path: Path) -> str | None:
    """`folder`, `zip` or `tar`, or None, by the first bytes."""
    if path.is_dir():
        return "folder"
    with path.open("rb") as file:
        head = file.read(_TAR_BLOCK)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")) or head[257:262] == b"ustar":
        return "tar"
    return None


def _names(path: Path) -> tuple[list[str], list[str]]:
    """Names of the images in a container, and the lines of its `classes.txt`, if any."""
    names: list[str] = []
    lines: list[str] = []
    with _one_line_errors(path):
        for name, read in _members(path):
            if _is_image(name):
                names.append(name)
            elif _is_classes_file(name):
                lines = read().decode("utf-8", "replace").splitlines()
    if len(set(names)) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise ArtifactError(f"{path} holds {twice} twice; pack it again")
    return names, lines


class _Read(NamedTuple):
    """A member of a container, readable until the next one is asked for."""

    path: Path
    name: str
    size: int
    open: Callable[[], IO[bytes]]

    def __call__(self) -> bytes:
        if self.size > _MAX_FILE:
            raise ArtifactError(
                f"{self.path}: {self.name} is larger than {_MAX_FILE >> 20} MiB; leave it out"
            )
        with self.open() as file:
            return file.read(_MAX_FILE)


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    """Turn what the readers of containers raise into `ArtifactError`."""
    try:
        yield
    except _DAMAGED as error:
        raise ArtifactError(
            f"{path} is truncated or damaged ({_line(error)}); get or pack it again"
        ) from None
    except OSError as error:
        name = error.filename or path
        raise ArtifactError(f"cannot read {name}: {error.strerror or error}; check it") from None


def _members(path: Path) -> Iterator[tuple[str, _Read]]:
    """All files of a container, in its own order."""
    kind = _container(path)
    if kind is None:
        raise ArtifactError(f"{path} is no image folder, zip or tar; give one of these")
    readers = {"zip": _zip_members, "tar": _tar_members}
    return readers[kind](path) if kind in readers else _folder_members(path, path, 0)


def _folder_members(root: Path, folder: Path, depth: int) -> Iterator[tuple[str, _Read]]:
    if depth > _MAX_DEPTH:
        raise ArtifactError(f"{folder} is more than {_MAX_DEPTH} folders deep; is a link a loop?")
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.name.startswith("."):
            continue
        child = Path(entry.path)
        if entry.is_dir():
            yield from _folder_members(root, child, depth + 1)
        else:  # a dangling link is an error when it is read, not passed over
            name = child.relative_to(root).as_posix()
            size = entry.stat().st_size
            yield name, _Read(root, name, size, partial(_open_file, child))


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _zip_members(path: Path) -> Iterator[tuple[str, _Read]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                name = info.filename.replace("\\", "/").lstrip("/")
                yield name, _Read(path, name, info.file_size, partial(archive.open, info))


def _decompressed(raw: IO[bytes], head: bytes) -> IO[bytes]:
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if head.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(raw))
    if head.startswith(b"\xfd7zXZ"):
        return cast(IO[bytes], lzma.LZMAFile(raw))
    return raw


class _Tail:
    """A binary file that remembers the last block read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.last = file, b""

    def read(self, count: int) -> bytes:
        data = self.file.read(count)
        self.last = (self.last + data[-_TAR_BLOCK:])[-_TAR_BLOCK:]
        return data


def _tar_members(path: Path) -> Iterator[tuple[str, _Read]]:
    """The archive as one stream, to its end: checksums and the end mark show a truncated one."""
    with path.open("rb") as raw:
        head = raw.read(6)
        raw.seek(0)
        stream = _Tail(_decompressed(raw, head))
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
            for member in archive:
                name = member.name.lstrip("/")
                if member.isfile():
                    yield name, _Read(path, name, member.size, partial(_extract, archive, member))
                elif (member.issym() or member.islnk()) and _is_image(name):
                    raise ArtifactError(f"{path}: {name} is a link; pack it with its content")
                archive.members = []  # else tarfile keeps every one
            while stream.read(1 << 20):
                pass
        if stream.last.count(0) != _TAR_BLOCK:
            raise ArtifactError(f"{path} is truncated (no end mark); get or pack it again")


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return file


# Decoding


def _decoded(path: Path, wanted: Collection[str], size: int | None) -> Iterator[tuple[str, Pixels]]:
    """(name, uint8 (H, W, 3)) of the wanted images, in the container's order.

    This thread reads, a pool decodes (Pillow lets go of the interpreter's lock meanwhile); only a
    few batches are under way at a time, so memory stays bounded.
    """
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    waiting: deque[Future[list[tuple[str, Pixels]]]] = deque()
    with ThreadPoolExecutor(threads or 1) as pool:
        try:
            for batch in _batches(path, wanted):
                waiting.append(pool.submit(_decode_batch, path, batch, size))
                if len(waiting) > 4 * (threads or 1):
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _batches(path: Path, wanted: Collection[str]) -> Iterator[list[tuple[str, bytes]]]:
    batch: list[tuple[str, bytes]] = []
    held = 0
    with _one_line_errors(path):
        for name, read in _members(path):
            if name in wanted:
                data = read()
                batch.append((name, data))
                held += len(data)
                if held >= _BATCH_BYTES:
                    yield batch
                    batch, held = [], 0
    if batch:
        yield batch


def _decode_batch(
    path: Path, batch: Sequence[tuple[str, bytes]], size: int | None
) -> list[tuple[str, Pixels]]:
    return [(name, _decode(path, name, data, size)) for name, data in batch]


def _decode(path: Path, name: str, data: bytes, size: int | None) -> Pixels:
    """One image, uint8 (H, W, 3)."""
    try:
        formats = tuple(sorted(set(_formats().values())))
        with Image.open(io.BytesIO(data), formats=formats) as opened:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and opened.width * opened.height > limit:
                raise Image.DecompressionBombError(f"{opened.width}x{opened.height} pixels")
            if size is not None:
                opened.draft("RGB", (3 * size, 3 * size))  # JPEG: decoded at a half, a quarter, ...
            image = ImageOps.exif_transpose(opened) if "exif" in opened.info else opened
            pixels: Pixels = np.asarray(_central_square(_rgb(image), size))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ArtifactError(
            f"{path}: {name} is too large to decode ({_line(error)}); make it smaller"
        ) from None
    except Exception as error:  # noqa: BLE001 (Pillow's decoders raise nearly anything)
        raise ArtifactError(
            f"{path}: cannot decode {name} ({_line(error)}); replace or remove it"
        ) from None
    return pixels


def _central_square(image: Image.Image, size: int | None) -> Image.Image:
    if size is None or image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.LANCZOS)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray, which convert() would clip at 255
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels")
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow's size limit is checked in `_decode`; its other remarks are not for our users."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\..*")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


# Export


def _check_class_names(classes: Sequence[str]) -> None:
    for name in classes:
        bad = not name or name[0] == "." or name == "__MACOSX" or re.search(r"[/\\\x00-\x1f]", name)
        if bad or name.splitlines() != [name]:
            raise ArtifactError(f"class name {name!r} cannot be a folder's name; rename the class")
    if len(set(classes)) != len(classes):
        raise ArtifactError("two classes have the same name; rename one")


def _write_split(
    folder: Path,
    images: Pixels,
    labels: NDArray[np.int64],
    ids: NDArray[np.int64],
    classes: Sequence[str],
) -> None:
    folder.mkdir()
    for name in classes:
        (folder / name).mkdir()

    def write(row: int) -> None:
        image = Image.fromarray(np.ascontiguousarray(images[row].transpose(1, 2, 0)))
        image.save(folder / classes[labels[row]] / f"{ids[row]:06d}.png")

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(write, range(len(labels))):
            pass


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _by(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
