"""Backbones with stems for small images. Adding one: a file here and a line in ENCODERS."""

ENCODERS = {
    "resnet18": "cptools.core.encoders.resnet:resnet18",
    "resnet50": "cptools.core.encoders.resnet:resnet50",
    "vgg19": "cptools.core.encoders.vgg:vgg19",
    "densenet121": "cptools.core.encoders.densenet:densenet121",
    "mobilenetv2": "cptools.core.encoders.mobilenet:mobilenetv2",
    "resnet10": "cptools.core.encoders.resnet:resnet10",
}
DEFAULT_WIDTH = {
    "resnet18": 64,
    "resnet50": 64,
    "vgg19": 64,
    "densenet121": 64,
    "mobilenetv2": 32,
    "resnet10": 8,
}
"""Channels of the first stage where `--width` is left out: torchvision's, but for resnet10."""
