"""Contrastive Poisoning (He, Zha, Katabi, ICLR 2023): algorithm 1, sample-wise and class-wise.

The attacker solves min over theta and delta of the contrastive loss of the poisoned images
(equation 1), alternating steps of the encoder (theta) and projected gradient steps of the noise
(delta), both downhill. One function serves both modes: `rows` says which row of delta an image
wears, its own (sample-wise) or that of its class (class-wise).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cptools.core.algorithms.base import Algorithm
from cptools.core.poisons.budget import perturb, project
from cptools.core.random import stream
from cptools.core.training import (
    Learner,
    batch_number,
    cosine,
    mean_loss,
    set_lr,
    to_float,
    two_views,
    with_prefix,
    without_prefix,
)
from cptools.core.views import Views


@dataclass(frozen=True)
class Round:
    """What a round ended with: mean losses of its encoder steps and of its noise steps."""

    round: int
    model_loss: float
    noise_loss: float


def random_delta(num: int, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """The start of the noise: uniform in [-1, 1], float32 [num, 3, H, W], units of epsilon."""
    return torch.rand(num, *shape, generator=generator).mul_(2).sub_(1)


def delta_gradient(
    algorithm: Algorithm,
    x: Tensor,
    delta: Tensor,
    rows: Tensor,
    views: Views,
    generator: torch.Generator,
    *,
    epsilon: float,
    dual: bool,
    bf16: bool = False,
) -> tuple[Tensor, Tensor]:
    """Loss of the poisoned batch and its gradient to the noise, through the views.

    Args:
        algorithm: in eval mode.
        x: clean images [B, 3, H, W] in [0, 1].
        delta: noise [K, 3, H, W] in [-1, 1], units of epsilon.
        rows: row of delta that each image wears, int64 [B].
        views: differentiable views (CP section 4.3).
        generator: randomness of the views.
        epsilon: L-infinity radius in [0, 1].
        dual: let the gradient flow through the momentum branch too (CP section 4.2).
        bf16: compute the network in bfloat16.

    Returns:
        The loss, a detached scalar, and d loss / d delta [K, 3, H, W].
    """
    leaf = delta.detach().requires_grad_()
    view_a, view_b = two_views(views, perturb(x, leaf[rows], epsilon), generator)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        loss = algorithm.loss(view_a, view_b, dual=dual)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient


def pgd_step(delta: Tensor, gradient: Tensor, *, step_size: float) -> Tensor:
    """delta <- project(delta - step_size sign(gradient)): one step down the loss."""
    return project(delta - step_size * gradient.sign())


class ContrastivePoisoning:
    """Algorithm 1 of CP, round by round.

    Args:
        images: clean images, uint8 [N, 3, H, W], on the device of the algorithm.
        rows: row of delta that each image wears, int64 [N]: labels (class-wise) or 0..N-1.
        delta: where the noise starts, float32 [K, 3, H, W] in [-1, 1], units of epsilon.
        learner: the attacker's algorithm and optimizer.
        views: the victim's views, differentiable.
        epsilon: L-infinity radius in [0, 1].
        rounds: T, alternations of encoder and noise steps.
        model_steps: T_theta, encoder steps a round.
        noise_steps: T_delta, batches of noise steps a round.
        pgd_steps: T_p, projected gradient steps on each of those batches, fresh views each.
        step_size: of a PGD step, in units of epsilon.
        batch_size: images a batch; at most N are used.
        dual: let the noise's gradient flow through the momentum branch too.
        seed: of shuffling and views.
    """

    def __init__(
        self,
        images: Tensor,
        rows: Tensor,
        delta: Tensor,
        learner: Learner,
        views: Views,
        *,
        epsilon: float,
        rounds: int,
        model_steps: int,
        noise_steps: int,
        pgd_steps: int,
        step_size: float,
        batch_size: int,
        dual: bool = True,
        seed: int = 0,
    ):
        self.images, self.rows, self.delta = images, rows, delta
        self.learner, self.views = learner, views
        self.epsilon, self.step_size, self.dual = epsilon, step_size, dual
        self.rounds, self.model_steps = rounds, model_steps
        self.noise_steps, self.pgd_steps = noise_steps, pgd_steps
        self.batch_size = min(batch_size, len(images))
        self.seed = seed
        self.round = 0

    def run(self) -> Iterator[Round]:
        """Do the rounds that are left, one yield each; `delta` is the poison so far."""
        learner = self.learner
        while self.round < self.rounds:
            views_rng = stream(self.seed, "attacker", "views", self.round)
            lr = cosine(self.round + 1, self.rounds, lr=learner.lr, floor=learner.min_lr)
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
        index = batch_number(
            step, num=len(self.images), batch_size=self.batch_size, seed=self.seed, name=name
        )
        return index.to(self.images.device)

    def _poisoned_batches(self) -> Iterator[Tensor]:
        """Inputs of T_theta encoder steps; the walk through the epochs goes on across rounds."""
        for step in range(self.model_steps):
            index = self._batch(self.round * self.model_steps + step, "attacker/model")
            yield perturb(to_float(self.images[index]), self.delta[self.rows[index]], self.epsilon)

    def _noise_steps(self, views_rng: torch.Generator) -> Iterator[Tensor]:
        """T_delta batches of T_p PGD steps on the noise that the batch wears."""
        algorithm = self.learner.algorithm.eval()  # batch norm by running statistics
        for step in range(self.noise_steps):
            index = self._batch(step, f"attacker/noise/{self.round}")
            x = to_float(self.images[index])
            worn, rows = torch.unique(self.rows[index], return_inverse=True)
            delta = self.delta[worn]
            for _ in range(self.pgd_steps):
                loss, gradient = delta_gradient(
                    algorithm,
                    x,
                    delta,
                    rows,
                    self.views,
                    views_rng,
                    epsilon=self.epsilon,
                    dual=self.dual,
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
