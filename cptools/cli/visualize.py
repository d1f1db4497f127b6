"""`cp-visualize`: draw artifacts."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, say, tool
from cptools.cli._data import chain_name, clean_dataset, path_name
from cptools.cli._streams import check_one_stdin, plan_output, resolve_input

if TYPE_CHECKING:
    from cptools.artifacts.schema import Artifact, Dataset, Delta, Encoder, Entry

app = make_app("cp-visualize")

COLUMNS = 10
_TOLD = {  # what a caption says of each command
    "cp-generate": ("alg", "mode", "branch", "epsilon", "rounds", "seed"),
    "cp-perturb": ("noise", "epsilon", "fraction", "seed"),
    "cp-defend": ("mc", "mc_drop", "mc_keep", "seed"),
}


@tool(app)
def visualize(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT]...",
            help="A dataset, a delta, or encoders: files, or '-' for stdin, the default.",
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
    format: Annotated[
        str | None,
        opt.one_of("--format", ("png", "svg"), "Left out: by the name of FILE, else png."),
    ] = None,
    dpi: Annotated[int, typer.Option("--dpi", min=30, max=1200, help="Pixels an inch.")] = 200,
    title: Annotated[
        str | None, typer.Option("--title", help="In place of the one from the history.")
    ] = None,
    quiet: opt.Quiet = False,
    version: Version = False,
) -> None:
    """Draw what is given.

    A poisoned dataset or a delta: clean images, the noise amplified, and the poisoned images, one
    column a class (figures 3 and 6 of the paper). Encoders: their curves of loss, alignment and
    uniformity over one another.
    """
    names: list[str | None] = [*inputs] if inputs else [None]
    paths = [resolve_input(name, starts_chain=False, sources=(), quiet=quiet) for name in names]
    check_one_stdin(input=paths, dataset=dataset)
    kind = _format(format, output)

    from cptools.artifacts.stream import open_artifact

    artifacts = [
        open_artifact(path, expect=("dataset", "delta", "encoder")).read() for path in paths
    ]
    target = plan_output(output, default_name=f"{_stem(paths[0], artifacts[0])}.{kind}")
    figure = _draw(artifacts, paths, dataset, title)

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


def _draw(
    artifacts: "list[Artifact]", paths: list[str], given: str | None, title: str | None
) -> Any:
    from cptools.artifacts.schema import Dataset, Delta, Encoder

    encoders = [a for a in artifacts if isinstance(a, Encoder)]
    if len(encoders) == len(artifacts):
        return _curves(encoders, paths, title)
    if len(artifacts) > 1:
        raise UsageError("several inputs must all be encoders; give one dataset or delta at a time")
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
        if label in runs:
            label = f"{label} ({len(runs) + 1})"
        runs[label] = {
            name.removeprefix("curve."): array.tolist()
            for name, array in sorted(encoder.tensors.items())
            if name.startswith("curve.")
        }
    if not any(runs.values()):
        raise UsageError("the encoders hold no curves; train them with cp-pretrain")
    return training_curves(
        runs,
        title="Training curves" if title is None else title,
        caption=", ".join(
            sorted({f"{e.algorithm}, {e.architecture} width {e.width}" for e in encoders})
        ),
    )


def _poisoned(poisoned: "Dataset", given: str | None, title: str | None) -> Any:
    import numpy as np

    from cptools.figures.noise_grid import noise_grid

    clean = clean_dataset(poisoned.source, given, need="the picture")
    shown = _one_a_class(poisoned.train_labels)
    before = clean.train_images[_clean_rows(poisoned, clean)[shown]]
    after = poisoned.train_images[shown]
    if before.shape != after.shape:
        raise UsageError("clean and poisoned images differ in size; give the right --dataset")
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


def _clean_rows(poisoned: "Dataset", clean: "Dataset") -> Any:
    """The row of the clean dataset that each training image was made of.

    Where rows were chosen after the clean dataset was made, both name rows of what they came from.
    """
    import numpy as np

    num = len(poisoned.train_images)
    if len(clean.train_images) == num:
        return np.arange(num)
    if poisoned.train_index is not None:
        ids = clean.train_index
        if ids is None:
            ids = np.arange(len(clean.train_images))
        order = np.argsort(ids)
        rows = order[
            np.searchsorted(ids, poisoned.train_index, sorter=order).clip(max=len(ids) - 1)
        ]
        if np.array_equal(ids[rows], poisoned.train_index):
            return rows
    raise UsageError(
        f"the dataset has {num} training images and the clean one {len(clean.train_images)};"
        " give the clean one with --dataset"
    )


def _delta(delta: "Delta", given: str | None, title: str | None) -> Any:
    from cptools.figures.noise_grid import delta_grid, noise_grid

    heading = title if title is not None else f"{delta.mode.capitalize()}-wise {delta.algorithm}"
    if given is None:
        shown = delta.delta[:COLUMNS]
        return delta_grid(
            shown,
            [f"{delta.mode} {number}" for number in range(len(shown))],
            title=heading,
            caption=_caption(delta.history),
        )
    import torch

    from cptools.artifacts.history import dataset_digest
    from cptools.cli._data import open_dataset
    from cptools.cli._delta import check_fits, rows_of
    from cptools.core.poisons.budget import poison_uint8
    from cptools.core.poisons.epsilon import levels, parse_epsilon

    dataset = open_dataset(given).read()
    check_fits(delta, dataset, dataset_digest(dataset))
    chosen = _one_a_class(dataset.train_labels)
    images = torch.from_numpy(dataset.train_images[chosen])
    rows = rows_of(dataset, delta.mode)[torch.from_numpy(chosen)]
    radius = parse_epsilon(delta.epsilon)
    return noise_grid(
        images.numpy(),
        poison_uint8(images, torch.from_numpy(delta.delta), rows, radius).numpy(),
        [dataset.classes[label] for label in dataset.train_labels[chosen]],
        levels=levels(radius),
        title=heading,
        caption=_caption(delta.history),
    )


def _one_a_class(labels: Any) -> Any:
    """The first image of each of the first ten classes."""
    import numpy as np

    return np.unique(labels, return_index=True)[1][:COLUMNS]


def _caption(history: "tuple[Entry, ...]") -> str:
    """The commands that changed the pictures, in a line."""
    words = []
    for step in history:
        told = _TOLD.get(step.tool, ())
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
