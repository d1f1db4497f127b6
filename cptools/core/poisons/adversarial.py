"""Adversarial poisons (AP; Fowl et al., NeurIPS 2021): adversarial examples make strong poisons.

A classifier learns the clean pictures; then the noise of each picture goes down its cross-entropy
to the NEXT class, (y + 1) mod C, by projected gradient descent through differentiable
augmentations (their section 3, targeted). The pictures keep their labels.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from cptools.core.poisons.alternating import attacker, delta_gradient, pgd_step
from cptools.core.poisons.base import Round, Task
from cptools.core.poisons.budget import project
from cptools.core.random import stream
from cptools.core.training import Pretraining, mean_loss, to_float, with_prefix, without_prefix
from cptools.core.views import Views


class TargetedPGD:
    """A classifier's epochs on clean pictures, then PGD on the noise, batch by batch.

    Args:
        task: what to poison, in mode `sample`.
        start: where the noise starts unless the task says, float32 [N, 3, H, W] in [-1, 1].
        reference: training of the classifier on the clean pictures.
        views: the augmentations that the noise must survive.
        pgd_steps: steps on each picture's noise, fresh views each.
        step_size: in units of epsilon.
        batch_size: pictures at a time.
    """

    def __init__(
        self,
        task: Task,
        start: Tensor,
        reference: Pretraining,
        views: Views,
        *,
        pgd_steps: int,
        step_size: float,
        batch_size: int,
    ):
        self.task, self.delta = task, task.start(start)
        self.reference, self.views = reference, views
        self.pgd_steps, self.step_size = pgd_steps, step_size
        self.batches = torch.arange(len(task.images)).split(batch_size)
        self.total = reference.epochs + len(self.batches)
        self.round = 0

    def run(self) -> Iterator[Round]:
        """Do what is left: an epoch of the classifier, or the noise of a batch, a yield each."""
        for epoch in self.reference.run():
            self.round = epoch.epoch
            yield Round(self.round, model_loss=epoch.loss)
        while self.round < self.total:
            number = self.round - self.reference.epochs
            losses = list(self._attack(self.batches[number], number))
            self.round += 1
            yield Round(self.round, noise_loss=mean_loss(losses))

    def _attack(self, index: Tensor, number: int) -> Iterator[Tensor]:
        """T_p steps of targeted PGD on the noise of a batch."""
        task, learner = self.task, self.reference.learner
        rng = stream(task.seed, "attacker", "pgd", number)
        index = index.to(task.images.device)
        x = to_float(task.images[index])
        target = (task.labels[index] + 1) % task.num_classes
        rows = torch.arange(len(index), device=index.device)
        delta = self.delta[index]
        algorithm = learner.algorithm.eval()
        for _ in range(self.pgd_steps):
            loss, gradient = delta_gradient(
                algorithm, x, target, delta, rows, self.views, rng,
                epsilon=task.epsilon, dual=False, bf16=learner.bf16,
            )  # fmt: skip
            delta = pgd_step(delta, gradient, step_size=self.step_size)
            yield loss
        self.delta[index] = delta

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a checkpoint needs."""
        progress = {"delta": self.delta, "round": torch.tensor(self.round)}
        return self.reference.state() | with_prefix("poison", progress)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Carry on after the rounds that `state` was taken at."""
        self.reference.restore(tensors)
        progress = without_prefix("poison", tensors)
        self.delta.copy_(progress["delta"])
        self.round = int(progress["round"])


def targeted(task: Task, start: Tensor, values: Mapping[str, Any]) -> TargetedPGD:
    """`TargetedPGD` by the settings of a recipe."""
    learner, views = attacker(task, "supervised", values)
    reference = Pretraining(
        task.images,
        task.labels,
        learner,
        views,
        epochs=values["epochs"],
        batch_size=values["batch_size"],
        warmup_epochs=values["warmup_epochs"],
        warmup_lr=values["warmup_lr"],
        seed=task.seed,
    )
    return TargetedPGD(
        task,
        start,
        reference,
        views,
        pgd_steps=values["pgd_steps"],
        step_size=values["step_size"],
        batch_size=values["batch_size"],
    )


def adversarial(task: Task, values: Mapping[str, Any]) -> TargetedPGD:
    """Adversarial poisons; the noise starts normal, cut off at the ball, unless the task says."""
    start = torch.randn(task.shape, generator=stream(task.seed, "delta"))
    return targeted(task, project(start), values)
