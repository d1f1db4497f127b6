"""DenseNet-121 for 32x32 images: torchvision's `densenet121` behind a small-image stem.

The stem is one 3x3 convolution of stride 1 without the max pooling, as in the CIFAR networks of
Huang et al. 2017, section 3, here before ImageNet's four blocks of 6, 12, 24 and 16 layers (the
"DenseNet121" of github.com/kuangliu/pytorch-cifar). `densenet121(width=64)` has torchvision's
names, and its shapes except `features.conv0.weight` (3x3 for 7x7) and the absent classifier.
"""

import torch
from torch import Tensor, nn
from torchvision.models import DenseNet


class SmallImageDenseNet(DenseNet):  # type: ignore[misc]
    """DenseNet-121 of any width; maps [B, 3, H, W] to features [B, feature_dim].

    `feature_dim` is 16 * width where width is even.

    Args:
        width: channels of the stem, at least 2; each layer adds width // 2 (the growth rate).
    """

    def __init__(self, *, width: int):
        if width < 2:
            raise ValueError(f"width of a densenet must be at least 2, got {width}")
        super().__init__(growth_rate=width // 2, num_init_features=width, num_classes=1)
        self.features.conv0 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.features.pool0 = nn.Identity()
        self.feature_dim: int = self.features.norm5.num_features
        self.classifier = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, feature_dim] of normalized images [B, 3, H, W], at least 8x8 pixels."""
        features: Tensor = super().forward(x.contiguous(memory_format=torch.channels_last))
        return features


def densenet121(width: int) -> SmallImageDenseNet:
    """DenseNet-121 with the 3x3, stride-1 stem (CP Table 7)."""
    return SmallImageDenseNet(width=width)
