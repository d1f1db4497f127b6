"""VGG-19 with batch norm for images of any size: torchvision's `vgg19_bn` up to its features.

Its stem, a 3x3 convolution of stride 1, fits small images as it is. At `vgg19(width=64)` all names
and shapes are torchvision's but for the absent classifier, three layers that are made for 7x7
pixels; the features are averaged over the image instead (one pixel of 32x32 images).
"""

import torch
from torch import Tensor, nn
from torchvision.models import VGG
from torchvision.models.vgg import cfgs, make_layers


class SmallImageVGG(VGG):  # type: ignore[misc]
    """VGG-19 with batch norm, of any width; maps [B, 3, H, W] to features [B, 8 * width].

    Its five poolings round sizes up, so that images of fewer than 32 pixels have features too; at
    multiples of 32 pixels nothing is rounded.

    Args:
        width: channels of the first stage; the later ones have 2, 4, 8 and 8 times as many.
    """

    def __init__(self, *, width: int):
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        with torch.device("meta"):  # for the classifier of 120 million weights, replaced below
            super().__init__(nn.Sequential(), init_weights=False)
        plan = [entry if entry == "M" else entry // 64 * width for entry in cfgs["E"]]
        self.features = make_layers(plan, batch_norm=True)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Identity()
        self.feature_dim: int = 8 * width

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, feature_dim] of normalized images [B, 3, H, W]."""
        features: Tensor = super().forward(x.contiguous(memory_format=torch.channels_last))
        return features


def vgg19(width: int) -> SmallImageVGG:
    """VGG-19 with batch norm (CP Table 7)."""
    return SmallImageVGG(width=width)
