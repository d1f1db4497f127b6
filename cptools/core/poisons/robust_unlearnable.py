"""Robust unlearnable examples (REM; Fu et al., ICLR 2022): noise against adversarial training.

Error-minimizing noise for a classifier that trains adversarially, their equation 5: the noise of an
image minimizes the mean, over random views, of the greatest loss in a ball about the view. Their
algorithm 1: for each batch, noise by projected gradient descent on that loss from a random start,
then one step of the classifier on the poisoned batch under its own adversary. The noise that is
kept is made at the end, by the classifier of the last step, image by image.

The radius of the adversary, `adv_epsilon`, is smaller than the noise's. The released code lowers
the learning rate tenfold at 40% and 80% of the steps, where this takes a cosine.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from cptools.core.checks import check_number, check_whole, to_float
from cptools.core.poisons.base import Problem, Round, attacker, progress, restore_progress
from cptools.core.poisons.budget import perturb, pgd_step
from cptools.core.poisons.noise import random_noise
from cptools.core.random import stream
from cptools.core.training import (
    Learner,
    cosine_lr,
    mean_loss,
    set_lr,
)
from cptools.core.views import DrawsViews


class RobustMinimization:
    """Steps of a robust classifier with the noise of their batches, then the noise of all images.

    Args:
        problem: what to poison, in mode `sample`.
        learner: a classifier whose loss has the adversary in it.
        views: random transformations that the noise must survive.
        rounds: M, batches that the classifier learns from; the final batches follow.
        pgd_steps: K_u, steps on the noise of a batch.
        step_size: alpha_u, in units of epsilon.
        noise_draws: J, views over which the gradient of a step is averaged.
        batch_size: images at a time; at most N are used.

    Raises:
        ValueError: the problem is not sample-wise, or a number is out of range.
    """

    def __init__(
        self,
        problem: Problem,
        learner: Learner,
        views: DrawsViews,
        *,
        rounds: int,
        pgd_steps: int,
        step_size: float,
        noise_draws: int,
        batch_size: int,
    ):
        if problem.mode != "sample":
            raise ValueError("robust unlearnable noise is made image by image; give `mode=sample`")
        check_whole("rounds", rounds, 1)
        check_whole("pgd_steps", pgd_steps, 1)
        check_whole("noise_draws", noise_draws, 1)
        check_whole("batch_size", batch_size, 2)
        check_number("step_size", step_size)
        self.problem, self.learner, self.views = problem, learner, views
        self.pgd_steps, self.step_size, self.draws = pgd_steps, step_size, noise_draws
        self.rounds, self.batch_size = rounds, batch_size
        self.delta = problem.start(torch.zeros(problem.shape))
        self.final = torch.arange(len(problem.images)).split(batch_size)
        self.total, self.round = rounds + len(self.final), 0

    def run(self) -> Iterator[Round]:
        """Do what is left: a batch and a step of the classifier, or a final batch, a yield each."""
        while self.round < self.total:
            done, rng = self.round, stream(self.problem.seed, "attacker", "views", self.round)
            result = self._learn(rng) if done < self.rounds else self._finish(rng)
            self.round = result.round
            yield result

    def _learn(self, rng: torch.Generator) -> Round:
        """Noise for a batch, and a step of the classifier on the batch with it."""
        problem, learner, number = self.problem, self.learner, self.round
        lr = cosine_lr(number + 1, self.rounds, lr=learner.lr, floor=learner.min_lr)
        set_lr(learner.optimizer, lr)
        x, y, rows = problem.batch(number, self.batch_size, "attacker/model")
        noise, losses = self._minimize(x, y, self._start(rows), rng)
        loss = learner.step(perturb(x, noise, problem.epsilon), y, self.views, rng)
        return Round(number + 1, mean_loss([loss]), mean_loss(losses))

    def _finish(self, rng: torch.Generator) -> Round:
        """The noise that is kept, of one of the batches that all images are in."""
        problem = self.problem
        rows = self.final[self.round - self.rounds].to(problem.images.device)
        x, y = to_float(problem.images[rows]), problem.labels[rows]
        self.delta[rows], losses = self._minimize(x, y, self._start(rows), rng)
        return Round(self.round + 1, noise_loss=mean_loss(losses))

    def _start(self, rows: Tensor) -> Tensor:
        """Where the noise of some images starts: anew at random, or else where it was given."""
        if self.problem.init is not None:
            return self.problem.init.to(self.delta)[rows]
        generator = stream(self.problem.seed, "delta", self.round)
        return random_noise((len(rows), *self.problem.shape[1:]), generator).to(self.delta)

    def _minimize(
        self, x: Tensor, y: Tensor, noise: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, list[Tensor]]:
        """K_u steps down the mean over J views of the adversarial loss; that before each step."""
        learner, losses = self.learner, []
        learner.algorithm.eval()  # theta is fixed; batch norm by its running statistics
        for _ in range(self.pgd_steps):
            noisy = perturb(x, noise.requires_grad_(), self.problem.epsilon)
            drawn = [learner.loss(noisy, y, self.views, rng) for _ in range(self.draws)]
            loss = torch.stack(drawn).mean()
            (gradient,) = torch.autograd.grad(loss, noise)
            noise = pgd_step(noise.detach(), gradient, step_size=self.step_size)
            losses.append(loss.detach())
        return noise, losses

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a checkpoint needs."""
        return self.learner.state() | progress(self)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Carry on after the rounds that `state` was taken at."""
        self.learner.restore(tensors)
        restore_progress(self, tensors)


def robust_unlearnable(problem: Problem, values: Mapping[str, Any]) -> RobustMinimization:
    """Robust error-minimizing noise by the settings of a recipe."""
    learner, views = attacker(problem, "advsupervised", values)
    names = ("rounds", "pgd_steps", "step_size", "noise_draws", "batch_size")
    return RobustMinimization(problem, learner, views, **{name: values[name] for name in names})
