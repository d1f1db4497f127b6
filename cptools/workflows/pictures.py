"""Pictures of several things: distances, separability, images by row or class, bars, ROC."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cptools.reports.records import Audited, Condition, Probe
from cptools.workflows.clean import clean_images
from cptools.workflows.datasets import path_name
from cptools.workflows.encoders import measure_distances, view_settings
from cptools.workflows.histories import chain_name

if TYPE_CHECKING:
    import torch

    from cptools.artifacts.schema import Dataset, Encoder, Entry

CLASSES = 10  # that are shown, a column or color each
CONTACTS = {"train": 7, "test": 3}  # images a class
POINTS = 2000  # in a panel; more hide each other
SEED = 0  # that of cp-probe, unless it is told another

_TITLES = {  # of bars, by the share of images that the reports tell
    "accuracy": "Accuracy",
    "changed": "Changed images",
    "close": "Images whose two views are close",
}


def draw_distances(
    encoder: "Encoder", datasets: "list[Dataset]", device: "torch.device", *, title: str | None
) -> Any:
    """Distances of two views of each dataset's images, over one another; poisoned ones first."""
    from cptools.core.device import choose_bf16
    from cptools.core.evaluation.distances import BINS, MOST
    from cptools.core.settings import AUGMENTATIONS
    from cptools.figures.histogram import distance_histograms

    views = view_settings(encoder, "quick")
    unused = set(AUGMENTATIONS) - set(str(views["views"]).split(","))
    bf16 = choose_bf16("auto", device)
    datasets = sorted(datasets, key=lambda dataset: not chain_name(dataset.history))
    series, kind = {}, ""
    for name, dataset in zip(_names(datasets), datasets, strict=True):
        found, kind = measure_distances(encoder, dataset, views, device, seed=SEED, bf16=bf16)
        series[f"{name}: mean {found.mean:.3f}, median {found.median:.3f}"] = found.counts
    told = ", ".join(
        f"{name.replace('_', ' ')} {str(value).replace(',', ' ')}"
        for name, value in views.items()
        if value != "" and name.removesuffix("_prob") not in unused
    )
    return distance_histograms(
        series,
        [MOST * edge / BINS for edge in range(BINS + 1)],
        title=f"Distance of two views: {_trained(encoder)}" if title is None else title,
        caption=f"{kind} of {encoder.architecture} width {encoder.width}; {told}",
    )


def draw_separability(
    datasets: "list[Dataset]", clean: "Dataset | None", device: "torch.device", *, title: str | None
) -> Any:
    """The noise of each dataset in a plane, a panel each, with the accuracies of `cp-probe`."""
    from cptools.figures.scatter import noise_scatter

    if len({dataset.classes for dataset in datasets}) > 1:
        raise ValueError("the datasets have different classes; plot them one at a time")
    clouds = [
        _cloud(dataset, name, clean_images(dataset, clean, need="the figure"), device)
        for name, dataset in zip(_names(datasets), datasets, strict=True)
    ]
    classes = datasets[0].classes
    return noise_scatter(
        clouds,
        classes[:CLASSES],
        title="Noise by class" if title is None else title,
        caption="principal components, found without labels; accuracy with its 95% interval",
    )


def draw_sheet(datasets: "list[Dataset]", *, title: str | None, caption: str) -> Any:
    """The same images out of each dataset, a row a dataset; between two, what differs."""
    from cptools.figures.image_grid import Row, image_grid
    from cptools.figures.noise_grid import difference_row

    shown = one_a_class(datasets[0].train_labels)
    if not _have_alike(datasets, shown):
        raise ValueError(
            "the datasets differ in image size, in labels, or in the rows selected; give"
            " versions of the same dataset, with the same rows"
        )
    labels = [datasets[0].classes[label] for label in datasets[0].train_labels[shown]]
    rows = [
        Row(name, dataset.train_images[shown])
        for name, dataset in zip(_row_names(datasets), datasets, strict=True)
    ]
    if len(rows) == 2:
        rows.insert(1, difference_row(rows[0].images, rows[1].images))
    return image_grid(
        rows,
        labels,
        title=f"Images of {datasets[0].name}" if title is None else title,
        caption=caption,
    )


def _have_alike(datasets: "list[Dataset]", shown: Any) -> bool:
    """Whether rows are of the same images, as far as sizes, labels and records of choices tell."""
    first = datasets[0]
    if any(len(dataset.train_labels) <= max(shown) for dataset in datasets):
        return False
    indices = [d.train_index[shown] for d in datasets if d.train_index is not None]
    return all((index == indices[0]).all() for index in indices) and all(
        dataset.train_images.shape[1:] == first.train_images.shape[1:]
        and dataset.classes == first.classes
        and (dataset.train_labels[shown] == first.train_labels[shown]).all()
        for dataset in datasets
    )


def draw_contacts(dataset: "Dataset", *, title: str | None, caption: str) -> Any:
    """The first images of each class, training images above test images."""
    import numpy as np

    from cptools.figures.image_grid import Row, image_grid

    classes = range(len(dataset.classes[:CLASSES]))
    rows = []
    for split, images, labels in (
        ("train", dataset.train_images, dataset.train_labels),
        ("test", dataset.test_images, dataset.test_labels),
    ):
        found = [(labels == label).nonzero()[0][: CONTACTS[split]] for label in classes]
        for i in range(max(map(len, found))):
            cells = np.full((len(found), *images.shape[1:]), 255, np.uint8)
            for k, those in enumerate(found):
                cells[k] = images[those[i]] if i < len(those) else 255
            rows.append(Row("", cells) if i else Row(split, cells, f"{len(labels):,} images"))
    return image_grid(
        rows,
        dataset.classes[:CLASSES],
        title=f"Images of {dataset.name}" if title is None else title,
        caption=caption,
    )


def one_a_class(labels: Any) -> Any:
    """The first image of each of the first ten classes."""
    import numpy as np

    return np.unique(labels, return_index=True)[1][:CLASSES]


def changed_a_class(before: Any, after: Any, labels: Any) -> Any:
    """The first image of each of the first ten classes that differs; else the first one."""
    shown = one_a_class(labels)
    for k, first in enumerate(shown):
        rows = (labels == labels[first]).nonzero()[0]
        shown[k] = next((row for row in rows if (before[row] != after[row]).any()), first)
    return shown


def draw_accuracies(
    conditions: Sequence[Condition], paper: Mapping[str, float], *, grid: bool, title: str | None
) -> Any:
    """Mean accuracies with intervals as bars; of conditions ROW.COLUMN, those of a row together."""
    from cptools.figures.bars import Bar, accuracy_bars

    bars = []
    for condition in conditions:
        name, series = condition.cell() if grid else (condition.name, "")
        told = paper.get(condition.name)
        bars.append(Bar(name, condition.values, *condition.interval(), series, told))
    return accuracy_bars(
        bars,
        label=conditions[0].label,
        title=_TITLES[conditions[0].probes[0].share] if title is None else title,
        caption=_measured(conditions) + ("; diamonds: the paper" if paper else ""),
    )


def draw_learning(conditions: Sequence[Condition], *, title: str | None) -> Any:
    """Accuracy over the epochs of each condition, the mean over its seeds."""
    from cptools.figures.curves import training_curves

    curves = {condition.name: condition.curve() for condition in conditions}
    return training_curves(
        {name: {"accuracy": accuracies} for name, (_, accuracies) in curves.items()},
        title="Accuracy by epoch" if title is None else title,
        epochs={name: epochs for name, (epochs, _) in curves.items()},
    )


def draw_roc(audits: Sequence[Audited], *, title: str | None) -> Any:
    """How well the audit tells each condition from the first, the benign one.

    Of many, the areas under the curves are drawn instead of the curves.
    """
    from cptools.core.evaluation.statistics import roc
    from cptools.figures.bars import Bar, accuracy_bars
    from cptools.figures.roc import MOST, Curve, roc_curves

    benign, *poisoned = audits
    if not poisoned:
        raise ValueError(
            f"a ROC curve needs two conditions, but there is only {benign.name}; give audits of"
            " benign datasets, then of poisoned ones"
        )
    curves = [Curve(audited.name, *roc(benign.scores, audited.scores)) for audited in poisoned]
    title = "Detection of poison" if title is None else title
    count = len(benign.scores)
    against = f"against {count} {'dataset' if count == 1 else 'datasets'} of {benign.name}"
    if len(curves) > MOST:  # lines over one another would not be told apart
        areas = [(curve.name, 100 * curve.area) for curve in curves]
        return accuracy_bars(
            [Bar(name, [], area, area, area) for name, area in areas],
            label="area under the ROC curve (%)",
            title=title,
            caption=f"{against}; 50: no better than chance",
        )
    return roc_curves(curves, title=title, caption=f"{against}; area under the curve in the legend")


def _measured(conditions: Sequence[Condition]) -> str:
    """What was measured, and what lines and dots are."""
    probes = [probe for condition in conditions for probe in condition.probes]
    seeds = sorted({len(condition.probes) for condition in conditions})
    span = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    single = [condition.probes[0] for condition in conditions if len(condition.probes) == 1]
    over = ["seeds (dots)"] if seeds[-1] > 1 else []
    over += dict.fromkeys(map(_images_of, single))
    facts = [
        " and ".join(dict.fromkeys(probe.dataset for probe in probes if probe.dataset)),
        " and ".join(dict.fromkeys(probe.method for probe in probes if probe.method)),
        f"{span} {'seed' if seeds[-1] == 1 else 'seeds'}",
    ]
    told = f"{', '.join(fact for fact in facts if fact)}; 95% intervals over {' or '.join(over)}"
    return told + (f"; {_closeness()}" if probes[0].share == "close" else "")


def _images_of(probe: Probe) -> str:
    """The images that a probe counts."""
    if probe.share != "accuracy":
        return "training images"
    return "held-out training images" if probe.classifier else "test images"


def _closeness() -> str:
    """When two views are close."""
    from cptools.core.evaluation.distances import CLOSE

    return f"close: a cosine distance below {CLOSE}"


def _names(datasets: "list[Dataset]") -> list[str]:
    """What was done to each dataset, or its name; numbered where two are alike."""
    return numbered([chain_name(dataset.history) or dataset.name for dataset in datasets])


def numbered(names: Sequence[str]) -> list[str]:
    """Names, with a number at the second and later ones of those that are alike."""
    return [
        name if name not in names[:i] else f"{name} ({1 + names[:i].count(name)})"
        for i, name in enumerate(names)
    ]


def _row_names(datasets: "list[Dataset]") -> list[str]:
    """The defenses of each dataset, such as `mc + jpeg 10`, or what it is without any.

    What was defended is told unless it is the same in all rows, and so are further settings of a
    defense where rows differ in them alone. No-break spaces keep words of one thing together.
    """
    rows = [_treatment(dataset) for dataset in datasets]
    has_one_base = len({row[0][0] for row in rows}) == 1
    names = []
    for row in rows:
        alike = [other for other in rows if [w for w, _ in other] == [w for w, _ in row]]
        terms = []
        for k, (word, settings) in enumerate(row):
            differing = [
                _told(name.partition("_")[2], value)
                for name, value in settings.items()
                if any(other[k][1].get(name) != value for other in alike)
            ]
            terms.append(" ".join(text.replace(" ", "\u00a0") for text in [word, *differing]))
        names.append(" +\u00a0".join(terms[1:] if has_one_base and len(row) > 1 else terms))
    return numbered(names)


def _treatment(dataset: "Dataset") -> list[tuple[str, dict[str, Any]]]:
    """What was defended, then each defense, as a word or two and further settings."""
    changes = [step for step in dataset.history if step.tool != "cp-dataset"]
    defenses: list[Entry] = []
    while changes and changes[-1].tool == "cp-defend":
        defenses.insert(0, changes.pop())
    unchanged = "clean" if dataset.source and not changes else dataset.name
    return [(chain_name(changes) or unchanged, {}), *map(_defense, defenses)]


def _defense(step: "Entry") -> tuple[str, dict[str, Any]]:
    """Name and value of a defense; `mc_drop` is a further setting of `mc`."""
    values = {
        name: value for name, value in step.parameters.items() if name not in ("seed", "device")
    }
    further = {
        name: value
        for name, value in values.items()
        if any(name.startswith(f"{other}_") for other in values)
    }
    words = [_told(name, value) for name, value in values.items() if name not in further]
    return " ".join(words), further


def _told(name: str, value: object) -> str:
    return name if value is True else f"{name} {value}"


def _trained(encoder: "Encoder") -> str:
    """An encoder, and what it was trained on."""
    before = [step for step in encoder.history if step.tool != "cp-pretrain"]
    source = path_name(encoder.source.name) if encoder.source else "unknown images"
    return f"{encoder.algorithm} trained on {chain_name(before) or source}"


def _cloud(poisoned: "Dataset", name: str, clean: Any, device: "torch.device") -> Any:
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
        for result in separability(before, after, labels, seed=SEED, device=device)
    ]
    rows = changed_rows(before, after)
    points, shares = principal_plane(scaled_noise(before, after, rows, device), seed=SEED)
    labels = labels[rows]
    shown = subset(labels.numpy(), limit=POINTS, classes=range(CLASSES), seed=SEED)
    return Cloud(name, points.cpu().numpy()[shown], labels.numpy()[shown], shares, notes)
