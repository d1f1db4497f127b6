"""Unlearnable examples (Huang et al., ICLR 2021): error-minimizing noise for supervised learning.

Their algorithm 1: some steps of a classifier on the pictures as they are so far, then projected
gradient steps down its cross-entropy on the noise of every picture, until the classifier errs on
less than a share of the poisoned pictures. Class-wise, the noise of a class takes the step that
the pictures of the class in a batch agree on. The released code deletes all negative noise when
it stores the pictures as bytes; here both signs are kept.
"""

from collections.abc import Mapping
from typing import Any

import torch

from cptools.core.algorithms.supervised import Supervised
from cptools.core.poisons.alternating import AlternatingPoisoning, alternating
from cptools.core.poisons.base import Task
from cptools.core.views.recipe import normalize


def unlearnable(task: Task, values: Mapping[str, Any]) -> AlternatingPoisoning:
    """Error-minimizing noise, which starts at zero unless the task says.

    Args:
        task: what to poison.
        values: a recipe's, with `stop_error`, the training error below which the work is done.
    """
    stop = values["stop_error"]
    return alternating(
        task,
        "supervised",
        torch.zeros(task.shape),
        values,
        until=lambda work: work.round > 0 and training_error(work, values["batch_size"]) < stop,
    )


@torch.no_grad()
def training_error(work: AlternatingPoisoning, batch_size: int) -> float:
    """Share of the poisoned pictures, without views, that the attacker's classifier gets wrong."""
    algorithm = work.learner.algorithm.eval()
    assert isinstance(algorithm, Supervised)
    task, wrong = work.task, 0
    for index in torch.arange(len(task.images), device=task.images.device).split(batch_size):
        x, labels = work.poisoned(index)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=work.learner.bf16):
            logits = algorithm.classify(normalize(x, task.mean, task.std))
        wrong += int((logits.argmax(1) != labels).sum())
    return wrong / len(task.images)
