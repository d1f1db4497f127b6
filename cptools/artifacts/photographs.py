"""Photographs as their owner has them: read with all that is in the file, written alike.

Pixels are those that are stored, in their own depth, not turned upright. What could not be written
as it was read is refused, by an `ArtifactError` whose message says what the file is and what to do.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cptools.artifacts.containers import one_line
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.pictures import quiet_pillow
from cptools.artifacts.segments import (
    jpeg_end,
    jpeg_metadata,
    jpeg_preview,
    png_end,
    png_kinds,
    png_metadata,
    with_jpeg_segments,
    with_png_chunks,
)
from cptools.artifacts.signatures import looks_like

__all__ = ["Kind", "Photograph", "encode_photograph", "inspect_photograph", "read_photograph"]

Values = NDArray[np.uint8] | NDArray[np.uint16]

BEHIND = "held more behind the picture (a video, a depth map or further pictures), now left out"

_MAX_PIXELS = 128 << 20  # phones take up to 108 million; 20 bytes of memory each
PREVIEW = "keep the preview in their EXIF as it was, without noise"

_READ = ("JPEG", "PNG", "WEBP")  # the first is that of MPO too
_LARGE = "is too large to decode ({}); make it smaller"
_LOSSLESS = "save it as PNG"
_PNG_COLORS = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_WEBP_METADATA = ("exif", "icc_profile", "xmp")
_COMPRESSION = 3  # of PNG; twice as fast as 6, files some percent larger
_USED = 4096  # levels of 16-bit pixels that use 12 bits of them
_ORIENTATION = 0x0112


class Kind(NamedTuple):
    """What a photograph is, by its header.

    Attributes:
        format: `JPEG`, `PNG` or `WEBP`.
        mode: `L`, `LA`, `RGB`, `RGBA` or `I;16`.
        size: width and height in pixels, as stored.
        orientation: of EXIF, 1 to 8.
    """

    format: str
    mode: str
    size: tuple[int, int]
    orientation: int

    @property
    def is_lossless(self) -> bool:
        """Whether the pixels that are written are those that are read again."""
        return self.format != "JPEG"


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph.

    Attributes:
        kind: what it is.
        pixels: [H, W, C]; uint16 of 16 bits, else uint8.
        data: the file.
        remark: what of the file a copy would leave out; empty if nothing.
    """

    kind: Kind
    pixels: Values
    data: bytes
    remark: str = ""

    @property
    def num_colors(self) -> int:
        """How many of the channels are no transparency."""
        return int(self.pixels.shape[2]) - self.kind.mode.endswith("A")


def inspect_photograph(data: bytes) -> Kind:
    """What a file is, without decoding its pixels.

    Raises:
        ArtifactError: it is no photograph, is damaged, or is one that could not be written alike.
    """
    with quiet_pillow(), _opened(data) as image:
        return _kind(image, data)


def read_photograph(data: bytes) -> Photograph:
    """Decode a file.

    Raises:
        ArtifactError: as `inspect_photograph`.
    """
    with quiet_pillow(), _opened(data) as image:
        kind = _kind(image, data)
        try:
            pixels = np.asarray(image)
        except Exception as error:  # noqa: BLE001 (Pillow's decoders raise nearly anything)
            raise ArtifactError(
                f"cannot be decoded ({one_line(error)}); replace or remove it"
            ) from None
    if kind.mode == "I;16" and pixels.max() < _USED:
        raise ArtifactError(
            "uses 12 or fewer of its 16 bits, in which noise would be 16 times as strong; scale its"
            " levels to 16 bits"
        )
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    end = {"JPEG": jpeg_end, "PNG": png_end}.get(kind.format, len)(data)
    return Photograph(kind, pixels, data, BEHIND if data[end:].strip(b"\0") else "")


def encode_photograph(photo: Photograph, pixels: Values, *, quality: int) -> bytes:
    """A file of the same kind with other pixels, and all else as it is.

    Args:
        photo: which one.
        pixels: of the same shape and type.
        quality: of JPEG, 1 to 100; colors are stored at full resolution (4:4:4).
    """
    with quiet_pillow():
        return _encoded(photo, _image(pixels), quality)


def _image(pixels: Values) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _encoded(photo: Photograph, image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    match photo.kind.format:
        case "JPEG":
            with Image.open(io.BytesIO(photo.data), formats=("JPEG",)) as old:
                progressive = bool(old.info.get("progressive"))
            image.save(stream, "JPEG", quality=quality, subsampling=0, progressive=progressive)
            return with_jpeg_segments(stream.getvalue(), photo.data)
        case "PNG":
            image.save(stream, "PNG", compress_level=_COMPRESSION)
            return with_png_chunks(stream.getvalue(), photo.data)
        case _:
            with Image.open(io.BytesIO(photo.data), formats=("WEBP",)) as old:
                kept = {k: old.info[k] for k in _WEBP_METADATA if k in old.info}
            # `exact` keeps the colors of what is transparent, which some readers show.
            image.save(stream, "WEBP", lossless=True, exact=True, method=0, quality=20, **kept)
            return stream.getvalue()


def preview_of(data: bytes) -> Photograph | None:
    """The small picture in the EXIF of a JPEG, which shows the same; None if there is none.

    Raises:
        ArtifactError: it is one that could not be written alike.
    """
    place = jpeg_preview(data) if data.startswith(b"\xff\xd8") else None
    return None if place is None else read_photograph(data[place])


def with_preview(data: bytes, preview: Photograph, pixels: Values) -> bytes | None:
    """A JPEG whose preview, of the same length, has other pixels; None if they do not fit in it."""
    place = jpeg_preview(data)
    assert place is not None
    image = _image(pixels)
    for quality in (90, 75, 60, 45, 30):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= len(preview.data):
            small = stream.getvalue().ljust(len(preview.data), b"\0")
            return data[: place.start] + small + data[place.stop :]
    return None


def metadata(data: bytes) -> list[bytes]:
    """All that a photograph holds beside its pixels and its preview, to be compared.

    Raises:
        ArtifactError: as `inspect_photograph`.
    """
    kind = inspect_photograph(data)
    if kind.format == "WEBP":
        with quiet_pillow(), _opened(data) as image:
            return [image.info.get(k, b"") for k in _WEBP_METADATA]
    return jpeg_metadata(data) if kind.format == "JPEG" else png_metadata(data)


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_READ)
    except Image.DecompressionBombError as error:
        raise ArtifactError(_LARGE.format(one_line(error))) from None
    except UnidentifiedImageError:
        what = looks_like(data[:512])
    except Exception as error:  # noqa: BLE001 (Pillow's readers raise nearly anything)
        what = one_line(error)
    raise ArtifactError(f"cannot be decoded ({what}); replace or remove it")


def _kind(image: Image.Image, data: bytes) -> Kind:
    form = "JPEG" if image.format == "MPO" else str(image.format)
    if image.width * image.height > _MAX_PIXELS:
        raise ArtifactError(_LARGE.format(f"{image.width}x{image.height} pixels"))
    mode = image.mode
    if form == "PNG":
        mode = _png_mode(data)
    elif form == "WEBP" and getattr(image, "is_animated", False):
        raise ArtifactError("is animated; save the frames one by one")
    if mode == "CMYK":
        raise ArtifactError("has the inks of print (CMYK) for colors; save it as RGB")
    if mode not in ("L", "LA", "RGB", "RGBA", "I;16"):
        raise ArtifactError(f"has pixels of a kind that noise does not fit ({mode}); {_LOSSLESS}")
    try:
        # As `pictures` does, which shows what a reader sees.
        orientation = image.getexif().get(_ORIENTATION, 1) if "exif" in image.info else 1
    except Exception:  # noqa: BLE001 (damaged EXIF, which readers pass over)
        orientation = 1
    return Kind(form, mode, image.size, orientation if orientation in range(1, 9) else 1)


def _png_mode(data: bytes) -> str:
    """The mode of a PNG, where it is one that Pillow writes as it reads it."""
    depth, color = data[24], data[25]
    kinds = png_kinds(data)
    if b"acTL" in kinds:
        raise ArtifactError("is animated; save the frames one by one")
    mode = _PNG_COLORS.get(color, str(color))
    if mode == "P":
        raise ArtifactError("has a palette, in which there is no noise; save it as RGB")
    if b"tRNS" in kinds:
        raise ArtifactError("makes one color transparent, which noise would change; give it alpha")
    if mode == "L" and depth == 16:
        return "I;16"
    if depth != 8:
        raise ArtifactError(
            f"has {depth} bits a channel of {mode}, which cannot be kept; save it with 8"
        )
    return mode
