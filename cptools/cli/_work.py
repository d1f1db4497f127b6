"""Long work: settings on stderr, progress, checkpoints; tensors to arrays and back."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from cptools.cli._app import UsageError, say
from cptools.cli._progress import track

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from cptools.artifacts.schema import Dataset, Entry

SAVE_EVERY = 20.0  # seconds between checkpoints


class Work(Protocol):
    """What `ContrastivePoisoning` and `Pretraining` are to the command line."""

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
    quiet: bool,
    checkpoint: Path | None,
    command: "Entry",
) -> None:
    """Run long work to its end, drawing progress and saving checkpoints.

    Args:
        work: what to run.
        total: metrics that it yields from the very start.
        done: how many of them a checkpoint has spared.
        describe: a metric in a few words.
        label: what is going on.
        quiet: draw nothing.
        checkpoint: file to carry on from if it is there, and to save to; None for neither.
        command: which command this is; a checkpoint of another is refused.
    """
    if checkpoint is not None and checkpoint.exists():
        _restore(work, checkpoint, command)
        say(f"carrying on from {checkpoint}: {done()} of {total} done", quiet=quiet)
    saved = 0.0
    for _ in track(work.run(), total=total - done(), describe=describe, label=label, quiet=quiet):
        if checkpoint is not None and (time.monotonic() - saved > SAVE_EVERY or done() == total):
            _save(work, checkpoint, command)
            saved = time.monotonic()


def check_checkpoint(path: Path | None) -> None:
    """Make sure, before long work, that a checkpoint can be saved.

    Raises:
        ArtifactError: it cannot, or what is there is no checkpoint.
    """
    if path is None:
        return
    from cptools.artifacts.atomic import check_writable
    from cptools.artifacts.stream import open_artifact

    check_writable(path)
    if path.exists():
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
        raise UsageError(
            f"{path} is the checkpoint of another command (other settings, input or version);"
            " remove it or name another file"
        )
    work.restore({name: torch.from_numpy(array) for name, array in saved.tensors.items()})


def note_queue(settings: Mapping[str, Any], num: int, *, quiet: bool) -> None:
    """Say so where MoCo's queue would hold every image, each then a false negative of itself."""
    size = settings.get("queue_size", 0)
    if size >= num:
        say(
            f"note: a queue of {size} holds every one of {num} images; a smaller --queue-size has"
            " fewer false negatives",
            quiet=quiet,
        )


def show_settings(parameters: Mapping[str, Any], *, verbose: bool) -> None:
    """Print the resolved settings on stderr, where they were asked for."""
    if verbose:
        say(json.dumps(parameters, sort_keys=True))


def end_dry_run(parameters: Mapping[str, Any]) -> None:
    """Print the resolved settings on stdout and end the tool."""
    typer.echo(json.dumps(parameters, indent=2, sort_keys=True))
    raise typer.Exit
