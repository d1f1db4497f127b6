"""A source that a header names: nothing is waited for, downloaded, walked or made without bound."""

import logging
import os

import numpy as np
import pytest
from PIL import Image

from cptools.artifacts.history import dataset_digest
from cptools.artifacts.schema import Source
from cptools.workflows import origins
from cptools.workflows.datasets import clean_dataset, make_dataset


def refused(source, message, side=8):
    with pytest.raises(ValueError, match=message) as caught:
        clean_dataset(source, None, need="the probe", side=side)
    assert str(caught.value).startswith("the probe needs the clean dataset ")
    assert str(caught.value).endswith("; or give it with `dataset`")


def source(name, **options):
    return Source(str(name), options, "0" * 64)


@pytest.fixture
def pictures(tmp_path):
    random = np.random.default_rng(0)
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "pictures" / place).mkdir(parents=True)
        for k in range(2):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / place / f"{k}.png")
    return tmp_path / "pictures"


def test_what_is_read_because_a_header_names_it_is_said(pictures, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "cptools")
    made = make_dataset(str(pictures), {"seed": 0})
    found = clean_dataset(made.source, None, need="the probe", side=8)
    assert dataset_digest(found) == dataset_digest(made)
    assert caplog.messages == [f"reading the clean dataset {pictures}, which the header names"]
    caplog.clear()
    made = make_dataset("shapes", {"limit": 10, "limit_test": 10})
    assert clean_dataset(made.source, None, need="the probe", side=32)
    assert not caplog.messages
    monkeypatch.setattr("cptools.workflows.origins._MANY", 19)
    assert clean_dataset(made.source, None, need="the probe", side=32)
    assert caplog.messages == ["making the 20 images of the clean dataset that the header names"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "neither a source nor an absolute path"),
        (".", "neither a source nor an absolute path"),
        ("pictures", "neither a source nor an absolute path"),
        ("../shapes", "neither a source nor an absolute path"),
        ("/", "no path of a dataset"),
        ("//", "no path of a dataset"),
        ("/tmp/..", "no path of a dataset"),
        ("/dev/zero", "neither a regular file nor a folder"),
        ("/nowhere\x1b[2J", "No such file"),
    ],
)
def test_paths_that_nobody_would_type(name, message, monkeypatch, pictures):
    monkeypatch.chdir(pictures)
    refused(source(name), message)


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(source(tmp_path / "pipe"), "neither a regular file nor a folder")


def test_links_do_not_lead_out_of_a_folder(pictures, tmp_path):
    (pictures / "train" / "a" / "2.png").symlink_to(pictures / "train" / "a" / "0.png")
    made = make_dataset(str(pictures), {"seed": 0})
    assert clean_dataset(made.source, None, need="the probe", side=8)
    (pictures / "train" / "c").symlink_to(tmp_path)
    refused(source(pictures), "train/c in it is a link to elsewhere")


def test_a_folder_has_a_bound(pictures, monkeypatch):
    monkeypatch.setattr(origins, "_MOST_ENTRIES", 9)
    refused(source(pictures), "it has more than 9 files")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10"])
def test_nothing_is_downloaded_because_a_header_names_it(name, monkeypatch, tmp_path):
    from cptools.core.sources import torchvision_sets

    def download(*_):
        raise AssertionError("downloaded")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(torchvision_sets.SETS, name, download)
    refused(
        source(name), f"nothing is downloaded because a file names it; get it by `cp.load` {name}"
    )
    with pytest.raises(AssertionError, match="downloaded"):  # it is typed
        clean_dataset(source(name), name, need="the probe", side=8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 20000}, "`size=20000` is not the 8 pixels that the file tells"),
        ({"size": "8"}, "`size`: '8' is not a whole number from 1"),
        ({"limit": 10**400}, "`limit`: 1"),
        ({"limit": True}, "`limit`: True is not a whole number"),
        ({"fraction": 2}, "`fraction`: 2 is not a number from 0 to 1"),
        ({"seed": -1}, "`seed` -1 is no whole number"),
        ({"seed": "x"}, "`seed` 'x' is no whole number"),
        ({"classes": "a"}, "`classes`: these are no names"),
        ({"classes": ["a", 1]}, "`classes`: these are no names"),
        ({"export": "/tmp/x"}, "`export` does not apply to "),
    ],
)
def test_options_are_those_that_can_be_typed(pictures, options, message):
    refused(source(pictures, **options), message)


def test_images_are_those_of_the_artifact(pictures):
    refused(source(pictures), "its images are not 16 pixels wide, as the file tells", side=16)
    refused(source("shapes", limit=10**7), "have more than 4 GiB", side=32)
    refused(source("shapes", size=512, limit_test=10**4), "have more than 4 GiB", side=512)
    refused(source(pictures, size=20000), "8 images of 20000 pixels have more than 4", side=20000)
