"""Every option that more than one tool has: one name, one meaning, one help text."""

import math
from collections.abc import Collection, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from cptools.cli._app import in_flags
from cptools.core.settings import Setting, read_value  # noqa: TID253 - without torch


def options_of(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Options of settings, for `tool`: names to annotations; left out, an option is None."""
    return {name: option_of(name, setting) for name, setting in settings.items()}


def option_of(name: str, setting: Setting, *, metavar: str | None = None) -> Any:
    """The option of one setting: an annotation."""
    flag, annotated = "--" + name.replace("_", "-"), cast("Any", Annotated)
    help, meta = in_flags(setting.text), metavar or setting.placeholder
    if setting.words or setting.kind is Fraction:
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
    """An option that takes one of some words, such as the keys of a registry."""

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

BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", min=2, help="Batch size.")
]
