"""Settings that many recipes share: views, networks and optimizers. Torch-free.

`PAPER_`: CP (He, Zha, Katabi, ICLR 2023), appendices A and B. `QUICK_`: for two CPU cores, found by
measurement on the built-in `shapes`.
"""

from cptools.core.settings import Settings

VIEWS: Settings = {  # CP appendix A; torchvision defaults of the official code
    "views": "crop,flip,jitter,gray",
    "share_views": "",
    "crop_area": 0.2,  # smallest share of the image that a crop covers
    "flip_prob": 0.5,
    "jitter": 1.0,  # times (0.4, 0.4, 0.4, 0.1): brightness, contrast, saturation, hue
    "jitter_prob": 0.8,
    "gray_prob": 0.2,
    "blur_prob": 0.5,  # where `views` names blur, as SimCLR's do on ImageNet
    "pad": 0,
}
PLAIN_VIEWS: Settings = VIEWS | {  # the image as it is
    "crop_area": 1.0, "flip_prob": 0.0, "jitter": 1.0, "jitter_prob": 0.0, "gray_prob": 0.0,
    "pad": 0,
}  # fmt: skip
WEAK_VIEWS: Settings = PLAIN_VIEWS | {"flip_prob": 0.5, "pad": 4}  # supervised, on CIFAR
QUICK_VIEWS: Settings = VIEWS | {
    # Brightness jitter of 0.4 about mid gray would swamp images of a quarter of the contrast.
    "jitter": 0.25,
}
PAPER_TRAINING: Settings = {
    "encoder": "resnet18", "width": 64, "batch_size": 512,
    "optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-4, "min_lr": 0.001,
}  # fmt: skip
QUICK_TRAINING: Settings = {
    "encoder": "resnet10", "width": 8, "batch_size": 64,
    "optimizer": "adamw", "momentum": 0.9, "weight_decay": 1e-4, "min_lr": 0.001,
}  # fmt: skip
