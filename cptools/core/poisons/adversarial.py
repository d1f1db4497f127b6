"""Adversarial poisons (AP; Fowl et al., NeurIPS 2021): adversarial examples make strong poisons.

A classifier learns the clean images; then the noise of each image goes down its cross-entropy
to the NEXT class, (y + 1) mod C, by projected gradient descent through differentiable
augmentations (their section 3, targeted). The images keep their labels.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from cptools.core.checks import check_number, check_whole, to_float
from cptools.core.poisons.base import Problem, Round, attacker, progress, restore_progress
from cptools.core.poisons.budget import perturb, pgd_step, project
from cptools.core.random import stream
from cptools.core.training import Learner, Pretraining, mean_loss
from cptools.core.views import DrawsViews

Objective = Callable[[Learner, Tensor, Tensor, DrawsViews, torch.Generator], Tensor]
"""From a classifier, poisoned images [B, 3, H, W], their labels [B], views and their randomness to
what the noise makes small, a scalar."""


def next_class(num_classes: int) -> Objective:
    """Cross-entropy of views of the poisoned images to the class after theirs."""

    def objective(
        learner: Learner, noisy: Tensor, y: Tensor, views: DrawsViews, rng: torch.Generator
    ) -> Tensor:
        return learner.loss(noisy, (y + 1) % num_classes, views, rng)

    return objective


class ReferencePGD:
    """A classifier's epochs on clean images, then PGD on the noise, batch by batch.

    Args:
        problem: what to poison, in mode `sample`.
        start: where the noise starts without `problem.init`, float32 [N, 3, H, W] in [-1, 1].
        reference: training of the classifier on the clean images.
        views: the augmentations that the noise must survive.
        objective: what the noise makes small.
        pgd_steps: steps on each image's noise, fresh views each.
        step_size: in units of epsilon.
        batch_size: images at a time.

    Raises:
        ValueError: the problem is not sample-wise, or a number is out of range.
    """

    def __init__(
        self,
        problem: Problem,
        start: Tensor,
        reference: Pretraining,
        views: DrawsViews,
        objective: Objective,
        *,
        pgd_steps: int,
        step_size: float,
        batch_size: int,
    ):
        if problem.mode != "sample":
            raise ValueError("adversarial poisons are made image by image; give `mode=sample`")
        check_whole("pgd_steps", pgd_steps, 1)
        check_number("step_size", step_size)
        check_whole("batch_size", batch_size, 1)
        self.problem, self.delta = problem, problem.start(start)
        self.reference, self.views, self.objective = reference, views, objective
        self.pgd_steps, self.step_size = pgd_steps, step_size
        self.batches = torch.arange(len(problem.images)).split(batch_size)
        self.total = reference.epochs + len(self.batches)
        self.round = 0

    def run(self) -> Iterator[Round]:
        """Do what is left: an epoch of the classifier, or the noise of a batch, a yield each."""
        for epoch in self.reference.run():
            self.round = epoch.epoch
            yield Round(self.round, model_loss=epoch.loss)
        while self.round < self.total:
            number = self.round - self.reference.epochs
            losses = self._attack(self.batches[number], number)
            self.round += 1
            yield Round(self.round, noise_loss=mean_loss(losses))

    def _attack(self, index: Tensor, number: int) -> list[Tensor]:
        """T_p steps of PGD on the noise of a batch; the loss before each."""
        problem, learner = self.problem, self.reference.learner
        rng = stream(problem.seed, "attacker", "pgd", number)
        index = index.to(problem.images.device)
        x = to_float(problem.images[index])
        y, delta, losses = problem.labels[index], self.delta[index], []
        learner.algorithm.eval()  # theta is fixed; batch norm by its running statistics
        for _ in range(self.pgd_steps):
            noisy = perturb(x, delta.requires_grad_(), problem.epsilon)
            loss = self.objective(learner, noisy, y, self.views, rng)
            (gradient,) = torch.autograd.grad(loss, delta)
            delta = pgd_step(delta.detach(), gradient, step_size=self.step_size)
            losses.append(loss.detach())
        self.delta[index] = delta
        return losses

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a checkpoint needs."""
        return self.reference.state() | progress(self)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Carry on after the rounds that `state` was taken at."""
        self.reference.restore(tensors)
        restore_progress(self, tensors)


def reference_training(
    problem: Problem, learner: Learner, views: DrawsViews, values: Mapping[str, Any]
) -> Pretraining:
    """Training of a classifier on the clean images, by the settings of a recipe."""
    return Pretraining(
        problem.images,
        problem.labels,
        learner,
        views,
        epochs=values["epochs"],
        batch_size=values["batch_size"],
        warmup_epochs=values["warmup_epochs"],
        warmup_lr=values["warmup_lr"],
        seed=problem.seed,
    )


def by_reference(
    problem: Problem,
    start: Tensor,
    values: Mapping[str, Any],
    objective: Objective,
    *,
    alg: str = "supervised",
) -> ReferencePGD:
    """`ReferencePGD` by the settings of a recipe.

    Args:
        problem: what to poison.
        start: where the noise starts without `problem.init`, float32 [N, 3, H, W] in [-1, 1].
        values: a recipe's.
        objective: what the noise makes small.
        alg: a key of ALGORITHMS, the classifier.
    """
    learner, views = attacker(problem, alg, values)
    return ReferencePGD(
        problem,
        start,
        reference_training(problem, learner, views, values),
        views,
        objective,
        pgd_steps=values["pgd_steps"],
        step_size=values["step_size"],
        batch_size=values["batch_size"],
    )


def adversarial(problem: Problem, values: Mapping[str, Any]) -> ReferencePGD:
    """Adversarial poisons; the noise starts normal, cut off at the ball, or at `problem.init`."""
    start = torch.randn(problem.shape, generator=stream(problem.seed, "delta"))
    return by_reference(problem, project(start), values, next_class(problem.num_classes))
