"""ResNets for 32x32 images: torchvision's blocks and parameter names behind a small-image stem.

The stem of CP's encoders is one 3x3 convolution of stride 1 without the max pooling (the CIFAR
variant of He et al. 2016, section 4.2). `resnet18(width=64)` and `resnet50(width=64)` have
torchvision's parameter names, and its shapes except `conv1.weight` (3x3 for 7x7) and the absent
`fc`.
"""

import torch
from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck


class SmallImageResNet(ResNet):  # type: ignore[misc]
    """ResNet of any width; maps [B, 3, H, W] to features [B, 8 * width * block.expansion].

    Args:
        block: torchvision's BasicBlock (expansion 1) or Bottleneck (expansion 4).
        blocks: residual blocks in each of the four stages.
        width: channels of the first stage, before the expansion; each later stage doubles them.
        stem_stride: stride of the 3x3 stem; 1 as in the paper, 2 quarters the work.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks: tuple[int, int, int, int],
        *,
        width: int,
        stem_stride: int,
    ):
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        with torch.device("meta"):  # every layer that has weights is replaced below
            super().__init__(block, [1, 1, 1, 1], num_classes=1)
        self.conv1 = nn.Conv2d(3, width, 3, stem_stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.Identity()
        self.inplanes = width
        self.layer1 = self._make_layer(block, width, blocks[0])
        self.layer2 = self._make_layer(block, 2 * width, blocks[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * width, blocks[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * width, blocks[3], stride=2)
        self.fc = nn.Identity()
        self.feature_dim: int = 8 * width * block.expansion

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, feature_dim] of normalized images [B, 3, H, W]."""
        features: Tensor = super().forward(x.contiguous(memory_format=torch.channels_last))
        return features


def resnet18(width: int) -> SmallImageResNet:
    """ResNet-18 with the 3x3, stride-1 stem: the encoder of CP section 5."""
    return SmallImageResNet(BasicBlock, (2, 2, 2, 2), width=width, stem_stride=1)


def resnet50(width: int) -> SmallImageResNet:
    """ResNet-50 with the 3x3, stride-1 stem (CP Table 7); features [B, 32 * width]."""
    return SmallImageResNet(Bottleneck, (3, 4, 6, 3), width=width, stem_stride=1)


def resnet10(width: int) -> SmallImageResNet:
    """ResNet-10 (four one-block stages) with a stride-2 stem: the encoder for two CPU cores."""
    return SmallImageResNet(BasicBlock, (1, 1, 1, 1), width=width, stem_stride=2)
