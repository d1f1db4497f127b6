"""Networks that are measured, not trained: eval mode, no gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Eval mode inside; every module's own training flag is as before afterwards."""
    flags = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def encode(forward: Callable[[Tensor], Tensor], x: Tensor, *, bf16: bool) -> Tensor:
    """`forward(x)` without gradients, in bfloat16 where asked; float32 [B, D]."""
    with torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        encoded = forward(x)
    return encoded.float()


def device_of(network: nn.Module) -> torch.device:
    """Where a network's first parameter is; the CPU if it has none."""
    parameter = next(network.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
