"""WideResNet-28: the pre-activation network for 32x32 images of Zagoruyko and Komodakis 2016.

Three groups of four blocks behind a 3x3 stem of 16 channels (section 2, table 1; depth 28). A block
is BN-ReLU-conv3x3-BN-ReLU-conv3x3, without dropout; where it changes the shape, its shortcut is a
1x1 convolution of what the first BN-ReLU gave, as in the authors' code. Neither torchvision nor
timm has this network: names are those of github.com/xternalz/WideResNet-pytorch, as in TRADES and
RobustBench, but for the absent `fc`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEM = 16  # channels
BLOCKS = 4  # of each group: (28 - 4) / 6


class Block(nn.Module):
    """A basic block: [B, C, H, W] to [B, channels, ceil(H / stride), ceil(W / stride)]."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        is_same = in_channels == channels and stride == 1
        shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        self.convShortcut = None if is_same else shortcut

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the block's two ways."""
        active = F.relu(self.bn1(x))
        way = self.conv2(F.relu(self.bn2(self.conv1(active))))
        y: Tensor = way + (x if self.convShortcut is None else self.convShortcut(active))
        return y


class Group(nn.Module):
    """Blocks of as many channels, the first of which may have a stride."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        first = Block(in_channels, channels, stride)
        rest = (Block(channels, channels, 1) for _ in range(BLOCKS - 1))
        self.layer = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """The blocks, one after the other."""
        y: Tensor = self.layer(x)
        return y


class WideResNet(nn.Module):
    """WideResNet-28 of any width; maps [B, 3, H, W] to features [B, 4 * width].

    Args:
        width: channels of the first group, 16 times the paper's widening factor k: 160 is
            WRN-28-10, 32 is WRN-28-2. The later groups have 2 and 4 times as many.
    """

    def __init__(self, *, width: int):
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM, 3, 1, 1, bias=False)
        self.block1 = Group(STEM, width, 1)
        self.block2 = Group(width, 2 * width, 2)
        self.block3 = Group(2 * width, 4 * width, 2)
        self.bn1 = nn.BatchNorm2d(4 * width)
        self.feature_dim = 4 * width

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, feature_dim] of normalized images [B, 3, H, W]."""
        y = self.conv1(x.contiguous(memory_format=torch.channels_last))
        y = self.block3(self.block2(self.block1(y)))
        return F.relu(self.bn1(y)).mean((2, 3))


def wideresnet28(width: int) -> WideResNet:
    """WRN-28-10 at width 160."""
    return WideResNet(width=width)
