"""Options shared by several tools: one name, one meaning, one help text."""

import math
from collections.abc import Collection, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from cptools.cli._app import in_flags
from cptools.core.hardening import HARDENING  # noqa: TID253 - without torch
from cptools.core.recipes import RECIPES, split_recipe  # noqa: TID253 - without torch
from cptools.core.settings import Setting, read_value  # noqa: TID253 - without torch


def options_of(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Options for settings, for `tool`: names to annotations; None where not given."""
    return {name: option_of(name, setting) for name, setting in settings.items()}


def option_of(name: str, setting: Setting, *, metavar: str | None = None) -> Any:
    """The option for one setting: an annotation."""
    flag, annotated = "--" + name.replace("_", "-"), cast("Any", Annotated)
    help, meta = in_flags(setting.text), metavar or setting.placeholder
    if setting.words or setting.kind in (Fraction, str):
        option = typer.Option(
            flag,
            metavar=meta,
            parser=partial(_text, setting),
            autocompletion=lambda: list(setting.words),
            help=help,
        )
        return annotated[str | None, option]
    option = typer.Option(
        flag,
        metavar=meta,
        min=setting.low,
        max=setting.high,
        callback=_check_finite,
        help=help,
    )
    return annotated[cast("Any", setting.kind) | None, option]


def _check_finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def _text(setting: Setting, text: str) -> str:
    try:
        return str(read_value(setting, text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def one_of(flag: str, values: Collection[str], text: str) -> Any:
    """An option that takes one of several words, e.g. the keys of a registry."""

    def parse(value: str) -> str:
        if value not in values:
            reason = getattr(values, "broken", {}).get(value)  # of another package
            raise typer.BadParameter(reason or f"{value!r} is not one of {', '.join(values)}")
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
        help="Dataset: a file, '-' for stdin, a source (shapes, cifar10, cifar100, stl10), or an "
        "image folder or archive. Default: stdin if it is piped, else shapes.",
        show_default=False,
    ),
]
DatasetInput = Annotated[
    str | None,
    typer.Argument(
        metavar="INPUT", help="Dataset: a file, or '-' for stdin (default).", show_default=False
    ),
]
EncoderInput = Annotated[
    str | None,
    typer.Argument(
        metavar="INPUT", help="Encoder: a file, or '-' for stdin (default).", show_default=False
    ),
]


def radius(text: str) -> Any:
    """`--epsilon`, told by a text of the tool's own."""
    return typer.Option("--epsilon", metavar="RADIUS", help=text)


Epsilon = Annotated[str, radius("L-infinity bound of the perturbation, for pixels in [0, 1].")]

# Input and output
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Output file, written atomically. Default: stdout, or a file with a generated name "
        "if stdout is a terminal.",
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Log the settings to stderr.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, one object per line.")
]
CheckpointFile = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        help="Checkpoint file; rerunning the same command resumes from it.",
    ),
]
Log = Annotated[
    Path | None,
    typer.Option(
        "--log",
        metavar="DIR",
        help="Folder for a log for TensorBoard: losses and learning rate by epoch or round.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("-n", "--dry-run", help="Print the settings as JSON and exit.")
]

# Running
Seed = Annotated[int, typer.Option("--seed", min=0, help="Random seed.")]
Recipe = Annotated[
    str,
    one_of(
        "--recipe",
        ("quick", "paper"),
        "Default hyperparameters: quick (minutes on two CPU cores) or paper (those of the paper).",
    ),
]


def _training_recipe(text: str) -> str:
    try:
        split_recipe(text)
    except ValueError as error:
        raise typer.BadParameter(in_flags(str(error))) from None
    return text


TrainingRecipe = Annotated[
    str,
    typer.Option(
        "--recipe",
        metavar=f"{'|'.join(RECIPES)}[+{'][+'.join(HARDENING)}]",
        parser=_training_recipe,
        autocompletion=lambda: [*RECIPES, *(f"quick+{name}" for name in HARDENING)],
        help="Default hyperparameters: quick (minutes on two CPU cores) or paper (those of the "
        "paper), and what makes them withstand poison: views without crops, a temperature of 0.1, "
        "a fifth of the epochs.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        envvar="CPTOOLS_DEVICE",
        help="Device: auto, cpu, cuda or cuda:N.",
    ),
]
Precision = Annotated[
    str,
    one_of(
        "--precision",
        ("auto", "fp32", "bf16"),
        "Precision of the networks; auto is bf16 where the hardware supports it, else fp32.",
    ),
]

BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", min=2, help="Batch size.")
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", min=1, help="Processes. Default: one for each core."),
]
