"""Small learners, as after some training, and what is asked of each."""

from typing import Any

import torch
from torch import Tensor, nn

from cptools.core.algorithms import ALGORITHMS
from cptools.core.lazy import load

BATCH = 6


class Tiny(nn.Module):
    """A smooth backbone with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_dim = 5
        self.conv = nn.Conv2d(3, 5, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.bn(self.conv(x))).mean((2, 3))


def make(name: str, **options: Any) -> Any:
    """A learner in float64 whose weights have all been moved, those of a momentum branch apart."""
    generator = torch.Generator().manual_seed(0)
    options = {"hidden": 7, "dim": 4, **options}
    algorithm = load(ALGORITHMS[name].build)(Tiny(), generator=generator, **options).double()
    with torch.no_grad():
        for weight in algorithm.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
        for layer in algorithm.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.2, generator=generator)
                layer.running_var.uniform_(0.2, 1, generator=generator)
    return algorithm


def images(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, 3, 8, 8, generator=generator, dtype=torch.float64)


def views_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two different differentiable views."""
    return 1.1 * x, 0.8 * x.flip(3) - 0.1


def input_gradient(algorithm: Any, *, dual: bool, **more: Any) -> Tensor:
    """Gradient of the loss in the images, through both views."""
    x = images().requires_grad_()
    gradient: Tensor = torch.autograd.grad(algorithm.loss(*views_of(x), dual=dual, **more), x)[0]
    return gradient


def rows(z: Tensor) -> list[Tensor]:
    """Unit vectors, a row each."""
    return [row / row.pow(2).sum().sqrt() for row in z]


def cross_entropy(scores: list[Tensor], right: int) -> Tensor:
    """-log of the share of the right one."""
    return torch.stack(scores).exp().sum().log() - scores[right]
