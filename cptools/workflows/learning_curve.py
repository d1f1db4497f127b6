"""Accuracy by epoch: `cp.learning_curve`, and `cp-pretrain --probe-every`."""

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from cptools.reports.report import Report
from cptools.workflows.datasets import clean_dataset
from cptools.workflows.doors import check_artifact, check_count, check_given
from cptools.workflows.histories import entry
from cptools.workflows.logs import check_log, logged
from cptools.workflows.measures import check_probed, describe_encoder, features_accuracy
from cptools.workflows.pretrain import prepare
from cptools.workflows.probe import choose_method, probe_settings
from cptools.workflows.progress import Progress, tracker

if TYPE_CHECKING:
    from torch import Tensor

    from cptools.artifacts.schema import Dataset
    from cptools.core.training import Epoch, Pretraining
    from cptools.workflows.artifacts import Encoder


class Learned(NamedTuple):
    """An encoder, and how accurate it was on the way.

    Attributes:
        encoder: as `cp.pretrain` returns it.
        report: a record as that of `cp.probe` on it, with the accuracy of each probed epoch.
    """

    encoder: "Encoder"
    report: Report


class ProbedTraining:
    """A pretraining that is probed every few epochs, and after the last.

    Args:
        work: the pretraining; it is none the wiser.
        every: epochs between two probes, at least 1.
        count: how many test images are classified correctly now.
    """

    def __init__(self, work: "Pretraining", every: int, count: Callable[[], int]):
        self.work, self.every, self.count = work, every, count
        self.correct: dict[int, int] = {}  # by epoch

    def run(self) -> "Iterator[Epoch]":
        """Train the epochs that are left, and probe."""
        for epoch in self.work.run():
            if epoch.epoch % self.every == 0 or epoch.epoch == self.work.epochs:
                self.correct[epoch.epoch] = self.count()
            yield epoch

    def state(self) -> "dict[str, Tensor]":
        """That of the pretraining, and the counts."""
        import torch

        counts = torch.tensor([*self.correct.items()], dtype=torch.int64).view(-1, 2)
        return self.work.state() | {"probe.correct": counts}

    def restore(self, tensors: "dict[str, Tensor]") -> None:
        """Inverse of `state`."""
        self.correct = dict(tensors["probe.correct"].tolist())
        self.work.restore(tensors)


def learning_curve(
    dataset: "Dataset",
    alg: str = "simclr",
    *,
    every: int,
    clean: "str | Dataset | None" = None,
    checkpoint: "str | os.PathLike[str] | None" = None,
    log: "str | os.PathLike[str] | None" = None,
    progress: Progress = None,
    **options: Any,
) -> Learned:
    """Train an encoder as `pretrain` does, and probe it as `probe` does every few epochs.

    The encoder is the same to the byte. It is probed by the quick probe of `probe`: a linear
    classifier on cached features (lbfgs) or, of a supervised one, its own classifier. The best
    epoch is told by the TEST images: whoever stops there has looked at them.

    Args:
        dataset: to train on, clean or poisoned.
        alg: the learning algorithm.
        every: epochs between two probes; the last is probed as well.
        clean: labeled dataset to probe on, or its path; None: the source recorded in `dataset`.
        checkpoint: file to save progress to and to resume from.
        log: folder for a log for TensorBoard.
        progress: whether to show a progress bar; None: only in a notebook.
        **options: further arguments of `pretrain`.

    Raises:
        ValueError: an argument is invalid, or the clean dataset is missing.
        FloatingPointError: the training diverged.
    """
    from cptools.artifacts.history import dataset_digest

    every = check_count(every, name="every")
    check_artifact(dataset, "dataset", name="dataset")
    side = dataset.train_images.shape[-1]
    given = None if clean is None else check_given(clean, name="clean")
    try:
        known = clean_dataset(dataset.source, given, need="probing while training", side=side)
    except ValueError as error:
        raise ValueError(str(error).replace("`dataset`", "`clean`")) from None
    track = tracker(progress)
    check_log(log)
    training = prepare(dataset, alg, **options)
    start = training.encoder()
    told = probe_settings(start, choose_method(None, "encoder", alg), seed=training.told["seed"])
    told |= {name: training.told[name] for name in ("device", "precision")}
    encoder, algorithm = training.encoder, training.work.learner.algorithm
    check_probed(start, known, told["method"])

    def count() -> int:
        return features_accuracy(algorithm.encoder, encoder(), known, told).correct

    work = ProbedTraining(training.work, every, count)
    identity = entry(
        "cp-pretrain",
        {**training.told, "probe_every": every, "probe": dataset_digest(known)},
        training.command.inputs,
    )
    shown = logged(track, log, training.work)
    training.run(work, progress=shown, checkpoint=checkpoint, command=identity)
    trained = encoder()
    return Learned(trained, Report((_record(trained, known, told, every, work.correct),)))


def _record(
    encoder: "Encoder",
    clean: "Dataset",
    settings: dict[str, Any],
    every: int,
    correct: dict[int, int],
) -> dict[str, Any]:
    from cptools.core.evaluation.probe import ProbeResult

    total = len(clean.test_images)
    by_epoch = {epoch: round(100 * count / total, 2) for epoch, count in correct.items()}
    peak = max(by_epoch, key=by_epoch.__getitem__)  # the first
    last = ProbeResult.of(correct[max(correct)], total)
    return {
        **describe_encoder(encoder, clean, settings, last),
        "probe_every": every,
        "peak_percent": by_epoch[peak],
        "peak_epoch": peak,
        "epochs": [*by_epoch],
        "accuracies_percent": [*by_epoch.values()],
    }
