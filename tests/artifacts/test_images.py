"""Image folders and archives: what is read, in which order, and what is refused."""

import io
import os
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cptools.artifacts import pictures
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.formats import sniff
from cptools.artifacts.images import export_images, list_images, read_images

FORMATS = ["folder", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]


def encode(pixels, suffix="png", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix), **options)
    return buffer.getvalue()


def picture(seed, *, width=8, height=8):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def files_of(*names, **size):
    """PNG files of random images; the seed is the position."""
    return {name: encode(picture(seed, **size)) for seed, name in enumerate(names)}


def pack(path, files, kind):
    """Write name -> bytes as a folder or an archive, in the given order; return its path."""
    if kind == "folder":
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return path
    path = path.with_suffix("." + kind)
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    mode = {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}[kind]
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


SIMPLE = ("test/cat/1.png", "train/dog/10.png", "train/dog/9.png", "train/cat/a.png")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("top", ["", "pets/", "./", "/"])
def test_containers_agree(tmp_path, kind, top):
    if kind == "folder" and top in ("./", "/"):
        pytest.skip("a folder has no such names")
    path = pack(tmp_path / "x", {top + n: d for n, d in files_of(*SIMPLE).items()}, kind)
    assert sniff(path)
    found = list_images(path)
    assert found.classes == ("cat", "dog")
    assert [name.removeprefix(top) for name in found.train.names] == [
        "train/cat/a.png",
        "train/dog/9.png",  # naturally: before 10
        "train/dog/10.png",
    ]
    assert found.train.labels.tolist() == [0, 1, 1]
    assert found.train.labels.dtype == np.int64
    assert found.test.labels.tolist() == [0]
    images = read_images(path, found.train.names + found.test.names)
    expected = np.stack([picture(seed).transpose(2, 0, 1) for seed in (3, 2, 1, 0)])
    np.testing.assert_array_equal(images, expected)


def test_only_chosen_images_are_decoded(tmp_path):
    files = files_of(*SIMPLE) | {"train/cat/broken.png": b"not an image"}
    path = pack(tmp_path / "x", files, "zip")
    assert "train/cat/broken.png" in list_images(path).train.names
    images = read_images(path, ["train/dog/10.png"])
    np.testing.assert_array_equal(images[0], picture(1).transpose(2, 0, 1))


def test_hidden_and_foreign_files_are_passed_over(tmp_path):
    junk = dict.fromkeys(
        [".DS_Store", "train/.cache/x.png", "train/cat/._a.png", "__MACOSX/train/cat/a.png"], b"x"
    )
    notes = {"README.md": b"x", "train/cat/notes.txt": b"x", "../../train/cat/evil.png": b"x"}
    path = pack(tmp_path / "x", files_of(*SIMPLE) | junk | notes, "zip")
    found = list_images(path)
    assert len(found.train.names) == 3
    assert read_images(path, found.train.names).shape == (3, 3, 8, 8)


def test_nothing_is_extracted(tmp_path):
    names = ("/train/cat/1.png", "/train/../../cat/2.png", "/test/cat/3.png")
    path = pack(tmp_path / "x", files_of(*names), "zip")
    found = list_images(path)
    assert found.train.names == ("train/cat/1.png",)
    assert len(read_images(path, found.train.names)) == 1
    assert [p.name for p in tmp_path.rglob("*")] == ["x.zip"]


def test_backslashes_of_windows(tmp_path):
    path = pack(tmp_path / "x", files_of("train\\cat\\1.png", "test\\cat\\1.png"), "zip")
    assert list_images(path).train.names == ("train/cat/1.png",)
    assert len(read_images(path, ["test/cat/1.png"])) == 1


def test_val_where_there_is_no_test(tmp_path):
    files = files_of("train/cat/1.png", "val/cat/7.png")
    assert list_images(pack(tmp_path / "x", files, "tar")).test.names == ("val/cat/7.png",)
    files |= files_of("test/cat/8.png")
    assert list_images(pack(tmp_path / "y", files, "tar")).test.names == ("test/cat/8.png",)


def test_unlabeled_test_folder_gives_way_to_val(tmp_path):
    path = pack(tmp_path / "x", files_of("train/a/1.png", "val/a/2.png", "test/3.png"), "tar")
    assert list_images(path).test.names == ("val/a/2.png",)


@pytest.mark.parametrize("top", ["", "pets/"])
def test_classes_alone(tmp_path, top):
    path = pack(tmp_path / "x", files_of(f"{top}cat/1.png", f"{top}dog/1.png"), "zip")
    found = list_images(path)
    assert found.classes == ("cat", "dog")
    assert found.test is None


def test_classes_file_orders_only_what_it_lists(tmp_path):
    files = files_of("train/cat/a.png", "train/dog/a.png")
    ordered = pack(tmp_path / "x", {"classes.txt": b"dog\ncat\n"} | files, "folder")
    assert list_images(ordered).classes == ("dog", "cat")
    assert list_images(ordered).train.labels.tolist() == [0, 1]
    other = pack(tmp_path / "y", {"classes.txt": b"dog\tCanis\ncat\tFelis\n"} | files, "folder")
    assert list_images(other).classes == ("cat", "dog")


def test_numbers_that_repeat_are_no_ids(tmp_path):
    files = files_of("train/cat/2.png", "train/dog/1.png", "train/cat/10.png")
    assert list_images(pack(tmp_path / "x", files, "tar")).train.labels.tolist() == [1, 0, 0]
    files |= files_of("train/dog/2.png")
    assert list_images(pack(tmp_path / "y", files, "tar")).train.labels.tolist() == [0, 0, 1, 1]


# Pixels


def read_one(tmp_path, data, name="1.png", **options):
    path = pack(tmp_path / "one", {f"train/cat/{name}": data}, "folder")
    return read_images(path, [f"train/cat/{name}"], **options)[0].transpose(1, 2, 0)


def test_gray_palette_alpha(tmp_path):
    rgb, gray = picture(0), picture(0)[:, :, 0]
    np.testing.assert_array_equal(
        read_one(tmp_path / "l", encode(gray)), np.repeat(gray[:, :, None], 3, axis=2)
    )
    palette = Image.fromarray(rgb).quantize(7)
    buffer = io.BytesIO()
    palette.save(buffer, "png")
    np.testing.assert_array_equal(
        read_one(tmp_path / "p", buffer.getvalue()), np.asarray(palette.convert("RGB"))
    )


def on_white(rgb, alpha):
    share = alpha[:, :, None] / 255
    return rgb * share + 255 * (1 - share)


def test_what_is_transparent_is_put_on_white(tmp_path):
    rgb, alpha = picture(0), (np.arange(64, dtype=np.uint8) * 4).reshape(8, 8)
    alpha[0], alpha[1] = 0, 255
    got = read_one(tmp_path / "rgba", encode(np.dstack([rgb, alpha])))
    assert (got[0] == 255).all()
    np.testing.assert_array_equal(got[1], rgb[1])
    np.testing.assert_allclose(got, on_white(rgb, alpha), atol=1)
    gray = Image.merge("LA", [Image.fromarray(rgb[:, :, 0]), Image.fromarray(alpha)])
    buffer = io.BytesIO()
    gray.save(buffer, "png")
    got = read_one(tmp_path / "la", buffer.getvalue())
    np.testing.assert_allclose(got, on_white(rgb[:, :, :1].repeat(3, 2), alpha), atol=1)
    buffer = io.BytesIO()
    palette = Image.fromarray(rgb).quantize(7)
    palette.save(buffer, "png", transparency=b"\x00\x80")
    shares = np.array([0, 128, *[255] * 5])[np.asarray(palette)]
    got = read_one(tmp_path / "p", buffer.getvalue())
    np.testing.assert_allclose(got, on_white(np.asarray(palette.convert("RGB")), shares), atol=1)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    levels = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
    pixels = read_one(tmp_path, encode(levels))
    expected = np.round(levels / 257.0).astype(np.uint8)
    np.testing.assert_array_equal(pixels, np.repeat(expected[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("peak", "note"), [(4095, "use 12 of them, of which 17 gray"), (65520, "")]
)
def test_few_bits_of_sixteen_are_said(tmp_path, caplog, peak, note):
    read_one(tmp_path, encode((np.arange(64, dtype=np.uint16) * (peak // 63)).reshape(8, 8)))
    assert note in caplog.text
    assert bool(note) == bool(caplog.text)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_is_passed_over_is_said(tmp_path, kind):
    files = files_of(*SIMPLE)
    files |= dict.fromkeys(["train/cat/a.HEIC", "train/cat/b.HEIC", "train/x/README"], b"x")
    files |= dict.fromkeys(["train/cat/.DS_Store", "__MACOSX/a.txt", "classes.txt"], b"x")
    path = pack(tmp_path / "x", files, kind)
    if kind == "folder":
        (path / "train" / "empty").mkdir()
    said = list_images(path).remarks
    assert said[0] == f"{path}: passed over 3 files (.HEIC, no suffix)"
    assert said[1:] == (f"{path}: no images in the folders of empty, x",) * (kind == "folder")
    only = pack(tmp_path / "y", {"train/cat/a.HEIC": b"x"}, kind)
    with pytest.raises(ArtifactError, match=r"no images that can be read \(passed over 1 file"):
        list_images(only)


def test_exif_orientation(tmp_path):
    ramp = np.repeat(np.linspace(0, 255, 16).astype(np.uint8)[None, :, None], 8, axis=0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by 90 degrees
    data = encode(np.repeat(ramp, 3, axis=2), "jpg", exif=exif, quality=95)
    pixels = read_one(tmp_path, data, "1.jpg")
    assert pixels.shape == (16, 8, 3)
    assert np.all(np.diff(pixels[:, 0, 0].astype(int)) > 0)


@pytest.mark.parametrize("suffix", ["bmp", "gif", "ppm", "tiff", "webp", "jpg"])
def test_formats(tmp_path, suffix):
    rgb = np.repeat(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8, 1), 3, axis=2)
    pixels = read_one(tmp_path, encode(rgb, suffix), f"1.{suffix.upper()}")
    assert np.abs(pixels.astype(int) - rgb).max() <= (40 if suffix in ("jpg", "webp") else 0)


def test_mixed_sizes_need_a_size(tmp_path):
    files = {"train/a/1.png": encode(picture(0)), "train/a/2.png": encode(picture(1, width=12))}
    path = pack(tmp_path / "x", files, "zip")
    names = list_images(path).train.names
    message = r"train/a/1.png is 8x8, train/a/2.png is 12x8\); give --size"
    with pytest.raises(ArtifactError, match=message):
        read_images(path, names)
    images = read_images(path, names, size=8)
    np.testing.assert_array_equal(images[0], picture(0).transpose(2, 0, 1))
    center = picture(1, width=12)[:, 2:10]  # same scale: a pure crop
    np.testing.assert_array_equal(images[1], center.transpose(2, 0, 1))


def test_size_is_lanczos_of_the_central_square(tmp_path):
    photo = picture(3, width=50, height=40)
    expected = Image.fromarray(photo[:, 5:45]).resize((16, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(read_one(tmp_path, encode(photo), size=16), np.asarray(expected))


def test_large_jpegs_are_reduced_without_visible_change(tmp_path):
    y, x = np.mgrid[0:640, 0:800] / 800
    smooth = np.stack([127 + 120 * np.sin(9 * x + k) * np.cos(7 * y) for k in range(3)], axis=2)
    data = encode(smooth.astype(np.uint8), "jpg", quality=95)
    full = Image.open(io.BytesIO(data)).crop((80, 0, 720, 640))
    expected = np.asarray(full.resize((32, 32), Image.Resampling.LANCZOS)).astype(int)
    pixels = read_one(tmp_path, data, "1.jpg", size=32).astype(int)
    assert np.abs(pixels - expected).max() <= 4


# What is refused


def read_all(path):
    found = list_images(path)
    return read_images(path, found.train.names + (found.test.names if found.test else ()))


def refuse(path, message):
    with pytest.raises(ArtifactError, match=message) as caught:
        read_all(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_broken_image(tmp_path, kind):
    data = encode(picture(0, width=64, height=64), "jpg")
    for name, bad in {"cut": data[: len(data) // 2], "text": b"hello", "none": b""}.items():
        files = {"train/cat/ok.jpg": data, f"train/cat/{name}.jpg": bad}
        refuse(pack(tmp_path / name, files, kind), f"cannot decode train/cat/{name}.jpg")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_truncated_archive(tmp_path, kind):
    path = pack(tmp_path / "x", files_of(*[f"train/c/{k}.png" for k in range(40)]), kind)
    whole = path.read_bytes()
    cuts = {len(whole) // 3, len(whole) // 2, len(whole) * 9 // 10, len(whole) - 8}
    if kind == "tar":
        cuts = {512, 512 * 3, len(whole) // 2, len(whole) // 1024 * 512}
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        refuse(path, "truncated or damaged|is truncated")


def test_damaged_archives(tmp_path):
    path = pack(tmp_path / "x", files_of(*[f"train/c/{k}.png" for k in range(40)]), "tar.xz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    refuse(path, "truncated or damaged")
    path = pack(tmp_path / "y", files_of("train/c/0.png", "train/c/1.png"), "zip")
    data = bytearray(path.read_bytes())
    data[80] ^= 0xFF  # inside the first file's data
    path.write_bytes(data)
    refuse(path, "truncated or damaged|cannot decode train/c/0.png")


def test_encrypted_zip(tmp_path):
    path = pack(tmp_path / "x", files_of("train/c/0.png"), "zip")
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refuse(path, "encrypted")


def test_decompression_bomb(tmp_path, monkeypatch):
    path = pack(tmp_path / "x", {"train/c/0.png": encode(picture(0, width=30))}, "tar")  # 240
    monkeypatch.setattr(pictures, "_MAX_PIXELS", 200)
    refuse(path, "train/c/0.png is too large to decode")
    monkeypatch.setattr(pictures, "_MAX_PIXELS", 10**9)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow raises from twice that
    refuse(path, "train/c/0.png is too large to decode")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 240)
    assert read_all(path).shape == (1, 3, 8, 30)


def test_links_in_archives(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("train/c/0.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    refuse(path, "train/c/0.png is a link")


def test_links_in_folders(tmp_path):
    path = pack(tmp_path / "x", files_of("train/c/0.png"), "folder")
    (path / "train/c/1.png").symlink_to(path / "train/c/0.png")
    assert len(list_images(path).train.names) == 2
    (path / "train/c/2.png").symlink_to(path / "nowhere.png")
    refuse(path, "cannot read .*2.png: No such file")
    (path / "train/c/2.png").unlink()
    (path / "train/loop").symlink_to(path / "train")
    refuse(path, "is a link a loop")


def test_layout_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", "contains no images")
    refuse(pack(tmp_path / "empty", {"a.txt": b"x"}, "zip"), "contains no images")
    refuse(pack(tmp_path / "t", files_of("test/c/0.png"), "zip"), "no train folder")
    stray = files_of("train/c/0.png", "train/1.png")
    refuse(pack(tmp_path / "s", stray, "zip"), "train/1.png is in no class folder")
    foreign = files_of("train/c/0.png", "test/d/1.png")
    refuse(pack(tmp_path / "f", foreign, "zip"), "'d' .*test images but no training images")
    more = files_of("c/0.png", "1.png")
    refuse(pack(tmp_path / "more", more, "folder"), "1.png is in no class folder, others are")


def test_empty_class_folder(tmp_path):
    path = pack(tmp_path / "x", files_of("train/cat/0.png", "test/cat/0.png"), "folder")
    (path / "train/dog").mkdir()
    assert list_images(path).classes == ("cat",)
    pack(path, files_of("test/dog/0.png"), "folder")
    refuse(path, "'dog' .*test images but no training images")


def test_same_name_twice(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for _ in range(2):
            info = tarfile.TarInfo("train/c/0.png")
            archive.addfile(info, io.BytesIO(b""))
    refuse(path, "contains train/c/0.png twice")


def test_not_a_container(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(b"\x40\0\0\0\0\0\0\0{}")
    assert not sniff(path)
    assert not sniff(tmp_path / "absent")
    assert not sniff("-")
    refuse(path, "not an image folder, zip or tar")
    refuse(tmp_path / "absent", "cannot read .*absent: No such file")


def test_file_that_went_away(tmp_path):
    path = pack(tmp_path / "x", files_of(*SIMPLE), "folder")
    with pytest.raises(ArtifactError, match=r"gone\.png has been removed"):
        read_images(path, ["train/cat/a.png", "train/cat/gone.png"])


@pytest.mark.parametrize(
    ("names", "size"), [([], None), (["train/cat/a.png"] * 2, None), (["train/cat/a.png"], 0)]
)
def test_wrong_calls(tmp_path, names, size):
    path = pack(tmp_path / "x", files_of(*SIMPLE), "folder")
    with pytest.raises(ValueError, match="expected"):
        read_images(path, names, size=size)


# Export


def export(folder, train, labels, classes, *, test_count=2, train_index=None):
    test = train[:test_count]
    export_images(
        folder,
        train_images=train,
        train_labels=labels,
        test_images=test,
        test_labels=labels[:test_count],
        classes=classes,
        train_index=train_index,
    )


def random_images(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3, 6, 6), dtype=np.uint8)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=0, max_size=9),
    st.permutations(["zebra", "ant 2", "käse"]),
    st.integers(0, 3),
)
def test_export_then_read_is_the_identity(tmp_path_factory, more, classes, test_count):
    labels = np.array([2, 0, 1, *more], dtype=np.int64)
    images = random_images(len(labels))
    folder = tmp_path_factory.mktemp("export") / "out"
    export(folder, images, labels, classes, test_count=test_count)
    found = list_images(folder)
    assert found.classes == tuple(classes)
    np.testing.assert_array_equal(found.train.labels, labels)
    np.testing.assert_array_equal(read_images(folder, found.train.names), images)
    if test_count:
        np.testing.assert_array_equal(found.test.labels, labels[:test_count])
        np.testing.assert_array_equal(read_images(folder, found.test.names), images[:test_count])
    else:
        assert found.test is None


def test_export_names_are_ids(tmp_path):
    labels = np.array([1, 0, 1])
    index = np.array([7, 30, 1234567])
    export(tmp_path / "out", random_images(3), labels, ["cat", "dog"], train_index=index)
    names = sorted(str(p.relative_to(tmp_path / "out")) for p in tmp_path.rglob("train/*/*"))
    assert names == ["train/cat/000030.png", "train/dog/000007.png", "train/dog/1234567.png"]
    found = list_images(tmp_path / "out")
    np.testing.assert_array_equal(found.train.labels, labels)
    np.testing.assert_array_equal(
        read_images(tmp_path / "out", found.train.names), random_images(3)
    )


def test_export_into_an_empty_folder_only(tmp_path):
    (tmp_path / "out").mkdir()
    export(tmp_path / "out", random_images(2), np.array([0, 0]), ["a"])
    assert len(list(tmp_path.rglob("*.png"))) == 4
    with pytest.raises(ArtifactError, match="exists and is not empty"):
        export(tmp_path / "out", random_images(2), np.array([0, 0]), ["a"])
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_failed_export_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def fail(self, path, *args, **kwargs):
        calls.append(path)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        export(tmp_path / "out", random_images(9), np.zeros(9, dtype=np.int64), ["a"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\nb", "a\0b", "__MACOSX"])
def test_class_names_that_are_no_folders(tmp_path, name):
    with pytest.raises(ArtifactError, match="cannot be a folder's name"):
        export(tmp_path / "out", random_images(2), np.array([0, 1]), ["a", name])
    assert list(tmp_path.iterdir()) == []


def test_export_refusals(tmp_path):
    images, labels = random_images(2), np.array([0, 1])
    with pytest.raises(ArtifactError, match="same name"):
        export(tmp_path / "out", images, labels, ["a", "a"])
    with pytest.raises(ValueError, match="one id for each"):
        export(tmp_path / "out", images, labels, ["a", "b"], train_index=np.array([3, 3]))
    with pytest.raises(ArtifactError, match=r"cannot make .*No such file"):
        export(tmp_path / "no" / "out", images, labels, ["a", "b"])


@pytest.mark.data
@pytest.mark.skipif("CPTOOLS_DATA" not in os.environ, reason="CPTOOLS_DATA is unset")
@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.long)])
def test_cifar10(every):
    path = Path(os.environ["CPTOOLS_DATA"]) / "cifar10-jpeg.tar.xz"
    start = time.process_time()
    found = list_images(path)
    images = read_images(path, (found.train.names + found.test.names)[::every])
    assert images.shape == (60_000 // every, 3, 32, 32)
    assert np.bincount(found.train.labels).tolist() == [5000] * 10
    assert np.bincount(found.test.labels).tolist() == [1000] * 10
    assert found.classes[:3] == ("airplane", "automobile", "bird")
    # The mean of CIFAR-10's training images, within the error of JPEG and of a sample.
    mean = images[: 50_000 // every].mean(axis=(0, 2, 3)) / 255
    tolerance = 0.002 if every == 1 else 0.005
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=tolerance)
    assert time.process_time() - start < 60


@pytest.mark.parametrize(
    ("names", "test"),
    [
        (("10.png", "9.png"), None),
        (("top/train/10.png", "top/train/9.png", "top/README"), None),
        (("train/10.png", "train/9.png", "test/0.png"), 1),
    ],
    ids=["flat", "in a folder", "with a test split"],
)
def test_images_without_class_folders_are_unlabeled(tmp_path, names, test):
    listing = list_images(pack(tmp_path / "x", files_of(*names), "zip"))
    assert listing.classes == ("unlabeled",)
    assert listing.train.labels.tolist() == [0, 0]
    assert [Path(name).name for name in listing.train.names] == ["9.png", "10.png"]
    assert listing.test is None if test is None else len(listing.test.labels) == test
