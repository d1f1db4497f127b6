"""What a picture file holds beside its pixels, carried over byte for byte.

EXIF, color profile, captions, edit histories and whatever a camera's maker put there: all of it is
copied as it stands, so that none has to be understood. Left out is what would be false: a JPEG's
index of the pictures that stand behind it, as those are left out, and a note on colors that are
stored in another way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from cptools.artifacts.errors import ArtifactError

_ODD = "its segments are damaged; save it again in a picture editor"
_EXIF = b"Exif\0\0"
_SCAN_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # in the pixels of a JPEG: the next marker


def with_jpeg_segments(encoded: bytes, original: bytes) -> bytes:
    """The pixels of one JPEG, with the segments of another that hold no pixels."""
    kept = [part for marker, part in _jpeg_segments(original)[0] if _is_kept(marker, part)]
    found, scan = _jpeg_segments(encoded)
    own = [part for marker, part in found if not _is_metadata(marker)]
    return b"".join([b"\xff\xd8", *kept, *own, encoded[scan:]])


def jpeg_metadata(data: bytes) -> list[bytes]:
    """The segments of a JPEG that `with_jpeg_segments` carries over, but for the preview."""
    if (place := jpeg_preview(data)) is not None:
        data = data[: place.start] + bytes(place.stop - place.start) + data[place.stop :]
    return [part for marker, part in _jpeg_segments(data)[0] if _is_kept(marker, part)]


def jpeg_preview(data: bytes) -> slice | None:
    """Where the preview in the EXIF of a JPEG lies, a small JPEG; None if there is none."""
    place = 2
    for _, part in _jpeg_segments(data)[0]:
        if part[:10].endswith(_EXIF) and part[1] == 0xE1:
            found = _preview(part[4 + len(_EXIF) :])
            if found is None:
                return None
            start = data.index(part, place) + 4 + len(_EXIF)
            return slice(start + found.start, start + found.stop)
    return None


def _preview(tiff: bytes) -> slice | None:
    """The preview in EXIF, which its second directory names."""
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"

    def number(place: int, length: int) -> int:
        return int.from_bytes(tiff[place : place + length], order)

    first = number(4, 4)
    second = number(first + 2 + 12 * number(first, 2), 4)
    if not 8 <= second < len(tiff):
        return None
    entries = [second + 2 + 12 * k for k in range(number(second, 2))]
    told = {number(place, 2): number(place + 8, 4) for place in entries}
    start, length = told.get(0x0201, 0), told.get(0x0202, 0)
    is_jpeg = tiff[start : start + 2] == b"\xff\xd8" and start + length <= len(tiff)
    return slice(start, start + length) if start and is_jpeg else None


def jpeg_end(data: bytes) -> int:
    """Where the first picture of a JPEG ends; phones put videos and depth maps behind it."""
    place = _jpeg_segments(data)[1]
    while found := _SCAN_END.search(data, place):
        marker = data[found.end() - 1]
        if marker == 0xD9:
            return found.end()
        place = found.end() if marker == 0x01 else found.end() + _length(data, found.end())
    return len(data)


def with_png_chunks(encoded: bytes, original: bytes) -> bytes:
    """The pixels of one PNG, with the chunks of another that hold none, where they stood."""
    own = dict(_png_chunks(encoded, joined=True))
    before: list[bytes] = []
    after: list[bytes] = []
    part = before
    for kind, chunk in _png_chunks(original):
        if kind == b"IDAT":
            part = after
        elif kind not in (b"IHDR", b"IEND"):
            part.append(chunk)
    parts = [encoded[:8], own[b"IHDR"], *before, own[b"IDAT"], *after, own[b"IEND"]]
    return b"".join(parts)


def png_metadata(data: bytes) -> list[bytes]:
    """The chunks of a PNG that `with_png_chunks` carries over."""
    return [chunk for kind, chunk in _png_chunks(data) if kind not in (b"IHDR", b"IDAT", b"IEND")]


def png_kinds(data: bytes) -> set[bytes]:
    """The kinds of chunks that a PNG has."""
    return {kind for kind, _ in _png_chunks(data)}


def png_end(data: bytes) -> int:
    """Where a PNG ends."""
    return 8 + sum(len(chunk) for _, chunk in _png_chunks(data))


def _jpeg_segments(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Marker and bytes of each segment before the pixels, and where these begin."""
    found: list[tuple[int, bytes]] = []
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # filling
            place += 1
            continue
        if marker == 0xDA:
            return found, place
        end = place + 2 + _length(data, place + 2)
        found.append((marker, data[place:end]))
        place = end
    raise ArtifactError(_ODD)


def _length(data: bytes, place: int) -> int:
    length = int.from_bytes(data[place : place + 2], "big")
    if length < 2 or place + length > len(data):
        raise ArtifactError(_ODD)
    return length


def _is_metadata(marker: int) -> bool:
    return 0xE0 <= marker <= 0xEF or marker == 0xFE


def _is_kept(marker: int, part: bytes) -> bool:
    if marker == 0xE2 and part[4:8] == b"MPF\0":
        return False
    if marker == 0xEE and part[4:9] == b"Adobe":
        return part[15:16] == b"\x01"  # YCbCr, as the new one
    return _is_metadata(marker)


def _png_chunks(data: bytes, *, joined: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """Kind and bytes of each chunk; with `joined`, all of the pixels as one."""
    place, pixels = 8, []
    kind = b""
    while kind != b"IEND":
        kind = data[place + 4 : place + 8]
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if len(kind) < 4 or end > len(data):
            raise ArtifactError(_ODD)
        chunk, place = data[place:end], end
        if joined and kind == b"IDAT":
            pixels.append(chunk)
            continue
        if pixels:
            yield b"IDAT", b"".join(pixels)
            pixels = []
        yield kind, chunk
