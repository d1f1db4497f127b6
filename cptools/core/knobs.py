"""Every setting that a recipe can hold: its type, its range and what it means. Torch-free.

The command-line options of `cp-generate` and `cp-pretrain` are made of this table; an attack adds
settings of its own in its entry of ATTACKS.
"""

from typing import NamedTuple

from cptools.core.encoders import ENCODERS


class Knob(NamedTuple):
    """A setting.

    Attributes:
        kind: int or float, or the words to choose from.
        text: what it means, a sentence for `--help`.
        low: least value, or None.
        high: greatest value, or None.
    """

    kind: type[int] | type[float] | tuple[str, ...]
    text: str
    low: float | None = None
    high: float | None = None


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
    "temperature": Knob(float, "tau of InfoNCE (simclr, moco).", 1e-3),
    "ema": Knob(float, "Momentum m of the momentum encoder (moco, byol).", 0, 1),
    "queue_size": Knob(int, "Negatives in the queue (moco); fewer than images.", 1),
    "bn_groups": Knob(int, "Slices of a batch that batch norm sees apart, as on so many GPUs.", 1),
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
        "0.25 (byol).",
        1e-6,
    ),
    # Views
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
    "pad": Knob(int, "Pixels of black around the image, for random shifts.", 0, 1024),
}
