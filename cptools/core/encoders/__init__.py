"""Backbones with stems for small images. Adding one: a file here and an entry of ENCODERS.

Two kinds of name need no entry, for one-off use: "package.module:function", a function without
arguments that returns a network, and "timm:NAME", a model of timm (see `encoders.foreign`).
Torch-free.
"""

import re
from typing import NamedTuple

from cptools.core.plugins import Registry, check_spec


class Encoder(NamedTuple):
    """An entry of ENCODERS.

    Attributes:
        build: "module:function" from a width, and the side of the images in pixels where it needs
            that, to a network from normalized images [B, 3, H, W] to features [B, D].
        width: channels of the first stage where nothing else is said; dimensions of a transformer.
        keeps_weights: whether the network comes with its initial weights, drawn by torch's global
            generator, which is seeded for it. Otherwise they are drawn anew by
            `heads.initialize`, which knows convolutions, linear layers and batch norm: a network
            with other weights, such as a transformer, has to keep its own.
        needs_size: whether the network depends on the size of the images.
    """

    build: str
    width: int = 64
    keeps_weights: bool = False
    needs_size: bool = False


def _check(name: str, encoder: Encoder) -> None:
    check_spec(encoder.build)
    if name.startswith(PREFIX):
        raise ValueError(f"the prefix {PREFIX} is taken")
    if type(encoder.width) is not int or encoder.width < 1:
        raise ValueError(f"its width is {encoder.width!r}, not a whole number from 1")


PREFIX = "lab-"
"""Of the names of two such networks, of lightness and of color: `lab-resnet18` (see CMC)."""
FOREIGN = r"timm:[a-z0-9_]+(\.[a-z0-9_]+)?|(?!timm:)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
"""Names that need no entry, as a regular expression."""

_HERE = "cptools.core.encoders."

# Widths are torchvision's or the papers', but for resnet10.
ENCODERS = Registry(
    "encoder",
    Encoder,
    {
        "resnet18": Encoder(_HERE + "resnet:resnet18"),
        "resnet50": Encoder(_HERE + "resnet:resnet50"),
        "vgg19": Encoder(_HERE + "vgg:vgg19"),
        "densenet121": Encoder(_HERE + "densenet:densenet121"),
        "mobilenetv2": Encoder(_HERE + "mobilenet:mobilenetv2", width=32),
        "wideresnet28": Encoder(_HERE + "wideresnet:wideresnet28", width=160),
        "convnext-tiny": Encoder(
            _HERE + "convnext:convnext_tiny", width=96, keeps_weights=True, needs_size=True
        ),
        "vit-tiny": Encoder(_HERE + "vit:vit_tiny", width=192, keeps_weights=True, needs_size=True),
        "vit-small": Encoder(
            _HERE + "vit:vit_small", width=384, keeps_weights=True, needs_size=True
        ),
        "resnet10": Encoder(_HERE + "resnet:resnet10", width=8),
    },
    group="cptools.encoders",
    check=_check,
)


def is_foreign(name: str) -> bool:
    """Whether a name is of an encoder that needs no entry, which has no width either."""
    return name not in ENCODERS and re.fullmatch(FOREIGN, name, re.ASCII) is not None


def default_width(name: str) -> int:
    """Channels of the first stage of an encoder where nothing else is said; 1 for a foreign one.

    Raises:
        ValueError: there is no such encoder.
    """
    return 1 if is_foreign(name) else ENCODERS.find(name).width
