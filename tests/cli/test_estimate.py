"""`cptools estimate`: what protection takes from who trains on photographs."""

import json

import numpy as np
import pytest
from PIL import Image

from cptools.workflows.estimate import Estimate, _split, _without_few, folder_labels


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Photographs of two colors, in folders and without, and copies with noise."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(44):
        color = np.array([200, 60, 60] if number % 2 else [60, 60, 200])
        pixels = (color + rng.integers(-30, 31, (20, 26, 3))).astype(np.uint8)
        noise = rng.integers(-8, 9, pixels.shape)
        name = f"{number}.png"
        for kind in ("flat", "sorted"):
            place = "" if kind == "flat" else "ab"[number % 2]
            for which, values in (("old", pixels), ("new", (pixels + noise).astype(np.uint8))):
                path = folder / kind / which / place / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(path)
    return folder


@pytest.mark.parametrize(("kind", "labels"), [("sorted", "folders"), ("flat", "groups")])
def test_an_encoder_is_trained_on_both(tool, folders, tmp_path, kind, labels):
    where = (folders / kind / "old", folders / kind / "new")
    words = ("--size", 16, "--seeds", 2, "--epochs", 1, "--jobs", 1, "-o", tmp_path / "page.html")
    done = tool("cptools", "estimate", *where, *words, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["labels"] == labels
    assert told["photographs"] + told["photographs_tested"] == 44
    for part in ("originals", "protected"):
        assert len(told[f"accuracy_percent_{part}"]) == 2
        assert all(0 <= value <= 100 for value in told[f"accuracy_percent_{part}"])
    assert told["lost_points_low"] <= told["lost_points"] <= told["lost_points_high"]
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("data:image/png") == 10
    assert "What this does not say" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def result(before, after, classes=4, labels="folders"):
    return Estimate(100, 30, classes, labels, before, after, 32)


def test_the_verdict_follows_the_interval():
    assert "measured to work" in result((80.0, 82.0, 81.0), (50.0, 52.0, 51.5)).words()[0]
    assert "No protection" in result((80.0, 82.0, 81.0), (79.0, 85.0, 70.0)).words()[0]
    assert "cannot be told" in result((27.0, 26.0, 25.5), (1.0, 1.2, 1.1)).words()[0]
    told = result((80.0, 82.0), (50.0, 52.0), labels="groups").words()
    assert "81.0%" in told[1]
    assert "51.0%" in told[1]
    assert "25.0%" in told[1]
    assert "groups" in told[2]


def test_folders_are_classes_where_all_have_enough():
    names = [f"{c}/{k}.png" for c in "ab" for k in range(4)]
    assert folder_labels(names).tolist() == [0] * 4 + [1] * 4
    assert folder_labels([*names, "c/1.png"]) is None
    assert folder_labels([f"{k}.png" for k in range(9)]) is None


def test_each_class_is_trained_and_tested_on():
    labels = np.array([0] * 4 + [1] * 9 + [2] * 5)
    train, test = _split(labels, 0)
    assert sorted([*train, *test]) == list(range(18))
    assert set(labels[test]) == set(labels[train]) == {0, 1, 2}
    assert _without_few(np.array([0] * 4 + [2] * 3 + [5] * 2)).tolist() == [0] * 4 + [1] * 5


def test_too_few_photographs_and_wrong_folders_are_refused(tool, folders, tmp_path):
    (tmp_path / "few").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "few" / "0.png")
    tool("cptools", "estimate", tmp_path / "few", folders / "flat" / "new").refused("40 or more")
    tool("cptools", "estimate", tmp_path / "no", folders / "flat" / "new").refused("not a folder")
