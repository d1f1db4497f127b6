"""The methods themselves; imported when they are used."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.algorithms.base import Algorithm, Backbone, unit
from cptools.core.encoders.heads import initialize, mlp_bn
from cptools.core.poisons.base import Round
from cptools.core.random import stream


class Stripes:
    """A pattern of stripes for each class, in one round: the poison of somebody else's paper."""

    total = 1

    def __init__(self, problem: Any, period: int):
        self.problem, self.period, self.round = problem, period, 0
        self.delta = torch.zeros(problem.shape, device=problem.images.device)

    def run(self) -> Iterator[Round]:
        if self.round:
            return
        num, channels, _, width = self.problem.shape
        stripe = torch.arange(width) // self.period
        signs = torch.randn(
            num, channels, 1, int(stripe.max()) + 1, generator=stream(self.problem.seed, "delta")
        ).sign()
        self.delta.copy_(signs[..., stripe].expand(self.problem.shape))
        self.round = 1
        yield Round(1)

    def state(self) -> dict[str, Tensor]:
        return {"delta": self.delta, "round": torch.tensor(self.round)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.delta.copy_(tensors["delta"])
        self.round = int(tensors["round"])


def stripes(problem: Any, values: Mapping[str, Any]) -> Stripes:
    """The attack by resolved settings."""
    return Stripes(problem, values["period"])


class BarlowTwins(Algorithm):
    """Barlow Twins (Zbontar et al. 2021, equation 1)."""

    def __init__(
        self,
        encoder: Backbone,
        *,
        hidden: int,
        dim: int,
        redundancy: float,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        super().__init__()
        self.encoder, self.redundancy, self.bn_groups = encoder, redundancy, bn_groups
        self.head = nn.ModuleDict({"projector": mlp_bn(encoder.feature_dim, hidden, dim)})
        initialize(self, generator)

    def embed(self, view: Tensor) -> Tensor:
        return unit(self.head["projector"](self.encoder(view)))

    def loss(self, view_a: Tensor, view_b: Tensor, **_: Any) -> Tensor:
        a, b = (self.head["projector"](self.encoder(view)).float() for view in (view_a, view_b))
        a, b = (F.batch_norm(z, None, None, training=True) for z in (a, b))
        correlation = a.T @ b / len(a)  # [D, D]
        on = (correlation.diagonal() - 1).square().sum()
        off = correlation.square().sum() - correlation.diagonal().square().sum()
        return on + self.redundancy * off


class Patches(nn.Module):
    """Embeds patches of 8x8 pixels, adds their learned positions, averages: no convolution net."""

    def __init__(self, width: int):
        super().__init__()
        self.embed = nn.Conv2d(3, width, 8, 8)
        self.position = nn.Parameter(torch.randn(width, 1, 1))
        self.norm = nn.GroupNorm(1, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.gelu(self.embed(x) + self.position)).mean((2, 3))


def patches(width: int) -> Patches:
    """The encoder of an entry: from a width."""
    return Patches(width)


def tiny() -> Patches:
    """The encoder of no entry, by `--encoder cptools_example.methods:tiny`."""
    return Patches(6)


def median(images: Tensor, side: int) -> Tensor:
    """Median filter of uint8 [N, C, H, W]."""
    if side % 2 == 0:
        raise ValueError(f"`median` takes an odd number of pixels, not {side}")
    padded = F.pad(images.float(), [side // 2] * 4, mode="reflect")
    windows = padded.unfold(2, side, 1).unfold(3, side, 1).flatten(4)
    return windows.median(dim=-1).values.to(torch.uint8)
