"""`cp-protect`: files in, files out, as they were."""

import errno
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import cptools
from cptools.artifacts import photo_folder
from cptools.artifacts.history import digest
from cptools.artifacts.photo_folder import RECORD_FILE, read_records
from cptools.artifacts.schema import Assigner, Delta
from cptools.artifacts.segments import jpeg_preview
from cptools.artifacts.stream import open_artifact
from cptools.workflows import protect as work

CLASSES = ("cat", "dog")


def delta_of(path, *, classes=CLASSES, **others):
    """A class-wise delta of noise at the ends of its range."""
    noise = np.sign(np.random.default_rng(1).normal(size=(len(classes) or 2, 3, 16, 16)))
    told = {"mode": "class", "epsilon": "8/255", "algorithm": "simclr", "dataset": "0" * 64}
    cptools.save(Delta(noise.astype(np.float32), **{**told, "classes": classes, **others}), path)
    return path


def photo(path, size=(60, 40), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(map(ord, path.name)))
    shape = (*size[::-1], {"L": 1, "RGB": 3, "RGBA": 4}[mode])
    small = rng.integers(0, 256, (4, 4, shape[2]), dtype=np.uint8)
    if mode == "L":
        small = small[:, :, 0]
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path, **options)
    return path


@pytest.fixture
def photos(tmp_path):
    """Photographs of several sizes and formats in folders of two classes."""
    folder = tmp_path / "photos"
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(folder / "cat" / "one.jpg", quality=90, exif=exif)
    photo(folder / "cat" / "deep" / "er" / "two.PNG", (33, 81))
    photo(folder / "dog" / "gray.png", (16, 16), "L")
    photo(folder / "dog" / "alpha.webp", (50, 20), "RGBA", lossless=True, exact=True)
    return folder


@pytest.fixture
def delta(tmp_path):
    return delta_of(tmp_path / "delta.safetensors")


@pytest.fixture
def protect(tool, photos, delta, tmp_path):
    def run(*words, source=photos, jobs=1):
        words = ("--delta", delta, *words) if "--delta" not in words else words
        return tool("cp-protect", source, "-o", tmp_path / "out", "--jobs", jobs, *words)

    return run


def names(folder):
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix() for p in files} - {RECORD_FILE}


def contents(folder):
    return {name: (folder / name).read_bytes() for name in names(folder)}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_every_photograph_leaves_as_it_was_but_for_noise(protect, photos, tmp_path):
    before = contents(photos)
    done = protect("--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["written"], told["unchanged"], told["refused"]) == (4, 0, [])
    assert contents(photos) == before
    assert names(tmp_path / "out") == set(before)
    for name in before:
        old, new = pixels(photos / name), pixels(tmp_path / "out" / name)
        apart = np.abs(new - old)
        assert apart.shape == old.shape
        if not name.endswith(".jpg"):
            assert apart.max() == 8
        if name.endswith(".webp"):
            assert apart[:, :, 3].max() == 0
        assert apart.mean() > 1
    with Image.open(tmp_path / "out" / "cat" / "one.jpg") as image:
        assert image.getexif()[0x0112] == 6
    assert 0 <= told["jpeg"]["levels_beyond_epsilon_99.9%"] <= 8
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "delta.safetensors", "out"}


def test_one_process_and_several_write_the_same(protect, tmp_path):
    assert protect(jobs=1).code == 0
    one = contents(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    assert protect(jobs=2).code == 0
    assert contents(tmp_path / "out") == one


def test_the_noise_is_that_of_the_class_and_upright(protect, tmp_path, photos, delta):
    size = (16, 16)
    exif = Image.Exif()
    exif[0x0112] = 6
    flat = Image.new("RGB", size, (100, 100, 100))
    flat.save(photos / "dog" / "flat.png")
    flat.save(photos / "dog" / "turned.png", exif=exif)
    assert protect().code == 0
    rows = open_artifact(delta).read().delta
    expected = 100 + 8 * rows[1].transpose(1, 2, 0)
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "dog" / "flat.png"), expected)
    turned = pixels(tmp_path / "out" / "dog" / "turned.png")
    np.testing.assert_array_equal(np.rot90(turned, -1), expected)  # 6: shown turned clockwise


def test_a_second_run_does_what_is_new(protect, photos, tmp_path, monkeypatch):
    assert protect().code == 0
    before = contents(tmp_path / "out")
    times = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in before}
    photo(photos / "dog" / "new.png")
    os.utime(photos / "dog" / "gray.png")  # touched, not changed
    (tmp_path / "out" / "cat" / "one.jpg").unlink()
    read = []
    monkeypatch.setattr(
        photo_folder, "read_file",
        lambda root, name, real=photo_folder.read_file: read.append(name) or real(root, name),
    )  # fmt: skip
    done = protect("--json")
    told = json.loads(done.out)
    assert (done.code, told["written"], told["unchanged"]) == (0, 2, 3)
    assert sorted(read) == ["cat/one.jpg", "dog/gray.png", "dog/new.png"]
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    for name in set(before) - {"cat/one.jpg"}:
        assert (tmp_path / "out" / name).stat().st_mtime_ns == times[name]
    read.clear()
    assert json.loads(protect("--json").out)["unchanged"] == 5
    assert read == []


def test_a_photograph_that_was_changed_is_protected_anew(protect, photos, tmp_path):
    assert protect().code == 0
    before = (tmp_path / "out" / "dog" / "gray.png").read_bytes()
    photo(photos / "dog" / "gray.png", (20, 30), "L")
    assert json.loads(protect("--json").out)["written"] == 1
    assert (tmp_path / "out" / "dog" / "gray.png").read_bytes() != before
    assert protect("--quality", 80, "--json").code == 0


def test_another_delta_or_quality_protects_anew(protect, tmp_path):
    assert protect().code == 0
    assert json.loads(protect("--quality", 80, "--json").out)["written"] == 1  # the JPEG
    other = delta_of(tmp_path / "other", epsilon="4/255")
    assert json.loads(protect("--delta", other, "--json").out)["written"] == 4
    assert len(read_records(tmp_path / "out")["dog/gray.png"]) == 2


def with_preview(path, orientation=1):
    """A JPEG with a preview of itself in its EXIF, as cameras write them."""
    photo(path, (200, 120))
    image, small = Image.open(path), io.BytesIO()
    image.resize((80, 48)).save(small, "JPEG", quality=95)
    entry = struct.pack(">HHII", 0x0112, 3, 1, orientation << 16)
    first = struct.pack(">2sHI", b"MM", 42, 8) + struct.pack(">H", 1) + entry
    start = len(first) + 4 + 2 + 2 * 12 + 4
    second = struct.pack(">H", 2) + struct.pack(">HHII", 0x0201, 4, 1, start)
    second += struct.pack(">HHII", 0x0202, 4, 1, small.tell()) + bytes(4)
    tiff = first + struct.pack(">I", len(first) + 4) + second + small.getvalue()
    image.save(path, quality=95, exif=b"Exif\0\0" + tiff)
    return small.tell()


def test_the_preview_in_exif_is_protected_as_well(protect, verify, photos, tmp_path):
    length = with_preview(photos / "cat" / "phone.jpg")
    assert protect().code == 0
    found = []
    for folder in (photos, tmp_path / "out"):
        data = (folder / "cat" / "phone.jpg").read_bytes()
        place = jpeg_preview(data)
        assert place.stop - place.start == length
        found.append(np.asarray(Image.open(io.BytesIO(data[place]))).astype(int))
    assert found[0].shape == found[1].shape == (48, 80, 3)
    assert 2 < np.abs(found[0] - found[1]).mean() < 10
    assert verify().code == 0
    data = (photos / "cat" / "phone.jpg").read_bytes()
    place = jpeg_preview(data)
    broken = b"\xff\xd8".ljust(length, b"\0")  # cannot be read
    (photos / "cat" / "phone.jpg").write_bytes(data[: place.start] + broken + data[place.stop :])
    done = protect()
    assert "1 of the photographs keep the preview in their EXIF as it was" in done.err


def test_the_record_has_digests_alone(protect, photos, tmp_path, delta):
    assert protect().code == 0
    (record,) = read_records(tmp_path / "out")["dog/gray.png"]
    assert record.source == photo_folder.sha256((photos / "dog" / "gray.png").read_bytes())
    assert record.output == photo_folder.sha256((tmp_path / "out/dog/gray.png").read_bytes())
    assert record.delta == digest(open_artifact(delta).read().arrays())
    assert str(tmp_path) not in (tmp_path / "out" / RECORD_FILE).read_text()


def test_a_record_that_was_cut_or_lost_does_no_harm(protect, tmp_path):
    assert protect().code == 0
    record = tmp_path / "out" / RECORD_FILE
    before = contents(tmp_path / "out")
    record.write_bytes(record.read_bytes()[:-20] + b'\n{"name":1}\n[]\nnull\n\xff')
    assert json.loads(protect("--json").out)["unchanged"] == 4
    record.unlink()  # then the files are made again, and are the same
    assert json.loads(protect("--json").out)["unchanged"] == 4
    assert len(read_records(tmp_path / "out")) == 4
    assert contents(tmp_path / "out") == before


def test_what_others_put_there_is_not_replaced(protect, tmp_path):
    (tmp_path / "out" / "dog").mkdir(parents=True)
    (tmp_path / "out" / "dog" / "gray.png").write_bytes(b"mine")
    (tmp_path / "out" / "dog" / "alpha.webp").mkdir()
    done = protect()
    assert done.code == 1
    assert "left out dog/gray.png: it would replace" in done.err
    assert "left out dog/alpha.webp: it would replace" in done.err
    assert (tmp_path / "out" / "dog" / "gray.png").read_bytes() == b"mine"


@pytest.mark.parametrize("what", ["file", "folder"])
def test_originals_are_not_reached_through_links(protect, photos, tmp_path, what):
    before = contents(photos)
    (tmp_path / "out").mkdir()
    if what == "file":
        (tmp_path / "out" / "dog").mkdir()
        (tmp_path / "out" / "dog" / "gray.png").symlink_to(photos / "dog" / "gray.png")
    else:
        (tmp_path / "out" / "dog").symlink_to(photos / "dog")
    done = protect()
    assert done.code == 1
    assert "left out dog/gray.png: it would go through a link" in done.err
    assert contents(photos) == before


def test_a_picture_of_the_same_name_from_elsewhere_is_not_overwritten(protect, tmp_path):
    assert protect().code == 0
    other = photo(tmp_path / "new" / "dog" / "gray.png", (70, 70), "L")
    before = contents(tmp_path / "out")
    done = protect(source=tmp_path / "new")
    assert done.code == 1
    assert "left out dog/gray.png: it has the name of another picture" in done.err
    assert contents(tmp_path / "out") == before
    shutil.copy(tmp_path / "photos" / "dog" / "gray.png", other)  # the same one, moved
    assert json.loads(protect("--json", source=tmp_path / "new").out)["unchanged"] == 1


@pytest.mark.parametrize("place", [".", "photos", "photos/below", "link"])
def test_an_output_in_its_own_input_is_refused(tool, photos, delta, tmp_path, place):
    (tmp_path / "link").symlink_to(photos)
    before = contents(photos)
    done = tool("cp-protect", photos, "-o", tmp_path / place, "--delta", delta)
    done.refused("give another output")
    assert contents(photos) == before


@pytest.mark.parametrize(("place", "reason"), [("delta.safetensors", "file"), ("a/b", "make it")])
def test_an_output_that_cannot_be_made_is_refused(tool, photos, delta, tmp_path, place, reason):
    tool("cp-protect", photos, "-o", tmp_path / place, "--delta", delta).refused(reason)


@pytest.mark.parametrize("source", ["nowhere", "delta.safetensors", "empty"])
def test_a_source_without_photographs_is_refused(tool, delta, tmp_path, source):
    (tmp_path / "empty").mkdir()
    done = tool("cp-protect", tmp_path / source, "-o", tmp_path / "out", "--delta", delta)
    done.refused(source)
    assert not (tmp_path / "out").exists()


def spoil(photos, tmp_path):
    """Put into a folder what cannot be protected; return the names."""
    (photos / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (photos / "cat" / "a.heic").write_bytes(b"....ftypheic")
    photo(photos / "cat" / "ink.jpg").unlink()
    Image.new("CMYK", (8, 8)).save(photos / "cat" / "ink.jpg")
    photo(photos / "somewhere" / "else.png")
    outside = photo(tmp_path / "outside" / "x.png")
    (photos / "cat" / "link.png").symlink_to(outside)
    (photos / "cat" / "gone.png").symlink_to(tmp_path / "gone")
    (photos / "linked").symlink_to(tmp_path / "outside")
    os.mkfifo(photos / "cat" / "pipe.png")
    return {
        "cat/broken.jpg", "cat/a.heic", "cat/ink.jpg", "somewhere/else.png", "cat/link.png",
        "cat/gone.png", "linked", "cat/pipe.png",
    }  # fmt: skip


def test_what_cannot_be_protected_is_named_skipped_and_counted(protect, photos, tmp_path):
    bad = spoil(photos, tmp_path)
    (photos / "cat" / "within.png").symlink_to(photos / "dog" / "gray.png")
    (photos / ".hidden.png").write_bytes(b"")
    (photos / "__MACOSX").mkdir()
    (photos / "__MACOSX" / "x.png").write_bytes(b"")
    (photos / "clip.MOV").write_bytes(b"")
    done = protect("--json", "-q")
    assert done.code == 1
    told = json.loads(done.out)
    assert {one["name"] for one in told["refused"]} == bad
    assert (told["written"], told["passed_over"]) == (5, {".mov": 1})
    lines = done.err.splitlines()
    assert len(lines) == len(bad)
    assert all(line.startswith("cp-protect: note: left out ") for line in lines)
    assert "left out cat/a.heic: it is HEIC" in done.err
    assert not bad & names(tmp_path / "out")
    again = protect("--skip-broken")
    assert again.code == 0
    assert "left out 8; passed over 1 other file (1 .mov)" in again.err


def test_strict_stops_at_once(protect, photos, tmp_path):
    (photos / "cat" / "a.png").write_bytes(b"no picture")
    done = protect("--strict")
    assert (done.code, done.out) == (2, b"")
    assert "error: cat/a.png cannot be decoded" in done.err
    assert names(tmp_path / "out") == set()
    protect("--strict", "--skip-broken").refused("exclude each other")


def test_names_from_outside_do_not_reach_the_terminal_as_they_are(protect, photos, tmp_path):
    evil = "a\nerror: \x1b[31mb\u202e"
    photo(photos / "cat" / f"{evil}.png")
    (photos / "cat" / f"{evil}.jpg").write_bytes(b"broken")
    raw = os.fsencode(photos / "dog" / "gray.png").replace(b"gray", b"\xff\xfe")
    shutil.copy(photos / "dog" / "gray.png", raw)
    done = protect()
    assert done.code == 1
    assert "\x1b" not in done.err
    assert "\u202e" not in done.err
    assert all(line.startswith("cp-protect: ") for line in done.err.splitlines())
    assert names(tmp_path / "out") == names(photos) - {f"cat/{evil}.jpg"}
    assert json.loads(protect("--json").out)["unchanged"] == 6


def test_names_that_are_one_on_a_disk_without_case(protect, photos, tmp_path, monkeypatch):
    photo(photos / "cat" / "ONE.JPG", (20, 20))
    assert json.loads(protect("--json").out)["written"] == 5
    monkeypatch.setattr(work, "folds_names", lambda folder: True)
    done = protect("--json")
    assert (done.code, json.loads(done.out)["unchanged"]) == (1, 4)
    assert "left out cat/one.jpg: it has the name of cat/ONE.JPG" in done.err


def test_a_disk_that_fills_up_leaves_whole_files(protect, photos, tmp_path, monkeypatch):
    real = photo_folder.atomic_write
    done = []

    def full(path):
        if len(done) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        done.append(path)
        return real(path)

    monkeypatch.setattr(photo_folder, "atomic_write", full)
    ended = protect()
    assert ended.code == 1
    assert "No space left on device; free some space" in ended.err
    assert len(names(tmp_path / "out")) == 2
    monkeypatch.undo()
    assert json.loads(protect("--json").out)["written"] == 2


def test_deltas_that_do_not_fit_are_refused(protect, tmp_path):
    cases = {
        "sample-wise": {"mode": "sample", "classes": ()},
        "does not say what its rows are for": {"classes": ()},
    }
    for reason, others in cases.items():
        protect("--delta", delta_of(tmp_path / "bad", **others)).refused(reason)
    protect("--epsilon", "4/255").refused("is of epsilon 8/255")
    protect("--size", 32).refused("is of 16 pixels")
    protect("--clusters", 5).refused("--clusters is for learning a delta")
    (tmp_path / "bad").write_bytes(b"nothing")
    protect("--delta", tmp_path / "bad").refused("bad")
    assert protect("--epsilon", "8/255", "--size", 16).code == 0


def test_no_photograph_in_a_folder_of_a_class(protect, photos, tmp_path):
    other = delta_of(tmp_path / "other", classes=("bird", "fish"))
    done = protect("--delta", other, "--json")
    assert (done.code, json.loads(done.out)["written"]) == (1, 0)
    assert "is in no folder of a class of the delta (bird, fish); move it into one" in done.err


@pytest.fixture
def assigning(monkeypatch):
    """A stand-in for the assigner: bright photographs have row 1."""
    batches = []

    def rows(images):
        batches.append(images.shape)
        return (images.mean((1, 2, 3)) > 127).astype(np.int64)

    monkeypatch.setattr("cptools.workflows.assign.assigning", lambda delta: rows)
    return batches


@pytest.fixture
def assigner():
    tensors = {"centers": np.ones((2, 4), np.float32), "backbone.x": np.ones(1, np.float32)}
    return Assigner(tensors, "tiny", 8, (0.5,) * 3, (0.2,) * 3)


def test_a_flat_folder_gets_its_rows_from_the_assigner(
    protect, tmp_path, assigning, assigner, monkeypatch
):
    monkeypatch.setattr(work, "_BATCH", 2)
    flat = tmp_path / "flat"
    flat.mkdir()
    levels = (10, 200, 50, 240, 90)
    for level in levels:
        Image.new("RGB", (16, 16), (level,) * 3).save(flat / f"{level:03}.png")
    (flat / "bad.png").write_bytes(b"bad")
    delta = delta_of(tmp_path / "own", classes=(), assigner=assigner)
    done = protect("--delta", delta, source=flat)
    assert done.code == 1
    assert assigning == [(2, 3, 16, 16)] * 2 + [(1, 3, 16, 16)]
    rows = open_artifact(delta).read().delta
    for level in levels:
        expected = (level + 8 * rows[int(level > 127)].transpose(1, 2, 0)).clip(0, 255)
        np.testing.assert_array_equal(pixels(tmp_path / "out" / f"{level:03}.png"), expected)


def test_without_a_delta_it_is_learned_once(
    tool, photos, tmp_path, assigning, assigner, monkeypatch
):
    learned = []

    def generate(dataset, clusters, **settings):
        learned.append((dataset.train_images.shape, clusters, settings["epsilon"]))
        delta_of(tmp_path / "made", classes=(), assigner=assigner, epsilon=settings["epsilon"])
        return cptools.Poisoned(dataset, open_artifact(tmp_path / "made").read())

    monkeypatch.setattr("cptools.workflows.generate.generate", generate)
    words = ("cp-protect", photos, "-o", tmp_path / "out", "--jobs", 1)
    first = tool(*words, "--size", 16, "--clusters", 2, "--epsilon", "4/255")
    assert first.code == 0, first.err
    assert learned == [((4, 3, 16, 16), 2, "4/255")]
    assert (tmp_path / "out.delta.safetensors").exists()
    assert "keep it" in first.err
    photo(photos / "new.png")
    second = tool(*words, "--json")
    assert (second.code, len(learned)) == (0, 1)
    assert json.loads(second.out)["written"] == 1
    assert "using out.delta.safetensors" in second.err
    third = tool(*words, "--epsilon", "8/255")
    assert third.code == 2
    assert "is of epsilon 4/255" in third.err


def test_ctrl_c_leaves_whole_files_and_is_carried_on(protect, photos, delta, tmp_path, environment):
    for number in range(12):
        photo(photos / "cat" / f"{number}.png", (900, 700))
    words = [
        sys.executable, "-m", "cptools.cli.protect", photos, "-o", tmp_path / "out",
        "--delta", delta, "--jobs", "2",
    ]  # fmt: skip
    process = subprocess.Popen(
        words, env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    while len(list((tmp_path / "out").rglob("*.png"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, told = process.communicate(timeout=30)
    assert (process.returncode, b"Traceback" in told) == (130, False)
    there = contents(tmp_path / "out")
    assert 2 <= len(there) < 16
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert protect().code == 0
    whole = contents(tmp_path / "out")
    assert len(whole) == 16
    assert {name: whole[name] for name in there} == there
    for name in names(tmp_path / "out"):
        with Image.open(tmp_path / "out" / name) as image:
            image.load()


def test_workers_import_no_torch():
    code = (
        "import sys; from cptools.workflows import protecting as p;"
        "import cptools.artifacts.photographs, cptools.core.spread;"
        "print({'torch', 'typer', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_in_python(photos, delta, tmp_path):
    told = cptools.protect(photos, tmp_path / "out", cptools.load(delta), jobs=1)
    assert (told.written, told.kept, told.refused) == (4, 0, ())
    assert sum(told.beyond) == 60 * 40 * 3
    with pytest.raises(ValueError, match="`quality` 101"):
        cptools.protect(photos, tmp_path / "out", cptools.load(delta), quality=101)


@pytest.fixture
def verify(tool, photos, tmp_path):
    def run(*words):
        return tool("cptools", "verify", "--against", photos, tmp_path / "out", "--jobs", 1, *words)

    return run


def test_an_original_that_cannot_be_protected_is_counted(protect, verify, photos):
    (photos / "broken.jpg").write_bytes(b"junk")
    assert protect("--skip-broken").code == 0
    done = verify("--json")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert (told["good"], told["faults"], told["left_out"]) == (4, [], 1)


def test_what_was_protected_verifies(protect, verify, photos):
    assert protect().code == 0
    (photos / "x.heic").write_bytes(b"")
    done = verify()
    assert (done.code, done.err) == (0, "")
    assert b"out: ok 4 of 4 photographs" in done.out
    assert b"1 other file cannot be protected" in done.out
    told = json.loads(verify("--json").out)
    assert (told["good"], told["faults"], told["left_out"]) == (4, [], 1)
    assert told["levels_max_lossless"] == 8
    assert told["jpeg"]["levels_beyond_epsilon_max"] >= told["jpeg"]["levels_beyond_epsilon_99.9%"]
    assert told["levels_mean_at_32_pixels"] > 1


def resaved(path, **options):
    with Image.open(path) as image:
        kept = {"exif": image.info["exif"]} if "exif" in image.info else {}
        image.load()
    image.save(path, **{**kept, **options})


FAULTS = {
    "is missing": lambda out, photos: (out / "dog" / "gray.png").unlink(),
    "has no original": lambda out, photos: (photos / "dog" / "gray.png").unlink(),
    "has no original;": lambda out, photos: (out / "more.gif").write_bytes(b"GIF89a"),
    "has the size 5x5, its original 16x16": (
        lambda out, photos: Image.new("L", (5, 5)).save(out / "dog" / "gray.png")
    ),
    "has the mode RGB": lambda out, photos: Image.new("RGB", (16, 16)).save(out / "dog/gray.png"),
    "has the format JPEG": (
        lambda out, photos: Image.new("L", (16, 16)).save(out / "dog/gray.png", "JPEG")
    ),
    "has the orientation 1": lambda out, photos: resaved(out / "cat" / "one.jpg", exif=b""),
    "has other metadata": lambda out, photos: resaved(out / "dog" / "gray.png", dpi=(72, 72)),
    "without noise": (
        lambda out, photos: shutil.copy(photos / "dog/gray.png", out / "dog/gray.png")
    ),
    "twice what epsilon allows": lambda out, photos: resaved(out / "cat" / "one.jpg", quality=1),
    "another transparency": lambda out, photos: faded(out / "dog" / "alpha.webp"),
    "cannot be decoded": lambda out, photos: (out / "dog" / "gray.png").write_bytes(b"x"),
    "is a link": lambda out, photos: relinked(out / "dog" / "gray.png"),
    "epsilon allows 8": lambda out, photos: brighter(out / "dog" / "gray.png"),
    "its original cannot be decoded": (
        lambda out, photos: (photos / "dog" / "gray.png").write_bytes(b"x")
    ),
}  # fmt: skip


def faded(path):
    with Image.open(path) as image:
        image.putalpha(7)
    image.save(path, lossless=True, exact=True)


def relinked(path):
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def brighter(path):
    with Image.open(path) as image:
        changed = image.point(lambda level: level + 3 if level < 200 else level - 3)
    changed.save(path)


@pytest.fixture(scope="module")
def protected(tmp_path_factory, tool):
    """Photographs and what `cp-protect` made of them, without its record."""
    folder = tmp_path_factory.mktemp("protected")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(folder / "photos" / "cat" / "one.jpg", quality=90, exif=exif)
    photo(folder / "photos" / "dog" / "gray.png", (16, 16), "L")
    photo(folder / "photos" / "dog" / "alpha.webp", (50, 20), "RGBA", lossless=True, exact=True)
    delta = delta_of(folder / "delta")
    words = ("-o", folder / "out", "--delta", delta, "--jobs", 1)
    assert tool("cp-protect", folder / "photos", *words).code == 0
    (folder / "out" / RECORD_FILE).unlink()
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_a_line(protected, tmp_path, tool, fault):
    shutil.copytree(protected, tmp_path / "copy")
    photos, out = tmp_path / "copy" / "photos", tmp_path / "copy" / "out"
    FAULTS[fault](out, photos)
    done = tool("cptools", "verify", "--against", photos, out, "--jobs", 1)
    lines = done.out.decode().splitlines()
    assert (done.code, len(lines), done.err) == (2, 2, "")
    assert fault.rstrip(";") in lines[0]
    assert ": faulty " in lines[1]


def test_what_changed_since_is_found_by_the_record(protect, verify, photos, tmp_path):
    assert protect().code == 0
    resaved(tmp_path / "out" / "cat" / "one.jpg", quality=90, subsampling=0)
    photo(photos / "dog" / "gray.png", (16, 16), "L", compress_level=0)
    done = verify()
    lines = done.out.decode().splitlines()
    assert (done.code, len(lines)) == (2, 3)
    assert lines[0].startswith("cat/one.jpg: has changed since cp-protect wrote it")
    assert lines[1].startswith("dog/gray.png: its original has changed since")


def test_the_bound_is_what_was_recorded_or_typed(protect, verify, tmp_path):
    assert protect("--delta", delta_of(tmp_path / "two", epsilon="2/255")).code == 0
    assert json.loads(verify("--json").out)["levels_max_lossless"] == 2
    assert b"2 levels from its original, epsilon allows 1" in verify("--epsilon", "1/255").out
    (tmp_path / "out" / RECORD_FILE).unlink()
    assert verify().code == 0


def test_wrong_use_of_verify_is_refused(verify, tool, photos, tmp_path, delta):
    verify().refused("is not a folder")
    (tmp_path / "out").mkdir()
    verify(photos).refused("compares one folder")
    tool("cptools", "verify", "--against", tmp_path / "out", photos).refused("holds no JPEG")
    tool("cptools", "verify", delta, "--json").refused("--against")
    tool("cptools", "verify", delta, "--epsilon", "1/255").refused("--against")


def test_noise_that_was_learned_protects_later_photographs_alike(protect, tmp_path):
    flat = tmp_path / "flat"
    for number in range(24):
        photo(flat / f"{number}.png", (20 + number, 24))
    tiny = {"rounds": 1, "model_steps": 1, "noise_steps": 1, "batch_size": 8, "width": 8}
    told = cptools.protect(flat, tmp_path / "first", size=16, clusters=2, jobs=1, **tiny)
    assert (told.written, len(told.delta.delta)) == (24, 2)
    assert told.delta.assigner is not None
    assert told.delta.history[-1].parameters["survive"] == "jpeg:75,resize:0.5,blur:1"
    cptools.save(told.delta, tmp_path / "own")
    later = tmp_path / "later"
    later.mkdir()
    for number in (3, 17):  # each by itself finds the row that it had among the others
        shutil.copy(flat / f"{number}.png", later)
    assert protect("--delta", tmp_path / "own", source=later).code == 0
    for number in (3, 17):
        old, new = (tmp_path / folder / f"{number}.png" for folder in ("first", "out"))
        assert old.read_bytes() == new.read_bytes()
