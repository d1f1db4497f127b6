"""Pictures decoded to 8-bit RGB, several at a time, within bounds of memory."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cptools.artifacts.containers import one_line
from cptools.artifacts.cores import cores
from cptools.artifacts.errors import ArtifactError, SizesDiffer
from cptools.artifacts.signatures import looks_like

Pixels = NDArray[np.uint8]

_BATCH_BYTES = 256 << 10  # encoded bytes handed to a thread at a time
_MAX_PIXELS = 128 << 20  # of a picture, 12 bytes of memory each; phones take up to 108 million
_LARGE_PIXELS = 16 << 20  # from which pictures are decoded one at a time, whatever the threads
_FEW_BITS = 14  # of 16; up to so many, 64 gray levels or fewer are left of a picture
_one_large = Lock()

_log = logging.getLogger(__name__)


class _Picture(NamedTuple):
    """A decoded picture: its row, uint8 (H, W, 3), and the highest level of one of 16 bits."""

    row: int
    pixels: Pixels
    peak: int | None


def is_picture(name: str) -> bool:
    """Whether the suffix of a file's name is that of an image format that is read here."""
    return os.path.splitext(name)[1].lower() in _formats()  # noqa: PTH122 (names in archives)


def decode_pictures(
    path: Path | str,
    names: Sequence[str],
    files: Iterable[tuple[int, bytes]],
    *,
    size: int | None,
) -> Pixels:
    """Decode pictures.

    Any mode becomes 8-bit RGB: what is transparent is put on white, 16-bit gray is scaled, JPEG
    photographs are turned upright by their EXIF orientation, of an animation the first frame is
    taken.

    Args:
        path: Where they are from, for messages.
        names: Their names by row, for messages.
        files: Row and encoded bytes of each, in any order; a row that is left out is an error.
        size: Height and width of the result, >= 1: the central square, resized by Lanczos. None
            takes the pixels as they are; all images must then have one size.

    Returns:
        uint8 (N, 3, H, W), N = len(names).

    Raises:
        ArtifactError: A picture is missing, broken, too large, or differs in size.
        ValueError: `size` is below 1.
    """
    if size is not None and size < 1:
        raise ValueError(f"expected size at least 1, got {size}")
    first = -1
    images: Pixels = np.empty((0, 3, 0, 0), dtype=np.uint8)
    left = set(range(len(names)))
    peaks = []
    with quiet_pillow():
        for row, pixels, peak in _decoded(path, names, files, size):
            height, width, _ = pixels.shape
            if peak is not None:
                peaks.append(peak)
            if first < 0:
                first = row
                images = np.empty((len(names), 3, height, width), dtype=np.uint8)
            elif (height, width) != images.shape[2:]:
                raise SizesDiffer(
                    f"{path}: images differ in size ({names[first]} is"
                    f" {images.shape[3]}x{images.shape[2]}, {names[row]} is {width}x{height});"
                    " give --size to resize them"
                )
            images[row] = pixels.transpose(2, 0, 1)
            left.discard(row)
    if left:
        raise ArtifactError(f"{path}: {names[min(left)]} has been removed; try again")
    if peaks and (bits := max(peaks).bit_length()) <= _FEW_BITS:
        _log.warning(
            "%s: %d pictures of 16 bits use %d of them, of which %d gray levels are left; scale"
            " them to the whole range first",
            path,
            len(peaks),
            bits,
            (max(peaks) + 128) // 257 + 1,
        )
    return images


def resize_pixels(images: Pixels, size: int) -> Pixels:
    """The central squares of images (N, H, W, 3), resized by Lanczos to (N, size, size, 3)."""
    resized = np.empty((len(images), size, size, 3), dtype=np.uint8)
    for row, pixels in enumerate(images):
        resized[row] = np.asarray(_central_square(Image.fromarray(pixels), size))
    return resized


def encode_png(image: Pixels) -> bytes:
    """An image (3, H, W) as PNG."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(stream, "PNG")
    return stream.getvalue()


@cache
def _formats() -> dict[str, str]:
    """Pillow's formats that are read here, by suffix.

    EPS runs Ghostscript, WMF needs Windows; the stubs (BUFR, GRIB, HDF5, MPEG) decode nothing.
    """
    left_out = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "FITS"}
    suffixes = Image.registered_extensions()
    return {k: f for k, f in suffixes.items() if f in Image.OPEN and f not in left_out}


def _decoded(
    path: Path | str, names: Sequence[str], files: Iterable[tuple[int, bytes]], size: int | None
) -> Iterator[_Picture]:
    """The picture of each file, in the order of the files.

    This thread reads, a pool decodes (Pillow lets go of the interpreter's lock meanwhile); only a
    few batches are under way at a time, so memory stays bounded.
    """
    threads = cores()
    waiting: deque[Future[list[_Picture]]] = deque()

    def decode(batch: list[tuple[int, bytes]]) -> list[_Picture]:
        return [_Picture(row, *_decode(path, names[row], data, size)) for row, data in batch]

    with ThreadPoolExecutor(threads) as pool:
        try:
            for batch in _batches(files):
                waiting.append(pool.submit(decode, batch))
                if len(waiting) > 4 * threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _batches(files: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    batch: list[tuple[int, bytes]] = []
    held = 0
    for row, data in files:
        batch.append((row, data))
        held += len(data)
        if held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _decode(
    path: Path | str, name: str, data: bytes, size: int | None
) -> tuple[Pixels, int | None]:
    """One image, uint8 (H, W, 3), and the highest level of one of 16 bits."""
    try:
        formats = tuple(sorted(set(_formats().values())))
        with Image.open(io.BytesIO(data), formats=formats) as opened:
            area = opened.width * opened.height
            if area > _MAX_PIXELS:
                raise Image.DecompressionBombError(f"{opened.width}x{opened.height} pixels")
            if size is not None:
                opened.draft("RGB", (3 * size, 3 * size))  # JPEG: decoded at a half, a quarter, ...
            with _one_large if area > _LARGE_PIXELS else nullcontext():
                image = ImageOps.exif_transpose(opened) if "exif" in opened.info else opened
                rgb, peak = _rgb(image)
                pixels: Pixels = np.asarray(_central_square(rgb, size))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ArtifactError(
            f"{path}: {name} is too large to decode ({one_line(error)}); make it smaller"
        ) from None
    except UnidentifiedImageError:
        raise ArtifactError(
            f"{path}: cannot decode {name} (it is {looks_like(data[:512])}); replace or remove it"
        ) from None
    except Exception as error:  # noqa: BLE001 (Pillow's decoders raise nearly anything)
        raise ArtifactError(
            f"{path}: cannot decode {name} ({one_line(error)}); replace or remove it"
        ) from None
    return pixels, peak


def _central_square(image: Image.Image, size: int | None) -> Image.Image:
    if size is None or image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.LANCZOS)


def _rgb(image: Image.Image) -> tuple[Image.Image, int | None]:
    """The same in RGB, and the highest level of one of 16 bits."""
    peak = None
    if image.mode.startswith("I"):  # 16-bit gray, which convert() would clip at 255
        levels = np.asarray(image).astype(np.int32).clip(0, 65535)
        peak = int(levels.max())
        levels += 128
        levels //= 257
        image = Image.fromarray(levels.astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels")
    elif image.has_transparency_data:
        colors = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
        image = Image.new("RGB", colors.size, "white")
        image.paste(colors, mask=colors)
    return (image if image.mode == "RGB" else image.convert("RGB")), peak


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Pillow's size limit is checked before decoding; its other remarks are not for our users."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\..*")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield
