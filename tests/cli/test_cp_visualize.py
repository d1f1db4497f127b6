"""`cp-visualize`: the right figure for each kind of input, in the right file."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cptools.artifacts.schema import Entry
from cptools.artifacts.stream import open_artifact, write_artifact

PNG = b"\x89PNG\r\n\x1a\n"
SHARED = ["--dpi", 50]


def texts(svg):
    """The text of an SVG figure: matplotlib writes each text in a comment."""
    import re

    return re.findall(r"<!-- (.*?) -->", svg.decode())


@pytest.mark.parametrize("name", ["poisoned", "delta", "encoder"])
def test_picture_as_file_and_stream(tool, tmp_path, files, name):
    done = tool("cp-visualize", files / f"{name}.safetensors", *SHARED, "-o", tmp_path / "a.png")
    assert (done.code, done.out, done.err) == (0, b"", "")
    picture = (tmp_path / "a.png").read_bytes()
    assert picture.startswith(PNG)
    data = (files / f"{name}.safetensors").read_bytes()
    title = ["--title", "x"]
    streamed = tool("cp-visualize", *SHARED, *title, stdin=data)
    assert streamed.out.startswith(PNG)
    assert tool("cp-visualize", "-", *SHARED, *title, stdin=data).out == streamed.out


def test_same_input_same_bytes(tool, files):
    for kind in ("png", "svg"):
        words = [files / "poisoned.safetensors", *SHARED, "--format", kind]
        assert tool("cp-visualize", *words).out == tool("cp-visualize", *words).out != b""


def test_picture_of_poison(tool, files, tmp_path):
    done = tool("cp-visualize", files / "poisoned.safetensors", "-o", tmp_path / "a.SVG")
    assert (done.code, done.err) == (0, "")
    shown = texts((tmp_path / "a.SVG").read_bytes())
    assert "Poison on shapes" in shown
    assert any("cp-generate: alg simclr mode class" in text for text in shown)
    clean = open_artifact(files / "clean.safetensors").read()
    assert set(clean.classes) <= set(shown)
    given = tool(
        "cp-visualize", files / "poisoned.safetensors", "--dataset", files / "clean.safetensors",
        "--format", "svg",
    )  # fmt: skip
    assert given.out == (tmp_path / "a.SVG").read_bytes()


@pytest.mark.parametrize(
    ("commands", "shown"),
    [
        (["cp-perturb --noise"], {"Random noise on shapes", "noise", "noisy"}),
        (
            ["cp-perturb --suite ucla --mix"],
            {"Perturbation on shapes", "difference", "perturbed"},
        ),
        (["cp-perturb --kind fog"], {"Perturbation on shapes", "difference", "perturbed"}),
        (["cp-defend --gray -q"], {"Defense on shapes", "difference", "defended"}),
        (["cp-perturb --delta {delta}"], {"Poison on shapes", "noise", "poisoned"}),
        (
            ["cp-perturb --delta {delta}", "cp-perturb --kind fog --split test"],
            {"Poison on shapes", "noise", "poisoned"},
        ),
        (
            ["cp-perturb --delta {delta}", "cp-defend --gray --jpeg 10 -q"],
            {"Poison and defense on shapes", "difference", "defended"},
        ),
    ],
)
def test_titles_and_rows_say_what_was_done(tool, make, tmp_path, files, commands, shown):
    names = {"delta": files / "delta.safetensors"}
    (tmp_path / "0").write_bytes((files / "clean.safetensors").read_bytes())
    for k, command in enumerate(commands):
        name, *words = command.format(**names).split()
        make(name, tmp_path / f"{k}", *words, o=tmp_path / f"{k + 1}")
    done = tool("cp-visualize", tmp_path / f"{len(commands)}", "--format", "svg")
    assert (done.code, done.err) == (0, "")
    assert shown <= set(texts(done.out))


def test_of_a_change_without_a_history_no_more_is_said(tool, tmp_path, files):
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    write_artifact(replace(poisoned, history=()), tmp_path / "a")
    words = ["--dataset", files / "clean.safetensors", "--format", "svg"]
    shown = set(texts(tool("cp-visualize", tmp_path / "a", *words).out))
    assert {"Change on shapes", "difference", "changed"} <= shown


def test_the_caption_says_where_an_applied_delta_comes_from(tool, make, tmp_path, files):
    words = ["--delta", files / "delta.safetensors", "--fraction", 0.5]
    make("cp-perturb", files / "clean.safetensors", *words, o=tmp_path / "part")
    (caption,) = (
        text
        for text in texts(tool("cp-visualize", tmp_path / "part", "--format", "svg").out)
        if text.startswith("cp-perturb: ")
    )
    assert caption.startswith("cp-perturb: delta (cp-generate: alg simclr mode class ")
    assert caption.endswith(" seed 0) fraction 0.5 seed 0")


@pytest.mark.parametrize("title", ["a\x01b", "a\nb", "\x7f", "a\udcffb", "\u2028"])
def test_a_title_is_a_line_of_text(tool, files, title):
    done = tool("cp-visualize", files / "delta.safetensors", "--title", title)
    done.refused(
        f"--title contains the control character {title.strip('ab')!r}; give a line of plain"
    )


def test_letters_that_no_font_has_are_told_in_a_line(bash, files, tmp_path):
    """Of a real process, in which Python shows warnings; no font has U+E000."""
    words = "--dpi 50 --title $'a\\xee\\x80\\x80 b' -o a.png"
    command = f"cp-visualize {files / 'delta.safetensors'} {words}"
    done = bash(command, tmp_path)
    note = "cp-visualize: note: no font here has \\ue000, drawn as boxes; install one such as"
    assert done.stderr.decode().startswith(note)
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    assert bash(f"{command} -q", tmp_path).stderr == b""


def test_nothing_is_remarked_where_nothing_can_be_cached(bash, files, tmp_path):
    path = files / "delta.safetensors"
    done = bash(f"MPLCONFIGDIR=/dev/null/no cp-visualize {path} --dpi 50 -o a.png", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


def test_pictures_are_read_by_another_tool(tool, tmp_path, pictures):
    import shutil

    folder = tmp_path / "my photos"
    shutil.copytree(pictures, folder)
    done = tool("cp-visualize", folder)
    done.refused(
        f"{folder} is a folder; make a dataset from it: cp-dataset '{folder}' | cp-visualize"
    )
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    message = (
        f"{archive} is an archive or a list; make a dataset from it: cp-dataset {archive} |"
        " cp-visualize"
    )
    tool("cp-visualize", archive).refused(message)


def test_delta_on_its_dataset(tool, files):
    alone = tool("cp-visualize", files / "delta.safetensors", "--format", "svg")
    assert {"triangle", "±8/255", "shown \u00d715.9"} <= set(texts(alone.out))
    words = ["--dataset", files / "clean.safetensors", "--format", "svg", "--title", "Mine"]
    dressed = tool("cp-visualize", files / "delta.safetensors", *words)
    assert {"Mine", "bar", "triangle"} <= set(texts(dressed.out))


def test_curves_of_several_encoders(tool, files):
    paths = [files / "encoder.safetensors"] * 2
    done = tool("cp-visualize", *paths, "--format", "svg")
    shown = texts(done.out)
    assert {"encoder", "encoder (2)", "simclr, resnet10 width 8"} <= set(shown)


def test_curves_are_named_by_files_without_known_suffixes(tool, tmp_path, files):
    encoder = open_artifact(files / "encoder.safetensors").read()
    names = ("clean.simclr-0", "clean.moco-0", "v1.2")
    for name, algorithm in zip(names, ("simclr", "moco", "moco"), strict=True):
        write_artifact(replace(encoder, algorithm=algorithm), tmp_path / name)
    paths = [tmp_path / f"{names[0]}.encoder", tmp_path / f"{names[1]}.encoder.safetensors"]
    for path, name in zip(paths, names, strict=False):
        (tmp_path / name).rename(path)
    done = tool("cp-visualize", *paths, tmp_path / names[2], "--format", "svg")
    shown = texts(done.out)
    assert {*names, "moco, resnet10 width 8; simclr, resnet10 width 8"} <= set(shown)


def test_the_number_of_an_encoder_counts_those_of_its_name(tool, tmp_path, files):
    encoder = open_artifact(files / "encoder.safetensors").read()
    loss = encoder.tensors["curve.loss"]
    watched = {"curve.watch_loss": loss, "curve.eval_loss": loss}
    paths = [tmp_path / "x" / "victim.encoder", tmp_path / "y" / "victim.encoder"]
    for path in paths:
        path.parent.mkdir()
        write_artifact(replace(encoder, tensors={**encoder.tensors, **watched}), path)
    shown = texts(tool("cp-visualize", *paths, "--format", "svg").out)
    assert [text for text in shown if text.startswith("victim")] == [
        f"{name}: {which} images"
        for name in ("victim", "victim (2)")
        for which in ("training", "watched")
    ]


def test_rows_that_were_chosen_find_their_clean_images(tool, make, tmp_path, files, pictures):
    """Chosen out of the clean dataset, or out of one that was itself a choice."""
    make("cp-dataset", pictures, "--limit", 10, "--seed", 3, o=tmp_path / "ten")
    make("cp-dataset", tmp_path / "ten", "--limit", 4, o=tmp_path / "four")
    for source in (tmp_path / "four", files / "few.safetensors"):
        noise = ("--noise", "--epsilon", "8/255")
        make("cp-perturb", source, *noise, o=tmp_path / "noise")
        done = tool("cp-visualize", tmp_path / "noise", "--format", "svg")
        assert done.code == 0
        assert all("which the header names" in line for line in done.err.splitlines())
        assert any("8/255" in text for text in texts(done.out))  # no more: the rows do match


def test_clean_rows(tmp_path, files):
    from cptools.workflows.clean import clean_rows

    clean = open_artifact(files / "clean.safetensors").read()
    few = open_artifact(files / "few.safetensors").read()
    assert np.array_equal(clean_rows(few, clean), few.train_index)
    assert clean_rows(clean, clean) is None
    half = replace(clean, train_images=clean.train_images[::2], train_index=np.arange(0, 64, 2))
    picked = replace(few, train_images=few.train_images[:3], train_index=np.array([62, 0, 8]))
    assert clean_rows(picked, half).tolist() == [31, 0, 4]
    for index in (np.array([1, 0, 8]), np.array([99, 0, 8]), None):
        with pytest.raises(ValueError, match="give those it was made of with `dataset`"):
            clean_rows(replace(picked, train_index=index), half)
    assert clean_rows(half, half).tolist() == list(range(32))
    for index in (np.arange(1, 64, 2), np.arange(32)):  # as many, but others
        with pytest.raises(ValueError, match="not all of which are among the 32 clean ones"):
            clean_rows(replace(half, train_index=index), half)


def test_a_sheet_is_of_the_same_rows(tool, tmp_path, files):
    few = open_artifact(files / "few.safetensors").read()
    write_artifact(replace(few, train_index=few.train_index[::-1].copy()), tmp_path / "other")
    done = tool("cp-visualize", files / "few.safetensors", tmp_path / "other")
    done.refused("the datasets differ in image size, in labels, or in the rows selected;")
    assert tool("cp-visualize", files / "few.safetensors", files / "few.safetensors").code == 0


def numbers(done):
    """The lines of a report of cp-probe."""
    assert (done.code, done.err) == (0, "")
    return [json.loads(line) for line in done.out.splitlines()]


def test_distances_of_two_views(tool, files):
    encoder, clean, poisoned = (
        files / f"{name}.safetensors" for name in ("encoder", "clean", "poisoned")
    )
    done = tool("cp-visualize", encoder, clean, poisoned, clean, "--format", "svg")
    assert (done.code, done.err) == (0, "")
    shown = texts(done.out)
    words = ["--method", "distances", "--dataset", poisoned, "--dataset", clean]
    told = numbers(tool("cp-probe", encoder, *words))
    legend = [text for text in shown if ": mean" in text]
    assert legend == [
        f"{name}: mean {line['mean']:.3f}, median {line['median']:.3f}"
        for name, line in zip(
            ("simclr-class", "shapes", "shapes (2)"), [*told, told[1]], strict=True
        )
    ]
    assert "Distance of two views: simclr trained on simclr-class" in shown
    caption = next(text for text in shown if text.startswith("projector of resnet10 width 8; "))
    assert "; views crop flip jitter gray, crop area 0.2," in caption
    assert "blur" not in caption
    assert tool("cp-visualize", clean, poisoned, clean, encoder, "--format", "svg").out == done.out
    data = clean.read_bytes()
    words = ["-", "--title", "Mine", "--format", "svg"]
    streamed = texts(tool("cp-visualize", encoder, *words, stdin=data).out)
    assert {"Mine", legend[1]} <= set(streamed)


def test_separability_of_noise(tool, make, tmp_path, files):
    make("cp-perturb", files / "clean.safetensors", "--noise", o=tmp_path / "noise")
    paths = [files / "poisoned.safetensors", tmp_path / "noise"]
    subject = ["--subject", "separability", "--format", "svg"]
    done = tool("cp-visualize", *paths, *subject)
    assert (done.code, done.err) == (0, "")
    shown = texts(done.out)
    assert {"Noise by class", "simclr-class", "noise"} <= set(shown)
    assert set(open_artifact(files / "clean.safetensors").read().classes) <= set(shown)
    for path in paths:
        for line in numbers(tool("cp-probe", path)):
            assert (
                f"{line['classifier']}: held out {line['accuracy_percent']:.1f} %"
                f" ({line['low_percent']:.1f} to {line['high_percent']:.1f}),"
                f" training {line['train_accuracy_percent']:.1f} %"
            ) in shown
    assert tool("cp-visualize", *paths, *subject).out == done.out
    clean = ["--dataset", files / "clean.safetensors"]
    assert tool("cp-visualize", *paths, *subject, *clean).out == done.out


def test_separability_draws_at_most_ten_classes_and_so_many_points(
    tool, make, tmp_path, monkeypatch
):
    """More classes than columns: the first ten are drawn, all are distinguished."""
    from cptools.workflows import pictures as _pictures

    clean = make("cp-dataset", "shapes", "--limit", 120, o=tmp_path / "clean")
    labels = np.arange(120) % 12
    twelve = replace(
        clean, classes=tuple("abcdefghijkl"), train_labels=labels,
        test_labels=clean.test_labels * 0,
    )  # fmt: skip
    write_artifact(twelve, tmp_path / "clean")
    noise = np.random.default_rng(0).integers(0, 9, (12, *clean.train_images.shape[1:]))
    images = np.clip(clean.train_images.astype(int), 0, 240) + noise[labels]
    write_artifact(replace(twelve, train_images=images.astype(np.uint8)), tmp_path / "poisoned")
    words = [tmp_path / "poisoned", "--dataset", tmp_path / "clean", "--format", "svg"]
    words += ["--subject", "separability"]
    done = tool("cp-visualize", *words)
    assert (done.code, done.err) == (0, "")
    shown = texts(done.out)
    assert {"a", "j"} <= set(shown)
    assert not {"k", "l"} & set(shown)
    monkeypatch.setattr(_pictures, "POINTS", 20)
    few = tool("cp-visualize", *words)
    assert few.out.count(b"<use ") < done.out.count(b"<use ") - 60


def test_the_same_images_of_several_datasets(tool, make, tmp_path, files, monkeypatch):
    from cptools.figures import image_grid

    grids = []
    draw = image_grid.image_grid
    monkeypatch.setattr(
        image_grid, "image_grid", lambda rows, names, **kw: grids.append(rows) or draw(rows, names)
    )
    clean, poisoned = (files / f"{name}.safetensors" for name in ("clean", "poisoned"))
    make("cp-defend", poisoned, "--jpeg", 10, "-q", o=tmp_path / "jpeg")
    done = tool("cp-visualize", clean, poisoned, tmp_path / "jpeg", "--format", "svg")
    assert (done.code, done.err) == (0, "")
    shown = texts(done.out)
    assert {"clean", "simclr-class"} <= set(shown)
    (rows,) = grids
    assert [row.label for row in rows] == [
        "clean", "simclr-class", "simclr-class +\u00a0jpeg\u00a010",
    ]  # fmt: skip
    for row, path in zip(rows, (clean, poisoned, tmp_path / "jpeg"), strict=True):
        dataset = open_artifact(path).read()
        firsts = [dataset.train_labels.tolist().index(label) for label in range(10)]
        assert np.array_equal(row.images, dataset.train_images[firsts])
    assert [text for text in shown if text in dataset.classes] == [*dataset.classes]


@pytest.fixture
def grids(monkeypatch):
    """Rows and names of what was drawn as images."""
    from cptools.figures import image_grid, noise_grid

    drawn = []
    draw = image_grid.image_grid

    def grid(rows, names, **kw):
        drawn.append((rows, names))
        return draw(rows, names, **kw)

    monkeypatch.setattr(image_grid, "image_grid", grid)
    monkeypatch.setattr(noise_grid, "image_grid", grid)
    return drawn


def test_a_clean_dataset_is_shown_by_class(tool, make, tmp_path, grids):
    """As many images as there are, and white below where a class has fewer."""
    clean = make("cp-dataset", "shapes", "--limit", 40, "--limit-test", 20, o=tmp_path / "clean")
    labels = clean.train_labels.copy()
    labels[labels == 3] = 4
    write_artifact(replace(clean, train_labels=labels), tmp_path / "clean")
    done = tool("cp-visualize", tmp_path / "clean", "--format", "svg")
    assert (done.code, done.err) == (0, "")
    ((rows, names),) = grids
    assert list(names) == [*clean.classes]
    assert [row.label for row in rows] == ["train", *[""] * 6, "test", ""]
    assert [row.note for row in rows if row.note] == ["40 images", "20 images"]
    fours = clean.train_images[labels == 4]
    for i, row in enumerate(rows[:7]):
        assert np.array_equal(row.images[4], fours[i])
        assert (row.images[3] == 255).all()
    assert np.array_equal(rows[4].images[0], np.full_like(fours[0], 255))  # four of each class
    assert np.array_equal(rows[8].images[9], clean.test_images[clean.test_labels == 9][1])
    assert {"Images of shapes", "10 classes, 32 x 32 pixels"} <= set(texts(done.out))


def test_images_of_a_poisoned_dataset(tool, files, grids):
    words = ["--subject", "images", "--format", "svg"]
    shown = texts(tool("cp-visualize", files / "poisoned.safetensors", *words).out)
    ((rows, _),) = grids
    dataset = open_artifact(files / "poisoned.safetensors").read()
    assert np.array_equal(rows[0].images[0], dataset.train_images[dataset.train_labels == 0][0])
    assert any("pixels | cp-generate: alg simclr" in text for text in shown)
    paths = [files / f"{name}.safetensors" for name in ("clean", "poisoned")]
    sheet = tool("cp-visualize", *paths, "--subject", "images", "--format", "svg")
    assert sheet.out == tool("cp-visualize", *paths, "--format", "svg").out


def test_between_two_datasets_stands_what_differs(tool, files, grids):
    paths = [files / f"{name}.safetensors" for name in ("clean", "poisoned")]
    assert tool("cp-visualize", *paths, *SHARED).code == 0
    assert tool("cp-visualize", paths[0], paths[0], *SHARED).code == 0
    assert tool("cp-visualize", *paths, paths[0], *SHARED).code == 0
    (pair, _), (same, _), (three, _) = grids
    assert [row.label for row in pair] == ["clean", "difference", "simclr-class"]
    first, difference, second = (row.images.astype(int) for row in pair)
    levels = abs(second - first).max()
    assert pair[1].note.startswith(f"±{levels}/255")
    assert abs(difference - 127.5 - 127.5 * (second - first) / levels).max() <= 0.5
    assert (same[1].images == 128).all()
    assert len(three) == 3


def test_of_a_partly_poisoned_dataset_poisoned_images_are_drawn(tool, make, tmp_path, files, grids):
    clean, delta = files / "clean.safetensors", files / "delta.safetensors"
    words = ["--delta", delta, "--fraction", 0.3, "--seed", 1]
    poisoned = make("cp-perturb", clean, *words, o=tmp_path / "part")
    before = open_artifact(clean).read().train_images
    changed = (before != poisoned.train_images).any(axis=(1, 2, 3))
    firsts = np.unique(poisoned.train_labels, return_index=True)[1]
    assert not changed[firsts].all()
    done = tool("cp-visualize", tmp_path / "part", "--dataset", clean, *SHARED)
    assert (done.code, done.err) == (0, "")
    ((rows, _),) = grids
    for label in range(10):
        is_changed = (rows[0].images[label] != rows[2].images[label]).any()
        assert is_changed == changed[poisoned.train_labels == label].any()


def test_separability_of_a_delta_is_that_of_the_dataset_it_makes(tool, files):
    words = ["--subject", "separability", "--dataset", files / "clean.safetensors"]
    words += ["--format", "svg"]
    done = tool("cp-visualize", files / "delta.safetensors", *words)
    assert (done.code, done.err) == (0, "")
    assert done.out == tool("cp-visualize", files / "poisoned.safetensors", *words).out
    words[words.index("--dataset") + 1] = "-"  # can be read once, whatever it is needed for
    clean = (files / "clean.safetensors").read_bytes()
    assert tool("cp-visualize", files / "delta.safetensors", *words, stdin=clean).out == done.out


@pytest.mark.parametrize(
    ("size", "dpi", "pixels"),
    [("800px", 50, 800), ("4in", 50, 200), ("10.16cm", 100, 400), ("50.8 mm", 300, 600)],
)
def test_size_is_the_width_of_the_picture(tool, files, size, dpi, pixels):
    import io

    from PIL import Image

    words = [files / "delta.safetensors", "--size", size]
    picture = Image.open(io.BytesIO(tool("cp-visualize", *words, "--dpi", dpi).out))
    assert picture.width == pixels
    assert picture.info["dpi"][0] == pytest.approx(dpi, abs=0.1)


def test_size_of_an_svg(tool, files):
    words = [files / "delta.safetensors", "--format", "svg"]
    made = tool("cp-visualize", *words).out.decode()
    for size in ("2.54cm", "96px", "1in"):
        done = tool("cp-visualize", *words, "--size", size).out.decode()
        assert 'width="72pt"' in done
        view = made[made.index("viewBox") :].split('"')[1]
        assert f'viewBox="{view}"' in done


class Terminal:
    """Standard error that claims to be a terminal."""

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def fileno(self):
        return 2

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_show_previews_on_the_terminal(tool, files, monkeypatch):
    import os

    from cptools.cli import visualize

    path = files / "poisoned.safetensors"
    done = tool("cp-visualize", path, "--show", *SHARED)
    assert (done.code, done.out[:8]) == (0, PNG)
    assert done.err == (
        "cp-visualize: --show needs a terminal with colors on standard error; no preview\n"
    )
    assert tool("cp-visualize", path, "--show", "-q", *SHARED).err == ""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((80, 24)))
    show = visualize._show

    def watched(figure, *, quiet):
        monkeypatch.setattr("sys.stderr", terminal)
        show(figure, quiet=quiet)

    monkeypatch.setattr(visualize, "_show", watched)
    assert tool("cp-visualize", path, "--show", *SHARED).out == done.out
    lines = terminal.text.splitlines()
    assert 5 < len(lines) <= 22
    (width,) = {line.count("\u2580") for line in lines}
    assert 40 < width <= 80
    assert all(line.endswith("\x1b[0m") for line in lines)


def test_what_rows_have_in_common_is_the_caption(tool, make, tmp_path, files):
    poisoned = files / "poisoned.safetensors"
    make("cp-defend", poisoned, "--jpeg", 10, "-q", o=tmp_path / "jpeg")
    words = ["--format", "svg", "--title", "Mine"]
    shown = texts(tool("cp-visualize", poisoned, tmp_path / "jpeg", *words).out)
    assert {"Mine", "simclr-class", "jpeg 10"} <= set(shown)
    (caption,) = [text for text in shown if text.startswith("cp-generate: alg simclr")]
    assert "cp-defend" not in caption
    shown = texts(tool("cp-visualize", files / "clean.safetensors", poisoned, *words).out)
    assert not [text for text in shown if text.startswith("cp-")]


def step(**parameters):
    return Entry("cp-defend", "0", {**parameters, "seed": 0, "device": "cpu"})


MC = {"mc": True, "mc_drop": 0.25, "mc_rank": 16}
POISON = Entry("cp-generate", "0", {"alg": "moco", "mode": "class"})
CHOICE = Entry("cp-dataset", "0", {"limit": 20})


@pytest.mark.parametrize(
    ("histories", "names"),
    [
        (  # one after the other
            [[], [step(**MC)], [step(jpeg=10)], [step(noise="8/255"), step(gray=True), step(**MC)]],
            ["clean", "mc", "jpeg 10", "noise 8/255 + gray + mc"],
        ),
        (  # choosing rows changes no image
            [[CHOICE], [step(jpeg=10), CHOICE, step(bits=2), CHOICE]],
            ["clean", "jpeg 10 + bits 2"],
        ),
        (  # settings in which alone rows differ
            [[step(**MC)], [step(**{**MC, "mc_rank": 8})], [step(**MC), step(jpeg=10)]],
            ["mc rank 16", "mc rank 8", "mc + jpeg 10"],
        ),
        (  # a setting that only one has
            [[step(smooth=3)], [step(smooth=3, smooth_sigma=2.0)]],
            ["smooth 3", "smooth 3 sigma 2.0"],
        ),
        (  # different things were defended
            [[], [POISON], [step(jpeg=10)], [POISON, step(jpeg=10)]],
            ["clean", "moco-class", "clean + jpeg 10", "moco-class + jpeg 10"],
        ),
        ([[POISON], [POISON, step(jpeg=10)]], ["moco-class", "jpeg 10"]),
        (
            [[], [], [step(gray=True)], [step(gray=True)]],
            ["clean", "clean (2)", "gray", "gray (2)"],
        ),
    ],
)
def test_rows_are_named_by_what_was_done(files, histories, names):
    from cptools.workflows.pictures import _row_names

    clean = open_artifact(files / "clean.safetensors").read()
    datasets = [replace(clean, history=(*clean.history, *history)) for history in histories]
    assert [name.replace("\u00a0", " ") for name in _row_names(datasets)] == names


def test_images_of_which_no_source_is_known_are_not_called_clean(files):
    from cptools.workflows.pictures import _row_names

    clean = open_artifact(files / "clean.safetensors").read()
    assert _row_names([replace(clean, source=None, name="mine")]) == ["mine"]


def test_the_caption_tells_every_setting_of_a_defense(tool, tmp_path, files):
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    history = (*poisoned.history, step(**MC), step(blur=3))
    write_artifact(replace(poisoned, history=history), tmp_path / "defended")
    shown = texts(tool("cp-visualize", tmp_path / "defended", "--format", "svg").out)
    assert "defended" in shown
    assert " | cp-defend: mc mc_drop 0.25 mc_rank 16 seed 0 | cp-defend: blur 3 seed 0" in " ".join(
        shown
    )


def write_reports(folder, name, *accuracies, **facts):
    """A report a seed; names of the files."""
    paths = [folder / f"{name}-{seed}.jsonl" for seed in range(len(accuracies))]
    for path, accuracy in zip(paths, accuracies, strict=True):
        low, high = accuracy - 2, accuracy + 2
        line = {"accuracy_percent": accuracy, "low_percent": low, "high_percent": high, **facts}
        path.write_text(json.dumps(line) + "\n")
    return paths


@pytest.fixture
def bars(monkeypatch):
    """What was drawn as bars."""
    from cptools.figures import bars

    drawn = []
    draw = bars.accuracy_bars
    monkeypatch.setattr(
        bars, "accuracy_bars", lambda given, **kw: drawn.extend(given) or draw(given, **kw)
    )
    return drawn


def test_bars_are_the_rows_of_cptools_report(tool, tmp_path, bars):
    facts = {"dataset": "shapes", "settings": {"method": "lbfgs"}}
    paths = [
        *write_reports(tmp_path, "poisoned", 60, 62, 67.5, **facts),
        *write_reports(tmp_path, "clean", 80, 81, **facts),
        *write_reports(tmp_path, "mc", 70, **facts),
    ]
    done = tool("cp-visualize", *paths, paths[0], "--format", "svg")
    assert (done.code, done.err) == (0, "")
    rows = tool("cptools", "report", *paths).out.decode().splitlines()[2:]
    assert rows == [
        f"| {bar.name} | {bar.mean:.1f} | {bar.low:.1f} to {bar.high:.1f} | {len(bar.values)}"
        f" | {' '.join(f'{value:.1f}' for value in bar.values)} |"
        for bar in bars
    ]
    shown = texts(done.out)
    assert {"Accuracy", "poisoned", "clean", "mc", "63.2", "80.5", "70.0"} <= set(shown)
    assert "shapes, lbfgs, 1 to 3 seeds; 95% intervals over seeds (dots) or test images" in shown
    again = tool("cp-visualize", *paths, "--title", "Mine", "--format", "svg")
    assert "Mine" in texts(again.out)
    assert tool("cp-visualize", *paths, "--format", "svg").out == done.out


@pytest.mark.parametrize(
    ("accuracies", "facts", "caption"),
    [
        ([80], {}, "1 seed; 95% intervals over test images"),
        ([80, 81], {"dataset": "a"}, "a, 2 seeds; 95% intervals over seeds (dots)"),
    ],
)
def test_a_caption_says_what_the_reports_do(tool, tmp_path, accuracies, facts, caption):
    paths = write_reports(tmp_path, "clean", *accuracies, **facts)
    assert caption in texts(tool("cp-visualize", *paths, "--format", "svg").out)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (
            "{encoder} --method distances --dataset {clean}",
            {
                "Images whose two views are close",
                "close (%)",
                "shapes, distances, 1 seed; 95% intervals over training images; close: a cosine"
                " distance below 0.1",
            },
        ),
        (
            "{poisoned} --method changed",
            {
                "Changed images",
                "changed (%)",
                "shapes, changed, 1 seed; 95% intervals over training images",
            },
        ),
        (
            "{poisoned} --method separability",
            {"shapes, separability, 1 seed; 95% intervals over held-out training images"},
        ),
    ],
)
def test_a_caption_says_which_images_were_counted(tool, tmp_path, files, words, shown):
    names = {path.stem: path for path in files.iterdir()}
    report = tmp_path / "a-0.jsonl"
    assert tool("cp-probe", *words.format(**names).split(), "-o", report, "-q").code == 0
    found = " ".join(texts(tool("cp-visualize", report, "--format", "svg").out))
    assert all(text in found for text in shown)


def test_a_grid_of_bars(tool, tmp_path, bars):
    paths = [
        path
        for name, value in (("clean.simclr", 80), ("clean.moco", 70), ("cp-s.simclr", 60))
        for path in write_reports(tmp_path, name, value, value + 1)
    ]
    done = tool("cp-visualize", "--grid", *paths, "--format", "svg")
    assert (done.code, done.err) == (0, "")
    assert {"clean", "cp-s", "simclr", "moco"} <= set(texts(done.out))
    assert [(bar.name, bar.series, bar.mean) for bar in bars] == [
        ("clean", "simclr", 80.5), ("clean", "moco", 70.5), ("cp-s", "simclr", 60.5),
    ]  # fmt: skip
    tool("cp-visualize", "--grid", *write_reports(tmp_path, "mc", 70)).refused(
        "--grid needs conditions named ROW.COLUMN, not mc; name files poison.victim-0.jsonl"
    )


def test_values_of_a_paper_are_drawn_beside_ours(tool, tmp_path, bars):
    paths = [
        path
        for name, value in (("clean.simclr", 80), ("clean.moco", 70))
        for path in write_reports(tmp_path, name, value, value + 1)
    ]
    (tmp_path / "paper.json").write_text('{"clean.simclr": 91.8, "other.simclr": 3}')
    words = ["--grid", *paths, "--format", "svg"]
    done = tool("cp-visualize", *words, "--paper", tmp_path / "paper.json")
    assert (done.code, done.err) == (0, "")
    assert [bar.paper for bar in bars] == [91.8, None]
    shown = texts(done.out)
    assert {"91.8", "ours", "paper"} <= set(shown)
    assert any(text.endswith("; diamonds: the paper") for text in shown)
    assert "paper" not in texts(tool("cp-visualize", *words).out)
    (tmp_path / "paper.json").write_text("[]")
    tool("cp-visualize", *words, "--paper", tmp_path / "paper.json").refused(
        "contains no values of"
    )
    tool("cp-visualize", *words, "--paper", tmp_path / "no.json").refused("give JSON of a paper's")


def test_bars_of_real_reports(tool, tmp_path, files, bars):
    """Of an encoder on two datasets, and of noise by two classifiers."""
    encoder, clean, few = (files / f"{name}.safetensors" for name in ("encoder", "clean", "few"))
    words = ["--method", "knn", "--dataset", clean, "--dataset", few, "-o", tmp_path / "knn.jsonl"]
    assert tool("cp-probe", encoder, *words).code == 0
    noise = tmp_path / "noise-0.jsonl"
    assert tool("cp-probe", files / "poisoned.safetensors", "-o", noise).code == 0
    done = tool("cp-visualize", tmp_path / "knn.jsonl", noise, "--format", "svg")
    assert (done.code, done.err) == (0, "")
    lines = [
        json.loads(line)
        for path in (tmp_path / "knn.jsonl", noise)
        for line in path.read_text().splitlines()
    ]
    assert [(bar.mean, bar.low, bar.high) for bar in bars] == [
        (line["accuracy_percent"], line["low_percent"], line["high_percent"]) for line in lines
    ]
    assert [bar.name for bar in bars] == [
        *(f"knn on shapes {line['dataset_sha256'][:6]}" for line in lines[:2]),
        *(f"noise {line['classifier']}" for line in lines[2:]),
    ]
    assert any(text.startswith("shapes, knn and separability, 1 seed;") for text in texts(done.out))


def audits(folder, name, *scores):
    """An audit a dataset; names of the files."""
    paths = [folder / f"{name}-{seed}.jsonl" for seed in range(len(scores))]
    for path, score in zip(paths, scores, strict=True):
        verdict = "poisoned" if score >= 1 else "inconspicuous"
        path.write_text(json.dumps({"verdict": verdict, "score": score}) + "\n")
    return paths


def test_roc_curves_are_of_each_condition_against_the_first(tool, tmp_path, monkeypatch):
    from cptools.figures import roc

    drawn = []
    draw = roc.roc_curves
    monkeypatch.setattr(
        roc, "roc_curves", lambda curves, **kw: drawn.extend(curves) or draw(curves, **kw)
    )
    paths = [
        *audits(tmp_path, "clean", 0.5, 0),
        *audits(tmp_path, "lsp", 150, 140),
        *audits(tmp_path, "ap", 0.25, 0.75),
    ]
    done = tool("cp-visualize", *paths, "--format", "svg")
    assert (done.code, done.err) == (0, "")
    assert [(curve.name, curve.alarms, curve.detections, curve.area) for curve in drawn] == [
        ("lsp", [0, 0, 0, 0.5, 1], [0, 0.5, 1, 1, 1], 1),
        ("ap", [0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1], 0.75),
    ]
    rows = tool("cptools", "report", *paths).out.decode().splitlines()[3:]
    assert [row.split("|")[-2].strip() for row in rows] == [f"{curve.area:.3f}" for curve in drawn]
    shown = set(texts(done.out))
    assert {"Detection of poison", "lsp: 1.000", "ap: 0.750", "false alarms (%)"} <= shown
    assert "against 2 datasets of clean; area under the curve in the legend" in shown
    words = [*audits(tmp_path, "one", 0.1), paths[2], "--title", "Mine", "-o", tmp_path / "a.svg"]
    assert tool("cp-visualize", *words).code == 0
    shown = set(texts((tmp_path / "a.svg").read_bytes()))
    assert {"Mine", "against 1 dataset of one; area under the curve in the legend"} <= shown


def test_of_many_audits_the_areas_are_drawn(tool, tmp_path, bars):
    """More lines than can be distinguished in one plot."""
    benign = audits(tmp_path, "clean", 0.5, 0)
    others = [audits(tmp_path, f"p{i}x", 0.25, i) for i in range(8)]
    done = tool("cp-visualize", *benign, *(p for paths in others for p in paths), "--format", "svg")
    assert (done.code, done.err) == (0, "")
    assert [(bar.name, bar.mean) for bar in bars] == [
        ("p0x", 37.5), *((f"p{i}x", 75) for i in range(1, 8)),
    ]  # fmt: skip
    shown = set(texts(done.out))
    assert {"Detection of poison", "area under the ROC curve (%)", "75.0"} <= shown
    assert "against 2 datasets of clean; 50: no better than chance" in shown


def test_roc_of_real_audits(tool, tmp_path, files):
    for name in ("clean", "poisoned"):
        words = ["--audit", "-o", tmp_path / f"{name}-0.jsonl"]
        assert tool("cp-probe", files / f"{name}.safetensors", *words).code == 0
    paths = [tmp_path / f"{name}-0.jsonl" for name in ("clean", "poisoned")]
    done = tool("cp-visualize", *paths, *SHARED)
    assert (done.code, done.err, done.out[:8]) == (0, "", PNG)


def test_audits_that_cannot_be_drawn(tool, tmp_path):
    clean = audits(tmp_path, "clean", 0.5)
    poisoned = [path for i in range(2) for path in audits(tmp_path, f"p{i}x", 2)]
    (accuracy,) = write_reports(tmp_path, "mc", 80)
    for arguments, message in (
        (clean, "a ROC curve needs two conditions, but there is only clean; give audits of benign"),
        ([*clean, accuracy], "clean was audited, mc is an accuracy; give one or the other"),
        ([*clean, *poisoned[:1], "--grid"], "--grid is for accuracies; leave it out"),
        ([*clean, *poisoned, "--paper", "x"], "--paper is for accuracies; leave it out"),
        ([*clean, "--subject", "noise"], "--subject does not apply to reports; leave it out"),
    ):
        tool("cp-visualize", *arguments).refused(message)


def test_reports_that_cannot_be_drawn(tool, tmp_path, files):
    (report,) = write_reports(tmp_path, "clean", 80)
    artifact = files / "clean.safetensors"
    (tmp_path / "empty.jsonl").touch()
    for other in (artifact, tmp_path / "empty.jsonl", tmp_path):
        for paths in ([report, other], [other, report]):
            tool("cp-visualize", *paths).refused(
                f"{other} is not a report, but others are; plot one"
            )
    broken = tmp_path / "broken.jsonl"
    broken.write_text(report.read_text() + "text\n")
    message = f"line 2 of {broken} is not a report of cp-probe; is it truncated?"
    tool("cp-visualize", broken).refused(message)
    tool("cp-visualize", report, "--dataset", artifact).refused("--dataset does not apply to rep")
    tool("cp-visualize", report, "--subject", "noise").refused("--subject does not apply to rep")
    tool("cp-visualize", report, "-o", tmp_path / "a.jpg").refused("cannot write a .jpg figure;")
    tool("cp-visualize", tmp_path / "empty.jsonl").refused("empty input;")


def test_reports_have_names_which_a_pipe_has_not(tool, bash, tmp_path):
    (report,) = write_reports(tmp_path, "clean", 80)
    message = "reports are named by their files; give files"
    for words in ([], ["-"]):
        tool("cp-visualize", *words, stdin=report.read_bytes()).refused(message)
    tool("cptools", "report", "-", stdin=report.read_bytes()).refused(message)
    done = bash("cat clean-0.jsonl | cp-visualize", tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()


@pytest.fixture(scope="module")
def two(make, files, tmp_path_factory):
    """A poisoned dataset of two classes."""
    path = tmp_path_factory.mktemp("two") / "two.safetensors"
    make("cp-dataset", files / "poisoned.safetensors", "--classes", "bar,ring", o=path)
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "no input; give a file, or pipe one in"),
        ("{clean} --subject noise", "this dataset is the clean one: there is no noise to plot;"),
        ("{clean} --dataset {clean}", "this dataset is the clean one: there is no noise to plot;"),
        ("{clean} --dataset {clean} --subject images", "--dataset does not apply to --subject im"),
        ("{delta} {delta}", "these cannot be plotted together; give encoders, an encoder and"),
        ("{poisoned} {delta}", "these cannot be plotted together;"),
        ("{clean} {small}", "the datasets differ in image size, in labels, or in the"),
        ("{clean} {two}", "the datasets differ in image size, in labels, or in the"),
        (
            "{clean} {poisoned} --dataset {clean}",
            "--dataset does not apply to several datasets; give it",
        ),
        ("{clean} {poisoned} --grid", "--grid is for reports of cp-probe; leave it out"),
        ("{encoder} {encoder} {clean}", "these cannot be plotted together;"),
        ("{encoder} {delta}", "these cannot be plotted together;"),
        ("{encoder} {small}", "the encoder was trained on images of 32 pixels, shapes has 16;"),
        ("{encoder} {clean} --dataset {clean}", "--dataset does not apply to an encoder;"),
        ("{encoder} {clean} --subject noise", "--subject noise applies to datasets; leave"),
        ("{delta} --subject separability", "applies to datasets; of a delta it needs --dataset"),
        ("{delta} --subject separability --dataset {small}", "the delta is for images of 32x32"),
        ("{clean} --paper x.json", "--paper is for reports of cp-probe; leave it out"),
        ("{poisoned} {poisoned} --subject noise", "these cannot be plotted together;"),
        ("{clean} --subject separability", "there is no noise; give a poisoned dataset"),
        ("{poisoned} {two} --subject separability", "the datasets have different classes; plot"),
        ("{poisoned} --subject curves", "'curves' is not one of noise, images, separ"),
        ("{poisoned} --subject separability --device cuda:99", "no device 'cuda:99'"),
        ("{poisoned} --dataset {small}", "give those it was made of with --dataset"),
        ("{poisoned} --dataset {encoder}", "is of kind encoder; give one of kind dataset"),
        ("{poisoned} --dataset nowhere", "cannot read nowhere: No such file or directory;"),
        (
            "{delta} --dataset {small}",
            "the delta is for images of 32x32 pixels, this dataset has 16",
        ),
        (
            "{poisoned} -o a.jpg",
            "cannot write a .jpg figure; name it .png or .svg, or give --format",
        ),
        ("{poisoned} --format gif", "'gif' is not one of png, svg"),
        ("{poisoned} --dpi 1", "invalid value for '--dpi'"),
        (
            "{poisoned} --size 8",
            "--size 8 is not a width from 0.5 to 100 inches; give it with a unit",
        ),
        ("{poisoned} --size 9e9cm", "--size 9e9cm is not a width"),
        ("{poisoned} --size 0cm", "--size 0cm is not a width"),
        ("{poisoned} --size 101in", "--size 101in is not a width"),
        ("{poisoned} --size 60000px --dpi 1200", "the figure is too large;"),
        ("{poisoned} -o /no/where.png", "there is no folder /no;"),
        ("nowhere", "there is no file nowhere;"),
        ("- -", "nothing is piped into standard input;"),
    ],
)
def test_refusals(tool, files, two, arguments, message):
    names = {path.stem: path for path in files.iterdir()} | {"two": two}
    done = tool("cp-visualize", *arguments.format(**names).split())
    assert message in done.err
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)


@pytest.mark.parametrize("words", [["-", "--dataset", "-"], ["--dataset", "-"], ["-", "-"]])
def test_one_standard_input(tool, files, words):
    data = (files / "poisoned.safetensors").read_bytes()
    done = tool("cp-visualize", *words, stdin=data)
    assert "standard input" in done.err
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)


def test_images_of_another_size(tool, tmp_path, files):
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    small = replace(
        poisoned, train_images=poisoned.train_images[..., ::2, ::2],
        test_images=poisoned.test_images[..., ::2, ::2],
    )  # fmt: skip
    write_artifact(small, tmp_path / "a")
    done = tool("cp-visualize", tmp_path / "a")
    done.refused("clean and poisoned images differ in size; give the matching clean --dataset")


def test_encoder_without_curves(tool, tmp_path, files):
    encoder = open_artifact(files / "encoder.safetensors").read()
    tensors = {n: a for n, a in encoder.tensors.items() if not n.startswith("curve.")}
    write_artifact(replace(encoder, tensors=tensors), tmp_path / "a")
    tool("cp-visualize", tmp_path / "a").refused("the encoders have no training curves;")
