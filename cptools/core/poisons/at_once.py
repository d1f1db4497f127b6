"""Poison that is drawn or searched for, not learned: one round makes all of it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from cptools.core.poisons.base import Problem, Round


class AtOnce(ABC):
    """The whole poison in one round.

    Args:
        problem: what to poison; the delta starts at zero.
    """

    total = 1

    def __init__(self, problem: Problem):
        self.problem = problem
        self.delta = torch.zeros(problem.shape, device=problem.images.device)
        self.round = 0

    @abstractmethod
    def make(self) -> None:
        """Write the poison into `delta`."""

    def run(self) -> Iterator[Round]:
        """Make it, unless it was made before."""
        if not self.round:
            self.make()
            self.round = 1
            yield Round(1)

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a checkpoint needs."""
        return {"delta": self.delta, "round": torch.tensor(self.round)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Carry on after the round that `state` was taken at."""
        self.delta.copy_(tensors["delta"])
        self.round = int(tensors["round"])
