"""Pictures that are measured before they are drawn: distances of views, separability of noise."""

from typing import TYPE_CHECKING, Any

from cptools.cli._app import UsageError
from cptools.cli._data import chain_name, path_name
from cptools.cli._embedding import measure_distances, view_settings
from cptools.cli._noise import clean_images

if TYPE_CHECKING:
    from torch import device

    from cptools.artifacts.schema import Dataset, Encoder

CLASSES = 10
POINTS = 2000  # in a panel; more hide each other
SEED = 0  # that of cp-probe, unless it is told another


def draw_distances(
    encoder: "Encoder", datasets: "list[Dataset]", place: "device", *, title: str | None
) -> Any:
    """Distances of two views of each dataset's images, over one another; poisoned ones first."""
    from cptools.core.device import choose_bf16
    from cptools.core.evaluation.distances import BINS, MOST
    from cptools.figures.histogram import distance_histograms

    views = view_settings(encoder, "quick")
    bf16 = choose_bf16("auto", place)
    datasets = sorted(datasets, key=lambda dataset: not chain_name(dataset.history))
    series, kind = {}, ""
    for name, dataset in zip(_names(datasets), datasets, strict=True):
        found, kind = measure_distances(encoder, dataset, views, place, seed=SEED, bf16=bf16)
        series[f"{name}: mean {found.mean:.3f}, median {found.median:.3f}"] = found.counts
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in views.items())
    return distance_histograms(
        series,
        [MOST * edge / BINS for edge in range(BINS + 1)],
        title=f"Distance of two views: {_trained(encoder)}" if title is None else title,
        caption=f"{kind} of {encoder.architecture} width {encoder.width}; {told}",
    )


def draw_separability(
    datasets: "list[Dataset]", given: str | None, place: "device", *, title: str | None
) -> Any:
    """The noise of each dataset in a plane, a panel each, with the accuracies of `cp-probe`."""
    from cptools.figures.scatter import noise_scatter

    if len({dataset.classes for dataset in datasets}) > 1:
        raise UsageError("the datasets differ in their classes; draw them one at a time")
    clouds = [
        _cloud(dataset, name, clean_images(dataset, given, need="the picture"), place)
        for name, dataset in zip(_names(datasets), datasets, strict=True)
    ]
    classes = datasets[0].classes
    return noise_scatter(
        clouds,
        classes[:CLASSES],
        title="Noise by class" if title is None else title,
        caption="principal components, found without labels; accuracy with its 95% interval",
    )


def _names(datasets: "list[Dataset]") -> list[str]:
    """What was done to each dataset, or its name; numbered where two are alike."""
    names: list[str] = []
    for dataset in datasets:
        name = chain_name(dataset.history) or dataset.name
        number = 1 + sum(other.partition(" (")[0] == name for other in names)
        names.append(name if number == 1 else f"{name} ({number})")
    return names


def _trained(encoder: "Encoder") -> str:
    """An encoder, and what it was trained on."""
    before = [step for step in encoder.history if step.tool != "cp-pretrain"]
    source = path_name(encoder.source.name) if encoder.source else "unknown images"
    return f"{encoder.algorithm} trained on {chain_name(before) or source}"


def _cloud(poisoned: "Dataset", name: str, clean: Any, place: "device") -> Any:
    """One panel: points of the first classes, and how well all of them are told apart."""
    import torch

    from cptools.core.evaluation.separability import (
        changed_rows,
        principal_plane,
        scaled_noise,
        separability,
    )
    from cptools.core.sources.select import subset
    from cptools.figures.scatter import Cloud

    before, after, labels = (
        torch.from_numpy(array) for array in (clean, poisoned.train_images, poisoned.train_labels)
    )
    notes = [
        f"{result.classifier}: held out {100 * result.held_out.accuracy:.1f} %"
        f" ({100 * result.held_out.low:.1f} to {100 * result.held_out.high:.1f}),"
        f" training {100 * result.train.accuracy:.1f} %"
        for result in separability(before, after, labels, seed=SEED, device=place)
    ]
    rows = changed_rows(before, after)
    points, shares = principal_plane(scaled_noise(before, after, rows, place), seed=SEED)
    labels = labels[rows]
    shown = subset(labels.numpy(), limit=POINTS, classes=range(CLASSES), seed=SEED)
    return Cloud(name, points.cpu().numpy()[shown], labels.numpy()[shown], shares, notes)
