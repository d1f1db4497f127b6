"""Vision transformers: torchvision's `VisionTransformer` in the sizes of DeiT, also for 32 pixels.

ViT-Ti and ViT-S of Touvron et al. 2021 (DeiT), table 1: 12 layers of 192 dimensions and 3 heads, or
384 and 6. The features are the class token after the last layer norm, as in DeiT, MoCo v3 and DINO.
Patches have 16 pixels from 128 pixels on, as there, 8 from 64 and 4 below: 64 to 256 patches at 32
to 255 pixels. All names are torchvision's, and there is no dropout. Weights start as in DeiT's
code: those of linear layers, class token and positions normal with standard deviation 0.02, biases
zero; the patch projection as in torchvision.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

LAYERS = 12
LARGEST = 4096  # pixels: 65,536 patches; a header could say anything


def patch_size(size: int) -> int:
    """Side of the patches of images of a size, in pixels."""
    return 4 if size < 64 else 8 if size < 128 else 16


class ViT(VisionTransformer):  # type: ignore[misc]
    """Vision transformer; maps [B, 3, size, size] to features [B, width]; keeps its weights.

    Args:
        width: dimensions of the tokens, a multiple of `heads`; the MLPs have four times as many.
        heads: of the attention.
        size: side of the images in pixels, a multiple of the patches'.
    """

    def __init__(self, *, width: int, heads: int, size: int):
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        if width % heads:
            near = max(1, round(width / heads)) * heads
            raise ValueError(
                f"`width` {width} of this ViT is no multiple of its {heads} heads; give"
                f" `width={near}`"
            )
        patch = patch_size(size)
        if size < 1 or size % patch:
            near = max(1, round(size / patch)) * patch
            raise ValueError(
                f"the ViT's patches of {patch} pixels do not divide images of {size} pixels; load"
                f" them with `size={near}`"
            )
        if size > LARGEST:
            raise ValueError(
                f"a ViT takes images of up to {LARGEST} pixels, not {size}; load smaller"
            )
        super().__init__(
            image_size=size,
            patch_size=patch,
            num_layers=LAYERS,
            num_heads=heads,
            hidden_dim=width,
            mlp_dim=4 * width,
            num_classes=1,
        )
        self.heads = nn.Identity()
        self.feature_dim: int = width
        for layer in self.modules():
            if isinstance(layer, nn.MultiheadAttention):
                nn.init.trunc_normal_(layer.in_proj_weight, std=0.02)
            elif isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.encoder.pos_embedding, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, width] of normalized images [B, 3, size, size], or of another size."""
        return self.encode(self.tokens(x))[:, 0]

    def tokens(self, x: Tensor) -> Tensor:
        """Embedded patches [B, P, width] of normalized images [B, 3, S, S], row by row.

        Images of another size than the network's have its positions, interpolated, as in DINO
        (Caron et al. 2021, facebookresearch/dino).

        Raises:
            ValueError: the patches do not divide the images.
        """
        size, patch = x.shape[-1], self.patch_size
        if size % patch:
            near = max(1, round(size / patch)) * patch
            raise ValueError(
                f"the ViT's patches of {patch} pixels do not divide views of {size} pixels; give"
                f" `local_size={near}`"
            )
        grid: Tensor = self.conv_proj(x.contiguous(memory_format=torch.channels_last))
        return grid.flatten(2).transpose(1, 2) + self._positions(size // patch)

    def _positions(self, side: int) -> Tensor:
        """Positions [1, side * side, width] of patches."""
        positions: Tensor = self.encoder.pos_embedding[:, 1:]
        own = self.image_size // self.patch_size
        if side == own:
            return positions
        grid = positions.transpose(1, 2).unflatten(2, (own, own))
        resized = F.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
        return resized.flatten(2).transpose(1, 2)

    def encode(self, tokens: Tensor) -> Tensor:
        """Outputs [B, 1 + P, width] of the layers: of the class token, and of these tokens."""
        start = self.class_token + self.encoder.pos_embedding[:, :1]
        sequence = torch.cat([start.expand(len(tokens), -1, -1), tokens], dim=1)
        outputs: Tensor = self.encoder.ln(self.encoder.layers(sequence))
        return outputs


def vit_tiny(width: int, size: int) -> ViT:
    """ViT-Ti: 192 dimensions, 12 layers, 3 heads."""
    return ViT(width=width, heads=3, size=size)


def vit_small(width: int, size: int) -> ViT:
    """ViT-S: 384 dimensions, 12 layers, 6 heads."""
    return ViT(width=width, heads=6, size=size)
