"""Long work to its end, with progress, and with checkpoints that carry on to the same bytes."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
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
    """What a poisoning and a pretraining are to whoever runs them."""

    def run(self) -> Iterator[Any]:
        """Do what is left, a metric at a time."""

    def state(self) -> "dict[str, Tensor]":
        """Every tensor that a checkpoint needs."""

    def restore(self, tensors: "dict[str, Tensor]") -> None:
        """Carry on from a state."""


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
    """Run long work to its end, drawing progress and saving checkpoints.

    Args:
        work: what to run.
        total: metrics that it yields from the very start.
        done: how many of them a checkpoint has spared.
        describe: a metric in a few words.
        label: what is going on.
        progress: how it is drawn.
        checkpoint: file to carry on from if it is there, and to save to; None for neither.
        command: which command this is; a checkpoint of another is refused.
    """
    check_checkpoint(checkpoint)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists():
        _restore(work, path, command)
        _log.info("carrying on from %s: %d of %d done", path, done(), total)
    saved = 0.0
    track = tracker(progress)
    for _ in track(work.run(), total=total - done(), describe=describe, label=label):
        if path is not None and (time.monotonic() - saved > SAVE_EVERY or done() == total):
            _save(work, path, command)
            saved = time.monotonic()


def check_checkpoint(checkpoint: "str | os.PathLike[str] | None") -> None:
    """Make sure, before long work, that a checkpoint can be saved.

    Raises:
        ValueError: it cannot, or what is there is no checkpoint.
    """
    if checkpoint is None:
        return
    from cptools.artifacts.atomic import check_writable
    from cptools.artifacts.stream import open_artifact

    with naming("checkpoint"):
        path = check_path(checkpoint, name="checkpoint")
        check_writable(path)
        if Path(path).exists():
            open_artifact(path, expect=("checkpoint",)).close()


def fingerprint(command: "Entry") -> str:
    """SHA-256 of a command: tool, version, parameters and digests of its inputs."""
    import hashlib

    from cptools.artifacts.provenance import history_to_json

    text = json.dumps(history_to_json([command]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _save(work: Work, path: Path, command: "Entry") -> None:
    from cptools.artifacts.schema import Checkpoint
    from cptools.artifacts.stream import write_artifact

    write_artifact(Checkpoint(to_arrays(work.state()), fingerprint(command)), path)


def _restore(work: Work, path: Path, command: "Entry") -> None:
    import torch

    from cptools.artifacts.schema import Checkpoint
    from cptools.artifacts.stream import open_artifact

    saved = open_artifact(path, expect=("checkpoint",)).read()
    assert isinstance(saved, Checkpoint)
    if saved.command != fingerprint(command):
        raise ValueError(
            f"`checkpoint`: {path} is the checkpoint of another command (other settings, input or"
            " version); remove it or name another file"
        )
    work.restore({name: torch.from_numpy(array) for name, array in saved.tensors.items()})


def note_queue(settings: Mapping[str, Any], num: int) -> None:
    """Say so where MoCo's queue would hold every image, each then a false negative of itself."""
    size = settings.get("queue_size", 0)
    if size >= num:
        _log.warning(
            "a queue of %d holds every one of %d images; a smaller `queue_size` has fewer false"
            " negatives",
            size,
            num,
        )


def show_settings(settings: Mapping[str, Any]) -> None:
    """Log resolved settings, for those who listen (`-v`)."""
    _log.debug("%s", json.dumps(settings, sort_keys=True))
