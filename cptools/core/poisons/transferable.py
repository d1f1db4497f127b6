"""Transferable poisoning (TransPoison; Liu, Backes and Zhang, 2023): for both kinds of learning.

A classifier learns the clean images. Then, in turns: one targeted step on the noise of every image
down the classifier's cross-entropy to the next class, as adversarial poisons; and a round of
contrastive poisoning by SimCLR, its encoder trained on the images as they are so far, then steps on
the noise down its loss (their algorithm 1). The classifier stays as it is.

As in their code the classifier sees flips and shifts, SimCLR its own views. The code gives the
classifier another weight decay, where here the recipe's is of both; its steps are of one size.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from cptools.core.build import ALGORITHM_OPTIONS
from cptools.core.checks import to_float
from cptools.core.poisons.adversarial import next_class, reference_training
from cptools.core.poisons.base import Problem, Round, attacker, progress, restore_progress
from cptools.core.poisons.budget import perturb, pgd_step, project
from cptools.core.poisons.contrastive import Alternation, algorithm_1
from cptools.core.random import stream
from cptools.core.training import (
    Learner,
    Pretraining,
    mean_loss,
    with_prefix,
    without_prefix,
)
from cptools.core.views import DrawsViews


class Transferable:
    """A classifier's epochs on clean images, then rounds of both kinds of gradients.

    Args:
        problem: what to poison, in mode `sample`.
        start: where the noise starts without `problem.init`, float32 [N, 3, H, W] in [-1, 1].
        reference: training of the classifier on the clean images.
        learner: the contrastive algorithm and its optimizer.
        views: its views; the classifier has the weak ones.
        numbers: of algorithm 1 of Contrastive Poisoning; the classifier's step is of that size.

    Raises:
        ValueError: the problem is not sample-wise.
    """

    def __init__(
        self,
        problem: Problem,
        start: Tensor,
        reference: Pretraining,
        learner: Learner,
        views: DrawsViews,
        numbers: Alternation,
    ):
        if problem.mode != "sample":
            raise ValueError("transferable poisons are made image by image; give `mode=sample`")
        self.problem, self.delta = problem, problem.start(start)
        self.reference, self.learner = reference, learner
        self.views, self.numbers = views, numbers
        self.total, self.round = reference.epochs + numbers.rounds, 0

    def run(self) -> Iterator[Round]:
        """Do what is left: an epoch of the classifier, or a round of both, a yield each."""
        for epoch in self.reference.run():
            self.round = epoch.epoch
            yield Round(self.round, model_loss=epoch.loss)
        done = self.round - self.reference.epochs
        rounds = algorithm_1(
            self.problem, self.learner, self.views, self.delta, self.numbers, done=done
        )
        while self.round < self.total:
            self._step_by_classifier(self.round - self.reference.epochs)
            ended = next(rounds)
            self.round += 1
            yield Round(self.round, ended.model_loss, ended.noise_loss)

    def _step_by_classifier(self, number: int) -> None:
        """One targeted step on the noise of every image."""
        problem, learner = self.problem, self.reference.learner
        rng = stream(problem.seed, "attacker", "pgd", number)
        objective = next_class(problem.num_classes)
        learner.algorithm.eval()
        losses = []
        for index in torch.arange(len(problem.images)).split(self.numbers.batch_size):
            rows = index.to(problem.images.device)
            noise = self.delta[rows].requires_grad_()
            noisy = perturb(to_float(problem.images[rows]), noise, problem.epsilon)
            loss = objective(learner, noisy, problem.labels[rows], self.views.weak(), rng)
            (gradient,) = torch.autograd.grad(loss, noise)
            step_size = self.numbers.step_size
            self.delta[rows] = pgd_step(noise.detach(), gradient, step_size=step_size)
            losses.append(loss.detach())
        mean_loss(losses)  # finite, or an error

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a checkpoint needs."""
        return (
            with_prefix("reference", self.reference.state())
            | with_prefix("contrastive", self.learner.state())
            | progress(self)
        )

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Carry on after the rounds that `state` was taken at."""
        self.reference.restore(without_prefix("reference", tensors))
        self.learner.restore(without_prefix("contrastive", tensors))
        restore_progress(self, tensors)


def transferable(problem: Problem, values: Mapping[str, Any]) -> Transferable:
    """Transferable poisons; the noise starts normal, cut off at the ball, or at `problem.init`.

    Args:
        problem: what to poison.
        values: a recipe's, SimCLR's, with `epochs` and `classifier_lr` of the classifier.
    """
    learner, views = attacker(problem, "simclr", values)
    # What is SimCLR's alone means nothing to a classifier.
    common = {k: v for k, v in values.items() if k == "bn_groups" or k not in ALGORITHM_OPTIONS}
    of_classifier = common | {"lr": values["classifier_lr"], "loss_scale": 1.0}
    classifier, _ = attacker(problem, "supervised", of_classifier)
    reference = reference_training(problem, classifier, views.weak(), values)
    named = {field.name: values[field.name] for field in fields(Alternation)[:-1]}
    start = torch.randn(problem.shape, generator=stream(problem.seed, "delta"))
    return Transferable(problem, project(start), reference, learner, views, Alternation(**named))
