"""A checkpoint that is damaged is refused in a line that says to remove it."""

import os

import numpy as np
import pytest

from cptools.artifacts.schema import Checkpoint
from cptools.artifacts.stream import write_artifact
from cptools.workflows.checkpoints import check_checkpoint


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "saved"
    write_artifact(Checkpoint({"a": np.arange(100)}, "0" * 64), path)
    return path


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(saved, share):
    check_checkpoint(saved)
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"`checkpoint`: .*; remove it to start anew") as raised:
        check_checkpoint(saved)
    assert str(raised.value).count("\n") == 0
    assert str(raised.value).count(";") == 1


@pytest.mark.parametrize("extra", [b"x", bytes(1000)])
def test_a_checkpoint_that_is_followed_by_more_is_refused(saved, extra):
    saved.write_bytes(saved.read_bytes() + extra)
    with pytest.raises(ValueError, match="remove it to start anew"):
        check_checkpoint(saved)


@pytest.mark.parametrize("path", ["-", "/dev/stdout", "/dev/null", "/dev/fd/1", "pipe"])
def test_what_cannot_be_read_again_is_no_checkpoint(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with pytest.raises(ValueError, match=r"`checkpoint`: .* cannot be read again; name a file"):
        check_checkpoint(path)
