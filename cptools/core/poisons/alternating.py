"""Poison that is learned together with the network it misleads: min over theta, min over delta.

Algorithm 1 of Contrastive Poisoning (He, Zha, Katabi, ICLR 2023), which solves equation 1 by
alternating steps of the network (theta) and projected gradient steps of the noise (delta), both
downhill. Which loss goes downhill is the learner's: contrastive for CP, cross-entropy for the
error-minimizing noise that it descends from. One function serves both modes: `rows` says which
row of delta an image wears, its own (sample-wise) or that of its class (class-wise).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from cptools.core.algorithms.base import Algorithm
from cptools.core.build import build_learner, build_views
from cptools.core.poisons.base import Round, Task
from cptools.core.poisons.budget import perturb, project
from cptools.core.random import stream
from cptools.core.training import (
    Batch,
    Learner,
    batch_number,
    cosine_lr,
    mean_loss,
    set_lr,
    to_float,
    with_prefix,
    without_prefix,
)
from cptools.core.views import Views

Penalty = Callable[[Tensor, Tensor], Tensor]
"""From the noise of a batch [B, 3, H, W] and its labels [B] to a scalar."""


def delta_gradient(
    algorithm: Algorithm,
    x: Tensor,
    labels: Tensor,
    delta: Tensor,
    rows: Tensor,
    views: Views,
    generator: torch.Generator,
    *,
    epsilon: float,
    dual: bool,
    penalty: Penalty | None = None,
    bf16: bool = False,
) -> tuple[Tensor, Tensor]:
    """Loss of the poisoned batch and its gradient to the noise, through the views.

    Args:
        algorithm: in eval mode.
        x: clean images [B, 3, H, W] in [0, 1].
        labels: their classes (or the classes they shall pass for), int64 [B].
        delta: noise [K, 3, H, W] in [-1, 1], units of epsilon.
        rows: row of delta that each image wears, int64 [B].
        views: differentiable views (CP section 4.3).
        generator: randomness of the views.
        epsilon: L-infinity radius in [0, 1].
        dual: let the gradient flow through the momentum branch too (CP section 4.2).
        penalty: added to the loss of the poisoned batch.
        bf16: compute the network in bfloat16.

    Returns:
        The loss, a detached scalar, and d loss / d delta [K, 3, H, W].
    """
    leaf = delta.detach().requires_grad_()
    worn = leaf[rows]
    drawn = algorithm.draw(perturb(x, worn, epsilon), views, generator)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        loss = algorithm.loss(*drawn, labels=labels, dual=dual)
    if penalty is not None:
        loss = loss + penalty(worn, labels)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient


def pgd_step(delta: Tensor, gradient: Tensor, *, step_size: float) -> Tensor:
    """delta <- project(delta - step_size sign(gradient)): one step down the loss."""
    return project(delta - step_size * gradient.sign())


class AlternatingPoisoning:
    """Algorithm 1 of CP, round by round, for any learner.

    Args:
        task: what to poison.
        start: where the noise starts unless the task says, float32 [K, 3, H, W] in [-1, 1].
        learner: the attacker's algorithm and optimizer.
        views: the victim's views, differentiable.
        rounds: T, alternations of encoder and noise steps.
        model_steps: T_theta, encoder steps a round.
        noise_steps: T_delta, batches of noise steps a round.
        pgd_steps: T_p, projected gradient steps on each of those batches, fresh views each.
        step_size: of a PGD step, in units of epsilon.
        batch_size: images a batch; at most N are used.
        dual: let the noise's gradient flow through the momentum branch too.
        penalty: added to the loss of the noise steps.
        until: asked before each round whether the work is done; None: after `rounds` only.
    """

    def __init__(
        self,
        task: Task,
        start: Tensor,
        learner: Learner,
        views: Views,
        *,
        rounds: int,
        model_steps: int,
        noise_steps: int,
        pgd_steps: int,
        step_size: float,
        batch_size: int,
        dual: bool = True,
        penalty: Penalty | None = None,
        until: "Callable[[AlternatingPoisoning], bool] | None" = None,
    ):
        self.task, self.learner, self.views = task, learner, views
        self.rows, self.delta = task.rows, task.start(start)
        self.total = rounds
        self.model_steps, self.noise_steps = model_steps, noise_steps
        self.pgd_steps, self.step_size = pgd_steps, step_size
        self.batch_size = min(batch_size, len(task.images))
        self.dual, self.penalty, self.until = dual, penalty, until
        self.round = 0

    def run(self) -> Iterator[Round]:
        """Do the rounds that are left, one yield each; `delta` is the poison so far."""
        learner = self.learner
        while self.round < self.total and not (self.until and self.until(self)):
            views_rng = stream(self.task.seed, "attacker", "views", self.round)
            lr = cosine_lr(self.round + 1, self.total, lr=learner.lr, floor=learner.min_lr)
            set_lr(learner.optimizer, lr)
            model = list(learner.steps(self._poisoned_batches(), self.views, views_rng))
            noise = list(self._noise_steps(views_rng))
            self.round += 1
            yield Round(
                self.round,
                mean_loss(model) if model else math.nan,
                mean_loss(noise) if noise else math.nan,
            )

    def _batch(self, step: int, name: str) -> Tensor:
        images, seed = self.task.images, self.task.seed
        index = batch_number(
            step, num=len(images), batch_size=self.batch_size, seed=seed, name=name
        )
        return index.to(images.device)

    def poisoned(self, index: Tensor) -> Batch:
        """Images [B, 3, H, W] of these rows of the dataset as they are so far, and labels."""
        x = to_float(self.task.images[index])
        worn = self.delta[self.rows[index]]
        return perturb(x, worn, self.task.epsilon), self.task.labels[index]

    def _poisoned_batches(self) -> Iterator[Batch]:
        """Inputs of T_theta encoder steps; the walk through the epochs goes on across rounds."""
        for step in range(self.model_steps):
            index = self._batch(self.round * self.model_steps + step, "attacker/model")
            yield self.poisoned(index)

    def _noise_steps(self, views_rng: torch.Generator) -> Iterator[Tensor]:
        """T_delta batches of T_p PGD steps on the noise that the batch wears."""
        algorithm = self.learner.algorithm.eval()  # batch norm by running statistics
        for step in range(self.noise_steps):
            index = self._batch(step, f"attacker/noise/{self.round}")
            x, labels = to_float(self.task.images[index]), self.task.labels[index]
            worn, rows = torch.unique(self.rows[index], return_inverse=True)
            delta = self.delta[worn]
            for _ in range(self.pgd_steps):
                loss, gradient = delta_gradient(
                    algorithm,
                    x,
                    labels,
                    delta,
                    rows,
                    self.views,
                    views_rng,
                    epsilon=self.task.epsilon,
                    dual=self.dual,
                    penalty=self.penalty,
                    bf16=self.learner.bf16,
                )
                delta = pgd_step(delta, gradient, step_size=self.step_size)
                yield loss
            self.delta[worn] = delta

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a checkpoint needs."""
        progress = {"delta": self.delta, "round": torch.tensor(self.round)}
        return self.learner.state() | with_prefix("poison", progress)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Carry on after the rounds that `state` was taken at."""
        self.learner.restore(tensors)
        progress = without_prefix("poison", tensors)
        self.delta.copy_(progress["delta"])
        self.round = int(progress["round"])


def alternating(
    task: Task, alg: str, start: Tensor, values: Mapping[str, Any], **options: Any
) -> AlternatingPoisoning:
    """`AlternatingPoisoning` by the settings of a recipe.

    Args:
        task: what to poison.
        alg: a key of ALGORITHMS, the attacker's learner.
        start: where the noise starts unless the task says, float32 [K, 3, H, W] in [-1, 1].
        values: a recipe's.
        options: of `AlternatingPoisoning`: dual, penalty, until.
    """
    learner, views = attacker(task, alg, values)
    loop = ("rounds", "model_steps", "noise_steps", "pgd_steps", "step_size", "batch_size")
    return AlternatingPoisoning(
        task,
        start,
        learner,
        views,
        **{name: values[name] for name in loop},
        **options,
    )


def attacker(task: Task, alg: str, values: Mapping[str, Any]) -> tuple[Learner, Views]:
    """The attacker's learner, a key of ALGORITHMS, and its views, by the settings of a recipe."""
    learner = build_learner(
        alg,
        values,
        num_classes=task.num_classes,
        mean=task.mean,
        std=task.std,
        device=task.images.device,
        bf16=task.bf16,
        seed=task.seed,
        role="attacker",
    )
    return learner, build_views(values, size=task.shape[-1], mean=task.mean, std=task.std)
