"""Run long work with progress and checkpoints; a resumed run gives the same bytes."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cptools.workflows.doors import check_path, naming
from cptools.workflows.progress import Progress, tracker

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from torch import Tensor

    from cptools.artifacts.schema import Dataset, Entry

SAVE_EVERY = 20.0  # seconds between checkpoints

_log = logging.getLogger(__name__)


class Work(Protocol):
    """Interface of a poisoning and a pretraining."""

    def run(self) -> Iterator[Any]:
        """Do the remaining work; yields a metric per round or epoch."""

    def state(self) -> "dict[str, Tensor]":
        """Every tensor that a checkpoint needs."""

    def restore(self, tensors: "dict[str, Tensor]") -> None:
        """Resume from a state."""


def to_arrays(tensors: "Mapping[str, Tensor]") -> "dict[str, NDArray[Any]]":
    """Tensors as contiguous numpy arrays in main memory."""
    return {name: t.detach().cpu().contiguous().numpy() for name, t in tensors.items()}


def training_tensors(dataset: "Dataset", device: Any) -> "tuple[Tensor, Tensor]":
    """Training images, uint8 [N, 3, H, W], and labels, int64 [N], of a dataset on a device."""
    import torch

    images, labels = map(torch.from_numpy, (dataset.train_images, dataset.train_labels))
    return images.to(device), labels.to(device)


def run_work(
    work: Work,
    *,
    total: int,
    done: Callable[[], int],
    describe: Callable[[Any], str],
    label: str,
    progress: Progress,
    checkpoint: "str | os.PathLike[str] | None",
    command: "Entry",
) -> None:
    """Run long work, showing progress and saving checkpoints.

    Args:
        work: what to run.
        total: number of metrics that a whole run yields.
        done: how many of them are already done, by a checkpoint.
        describe: formats a metric.
        label: of the progress bar.
        progress: how it is shown.
        checkpoint: file to resume from, if it exists, and to save to; None: neither.
        command: identifies the command; the checkpoint of another is an error.
    """
    check_checkpoint(checkpoint)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists():
        _restore(work, path, command)
        _log.info("resuming from %s: %d of %d done", path, done(), total)
    saved = 0.0
    track = tracker(progress)
    for _ in track(work.run(), total=total - done(), describe=describe, label=label):
        if path is not None and (time.monotonic() - saved > SAVE_EVERY or done() == total):
            state = work.state()
            _check_finite(state, f"{done()} of {total}")
            _save(state, path, command)
            saved = time.monotonic()
    if path is None:
        _check_finite(work.state(), f"{done()} of {total}")


def check_checkpoint(checkpoint: "str | os.PathLike[str] | None") -> None:
    """Check, before long work, that a checkpoint can be saved.

    Raises:
        ValueError: it cannot, or the file is not a checkpoint.
    """
    if checkpoint is None:
        return
    from cptools.artifacts.atomic import check_writable, is_direct
    from cptools.artifacts.stream import open_artifact

    with naming("checkpoint"):
        path = check_path(checkpoint, name="checkpoint")
        check_writable(path)
        if is_direct(path):
            raise ValueError(f"{path} cannot be read again; name a file")
        if Path(path).exists():
            with _whole():
                reader = open_artifact(path)
            reader.close()
            if reader.kind != "checkpoint":
                raise ValueError(f"{path}: is of kind {reader.kind}; give one of kind checkpoint")


def fingerprint(command: "Entry") -> str:
    """SHA-256 of a command: tool, version, parameters and digests of its inputs."""
    import hashlib

    from cptools.artifacts.provenance import history_to_json

    text = json.dumps(history_to_json([command]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_finite(state: "Mapping[str, Tensor]", progress: str) -> None:
    """Refuse weights that no artifact could hold; a loss is computed before the step it leads to.

    Raises:
        FloatingPointError: one is not finite.
    """
    for name, tensor in state.items():
        is_learned = name.startswith(("model.", "poison."))
        if is_learned and tensor.is_floating_point() and not tensor.isfinite().all():
            raise FloatingPointError(
                f"training diverged ({name} is not finite after {progress}); use a lower `lr`"
            )


@contextmanager
def _whole() -> Iterator[None]:
    """Say what to do about a checkpoint that is damaged."""
    from cptools.artifacts.errors import ArtifactError

    try:
        yield
    except ArtifactError as error:
        what = str(error).partition(";")[0]
        raise ValueError(f"{what}; remove it to start anew, or name another file") from None


def _save(state: "Mapping[str, Tensor]", path: Path, command: "Entry") -> None:
    from cptools.artifacts.schema import Checkpoint
    from cptools.artifacts.stream import write_artifact

    write_artifact(Checkpoint(to_arrays(state), fingerprint(command)), path)


def _restore(work: Work, path: Path, command: "Entry") -> None:
    import torch

    from cptools.artifacts.schema import Checkpoint
    from cptools.artifacts.stream import open_artifact

    with naming("checkpoint"), _whole():
        saved = open_artifact(path, expect=("checkpoint",)).read()
    assert isinstance(saved, Checkpoint)
    if saved.command != fingerprint(command):
        raise ValueError(
            f"`checkpoint`: {path} is the checkpoint of another command (different settings, input"
            " or version); remove it or name another file"
        )
    work.restore({name: torch.from_numpy(array) for name, array in saved.tensors.items()})


def note_queue(settings: Mapping[str, Any], num: int) -> None:
    """Warn if a queue holds all images: each is its own false negative, or its own neighbor."""
    size = settings.get("queue_size", 0)
    if size >= num:
        _log.warning(
            "a queue of %d holds all %d images, so that each meets itself in it; reduce"
            " `queue_size`",
            size,
            num,
        )


def show_settings(settings: Mapping[str, Any]) -> None:
    """Log resolved settings (shown by `-v`)."""
    _log.debug("%s", json.dumps(settings, sort_keys=True))
