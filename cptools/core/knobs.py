"""Every setting that a recipe can hold: its type, its range and what it means. Torch-free.

The command-line options of `cp-generate` and `cp-pretrain` are made of this table; an attack adds
settings of its own in its entry of ATTACKS.
"""

import math
from fractions import Fraction
from typing import NamedTuple

from cptools.core.encoders import ENCODERS
from cptools.core.epsilon import parse_epsilon


class Knob(NamedTuple):
    """A setting.

    Attributes:
        kind: int or float, or the words to choose from; Fraction is a number on the pixel scale
            that may be written as one, such as 8/255.
        text: what it means, a sentence for `--help`.
        low: least value, or None.
        high: greatest value, or None.
        several: whether any of the words may be chosen at once, with commas between them.
    """

    kind: type[int] | type[float] | type[Fraction] | tuple[str, ...]
    text: str
    low: float | None = None
    high: float | None = None
    several: bool = False


AUGMENTATIONS = ("crop", "flip", "jitter", "gray", "blur")


def read_value(knob: Knob, text: str) -> int | float | str:
    """Read a setting from text; words and fractions stay text.

    Raises:
        ValueError: it is not of the setting's kind, or out of its range; one line.
    """
    if isinstance(knob.kind, tuple):
        words = [word.strip() for word in text.split(",") if word.strip()]
        for word in words if knob.several else [text]:
            if word not in knob.kind:
                raise ValueError(f"{word!r} is not one of {', '.join(knob.kind)}")
        return ",".join(word for word in knob.kind if word in words)
    if knob.kind is Fraction:
        return _fraction(text)
    low = -math.inf if knob.low is None else knob.low
    high = math.inf if knob.high is None else knob.high
    try:
        value: int | float = int(text) if knob.kind is int else float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high or math.isinf(value):
        kind = "a whole number" if knob.kind is int else "a number"
        least = "" if knob.low is None else f" from {knob.low}"
        most = "" if knob.high is None else f" to {knob.high}"
        raise ValueError(f"{text!r} is not {kind}{least}{most}")
    return value


def _fraction(text: str) -> str:
    try:
        value = parse_epsilon(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number from 0 to 1, such as 8/255") from None
    return "".join(text.split()) if "/" in text else str(float(value))


KNOBS = {
    # The alternation of poisoning (algorithm 1)
    "branch": Knob(("dual", "single"), "Gradient through the momentum branch too (dual), or not."),
    "rounds": Knob(int, "T: alternations of encoder and noise.", 1),
    "model_steps": Knob(int, "T_theta: encoder steps a round.", 0),
    "noise_steps": Knob(int, "T_delta: noise batches a round.", 0),
    "pgd_steps": Knob(int, "T_p: PGD steps on each noise batch.", 1),
    "step_size": Knob(float, "Of a PGD step, in units of epsilon.", 0, 2),
    # Schedule
    "epochs": Knob(int, "Passes over the training images.", 1),
    "warmup_epochs": Knob(int, "Epochs of linear warm-up.", 0),
    "warmup_lr": Knob(float, "Where the warm-up starts.", 0),
    # Model
    "encoder": Knob(tuple(ENCODERS), "Backbone."),
    "width": Knob(
        int,
        "Channels of the backbone's first stage; another --encoder comes at its own (64; "
        "mobilenetv2 32, resnet10 8).",
        1,
    ),
    "head_hidden": Knob(int, "Hidden width of the heads.", 1),
    "head_dim": Knob(int, "Dimension of the embedding.", 1),
    "temperature": Knob(float, "tau of InfoNCE (simclr, moco, cmc, advsimclr, advcl).", 1e-3),
    "loss": Knob(
        ("nt-xent", "infonce", "hinge", "align-uniform", "cosine"),
        "Objective of simclr and moco: nt-xent (simclr: negatives in both views), infonce (in the "
        "other view, or the queue), or one without temperature.",
    ),
    "ema": Knob(float, "Momentum m of the momentum encoder (moco, byol).", 0, 1),
    "queue_size": Knob(int, "Negatives in the queue (moco); fewer than images.", 1),
    "bn_groups": Knob(int, "Slices of a batch that batch norm sees apart, as on so many GPUs.", 1),
    # Adversarial training
    "adv_epsilon": Knob(
        Fraction, "Radius of adversarial views on the pixel scale 0 to 1 (advsimclr, advcl).", 0, 1
    ),
    "adv_steps": Knob(int, "PGD steps of an adversarial view (advsimclr, advcl).", 1),
    "adv_step_size": Knob(float, "Of such a step, in units of --adv-epsilon.", 0, 2),
    "ce_weight": Knob(float, "Weight of the pseudo-labels' cross-entropy (advcl).", 0),
    # Optimization
    "batch_size": Knob(int, "Images a step.", 2),
    "optimizer": Knob(("sgd", "adamw"), "Optimizer of the encoder."),
    "lr": Knob(float, "Learning rate at the start of the cosine.", 0),
    "min_lr": Knob(float, "End of the cosine, as a fraction of --lr.", 0, 1),
    "weight_decay": Knob(float, "L2 (sgd) or decoupled (adamw).", 0),
    "momentum": Knob(float, "Of SGD; beta1 of AdamW.", 0, 0.9999),
    "loss_scale": Knob(
        float,
        "Factor of the textbook loss; the official code hides 1.786 (simclr), 2.857 (moco), "
        "0.25 (byol), that of AdvCL 7.143.",
        1e-6,
    ),
    # Views
    "views": Knob(
        AUGMENTATIONS, "Augmentations that views are made by; a list with commas.", several=True
    ),
    "share_views": Knob(
        AUGMENTATIONS,
        "Augmentations that all views of an image have alike; those of the others are drawn for "
        "each view.",
        several=True,
    ),
    "crop_area": Knob(float, "Smallest share of the image that a crop covers.", 0.01, 1),
    "flip_prob": Knob(float, "Probability of a horizontal flip.", 0, 1),
    "jitter": Knob(
        float,
        "Strength of color jitter; 1 is brightness, contrast, saturation 0.4 and hue 0.1.",
        0,
        2.5,
    ),
    "jitter_prob": Knob(float, "Probability of color jitter.", 0, 1),
    "gray_prob": Knob(float, "Probability of grayscale.", 0, 1),
    "blur_prob": Knob(float, "Probability of Gaussian blur (SimCLR's; not in CP's views).", 0, 1),
    "pad": Knob(int, "Pixels of black around the image, for random shifts.", 0, 1024),
}
