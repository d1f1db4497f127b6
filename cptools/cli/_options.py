"""Every option that more than one tool has: one name, one meaning, one help text."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from cptools.core.algorithms import ALGORITHMS  # noqa: TID253 - a registry, without torch
from cptools.core.encoders import ENCODERS  # noqa: TID253 - a registry, without torch


def one_of(flag: str, values: Collection[str], text: str) -> Any:
    """An option that takes one of some words, such as the keys of a registry."""

    def parse(value: str) -> str:
        if value not in values:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(values)}")
        return value

    return typer.Option(
        flag,
        metavar="|".join(values),
        parser=parse,
        autocompletion=lambda: list(values),
        help=text,
    )


StartInput = Annotated[
    str | None,
    typer.Argument(
        metavar="INPUT",
        help="Dataset: a file, - (stdin), a source (shapes, cifar10, cifar100, stl10), an image "
        "folder or archive; left out: stdin, else shapes.",
        show_default=False,
    ),
]
DatasetInput = Annotated[
    str | None,
    typer.Argument(
        metavar="INPUT", help="Dataset: a file, or '-' for stdin, the default.", show_default=False
    ),
]
EncoderInput = Annotated[
    str | None,
    typer.Argument(
        metavar="INPUT", help="Encoder: a file, or '-' for stdin, the default.", show_default=False
    ),
]
Epsilon = Annotated[
    str,
    typer.Option(
        "--epsilon",
        metavar="RADIUS",
        help="L-infinity bound of the perturbation, on the pixel scale 0 to 1.",
    ),
]

# Input and output
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Write here, atomically; left out: stdout, or a named "
        "file where stdout is a terminal.",
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Settings on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Report as JSON lines on stdout.")]
CheckpointFile = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        help="Save progress here; the same command run again carries on.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("-n", "--dry-run", help="Print the settings as JSON and stop.")
]

# Running
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
Recipe = Annotated[
    str,
    one_of(
        "--recipe",
        ("quick", "paper"),
        "Fills in what is left out: quick is sized for two CPU cores, paper is the paper's.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="DEVICE", envvar="CPTOOLS_DEVICE", help="auto, cpu, cuda or cuda:N."
    ),
]
Precision = Annotated[
    str,
    one_of(
        "--precision",
        ("auto", "fp32", "bf16"),
        "Of the networks; auto is bf16 where the hardware has it.",
    ),
]

# Model
Alg = Annotated[str, one_of("--alg", ALGORITHMS, "Contrastive learning algorithm.")]
Encoder = Annotated[str | None, one_of("--encoder", ENCODERS, "Backbone.")]
Width = Annotated[
    int | None, typer.Option("--width", min=1, help="Channels of the backbone's first stage.")
]
HeadHidden = Annotated[
    int | None, typer.Option("--head-hidden", min=1, help="Hidden width of the heads.")
]
HeadDim = Annotated[
    int | None, typer.Option("--head-dim", min=1, help="Dimension of the embedding.")
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", min=1e-3, help="tau of InfoNCE (simclr, moco).")
]
Ema = Annotated[
    float | None,
    typer.Option(
        "--ema", min=0.0, max=1.0, help="Momentum m of the momentum encoder (moco, byol)."
    ),
]
QueueSize = Annotated[
    int | None,
    typer.Option("--queue-size", min=1, help="Negatives in the queue (moco); fewer than images."),
]
BnGroups = Annotated[
    int | None,
    typer.Option(
        "--bn-groups",
        min=1,
        help="Slices of a batch that batch norm sees apart, as on so many GPUs.",
    ),
]

# Optimization
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=2, help="Images a step.")]
Optimizer = Annotated[
    str | None, one_of("--optimizer", ("sgd", "adamw"), "Optimizer of the encoder.")
]
Lr = Annotated[
    float | None, typer.Option("--lr", min=0.0, help="Learning rate at the start of the cosine.")
]
MinLr = Annotated[
    float | None,
    typer.Option("--min-lr", min=0.0, max=1.0, help="End of the cosine, as a fraction of --lr."),
]
WeightDecay = Annotated[
    float | None, typer.Option("--weight-decay", min=0.0, help="L2 (sgd) or decoupled (adamw).")
]
Momentum = Annotated[
    float | None, typer.Option("--momentum", min=0.0, max=0.9999, help="Of SGD; beta1 of AdamW.")
]
LossScale = Annotated[
    float | None,
    typer.Option(
        "--loss-scale",
        min=1e-6,
        help="Factor of the textbook loss; the official code hides 1.786 "
        "(simclr), 2.857 (moco), 0.25 (byol).",
    ),
]

# Views
CropArea = Annotated[
    float | None,
    typer.Option(
        "--crop-area", min=0.01, max=1.0, help="Smallest share of the image that a crop covers."
    ),
]
FlipProb = Annotated[
    float | None,
    typer.Option("--flip-prob", min=0.0, max=1.0, help="Probability of a horizontal flip."),
]
Jitter = Annotated[
    float | None,
    typer.Option(
        "--jitter",
        min=0.0,
        max=2.5,
        help="Strength of color jitter; 1 is brightness, contrast, saturation 0.4 and hue 0.1.",
    ),
]
JitterProb = Annotated[
    float | None,
    typer.Option("--jitter-prob", min=0.0, max=1.0, help="Probability of color jitter."),
]
GrayProb = Annotated[
    float | None, typer.Option("--gray-prob", min=0.0, max=1.0, help="Probability of grayscale.")
]
