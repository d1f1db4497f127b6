"""Convolutions with a stride that oneDNN (torch 2.14, CPU) computes wrongly, computed otherwise."""

import torch
from torch import Tensor, nn


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution with a stride that takes its pixels first and then convolves them all.

    The same numbers as `nn.Conv2d` with that stride, which oneDNN computes by way of a workspace
    that is too short where images are channels-last and `in_channels` is less than a vector holds
    (8 floats with AVX2, 16 with AVX-512): the backward pass then writes beyond it.
    """

    def __init__(self, in_channels: int, out_channels: int, step: int, *, bias: bool = False):
        super().__init__(in_channels, out_channels, 1, bias=bias)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, in_channels, H, W] to [B, out_channels, ceil(H / step), ceil(W / step)]."""
        kept = x[:, :, :: self.step, :: self.step]
        return super().forward(kept.contiguous(memory_format=torch.channels_last))


class Strided3x3(nn.Conv2d):
    """A 3x3 convolution of stride 2 that takes maps of one pixel by the middle of its kernel alone.

    The same numbers as `nn.Conv2d`, as the rest of the kernel meets nothing but padding there.
    oneDNN leaves a part of the gradient of the weights unwritten for such maps, in bfloat16 on CPUs
    with AVX512-BF16: whatever was in memory is trained on.
    """

    def __init__(self, in_channels: int, out_channels: int, *, groups: int = 1, bias: bool = False):
        super().__init__(in_channels, out_channels, 3, 2, 1, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, in_channels, H, W] to [B, out_channels, ceil(H / 2), ceil(W / 2)]."""
        if x.shape[-2:] != (1, 1):
            return super().forward(x)
        return nn.functional.conv2d(x, self.weight[..., 1:2, 1:2], self.bias, groups=self.groups)


def replace_strided(network: nn.Module) -> None:
    """Put these in the place of all convolutions of a network that they stand for; weights stay."""
    for name, layer in [*network.named_modules()]:
        if type(layer) is nn.Conv2d and (made := _stand_in(layer)) is not None:
            made.weight, made.bias = layer.weight, layer.bias
            network.set_submodule(name, made)


def _stand_in(layer: nn.Conv2d) -> nn.Conv2d | None:
    shape = (layer.kernel_size, layer.stride, layer.padding)
    channels, bias = (layer.in_channels, layer.out_channels), layer.bias is not None
    if layer.dilation != (1, 1) or layer.padding_mode != "zeros":
        return None
    with torch.device("meta"):  # its weights are replaced
        if shape == ((3, 3), (2, 2), (1, 1)):
            return Strided3x3(*channels, groups=layer.groups, bias=bias)
        if shape == ((1, 1), (2, 2), (0, 0)) and layer.groups == 1:
            return StridedPointwise(*channels, 2, bias=bias)
    return None
