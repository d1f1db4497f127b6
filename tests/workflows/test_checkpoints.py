"""What a checkpoint may hold."""

from types import SimpleNamespace

import pytest
import torch

from cptools.artifacts.provenance import Entry
from cptools.artifacts.stream import open_artifact
from cptools.workflows import checkpoints


class Diverging:
    """Work whose weights are not finite after two of three steps, while its losses are."""

    def __init__(self, name):
        self.name, self.done = name, 0

    def run(self):
        while self.done < 3:
            self.done += 1
            yield SimpleNamespace(loss=1.0)

    def state(self):
        return {self.name: torch.tensor([1.0, float("inf") if self.done >= 2 else 1.0])}

    def restore(self, tensors):
        raise AssertionError


def run(work, checkpoint):
    checkpoints.run_work(
        work,
        total=3,
        done=lambda: work.done,
        describe=str,
        label="",
        progress=False,
        checkpoint=checkpoint,
        command=Entry("cp-pretrain", "1", {}),
    )


@pytest.mark.parametrize("name", ["model.backbone.w", "poison.delta"])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, monkeypatch, name):
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", -1.0)
    with pytest.raises(FloatingPointError, match=rf"{name} is not finite after 2 of 3\); use a lo"):
        run(Diverging(name), tmp_path / "saved")
    saved = open_artifact(tmp_path / "saved").read()
    assert saved.tensors[name].tolist() == [1, 1]  # of the first step


def test_without_a_checkpoint_it_is_told_at_the_end():
    with pytest.raises(FloatingPointError, match=r"w is not finite after 3 of 3"):
        run(Diverging("model.w"), None)


def test_curves_may_hold_what_they_like(tmp_path):
    run(Diverging("curve.loss"), tmp_path / "saved")
    assert (tmp_path / "saved").exists()
