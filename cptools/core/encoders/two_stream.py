"""Two networks side by side, of lightness and of color: the encoder of CMC (Tian et al. 2020).

The color space is CIE L*a*b*: `lab-resnet18` is two ResNet-18.
"""

import torch
from torch import Tensor, nn

from cptools.core.algorithms.base import Backbone

_LINEAR_BELOW = 0.04045  # of sRGB (IEC 61966-2-1)
_XYZ = (  # linear sRGB to CIE XYZ, each row as a share of the white of D65
    (0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883),
)
_CUBE_ABOVE = (6 / 29) ** 3
_LAB = ((0.0, 116.0, 0.0), (500.0, -500.0, 0.0), (0.0, 200.0, -200.0))
_SHIFT = (-16.0, 0.0, 0.0)
# CMC's normalization: middle and half of the range of each channel over sRGB.
_MIDDLE = (50.0, (-86.183 + 98.233) / 2, (-107.857 + 94.478) / 2)
_HALF = (50.0, (86.183 + 98.233) / 2, (107.857 + 94.478) / 2)


def rgb_to_lab(x: Tensor) -> Tensor:
    """CIE L*a*b* of sRGB images, white D65.

    Args:
        x: float [B, 3, H, W] in [0, 1].

    Returns:
        [B, 3, H, W]: L in [0, 100], a in [-87, 99], b in [-108, 95]. Differentiable, with a finite
        gradient everywhere.
    """
    above = ((x.clamp(min=_LINEAR_BELOW) + 0.055) / 1.055) ** 2.4
    linear = torch.where(x > _LINEAR_BELOW, above, x / 12.92)
    xyz = _mix(linear, _XYZ)
    root = xyz.clamp(min=_CUBE_ABOVE) ** (1 / 3)
    f = torch.where(xyz > _CUBE_ABOVE, root, xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return _mix(f, _LAB) + x.new_tensor(_SHIFT).view(1, 3, 1, 1)


def _mix(x: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("oc,bchw->bohw", x.new_tensor(matrix), x)


class TwoStreamEncoder(Backbone):
    """A network of lightness and a network of color; their features stand side by side.

    Args:
        lightness: a backbone; its first convolution is replaced by one of a single channel.
        color: the same of two channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, lightness: Backbone, color: Backbone):
        super().__init__()
        self.lightness = with_channels(lightness, 1)
        self.color = with_channels(color, 2)
        self.feature_dim = lightness.feature_dim + color.feature_dim
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))

    def normalized_by(
        self, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> None:
        """Say how the images that come in were normalized."""
        self.mean.copy_(torch.tensor(mean).view(3, 1, 1))
        self.std.copy_(torch.tensor(std).view(3, 1, 1))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """L [B, 1, H, W] and ab [B, 2, H, W] of normalized images [B, 3, H, W], in [-1, 1]."""
        with torch.autocast(x.device.type, enabled=False):
            lab = rgb_to_lab((x.float() * self.std + self.mean).clamp(0, 1))
            middle, half = (lab.new_tensor(v).view(1, 3, 1, 1) for v in (_MIDDLE, _HALF))
            lab = (lab - middle) / half
        return lab[:, :1], lab[:, 1:]

    def streams(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features of lightness and of color, [B, D] each, of normalized images [B, 3, H, W]."""
        lightness, color = self.split(x)
        return self.lightness(lightness), self.color(color)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, feature_dim] of normalized images [B, 3, H, W]."""
        return torch.cat(self.streams(x), dim=1)


def with_channels(network: Backbone, channels: int) -> Backbone:
    """The network with a first convolution that takes so many channels, of new weights.

    Raises:
        ValueError: it has no convolution.
    """
    convolutions = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    if not convolutions:
        raise ValueError("the encoder has no convolution that could take one channel; give another")
    name, first = convolutions[0]
    network.set_submodule(
        name,
        nn.Conv2d(
            channels,
            first.out_channels,
            first.kernel_size,  # type: ignore[arg-type]
            first.stride,  # type: ignore[arg-type]
            first.padding,  # type: ignore[arg-type]
            bias=first.bias is not None,
        ),
    )
    return network
