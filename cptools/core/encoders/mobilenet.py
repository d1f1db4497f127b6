"""MobileNetV2 for 32x32 images: torchvision's `mobilenet_v2` with two strides fewer.

The first convolution and the stage of 24 channels keep the resolution, as in the common CIFAR
variant (github.com/kuangliu/pytorch-cifar, models/mobilenetv2.py). `mobilenetv2(width=32)` has
torchvision's names and shapes but for the absent classifier.
"""

import torch
from torch import Tensor, nn
from torchvision.models import MobileNetV2

STAGES = [  # expansion, channels at width 32, blocks, stride of the first block
    [1, 16, 1, 1],
    [6, 24, 2, 1],  # torchvision: stride 2
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


class SmallImageMobileNetV2(MobileNetV2):  # type: ignore[misc]
    """MobileNetV2 of about any width; maps [B, 3, H, W] to features [B, feature_dim].

    `feature_dim` is 1280 up to width 32 and 40 * width beyond it.

    Args:
        width: channels of the first convolution: torchvision's `width_mult` is width / 32. All
            channels are rounded to multiples of 8, at least 8, so that neighboring widths can
            give the same network (Sandler et al. 2018, section 6.1, and their code).
    """

    def __init__(self, *, width: int):
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        super().__init__(
            num_classes=1, width_mult=width / 32, inverted_residual_setting=STAGES, dropout=0.0
        )
        self.features[0][0].stride = (1, 1)
        self.feature_dim: int = self.last_channel
        self.classifier = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, feature_dim] of normalized images [B, 3, H, W]."""
        features: Tensor = super().forward(x.contiguous(memory_format=torch.channels_last))
        return features


def mobilenetv2(width: int) -> SmallImageMobileNetV2:
    """MobileNetV2 with the strides for small images (CP Table 7)."""
    return SmallImageMobileNetV2(width=width)
