"""Photographs read and written as their owner has them."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cptools.artifacts import photographs
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.photographs import (
    BEHIND,
    encode_photograph,
    inspect_photograph,
    metadata,
    read_photograph,
)
from cptools.artifacts.segments import jpeg_end, png_end

RNG = np.random.default_rng(0)
COLORS = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}


def picture(mode="RGB", size=(37, 24)):
    if mode == "I;16":
        return Image.fromarray(RNG.integers(0, 65536, size[::-1], dtype=np.uint16))
    return Image.fromarray(RNG.integers(0, 256, (*size[::-1], *COLORS[mode]), dtype=np.uint8))


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif(orientation=1):
    told = Image.Exif()
    told[0x0112] = orientation
    told[0x010F] = "Maker"
    return told.tobytes()


def segment(marker, payload):
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def chunk(kind, payload):
    crc = struct.pack(">I", zlib.crc32(kind + payload))
    return struct.pack(">I", len(payload)) + kind + payload + crc


def with_noise(data, quality=95):
    photo = read_photograph(data)
    pixels = photo.pixels.copy()
    pixels[..., : photo.num_colors] ^= 1
    return pixels, encode_photograph(photo, pixels, quality=quality)


LOSSLESS = [
    *(("PNG", mode) for mode in ("L", "LA", "RGB", "RGBA", "I;16")),
    ("WEBP", "RGB"), ("WEBP", "RGBA"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "mode"), LOSSLESS)
def test_lossless_formats_give_the_pixels_that_were_written(kind, mode):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = saved(picture(mode), kind, exif=exif(6), icc_profile=b"profile", **options)
    pixels, encoded = with_noise(data)
    again = read_photograph(encoded)
    assert again.kind == read_photograph(data).kind == inspect_photograph(data)
    assert (again.kind.format, again.kind.mode, again.kind.orientation) == (kind, mode, 6)
    assert again.pixels.dtype == (np.uint16 if mode == "I;16" else np.uint8)
    np.testing.assert_array_equal(again.pixels, pixels)
    assert metadata(encoded) == metadata(data)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_keeps_all_that_is_no_pixel(mode, progressive):
    data = saved(
        picture(mode), "JPEG", exif=exif(8), icc_profile=b"profile" * 20000, comment=b"a comment",
        dpi=(72, 300), progressive=progressive,
    )  # fmt: skip
    maker = segment(0xED, b"Photoshop 3.0\0caption") + segment(0xE7, b"unknown")
    data = data[:2] + maker + data[2:]
    _, encoded = with_noise(data)
    assert metadata(encoded) == metadata(data)
    assert maker in encoded
    with Image.open(io.BytesIO(encoded)) as image, Image.open(io.BytesIO(data)) as old:
        assert (image.size, image.mode, image.format) == (old.size, old.mode, "JPEG")
        assert image.info == old.info
        assert image.getexif()[0x0112] == 8
        if mode == "RGB":
            assert {layer[1:3] for layer in image.layer} == {(1, 1)}  # 4:4:4


def test_jpeg_at_high_quality_is_close():
    smooth = picture(size=(8, 8)).resize((64, 48), Image.Resampling.BICUBIC)
    data = saved(smooth, "JPEG", quality=90)
    photo = read_photograph(data)
    again = read_photograph(encode_photograph(photo, photo.pixels, quality=95))
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 2


def test_colors_stored_without_conversion_are_kept():
    rgb = saved(picture(), "JPEG", keep_rgb=True, quality=95)
    photo = read_photograph(rgb)
    again = read_photograph(encode_photograph(photo, photo.pixels, quality=100))
    assert np.abs(again.pixels.astype(int) - photo.pixels).max() <= 4


def test_the_chunks_of_a_png_stay_where_they_stood():
    text = PngInfo()
    text.add_text("Author", "somebody")
    data = saved(picture(), "PNG", pnginfo=text, dpi=(300, 300))
    data = data[:-12] + chunk(b"tIME", b"\x07\xe9\1\1\0\0\0") + data[-12:]
    _, encoded = with_noise(data)
    assert metadata(encoded) == metadata(data)
    assert encoded.index(b"tEXt") < encoded.index(b"IDAT") < encoded.index(b"tIME")


def animated(kind):
    return saved(picture(), kind, save_all=True, append_images=[picture()])


def deep():
    """A PNG of 16-bit color, which Pillow reads as 8 bits."""
    lines = b"".join(b"\0" + bytes(6 * 4) for _ in range(4))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    return b"".join([
        b"\x89PNG\r\n\x1a\n", header, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")
    ])  # fmt: skip


REFUSED = {
    "palette": (lambda: saved(picture().quantize(16), "PNG"), "palette"),
    "bilevel": (lambda: saved(picture("L").convert("1"), "PNG"), "1 bits"),
    "transparent color": (lambda: saved(picture(), "PNG", transparency=(0, 0, 0)), "transparent"),
    "16-bit color": (deep, "16 bits"),
    "12 of 16 bits": (
        lambda: saved(Image.fromarray(np.full((4, 4), 4095, np.uint16)), "PNG"), "12 or fewer"
    ),
    "CMYK": (lambda: saved(picture().convert("CMYK"), "JPEG"), "CMYK"),
    "animated PNG": (lambda: animated("PNG"), "animated"),
    "animated WebP": (lambda: animated("WEBP"), "animated"),
    "GIF": (lambda: saved(picture().convert("P"), "GIF"), "a GIF image"),
    "text": (lambda: b"not a picture", "text"),
    "empty": (lambda: b"", "cannot be decoded"),
    "cut JPEG": (lambda: saved(picture(), "JPEG")[:-300], "cannot be decoded"),
    "cut PNG": (lambda: saved(picture(), "PNG")[:-300], "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_not_be_written_alike_is_refused_by_name(name):
    make, reason = REFUSED[name]
    with pytest.raises(ArtifactError, match=reason) as caught:
        read_photograph(make())
    assert str(caught.value).count(";") == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [100, 10**9])
def test_decompression_bombs_are_refused_before_they_are_decoded(monkeypatch, limit):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    monkeypatch.setattr(photographs, "_MAX_PIXELS", limit)  # beyond Pillow's own limit as well
    with pytest.raises(ArtifactError, match="too large to decode"):
        inspect_photograph(bomb)


def test_what_stands_behind_the_picture_is_told():
    two = saved(picture(), "MPO", save_all=True, append_images=[picture()])
    moving = saved(picture(), "JPEG", progressive=True) + b"ftypmp42 a video"
    png = saved(picture(), "PNG") + b"more"
    for data in (two, moving, png):
        photo = read_photograph(data)
        assert photo.remark == BEHIND
        encoded = encode_photograph(photo, photo.pixels, quality=95)
        again = read_photograph(encoded)
        assert again.kind == photo.kind
        assert again.remark == ""
    assert read_photograph(saved(picture(), "JPEG") + bytes(20)).remark == ""  # filling


@pytest.mark.parametrize("progressive", [False, True])
def test_the_end_of_a_picture_is_found(progressive):
    data = saved(picture(size=(200, 100)), "JPEG", progressive=progressive, restart_marker_rows=1)
    assert jpeg_end(data + b"\xff\xd9more") == len(data)
    data = saved(picture(), "PNG")
    assert png_end(data + b"more") == len(data)


@pytest.mark.parametrize("place", range(2, 60, 3))
def test_damaged_segments_are_read_or_refused(place):
    data = bytearray(saved(picture(), "JPEG", exif=exif()))
    data[place : place + 2] = b"\xff\xff"
    with contextlib.suppress(ArtifactError):
        photo = read_photograph(bytes(data))
        encode_photograph(photo, photo.pixels, quality=95)
