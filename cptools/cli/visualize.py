"""`cp-visualize`: draw artifacts."""

import sys
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, say, tool
from cptools.cli._data import chain_name, path_name
from cptools.cli._noise import clean_images
from cptools.cli._pictures import (
    CLASSES,
    draw_accuracies,
    draw_distances,
    draw_roc,
    draw_separability,
    draw_sheet,
    one_a_class,
)
from cptools.cli._reports import Audited, Condition, is_report, read_conditions
from cptools.cli._streams import check_one_stdin, plan_output, resolve_input

if TYPE_CHECKING:
    from cptools.artifacts.schema import Artifact, Dataset, Delta, Encoder, Entry

app = make_app("cp-visualize")

_TOLD = {  # what a caption says of commands; of cp-defend it says all
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
            ("noise", "separability"),
            "What to draw of poisoned datasets: the noise of one [left out], or how the noise of "
            "each clusters by class.",
        ),
    ] = None,
    grid: Annotated[
        bool,
        typer.Option(
            "--grid", help="Of reports: bars of a row together, by conditions named ROW.COLUMN."
        ),
    ] = False,
    format: Annotated[
        str | None,
        opt.one_of("--format", ("png", "svg"), "Left out: by the name of FILE, else png."),
    ] = None,
    dpi: Annotated[int, typer.Option("--dpi", min=30, max=1200, help="Pixels an inch.")] = 200,
    title: Annotated[
        str | None, typer.Option("--title", help="In place of the one from the history.")
    ] = None,
    device: opt.Device = "auto",
    quiet: opt.Quiet = False,
    version: Version = False,
) -> None:
    """Draw what is given.

    A poisoned dataset or a delta: clean images, the noise amplified, and the poisoned images, one
    column a class (figures 3 and 6 of the paper). Several datasets: the same images of each, a row
    a dataset (figure 9). Encoders: their curves of loss, alignment and uniformity over one another.
    An encoder and datasets: how far apart it puts two views of their images (figures 4d and 8).
    Reports: mean accuracies as bars, with 95% intervals over seeds (figure 1). Audits: the ROC
    curve of each condition against the first, the benign one.
    """
    names: list[str | None] = [*inputs] if inputs else [None]
    paths = [resolve_input(name, starts_chain=False, sources=(), quiet=quiet) for name in names]
    check_one_stdin(input=paths, dataset=dataset)
    kind = _format(format, output)

    if any(is_report(path) for path in paths):
        conditions, audits = _reports(paths, dataset, subject)
        if audits and grid:
            raise UsageError("--grid is for accuracies; leave it out")
        target = plan_output(output, default_name=f"{'roc' if audits else 'accuracy'}.{kind}")
        if audits:
            figure = draw_roc(audits, title=title)
        else:
            figure = draw_accuracies(conditions, grid=grid, title=title)
    else:
        if grid:
            raise UsageError("--grid is for reports of cp-probe; leave it out")

        from cptools.artifacts.stream import open_artifact

        artifacts = [
            open_artifact(path, expect=("dataset", "delta", "encoder")).read() for path in paths
        ]
        target = plan_output(output, default_name=f"{_stem(paths[0], artifacts[0])}.{kind}")
        figure = _draw(artifacts, paths, dataset, subject, title, device)

    from cptools.artifacts.atomic import atomic_write
    from cptools.figures.style import save_figure

    with atomic_write(target) as file:
        save_figure(figure, file, kind, dpi=dpi)
    if output is None and target != "-":
        say(f"wrote {target}", quiet=quiet)


def _format(format: str | None, output: str | None) -> Any:
    suffix = Path(output).suffix[1:].lower() if output else ""
    if format is not None:
        return str(format)
    if suffix in ("", "png", "svg") or not output or output.startswith("/dev/"):
        return suffix if suffix in ("png", "svg") else "png"
    raise UsageError(f"cannot draw a .{suffix} file; name it .png or .svg, or give --format")


def _stem(path: str, artifact: "Artifact") -> str:
    """Name of the picture: that of the input's file, or what was done."""
    if path == "-":
        return chain_name(artifact.history) or artifact.kind
    return path_name(path)


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

    encoders = [a for a in artifacts if isinstance(a, Encoder)]
    datasets = [a for a in artifacts if isinstance(a, Dataset)]
    if subject is not None and len(datasets) < len(artifacts):
        raise UsageError(f"--subject {subject} is drawn of poisoned datasets; leave it out")
    if len(encoders) == len(artifacts):
        return _curves(encoders, paths, title)
    if subject == "separability" or (len(encoders) == 1 and len(datasets) == len(artifacts) - 1):
        from cptools.core.device import choose_device

        place = choose_device(device)
        if not encoders:
            return draw_separability(datasets, given, place, title=title)
        if given is not None:
            raise UsageError("--dataset does not apply to an encoder; give datasets as inputs")
        return draw_distances(encoders[0], datasets, place, title=title)
    if len(artifacts) > 1:
        if subject is not None or len(datasets) < len(artifacts):
            raise UsageError(
                "these cannot be drawn together; give encoders, an encoder and datasets, datasets,"
                " or one delta"
            )
        if given is not None:
            raise UsageError("--dataset does not apply to several; give it as one of them")
        return draw_sheet(datasets, title=title, caption=_caption(_shared(datasets)))
    (artifact,) = artifacts
    if isinstance(artifact, Dataset):
        return _poisoned(artifact, given, title)
    assert isinstance(artifact, Delta)
    return _delta(artifact, given, title)


def _curves(encoders: "list[Encoder]", paths: list[str], title: str | None) -> Any:
    from cptools.figures.curves import training_curves

    runs: dict[str, dict[str, list[float]]] = {}
    for encoder, path in zip(encoders, paths, strict=True):
        label = _stem(path, encoder)
        if any(name.partition(":")[0] == label for name in runs):
            label = f"{label} ({len(runs) + 1})"
        runs |= _runs(encoder, label)
    if not any(runs.values()):
        raise UsageError("the encoders hold no curves; train them with cp-pretrain")
    return training_curves(
        runs,
        title="Training curves" if title is None else title,
        caption=", ".join(
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


def _poisoned(poisoned: "Dataset", given: str | None, title: str | None) -> Any:
    import numpy as np

    from cptools.figures.noise_grid import noise_grid

    shown = one_a_class(poisoned.train_labels)
    before = clean_images(poisoned, given, need="the picture")[shown]
    after = poisoned.train_images[shown]
    levels = int(np.abs(before.astype(np.int16) - after).max())
    if levels == 0:
        raise UsageError("this dataset is the clean one: there is no noise to draw")
    return noise_grid(
        before,
        after,
        [poisoned.classes[label] for label in poisoned.train_labels[shown]],
        levels=levels,
        changed="defended"
        if poisoned.history and poisoned.history[-1].tool == "cp-defend"
        else "poisoned",
        title=f"Poison on {poisoned.name}" if title is None else title,
        caption=_caption(poisoned.history),
    )


def _delta(delta: "Delta", given: str | None, title: str | None) -> Any:
    from cptools.figures.noise_grid import delta_grid, noise_grid

    heading = title if title is not None else f"{delta.mode.capitalize()}-wise {delta.algorithm}"
    if given is None:
        shown = delta.delta[:CLASSES]
        return delta_grid(
            shown,
            [f"{delta.mode} {number}" for number in range(len(shown))],
            title=heading,
            caption=_caption(delta.history),
        )
    import torch

    from cptools.artifacts.history import dataset_digest
    from cptools.cli._data import open_dataset
    from cptools.cli._delta import check_fits
    from cptools.core.epsilon import levels, parse_epsilon
    from cptools.core.poisons.base import rows_of
    from cptools.core.poisons.budget import poison_uint8

    dataset = open_dataset(given).read()
    check_fits(delta, dataset, dataset_digest(dataset))
    chosen = one_a_class(dataset.train_labels)
    images = torch.from_numpy(dataset.train_images[chosen])
    rows = rows_of(torch.from_numpy(dataset.train_labels), delta.mode)[torch.from_numpy(chosen)]
    radius = parse_epsilon(delta.epsilon)
    return noise_grid(
        images.numpy(),
        poison_uint8(images, torch.from_numpy(delta.delta), rows, radius).numpy(),
        [dataset.classes[label] for label in dataset.train_labels[chosen]],
        levels=levels(radius),
        title=heading,
        caption=_caption(delta.history),
    )


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
        values = " ".join(
            name if step.parameters[name] is True else f"{name} {step.parameters[name]}"
            for name in told
            if name in step.parameters
        )
        words.append(f"{step.tool}: {values}")
    return " | ".join(words)


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
