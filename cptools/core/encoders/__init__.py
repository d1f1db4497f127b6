"""Backbones with stems for small images. Adding one: a file here and a line in ENCODERS."""

ENCODERS = {
    "resnet18": "cptools.core.encoders.resnet:resnet18",
    "resnet10": "cptools.core.encoders.resnet:resnet10",
}
DEFAULT_WIDTH = {"resnet18": 64, "resnet10": 8}
"""Channels of the first stage where `--width` is left out."""
