"""Projection and prediction heads, and the initialization of whole models."""

import torch
from torch import nn


def mlp(dim_in: int, hidden: int, dim_out: int) -> nn.Sequential:
    """Linear-ReLU-Linear: the projection head of SimCLR and MoCo v2 (CP appendix B.2)."""
    return nn.Sequential(nn.Linear(dim_in, hidden), nn.ReLU(), nn.Linear(hidden, dim_out))


def mlp_bn(dim_in: int, hidden: int, dim_out: int) -> nn.Sequential:
    """Linear-BatchNorm-ReLU-Linear: projector and predictor of BYOL (Grill et al. 2020)."""
    return nn.Sequential(
        nn.Linear(dim_in, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dim_out)
    )


def mlp_bn3(dim_in: int, hidden: int, dim_out: int) -> nn.Sequential:
    """Three linear layers, batch norm after each: the projector of SimSiam (Chen and He 2021).

    The last batch norm has no scale and no shift, as in the authors' code.
    """
    return nn.Sequential(
        nn.Linear(dim_in, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Linear(hidden, dim_out, bias=False), nn.BatchNorm1d(dim_out, affine=False),
    )  # fmt: skip


def mlp_bn2(dim_in: int, hidden: int, dim_out: int) -> nn.Sequential:
    """Two linear layers, batch norm after each: the projector of MoCo v3 on ResNets.

    The last batch norm has no scale and no shift, as in the authors' code.
    """
    return nn.Sequential(
        nn.Linear(dim_in, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Linear(hidden, dim_out, bias=False), nn.BatchNorm1d(dim_out, affine=False),
    )  # fmt: skip


def expander(dim_in: int, hidden: int, dim_out: int) -> nn.Sequential:
    """Three linear layers, batch norm after all but the last: of Barlow Twins and VICReg."""
    return nn.Sequential(
        nn.Linear(dim_in, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Linear(hidden, dim_out, bias=False),
    )  # fmt: skip


def mlp_gelu3(dim_in: int, hidden: int, dim_out: int) -> nn.Sequential:
    """Three linear layers with GELU between: the projector of DINO (Caron et al. 2021)."""
    return nn.Sequential(
        nn.Linear(dim_in, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
        nn.Linear(hidden, dim_out),
    )  # fmt: skip


def initialize(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights anew from `generator`, in the order of `module.modules()`.

    Convolutions: Kaiming normal, fan out (He et al. 2015), as in the official encoders, and zero
    biases. Linear layers: torch's default, uniform in +-1/sqrt(fan in). Norm layers: ones and
    zeros. A network that `keeps_weights` is left alone, whatever it is a part of.
    """
    kept = {
        layer
        for part in module.modules()
        if getattr(part, "keeps_weights", False)
        for layer in part.modules()
    }
    for layer in module.modules():
        if layer in kept:
            continue
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_running_stats()
            if layer.affine:
                nn.init.ones_(layer.weight)
                nn.init.zeros_(layer.bias)
