"""Unlearnable examples (Huang et al., ICLR 2021): error-minimizing noise for supervised learning.

Their algorithm 1: some steps of a classifier on the images as they are so far, then projected
gradient steps down its cross-entropy on the noise of every image, until the classifier errs on
less than a share of the poisoned images. Class-wise, the noise of a class takes the step that
the images of the class in a batch agree on. The released code deletes all negative noise when
it stores the images as bytes; here both signs are kept.
"""

from collections.abc import Mapping
from typing import Any

import torch

from cptools.core.algorithms.supervised import Supervised
from cptools.core.checks import check_number, to_float
from cptools.core.poisons.base import Problem
from cptools.core.poisons.budget import perturb
from cptools.core.poisons.contrastive import AlternatingPoisoning, alternating
from cptools.core.views.recipe import normalize


def unlearnable(problem: Problem, values: Mapping[str, Any]) -> AlternatingPoisoning:
    """Error-minimizing noise, which starts at zero or at `problem.init`.

    Args:
        problem: what to poison.
        values: a recipe's, with `stop_error`, the training error below which the work is done.
    """
    stop = values["stop_error"]
    check_number("stop_error", stop, 0, 1)
    return alternating(
        problem,
        "supervised",
        torch.zeros(problem.shape),
        values,
        until=lambda work: work.round > 0 and training_error(work, values["batch_size"]) < stop,
    )


@torch.no_grad()
def training_error(work: AlternatingPoisoning, batch_size: int) -> float:
    """Share of the poisoned images, without views, that the attacker's classifier gets wrong."""
    algorithm = work.learner.algorithm.eval()
    assert isinstance(algorithm, Supervised)
    problem, wrong = work.problem, 0
    for index in torch.arange(len(problem.images), device=problem.images.device).split(batch_size):
        noise = work.delta[work.rows[index]]
        x = perturb(to_float(problem.images[index]), noise, problem.epsilon)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=work.learner.bf16):
            logits = algorithm.classify(normalize(x, problem.mean, problem.std))
        wrong += int((logits.argmax(1) != problem.labels[index]).sum())
    return wrong / len(problem.images)
