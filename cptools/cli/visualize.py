"""`cp-visualize`: draw artifacts."""

import logging
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, say, tool
from cptools.workflows.datasets import chain_name, open_dataset
from cptools.workflows.clean import clean_images
from cptools.workflows.pictures import (
    CLASSES,
    changed_a_class,
    draw_accuracies,
    draw_contacts,
    draw_distances,
    draw_roc,
    draw_separability,
    draw_sheet,
    numbered,
    one_a_class,
)
from cptools.reports.records import Audited, Condition, is_report, read_conditions, read_paper
from cptools.cli._streams import check_one_stdin, delivery, plan_output, resolve_input

if TYPE_CHECKING:
    from cptools.artifacts.schema import Artifact, Dataset, Delta, Encoder, Entry

app = make_app("cp-visualize")

CSS_PIXELS = 96  # an inch of an SVG
SMALLEST, LARGEST = 0.5, 100  # inches
PREVIEW = 160  # letters wide, at most
LETTERS = 20  # that a note names, at most
SUFFIXES = (".safetensors", ".st", ".dataset", ".delta", ".encoder", ".jsonl")  # no part of a name

_CHANGES = {  # kinds of change, as titles call them, and what images are called afterwards
    "poison": "poisoned",
    "random noise": "noisy",
    "perturbation": "perturbed",
    "defense": "defended",
}

_TOLD = {  # what a caption says of commands; of cp-defend it says all
    "cptools-import": ("algorithm", "mode", "epsilon"),
    "cp-generate": ("alg", "mode", "branch", "epsilon", "rounds", "seed"),
    "cp-perturb": (
        *("suite", "kind", "severity", "frame", "mix", "layer"),
        *("noise", "epsilon", "fraction", "seed"),
    ),
}


@tool(app)
def visualize(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT]...",
            help="Datasets, a delta, encoders, an encoder and datasets, or reports of cp-probe: "
            "files, or '-' for stdin, the default.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Picture (.png or .svg); left out: stdout, or a named "
            "file where stdout is a terminal.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="FILE",
            help="The clean dataset, where it cannot be had from the source that the input names.",
        ),
    ] = None,
    subject: Annotated[
        str | None,
        opt.one_of(
            "--subject",
            ("noise", "images", "separability"),
            "What to draw: the noise of a poisoned dataset, the images of any, or how the noise of "
            "each clusters by class; left out: noise where there is some, else images.",
        ),
    ] = None,
    grid: Annotated[
        bool,
        typer.Option(
            "--grid", help="Of reports: bars of a row together, by conditions named ROW.COLUMN."
        ),
    ] = False,
    paper: Annotated[
        Path | None,
        typer.Option(
            "--paper",
            metavar="FILE",
            help="A paper's values, as diamonds: JSON, accuracies in percent by condition.",
        ),
    ] = None,
    format: Annotated[
        str | None,
        opt.one_of("--format", ("png", "svg"), "Left out: by the name of FILE, else png."),
    ] = None,
    dpi: Annotated[int, typer.Option("--dpi", min=30, max=1200, help="Pixels an inch.")] = 200,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="WIDTH",
            help="Width of the picture, such as 8cm, 3.25in or 800px, text scaled along; left out: "
            "what it needs.",
        ),
    ] = None,
    show: Annotated[
        bool,
        typer.Option("--show", help="Print a small preview on the terminal (standard error), too."),
    ] = False,
    title: Annotated[
        str | None, typer.Option("--title", help="In place of the one from the history.")
    ] = None,
    device: opt.Device = "auto",
    quiet: opt.Quiet = False,
    version: Version = False,
) -> None:
    """Draw what is given.

    A poisoned dataset or a delta: clean images, the noise amplified, and the poisoned images, one
    column a class (figures 3 and 6 of the paper). A clean dataset: its first images, by class.
    Several datasets: the same images of each, a row a dataset (figure 9); of two also what differs,
    amplified. Encoders: their curves of loss, alignment and uniformity over one another.
    An encoder and datasets: how far apart it puts two views of their images (figures 4d and 8).
    Reports: mean accuracies as bars, with 95% intervals over seeds (figure 1). Audits: the ROC
    curve of each condition against the first, the benign one.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # what it remarks helps nobody here
    kind = _format(format, output)
    width = None if size is None else _inches(size, dpi if kind == "png" else CSS_PIXELS)
    _check_title(title)
    names: list[str | None] = [*inputs] if inputs else [None]
    paths = [resolve_input(name, starts_chain=False, sources=(), quiet=quiet) for name in names]
    check_one_stdin(input=paths, dataset=dataset)

    if any(is_report(path) for path in paths):
        conditions, audits = _reports(paths, dataset, subject)
        for name in (name for name, value in (("grid", grid), ("paper", paper)) if value):
            if audits:
                raise UsageError(f"--{name} is for accuracies; leave it out")
        target = plan_output(output, default_name=f"{'roc' if audits else 'accuracy'}.{kind}")
        if audits:
            figure = draw_roc(audits, title=title)
        else:
            told = read_paper(paper, [c.name for c in conditions]) if paper else {}
            figure = draw_accuracies(conditions, told, grid=grid, title=title)
    else:
        for name in (name for name, value in (("grid", grid), ("paper", paper)) if value):
            raise UsageError(f"--{name} is for reports of cp-probe; leave it out")

        from cptools.artifacts.stream import open_artifact

        _check_no_pictures(paths)
        artifacts = [
            open_artifact(path, expect=("dataset", "delta", "encoder")).read() for path in paths
        ]
        target = plan_output(output, default_name=f"{_stem(paths[0], artifacts[0])}.{kind}")
        figure = _draw(artifacts, paths, dataset, subject, title, device)

    from cptools.figures.style import missing_letters, save_figure, shorten

    missing = shorten(missing_letters(figure), LETTERS)
    if missing:
        say(
            f"note: no font here has {missing}, drawn as boxes; install one such as Noto Sans CJK",
            quiet=quiet,
        )
    with delivery(target, o=output, quiet=quiet) as file:
        save_figure(figure, file, kind, dpi=dpi, width=width)
    if show:
        _show(figure, quiet=quiet)


def _format(format: str | None, output: str | None) -> Any:
    suffix = Path(output).suffix[1:].lower() if output else ""
    if format is not None:
        return str(format)
    if suffix in ("", "png", "svg") or not output or output.startswith("/dev/"):
        return suffix if suffix in ("png", "svg") else "png"
    raise UsageError(f"cannot draw a .{suffix} file; name it .png or .svg, or give --format")


def _inches(size: str, pixels: int) -> float:
    """A width with its unit, in inches, of which each has so many pixels."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(in|cm|mm|px)", size.strip().lower())
    units = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "px": 1 / pixels}
    inches = float(found[1]) * units[found[2]] if found else 0.0
    if not found or not SMALLEST <= inches <= LARGEST:
        raise UsageError(
            f"--size {size} is no width from {SMALLEST} to {LARGEST} inches; give it with its unit,"
            " such as 8cm, 3.25in or 800px"
        )
    return inches


def _check_title(title: str | None) -> None:
    if title is None or title.isprintable():
        return
    from cptools.figures.style import is_control

    bad = next((letter for letter in title if is_control(letter)), None)
    if bad is not None:
        raise UsageError(f"--title holds the control character {bad!r}; give a line of plain text")


def _check_no_pictures(paths: list[str]) -> None:
    """Point from a folder or an archive of pictures to the tool that reads it."""
    from cptools.artifacts.images import sniff

    for path in paths:
        if path != "-" and sniff(path):
            what = "a folder" if Path(path).is_dir() else "an archive"
            raise UsageError(
                f"{path} is {what}; make a dataset of it: cp-dataset {shlex.quote(path)} |"
                " cp-visualize"
            )


def _show(figure: Any, *, quiet: bool) -> None:
    """A preview on standard error, where that is a terminal that knows colors."""
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        say("--show needs a terminal with colors on standard error; no preview", quiet=quiet)
        return
    from cptools.figures.terminal import preview

    columns, lines = os.get_terminal_size(sys.stderr.fileno())
    with suppress(OSError):  # as `say` does
        sys.stderr.write(preview(figure, min(columns or 80, PREVIEW), max((lines or 24) - 2, 1)))
        sys.stderr.flush()


def _stem(path: str, artifact: "Artifact") -> str:
    """Name of the picture: that of the input's file, or what was done."""
    if path == "-":
        return chain_name(artifact.history) or artifact.kind
    name = Path(os.path.abspath(path))  # noqa: PTH100 - links kept
    while name.suffix in SUFFIXES:
        name = name.with_suffix("")
    return name.name


def _reports(
    paths: list[str], given: str | None, subject: str | None
) -> tuple[list[Condition], list[Audited]]:
    for path in paths:
        if not is_report(path):
            raise UsageError(f"{path} is no report, as others are; draw one or the other")
    if given is not None or subject is not None:
        option = "dataset" if subject is None else "subject"
        raise UsageError(f"--{option} does not apply to reports; leave it out")
    return read_conditions(paths)


def _draw(
    artifacts: "list[Artifact]",
    paths: list[str],
    given: str | None,
    subject: str | None,
    title: str | None,
    device: str,
) -> Any:
    from cptools.artifacts.schema import Dataset, Delta, Encoder

    clean = None
    if subject == "separability" and given is not None:
        clean = open_dataset(given).read()
        artifacts = [_applied(a, clean) if isinstance(a, Delta) else a for a in artifacts]
    encoders = [a for a in artifacts if isinstance(a, Encoder)]
    datasets = [a for a in artifacts if isinstance(a, Dataset)]
    if subject is not None and len(datasets) < len(artifacts):
        hint = "leave it out" if subject != "separability" else "of a delta it needs --dataset"
        raise UsageError(f"--subject {subject} is drawn of datasets; {hint}")
    if len(encoders) == len(artifacts):
        return _curves(encoders, paths, title)
    if subject == "separability" or (len(encoders) == 1 and len(datasets) == len(artifacts) - 1):
        from cptools.core.device import choose_device

        place = choose_device(device)
        if not encoders:
            return draw_separability(datasets, clean, place, title=title)
        if given is not None:
            raise UsageError("--dataset does not apply to an encoder; give datasets as inputs")
        return draw_distances(encoders[0], datasets, place, title=title)
    if len(artifacts) > 1:
        if subject == "noise" or len(datasets) < len(artifacts):
            raise UsageError(
                "these cannot be drawn together; give encoders, an encoder and datasets, datasets,"
                " or one delta"
            )
        if given is not None:
            raise UsageError("--dataset does not apply to several; give it as one of them")
        return draw_sheet(datasets, title=title, caption=_caption(_shared(datasets)))
    (artifact,) = artifacts
    if isinstance(artifact, Dataset):
        is_clean = not chain_name(artifact.history) and given is None
        if subject == "images" or (subject is None and is_clean):
            if given is not None:
                raise UsageError("--dataset does not apply to --subject images; leave it out")
            return _contacts(artifact, title)
        return _poisoned(artifact, given, title)
    assert isinstance(artifact, Delta)
    return _delta(artifact, given, title)


def _curves(encoders: "list[Encoder]", paths: list[str], title: str | None) -> Any:
    from cptools.figures.curves import training_curves

    labels = numbered([_stem(path, e) for path, e in zip(paths, encoders, strict=True)])
    runs: dict[str, dict[str, list[float]]] = {}
    for encoder, label in zip(encoders, labels, strict=True):
        runs |= _runs(encoder, label)
    if not any(runs.values()):
        raise UsageError("the encoders hold no curves; train them with cp-pretrain")
    return training_curves(
        runs,
        title="Training curves" if title is None else title,
        caption="; ".join(
            sorted({f"{e.algorithm}, {e.architecture} width {e.width}" for e in encoders})
        ),
    )


def _runs(encoder: "Encoder", label: str) -> dict[str, dict[str, list[float]]]:
    """The curves of an encoder; of the training images and the watched ones where there are such.

    The two are measured alike then, in eval mode.
    """
    curves = {
        name.removeprefix("curve."): array.tolist()
        for name, array in sorted(encoder.tensors.items())
        if name.startswith("curve.")
    }
    if "watch_loss" not in curves:
        return {label: curves}
    watched = {
        name.removeprefix("watch_"): curves.pop(name)
        for name in [*curves]
        if name.startswith("watch_")
    }
    curves["loss"] = curves.pop("eval_loss")
    return {f"{label}: training images": curves, f"{label}: watched images": watched}


def _contacts(dataset: "Dataset", title: str | None) -> Any:
    height, width = dataset.train_images.shape[2:]
    facts = f"{len(dataset.classes)} classes, {width} x {height} pixels"
    if len(dataset.classes) > CLASSES:
        facts += f", the first {CLASSES} classes shown"
    told = _caption(dataset.history)
    return draw_contacts(
        dataset, title=title, caption=" | ".join([facts, *([told] if told else [])])
    )


def _poisoned(poisoned: "Dataset", given: str | None, title: str | None) -> Any:
    import numpy as np

    from cptools.figures.noise_grid import noise_grid

    clean = clean_images(poisoned, given, need="the picture")
    shown = changed_a_class(clean, poisoned.train_images, poisoned.train_labels)
    before, after = clean[shown], poisoned.train_images[shown]
    levels = int(np.abs(before.astype(np.int16) - after).max())
    if levels == 0:
        raise UsageError(
            "this dataset is the clean one: there is no noise to draw; leave out --subject"
            " and --dataset"
        )
    changes = _changes(poisoned.history)
    is_noise = changes and {*changes} <= {"poison", "random noise"}
    heading = " and ".join(dict.fromkeys(changes)) or "change"
    return noise_grid(
        before,
        after,
        [poisoned.classes[label] for label in poisoned.train_labels[shown]],
        levels=levels,
        difference="noise" if is_noise else "difference",
        changed=_CHANGES[changes[-1]] if changes else "changed",
        title=f"{heading.capitalize()} on {poisoned.name}" if title is None else title,
        caption=_caption(poisoned.history),
    )


def _changes(history: "Iterable[Entry]") -> list[str]:
    """What was done to training images, a kind of change for each command that changed them."""
    changes = []
    for step in history:
        match step.tool:
            case "cp-perturb" if step.parameters.get("split") == "test":
                continue
            case "cp-generate":
                changes.append("poison")
            case "cp-perturb" if "noise" in step.parameters:
                changes.append("random noise")
            case "cp-perturb" if {"suite", "kind"} & step.parameters.keys():
                changes.append("perturbation")
            case "cp-perturb":
                changes.append("poison")
            case "cp-defend":
                changes.append("defense")
    return changes


def _delta(delta: "Delta", given: str | None, title: str | None) -> Any:
    from cptools.core.epsilon import levels, parse_epsilon
    from cptools.figures.noise_grid import delta_grid, noise_grid

    heading = title if title is not None else f"{delta.mode.capitalize()}-wise {delta.algorithm}"
    most = levels(parse_epsilon(delta.epsilon))
    if given is None:
        shown = delta.delta[:CLASSES]
        return delta_grid(
            shown,
            [f"{delta.mode} {number}" for number in range(len(shown))],
            levels=most,
            title=heading,
            caption=_caption(delta.history),
        )
    dataset = open_dataset(given).read()
    _check_made_for(delta, dataset)
    chosen = one_a_class(dataset.train_labels)
    return noise_grid(
        dataset.train_images[chosen],
        _images_by(delta, dataset, chosen),
        [dataset.classes[label] for label in dataset.train_labels[chosen]],
        levels=most,
        title=heading,
        caption=_caption(delta.history),
    )


def _applied(delta: "Delta", clean: "Dataset") -> "Dataset":
    """The dataset that a delta makes of the clean one."""
    _check_made_for(delta, clean)
    images = _images_by(delta, clean, slice(None))
    return replace(clean, train_images=images, history=delta.history)


def _check_made_for(delta: "Delta", dataset: "Dataset") -> None:
    from cptools.artifacts.history import dataset_digest
    from cptools.workflows.deltas import check_fits

    check_fits(delta, dataset, dataset_digest(dataset))


def _images_by(delta: "Delta", dataset: "Dataset", chosen: Any) -> Any:
    """Chosen training images, poisoned by a delta."""
    import torch

    from cptools.core.epsilon import parse_epsilon
    from cptools.core.poisons.base import rows_of
    from cptools.core.poisons.budget import poison_uint8

    images = torch.from_numpy(dataset.train_images[chosen])
    rows = rows_of(torch.from_numpy(dataset.train_labels), delta.mode)[chosen]
    noise = torch.from_numpy(delta.delta)
    return poison_uint8(images, noise, rows, parse_epsilon(delta.epsilon)).numpy()


def _shared(datasets: "list[Dataset]") -> "Iterator[Entry]":
    """The commands that all have in common, from the first on."""
    steps = zip(*(dataset.history for dataset in datasets), strict=False)
    return (step for step, *_ in takewhile(lambda s: s.count(s[0]) == len(s), steps))


def _caption(history: "Iterable[Entry]") -> str:
    """The commands that changed the pictures, in a line."""
    words = []
    for step in history:
        told = _TOLD.get(step.tool, ())
        if step.tool == "cp-defend":
            told = tuple(name for name in step.parameters if name != "device")
        if not told:
            continue
        values = [
            name if step.parameters[name] is True else f"{name} {step.parameters[name]}"
            for name in told
            if name in step.parameters
        ]
        if "delta" in step.inputs:
            origin = _caption(step.inputs["delta"].history)
            values.insert(0, f"delta ({origin})" if origin else "delta")
        words.append(f"{step.tool}: {' '.join(values)}")
    return " | ".join(words)


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
