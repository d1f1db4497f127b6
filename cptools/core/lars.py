"""LARS, layer-wise adaptive rate scaling (You, Gitman, Ginsburg 2017)."""

from collections.abc import Iterable

import torch
from torch import Tensor

TRUST = 0.02


class LARS(torch.optim.Optimizer):
    """Momentum SGD whose rate, in each layer, is relative to the norm of the weights (algorithm 1).

    v <- m v + gamma lambda (g + beta w); w <- w - v; lambda = eta |w| / (|g| + beta |w|), and 1
    where either norm is 0. Biases and the parameters of norm layers, all of one dimension, have
    neither weight decay nor adaptation (lambda = 1, beta = 0), as in SimCLR, BYOL and Barlow Twins.

    As in the paper, gamma is inside the velocity, and the denominator is a sum of two norms. Codes
    derived from PyTorch's SGD have gamma outside, which differs while it changes; those of BYOL and
    Barlow Twins take the norm of the sum. Their eta, and the paper's, is 0.001, at gamma of 0.2 to
    0.3 batch / 256 and batches of thousands. Here it is 0.02, solo-learn's for batches of 256, by
    which gamma eta comes to about the same. solo-learn also clips lambda gamma at gamma.

    Args:
        params: the parameters.
        lr: gamma.
        weight_decay: beta.
        momentum: m.
        trust: eta.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        trust: float = TRUST,
    ):
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Move the parameters that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = weight.grad
                if weight.ndim > 1:
                    update = _adapted(weight, update, group["weight_decay"], group["trust"])
                state = self.state[weight]
                if not state:
                    state["velocity"] = torch.zeros_like(weight)
                state["velocity"].mul_(group["momentum"]).add_(update, alpha=group["lr"])
                weight.sub_(state["velocity"])


def _adapted(weight: Tensor, gradient: Tensor, decay: float, trust: float) -> Tensor:
    """lambda (g + beta w)."""
    size, slope = torch.linalg.vector_norm(weight), torch.linalg.vector_norm(gradient)
    rate = torch.where((size > 0) & (slope > 0), trust * size / (slope + decay * size), 1.0)
    return rate * gradient.add(weight, alpha=decay)
