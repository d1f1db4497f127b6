"""From an audit to a cleaned folder: scores, `--drop`, `--keep` and `--copy`."""

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cptools.artifacts.history import shell
from cptools.artifacts.images import list_images
from cptools.artifacts.stream import open_artifact
from cptools.workflows.lists import COLUMNS

SIZES = [(24, 16), (16, 24), (20, 20)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of smooth photographs of three sizes; four of class b have strong noise."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in "ab":
        (folder / "train" / name).mkdir(parents=True)
        for i in range(12):
            rough = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
            picture = Image.fromarray(rough).resize(SIZES[i % 3], Image.Resampling.BICUBIC)
            pixels = np.asarray(picture).astype(int)
            if name == "b" and i < 4:
                pixels = pixels + rng.integers(-40, 41, pixels.shape)
            saved = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            saved.save(folder / "train" / name / f"IMG {i}.png")
    return folder


@pytest.fixture(scope="module")
def scores(tool, photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    words = ("--audit", "--size", 16, "--scores", path, "-o", path.with_suffix(".jsonl"))
    done = tool("cp-probe", photos, *words)
    assert (done.code, done.out, done.err) == (0, b"", "")
    return path


def lines(path):
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def suspects(path):
    return {line["path"] for line in lines(path) if line["suspect"] == "1"}


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_scores_of_an_audit(photos, scores):
    told, record = lines(scores), json.loads(scores.with_suffix(".jsonl").read_text())
    assert tuple(told[0]) == COLUMNS
    assert [line["path"] for line in told] == [*list_images(photos).train.names]
    assert [line["row"] for line in told] == [line["id"] for line in told] == [*map(str, range(24))]
    assert [line["class"] for line in told] == ["a"] * 12 + ["b"] * 12
    assert all((float(line["score"]) >= 1) == (line["suspect"] == "1") for line in told)
    assert suspects(scores) >= {f"train/b/IMG {i}.png" for i in range(4)}
    assert record["suspects"] == sorted(
        (int(line["row"]) for line in told if line["suspect"] == "1"),
        key=lambda row: -float(told[row]["score"]),
    )
    assert len(suspects(scores)) < 12


def test_a_folder_of_several_sizes(tool, photos):
    done = tool("cp-probe", photos, "--audit", "--json")
    assert done.code == 0
    note = "images differ in size; they are audited in 64 pixels, or --size"
    assert done.err == f"cp-probe: note: {note}\n"
    (step,) = json.loads(done.out)["history"]
    assert step["parameters"]["size"] == 64


@pytest.mark.parametrize("packed", [False, True])
def test_a_cleaned_folder_has_the_files_as_they_are(tool, photos, scores, tmp_path, packed):
    """One line after the audit, with the words of the man page; nothing is encoded again."""
    there, bad, source = files(photos), suspects(scores), photos
    if packed:
        source = tmp_path / "photos.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name, data in there.items():
                archive.writestr(name, data)
    done = tool("cp-dataset", source, "--drop", scores, "--copy", tmp_path / "cleaned")
    num = 24 - len(bad)
    told = f"cp-dataset: copied {num} images to {tmp_path}/cleaned\n"
    assert (done.code, done.out, done.err) == (0, b"", told)
    assert files(tmp_path / "cleaned") == {n: d for n, d in there.items() if n not in bad}
    tool("cp-dataset", source, "--keep", scores, "--copy", tmp_path / "suspects")
    assert files(tmp_path / "suspects") == {n: d for n, d in there.items() if n in bad}
    again = tool("cp-dataset", source, "--drop", scores, "--copy", tmp_path / "cleaned")
    again.refused("exists and is not empty; name a new folder")


def test_rows_of_a_dataset(tool, make, photos, scores, tmp_path):
    """By path in a folder, and by id in a subset whose files nobody knows."""
    words = ("--size", 16, "--holdout", 0)
    whole = make("cp-dataset", photos, *words, o=tmp_path / "whole")
    bad = [row for row, line in enumerate(lines(scores)) if line["suspect"] == "1"]
    good = [row for row in range(24) if row not in bad]
    done = tool("cp-dataset", photos, *words, "--drop", scores, "-o", tmp_path / "x")
    assert done.err == f"cp-dataset: {len(good)} of 24 training images are left\n"
    made = open_artifact(tmp_path / "x").read()
    assert made.train_index.tolist() == good
    assert np.array_equal(made.train_images, whole.train_images[good])
    assert (made.source, made.classes) == (whole.source, whole.classes)
    assert shell(made.history).splitlines()[1].startswith("  cp-dataset --drop sha256:")
    some = make("cp-dataset", tmp_path / "whole", "--limit", 12, o=tmp_path / "some")
    make("cp-perturb", tmp_path / "some", "--noise", o=tmp_path / "noisy")
    assert tool("cp-dataset", tmp_path / "noisy", "--keep", scores, "-o", tmp_path / "y").code == 0
    kept = open_artifact(tmp_path / "y").read()
    assert kept.train_index.tolist() == [row for row in some.train_index if row in bad]


def test_a_list_by_hand(tool, photos, tmp_path):
    """Without a column of suspects every line counts; of what is no more there nothing is said."""
    (tmp_path / "a.csv").write_text("path\ntrain/a/IMG 3.png\ntrain/a/gone.png\n")
    assert (
        tool("cp-dataset", photos, "--drop", tmp_path / "a.csv", "--copy", tmp_path / "b").code == 0
    )
    assert {*files(photos)} - {*files(tmp_path / "b")} == {"train/a/IMG 3.png"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column path, id or row; give the scores of cp-probe --audit, or name it"),
        ("a,b\n1,2\n", "has no column path, id or row;"),
        ("row\n1,2\n", "has a line with more columns than the first; set it right"),
        ("path\nother.png\n", "lists none of these images; give the list of them"),
        ("row,class\n1,a\n13,a\n", "says that row 13 is of class a, and it is of b;"),
        ("row\n" + "\n".join(map(str, range(24))), "leaves no training image; give a shorter"),
        ('row\n"1', "is no CSV file"),
    ],
)
def test_lists_of_others_are_refused(tool, photos, tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    done = tool("cp-dataset", photos, "--drop", tmp_path / "a.csv", "--copy", tmp_path / "b")
    done.refused(message)
    assert "error: --drop: " in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("cp-dataset {photos} --drop {scores} --keep {scores}", "two ways to choose; give one"),
        ("cp-dataset {photos} --copy x", "--copy copies what --drop or --keep leaves; give one"),
        ("cp-dataset {photos} --drop {scores} --copy x --size 8", "--size does not apply to"),
        ("cp-dataset shapes --drop {scores} --copy x", "--copy needs a folder or archive"),
        ("cp-dataset {photos} --drop {scores} --copy {photos}/x", "lies in"),
        ("cp-dataset {photos} --drop {scores} --holdout 0.2", "--copy first"),
        ("cp-probe {photos}", "is a folder; --audit audits it, and cp-dataset makes a dataset"),
        ("cp-probe {photos} --audit --size 4", "invalid value for '--size'"),
        ("cp-probe {photos} --audit --scores -", "report and scores both go to stdout; give -o"),
        ("cp-probe {encoder} --scores x", "--scores applies to --method audit; leave it out"),
        ("cp-probe {clean} --audit --size 16", "--size applies to the audit of a folder or"),
    ],
)  # fmt: skip
def test_refusals(tool, request, photos, scores, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    names = {"photos": photos, "scores": scores}
    if "{encoder}" in arguments or "{clean}" in arguments:
        made = request.getfixturevalue("files")
        names |= {name: made / f"{name}.safetensors" for name in ("encoder", "clean")}
    name, *words = arguments.format(**names).split()
    tool(name, *words).refused(message)
    assert not [*Path().iterdir()]


def test_names_with_newlines_and_commas(tool, tmp_path):
    """They are quoted in the scores, and found again."""
    folder, buffer = tmp_path / "x", io.BytesIO()
    (folder / "train" / "a").mkdir(parents=True)
    for name in ("1,\n2.png", '"3".png', "4.png"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "png")
        (folder / "train" / "a" / name).write_bytes(buffer.getvalue())
    tool("cp-probe", folder, "--audit", "--scores", tmp_path / "s.csv", "-o", tmp_path / "r")
    told = lines(tmp_path / "s.csv")
    assert [line["suspect"] for line in told] == ["1"] * 3  # nothing but noise
    told[0]["suspect"] = "0"
    with (tmp_path / "s.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(told)
    done = tool("cp-dataset", folder, "--drop", tmp_path / "s.csv", "--copy", tmp_path / "y")
    assert done.code == 0
    assert [*files(tmp_path / "y")] == [told[0]["path"]]
