"""Images find their row of a class-wise delta by the delta's own assigner."""

import dataclasses
import io

import numpy as np
import pytest
import torch

from cptools.artifacts.schema import Assigner, Delta
from cptools.artifacts.stream import Reader, write_artifact
from cptools.core.build import build_encoder
from cptools.core.evaluation.probe import features
from cptools.workflows.assign import assign_rows, assigning

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 16, 16), np.uint8)
STATS = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


@pytest.fixture(scope="module")
def delta():
    """Three of the images are what the centers are the features of."""
    network = build_encoder("resnet10", 2, generator=torch.Generator().manual_seed(0)).eval()
    centers = features(network, torch.from_numpy(IMAGES[:3]), **STATS).numpy()
    backbone = {f"backbone.{name}": w.numpy() for name, w in network.state_dict().items()}
    return Delta(
        np.zeros((3, 3, 16, 16), np.float32), "class", "8/255", "simclr", "0" * 64,
        assigner=Assigner({**backbone, "centers": centers}, "resnet10", 2, **STATS),
    )  # fmt: skip


def test_rows_are_of_the_nearest_centers(delta):
    rows = assign_rows(delta, IMAGES)
    assert (rows.dtype, rows.shape) == (np.int64, (40,))
    assert rows[:3].tolist() == [0, 1, 2]
    assert len(np.unique(rows[3:])) > 1


def test_an_image_alone_gets_the_row_that_it_gets_among_others(delta):
    assign = assigning(delta)
    assert [assign(image[None])[0] for image in IMAGES] == assign(IMAGES).tolist()


def test_a_file_carries_all_that_is_needed(delta, tmp_path):
    write_artifact(delta, tmp_path / "a")
    read = Reader(io.BytesIO((tmp_path / "a").read_bytes()), "a").read()
    assert assign_rows(read, IMAGES).tolist() == assign_rows(delta, IMAGES).tolist()
    write_artifact(read, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_cannot_be_assigned_is_refused(delta):
    with pytest.raises(ValueError, match="nothing that assigns images to its rows; make one"):
        assign_rows(dataclasses.replace(delta, assigner=None), IMAGES)
    with pytest.raises(ValueError, match="is of 16x16 pixels, the images are of 8x8; give"):
        assign_rows(delta, IMAGES[:, :, :8, :8])
    for change in ({"architecture": "resnet18"}, {"width": 3}, {"architecture": "os:getcwd"}):
        other = dataclasses.replace(delta.assigner, **change)
        with pytest.raises(
            ValueError, match=r"`delta`: the (weights are not|encoder os:getcwd is)"
        ):
            assign_rows(dataclasses.replace(delta, assigner=other), IMAGES)
    wrong = {**delta.assigner.tensors, "centers": np.zeros((3, 5), np.float32)}
    other = dataclasses.replace(delta.assigner, tensors=wrong)
    with pytest.raises(ValueError, match="`delta`: its centers have 5 features, its encoder 16"):
        assign_rows(dataclasses.replace(delta, assigner=other), IMAGES)
