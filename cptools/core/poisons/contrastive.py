"""Contrastive Poisoning (He, Zha, Katabi, ICLR 2023): noise and encoder learned together.

Equation 1, min over delta, min over theta of the contrastive loss: the noise makes it easy to align
the two views of an image, so that the encoder learns the noise and not the image. Its gradient
flows through the views (section 4.3) and, for learners with a momentum encoder, through both
branches (section 4.2). `algorithm_1` takes any learner; with a classifier's cross-entropy it gives
the error-minimizing noise that CP descends from (`unlearnable`, `aue`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from cptools.core.checks import check_number, check_whole
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

Penalty = Callable[[Tensor, Tensor], Tensor]
"""From the noise of a batch [B, 3, H, W] and its labels [B] to a scalar."""


@dataclass(frozen=True)
class Alternation:
    """The numbers of algorithm 1, with its symbols.

    Attributes:
        rounds: T, alternations of encoder and noise.
        model_steps: T_theta, encoder steps a round.
        noise_steps: T_delta, batches of noise steps a round.
        pgd_steps: T_p, projected gradient steps on each of those batches, fresh views each.
        step_size: alpha, of a projected gradient step, in units of epsilon.
        batch_size: images a batch; at most N are used.
        dual: let the noise's gradient flow through the momentum branch too.

    Raises:
        ValueError: a number is out of range.
    """

    rounds: int
    model_steps: int
    noise_steps: int
    pgd_steps: int
    step_size: float
    batch_size: int
    dual: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        least = {"rounds": 1, "model_steps": 0, "noise_steps": 0, "pgd_steps": 1, "batch_size": 2}
        for name, low in least.items():
            check_whole(name, getattr(self, name), low)
        check_number("step_size", self.step_size)


def algorithm_1(
    problem: Problem,
    learner: Learner,
    views: DrawsViews,
    delta: Tensor,
    numbers: Alternation,
    *,
    penalty: Penalty | None = None,
    done: int = 0,
) -> Iterator[Round]:
    """Algorithm 1 of CP: encoder steps (theta) and projected gradient steps (delta) in turns.

    Args:
        problem: images D, labels, which row of delta is applied to each image, and epsilon.
        learner: the attacker's algorithm (theta and its loss L) and optimizer.
        views: the victim's views, differentiable.
        delta: the noise [K, 3, H, W] in [-1, 1], units of epsilon; changed in place.
        numbers: T, T_theta, T_delta, T_p, alpha.
        penalty: added to the loss of the noise steps.
        done: rounds that were done before.

    Yields:
        What each round ended with.
    """
    n, epsilon = numbers, problem.epsilon
    for t in range(done, n.rounds):  # T rounds
        rng = stream(problem.seed, "attacker", "views", t)
        set_lr(learner.optimizer, cosine_lr(t + 1, n.rounds, lr=learner.lr, floor=learner.min_lr))
        learner.algorithm.start_epoch(t + 1, n.rounds)
        model_losses, noise_losses = [], []
        for step in range(n.model_steps):  # T_theta: theta <- theta - eta grad L(theta, D + delta)
            x, y, rows = problem.batch(t * n.model_steps + step, n.batch_size, "attacker/model")
            loss = learner.step(perturb(x, delta[rows], epsilon), y, views, rng)
            model_losses.append(loss)
        learner.algorithm.eval()  # theta is fixed; batch norm by its running statistics
        for step in range(n.noise_steps):  # T_delta batches
            x, y, rows = problem.batch(step, n.batch_size, f"attacker/noise/{t}")
            # Only the rows that the batch uses: the gradient of all others is zero.
            used, rows = torch.unique(rows, return_inverse=True)
            part = delta[used]
            for _ in range(n.pgd_steps):  # T_p: delta <- Pi(delta - alpha sign(grad L))
                noise = part.requires_grad_()[rows]
                loss = learner.loss(perturb(x, noise, epsilon), y, views, rng, dual=n.dual)
                if penalty is not None:
                    loss = loss + penalty(noise, y)
                (gradient,) = torch.autograd.grad(loss, part)
                part = pgd_step(part.detach(), gradient, step_size=n.step_size)
                noise_losses.append(loss.detach())
            delta[used] = part
        yield Round(t + 1, mean_loss(model_losses), mean_loss(noise_losses))


class AlternatingPoisoning:
    """`algorithm_1` that can be stopped after a round, saved and carried on.

    Args:
        problem: what to poison.
        start: where the noise starts without `problem.init`, float32 [K, 3, H, W] in [-1, 1].
        learner: the attacker's algorithm and optimizer.
        views: the victim's views, differentiable.
        numbers: of algorithm 1.
        penalty: added to the loss of the noise steps.
        until: asked before each round whether the work is done; None: after all rounds only.
    """

    def __init__(
        self,
        problem: Problem,
        start: Tensor,
        learner: Learner,
        views: DrawsViews,
        numbers: Alternation,
        *,
        penalty: Penalty | None = None,
        until: "Callable[[AlternatingPoisoning], bool] | None" = None,
    ):
        self.problem, self.learner, self.views, self.numbers = problem, learner, views, numbers
        self.penalty, self.until = penalty, until
        self.rows, self.delta = problem.rows, problem.start(start)
        self.total, self.round = numbers.rounds, 0

    def run(self) -> Iterator[Round]:
        """Do the rounds that are left, one yield each; `delta` is the poison so far."""
        rounds = algorithm_1(
            self.problem,
            self.learner,
            self.views,
            self.delta,
            self.numbers,
            penalty=self.penalty,
            done=self.round,
        )
        while self.round < self.total and not (self.until and self.until(self)):
            ended = next(rounds)
            self.round = ended.round
            yield ended

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a checkpoint needs."""
        return self.learner.state() | progress(self)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Carry on after the rounds that `state` was taken at."""
        self.learner.restore(tensors)
        restore_progress(self, tensors)


def alternating(
    problem: Problem,
    alg: str,
    start: Tensor,
    values: Mapping[str, Any],
    *,
    penalty: Penalty | None = None,
    until: Callable[[AlternatingPoisoning], bool] | None = None,
) -> AlternatingPoisoning:
    """`AlternatingPoisoning` by the settings of a recipe.

    Args:
        problem: what to poison.
        alg: a key of ALGORITHMS, the attacker's learner.
        start: where the noise starts without `problem.init`, float32 [K, 3, H, W] in [-1, 1].
        values: a recipe's; `branch` where the learner has two.
        penalty: added to the loss of the noise steps.
        until: asked before each round whether the work is done.
    """
    learner, views = attacker(problem, alg, values)
    named = {field.name: values[field.name] for field in fields(Alternation)[:-1]}
    numbers = Alternation(**named, dual=values.get("branch", "dual") == "dual")
    return AlternatingPoisoning(
        problem, start, learner, views, numbers, penalty=penalty, until=until
    )


def contrastive(
    problem: Problem, values: Mapping[str, Any], *, alg: str | None = None
) -> AlternatingPoisoning:
    """Contrastive Poisoning by a contrastive learner.

    Args:
        problem: what to poison; the noise starts uniform in the ball, or at its `init`.
        values: a recipe's, with `branch`.
        alg: the learner, a key of ALGORITHMS; left out, the `alg` of `values`.

    Raises:
        ValueError: neither names a learner.
    """
    alg = alg or values.get("alg")
    if not alg:
        raise ValueError("Contrastive Poisoning needs a learner; give `alg=simclr` or another")
    start = random_noise(problem.shape, stream(problem.seed, "delta"))
    return alternating(problem, alg, start, values)
