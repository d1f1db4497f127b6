"""Logs for TensorBoard: what is in them, and that nothing depends on them."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import cptools as cp
from cptools.artifacts.history import digest
from cptools.core.poisons.base import Round
from cptools.core.training import Epoch
from cptools.workflows import logs


def test_values_by_name():
    learner = SimpleNamespace(optimizer=SimpleNamespace(param_groups=[{"lr": 0.5}]))
    metric = Epoch(3, 1.5, 0.25, -2.0, watch_loss=1.0)
    assert logs.scalars(metric, SimpleNamespace(learner=learner)) == (
        3,
        {"loss": 1.5, "alignment": 0.25, "uniformity": -2.0, "watch_loss": 1.0, "lr": 0.5},
    )
    assert logs.scalars(Round(2, math.nan, 0.5), object()) == (2, {"noise_loss": 0.5})


def test_metrics_pass_through_as_they_come(monkeypatch, tmp_path):
    written, closed = [], []

    class Writer:
        def __init__(self, folder):
            assert folder == str(tmp_path)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            closed.append(True)

        def add_scalar(self, *values):
            written.append(values)

    monkeypatch.setattr(logs, "_writer", Writer)

    def track(items, **_):
        yield from items

    work = object()
    metrics = iter([Round(1, 2.0, 1.0), Round(2, 1.0, 0.5)])
    passed = logs.logged(track, tmp_path, work)(metrics, total=2, describe=str, label="x")
    assert next(passed).round == 1
    assert written == [("model_loss", 2.0, 1), ("noise_loss", 1.0, 1)]
    assert not closed
    assert [one.round for one in passed] == [2]
    assert closed
    assert logs.logged(track, None, work) is track


def test_results_are_the_same_with_a_log(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data = cp.load("shapes", limit=32, limit_test=16, size=8)
    tiny = {"epochs": 2, "batch_size": 16}
    plain, told = (cp.pretrain(data, log=log, **tiny) for log in (None, tmp_path / "log"))
    assert digest(plain.arrays()) == digest(told.arrays())
    assert plain.history == told.history
    events = EventAccumulator(str(tmp_path / "log")).Reload()
    assert events.Tags()["scalars"] == ["loss", "alignment", "uniformity", "lr"]
    losses = [event.value for event in events.Scalars("loss")]
    assert np.array_equal(np.float32(losses), told.tensors["curve.loss"])
    assert [event.step for event in events.Scalars("lr")] == [1, 2]


def test_a_log_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    data = cp.load("shapes", limit=16, limit_test=8, size=8)
    for make in (cp.pretrain, cp.generate):
        monkeypatch.setitem(sys.modules, "tensorboard", None)
        with pytest.raises(
            ValueError, match=r"`log` needs TensorBoard; run pip install 'cptools\["
        ):
            make(data, log=tmp_path / "log")
        monkeypatch.setattr(logs, "find_spec", str)
        for path in (tmp_path / "file", tmp_path / "no" / "log"):
            with pytest.raises(ValueError, match=r"`log`: .* is no folder; give another"):
                make(data, log=path)
        with pytest.raises(ValueError, match="`log` 5 is no path"):
            make(data, log=5)
        monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
