"""ConvNeXt-T: torchvision's `convnext_tiny`, behind a small-image stem below 64 pixels.

Liu et al. 2022: stages of 3, 3, 9 and 3 blocks. The stem is the paper's, patches of 4 pixels, where
images have 64 pixels or more, and one 3x3 convolution of stride 1 below, as in this package's other
encoders: 4x4 pixels are left of 32x32. The features are pooled and normalized, as the classifier
gets them. `convnext_tiny(width=96)` has torchvision's names and initial weights, and its shapes
except for the small stem and the absent `classifier.2`. There is no stochastic depth (paper: 0.1,
for the supervised training of 300 epochs).
"""

import torch
from torch import Tensor, nn
from torchvision.models import ConvNeXt
from torchvision.models.convnext import CNBlockConfig

SMALL = 64  # pixels, below which the stem is the small one


class SmallImageConvNeXt(ConvNeXt):  # type: ignore[misc]
    """ConvNeXt-T of any width; maps [B, 3, H, W] to features [B, 8 * width]; keeps its weights.

    Args:
        width: channels of the first stage; each later stage doubles them.
        size: side of the images in pixels.
    """

    def __init__(self, *, width: int, size: int):
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        super().__init__(
            [
                CNBlockConfig(width, 2 * width, 3),
                CNBlockConfig(2 * width, 4 * width, 3),
                CNBlockConfig(4 * width, 8 * width, 9),
                CNBlockConfig(8 * width, None, 3),
            ],
            stochastic_depth_prob=0.0,
            num_classes=1,
        )
        if size < SMALL:
            stem = nn.Conv2d(3, width, 3, 1, 1)
            nn.init.trunc_normal_(stem.weight, std=0.02)
            nn.init.zeros_(stem.bias)  # type: ignore[arg-type]
            self.features[0][0] = stem
        del self.classifier[2]
        self.feature_dim: int = 8 * width

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, feature_dim] of normalized images [B, 3, H, W], at least 8x8 pixels."""
        features: Tensor = super().forward(x.contiguous(memory_format=torch.channels_last))
        return features


def convnext_tiny(width: int, size: int) -> SmallImageConvNeXt:
    """ConvNeXt-T: 96 channels in the first stage."""
    return SmallImageConvNeXt(width=width, size=size)
