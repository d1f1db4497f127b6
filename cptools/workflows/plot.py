"""Draw artifacts and reports: `cp.plot`, the workflow of `cp-visualize`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from numbers import Real
from typing import TYPE_CHECKING, Any

from cptools.reports.records import Audited, Condition, conditions_of
from cptools.text import shown
from cptools.workflows.clean import clean_images
from cptools.workflows.datasets import read_given
from cptools.workflows.deltas import poisoned_images
from cptools.workflows.doors import (
    check_artifact,
    check_flag,
    check_given,
    check_text,
    check_word,
    naming,
    used_device,
)
from cptools.workflows.histories import caption, chain_name, changes
from cptools.workflows.pictures import (
    CLASSES,
    changed_a_class,
    draw_accuracies,
    draw_contacts,
    draw_distances,
    draw_learning,
    draw_roc,
    draw_separability,
    draw_sheet,
    numbered,
    one_a_class,
)

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from cptools.artifacts.schema import Artifact, Dataset, Delta, Encoder, Entry
    from cptools.reports.report import Report

SUBJECTS = ("noise", "images", "separability")

_CHANGES = {  # kinds of change, as titles call them, and what images are called afterwards
    "poison": "poisoned",
    "random noise": "noisy",
    "perturbation": "perturbed",
    "defense": "defended",
}


def plot(
    *inputs: "Artifact | Report",
    dataset: "str | Dataset | None" = None,
    subject: str | None = None,
    reports: "Mapping[str, Report | Sequence[Report]] | None" = None,
    grid: bool = False,
    paper: Mapping[str, float] | None = None,
    names: Sequence[str] | None = None,
    title: str | None = None,
    device: "str | torch.device" = "auto",
) -> "Figure":
    """Plot datasets, a delta, encoders or reports.

    A poisoned dataset or a delta: clean images, amplified noise and poisoned images, one column
    per class (CP figures 3 and 6). A clean dataset: its first images, by class. Several datasets:
    the same images of each, one row per dataset (CP figure 9). Encoders: training curves of loss,
    alignment and uniformity. An encoder with datasets: distances between two views of each image
    (CP figures 4d and 8). Reports: mean accuracies with 95% intervals over seeds (CP figure 1);
    of `cp.learning_curve`, unless `grid` or `paper` is given, mean accuracy over the epochs.
    Audits: ROC curve of each condition against the first, the benign one.

    Args:
        *inputs: datasets, a delta, encoders, an encoder and datasets, or reports.
        dataset: the clean one, or its path, if the source recorded in an input is gone.
        subject: of datasets: `noise`, `images` or `separability`; None: noise if there is any.
        reports: instead of inputs: reports by name of condition, one per seed.
        grid: of reports: group the bars of conditions named "ROW.COLUMN" by row.
        paper: of reports: a paper's accuracies in percent by condition, as diamonds.
        names: of the curves of encoders, or of reports given as inputs.
        title: None: made from the history.
        device: where networks compute: auto, cpu, cuda or cuda:N.

    Raises:
        ValueError: the inputs cannot be plotted together, or an argument does not apply to them.
    """
    from cptools.reports.report import Report

    check_flag(grid, name="grid")
    if title is not None:
        check_text(title, name="title", such_as="Noise")
    if names is not None:
        _check_names(names, len(inputs))
    told = [one for one in inputs if isinstance(one, Report)]
    if told and reports is None and len(told) == len(inputs):
        labels = names or [f"report {number}" for number in range(1, len(told) + 1)]
        reports, inputs = dict(zip(labels, told, strict=True)), ()
    if reports is not None:
        if inputs or subject is not None or dataset is not None:
            raise ValueError("`reports` are drawn by themselves; give nothing but them")
        conditions, audits = _conditions(reports)
        if paper:
            _check_paper(paper, [condition.name for condition in conditions])
        bars: Figure = draw_reports(conditions, audits, paper=paper, grid=grid, title=title)
        return bars
    if grid or paper:
        raise ValueError(
            f"`{'grid' if grid else 'paper'}` is for reports of `cp.probe`; leave it out"
        )
    artifacts = [
        check_artifact(one, "dataset", "delta", "encoder", name="inputs") for one in inputs
    ]
    if not artifacts:
        raise ValueError("`inputs` are none; give artifacts or reports")
    if subject is not None:
        check_word(subject, SUBJECTS, name="subject")
    given = None if dataset is None else check_given(dataset, name="dataset")
    if device != "auto":  # which is always there; pictures without networks need no torch
        used_device(device)
    labels = names or [chain_name(one.history) or one.kind for one in artifacts]
    figure: Figure = draw_artifacts(artifacts, labels, given, subject, title, device)
    return figure


def _check_names(names: object, num: int) -> None:
    is_good = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not is_good or len({*names}) < num or len(names) != num:  # type: ignore[misc,arg-type]
        raise ValueError(
            f"`names` {names!r} are not a name for each of {num} inputs; give a list of as many"
        )


def _conditions(reports: object) -> tuple[list[Condition], list[Audited]]:
    if not isinstance(reports, Mapping) or not all(isinstance(name, str) for name in reports):
        raise ValueError(
            "`reports` are told apart by names; give a dict, such as {'clean': report}"
        )
    with naming("reports"):
        return conditions_of(reports)


def _check_paper(paper: object, names: Sequence[str]) -> None:
    is_good = isinstance(paper, Mapping) and all(
        isinstance(value, Real) and 0 <= float(value) <= 100 for value in paper.values()
    )
    if not is_good or not {*paper} & {*names}:  # type: ignore[misc]
        raise ValueError(
            f"`paper` {paper!r} holds no accuracies in percent of {', '.join(names)}; give a dict,"
            f" such as {{{names[0]!r}: 91.8}}"
        )


def draw_reports(
    conditions: Sequence[Condition],
    audits: Sequence[Audited],
    *,
    paper: Mapping[str, float] | None,
    grid: bool,
    title: str | None,
) -> Any:
    """Bars of accuracies, accuracy by epoch where all tell it, or ROC curves of audits.

    Raises:
        ValueError: something is said that does not apply to audits.
    """
    if not audits:
        if not grid and not paper and all(condition.peak() for condition in conditions):
            return draw_learning(conditions, title=title)
        return draw_accuracies(conditions, paper or {}, grid=grid, title=title)
    for name in (name for name, value in (("grid", grid), ("paper", paper)) if value):
        raise ValueError(f"`{name}` is for accuracies; leave it out")
    return draw_roc(audits, title=title)


def draw_artifacts(
    artifacts: "list[Artifact]",
    names: Sequence[str],
    given: "str | Dataset | None",
    subject: str | None,
    title: str | None,
    device: "str | torch.device",
) -> Any:
    """The figure for these artifacts; `names` are of the curves, the others as in `plot`."""
    from cptools.artifacts.schema import Dataset, Delta, Encoder

    clean = None
    artifacts = [_printable(artifact) for artifact in artifacts]
    if subject == "separability" and given is not None:
        clean = read_given(given)
        artifacts = [_applied(a, clean) if isinstance(a, Delta) else a for a in artifacts]
    encoders = [a for a in artifacts if isinstance(a, Encoder)]
    datasets = [a for a in artifacts if isinstance(a, Dataset)]
    if subject is not None and len(datasets) < len(artifacts):
        hint = "leave it out" if subject != "separability" else "of a delta it needs `dataset`"
        raise ValueError(f"`subject={subject}` applies to datasets; {hint}")
    if len(encoders) == len(artifacts):
        return _curves(encoders, names, title)
    if subject == "separability" or (len(encoders) == 1 and len(datasets) == len(artifacts) - 1):
        device = used_device(device)
        if not encoders:
            return draw_separability(datasets, clean, device, title=title)
        if given is not None:
            raise ValueError("`dataset` does not apply to an encoder; give datasets as inputs")
        return draw_distances(encoders[0], datasets, device, title=title)
    if len(artifacts) > 1:
        if subject == "noise" or len(datasets) < len(artifacts):
            raise ValueError(
                "these cannot be plotted together; give encoders, an encoder and datasets,"
                " datasets, or one delta"
            )
        if given is not None:
            raise ValueError("`dataset` does not apply to several datasets; give it as one of them")
        return draw_sheet(datasets, title=title, caption=caption(_shared(datasets)))
    (artifact,) = artifacts
    if isinstance(artifact, Dataset):
        is_clean = not chain_name(artifact.history) and given is None
        if subject == "images" or (subject is None and is_clean):
            if given is not None:
                raise ValueError("`dataset` does not apply to `subject=images`; leave it out")
            return _contacts(artifact, title)
        return _poisoned(artifact, given, title)
    assert isinstance(artifact, Delta)
    return _delta(artifact, given, title)


def _printable(artifact: "Artifact") -> "Artifact":
    """An artifact whose names fit into a line of a figure each."""
    names = ("name", "algorithm", "architecture")
    texts: dict[str, Any] = {n: shown(getattr(artifact, n)) for n in names if hasattr(artifact, n)}
    if hasattr(artifact, "classes"):
        texts["classes"] = tuple(map(shown, artifact.classes))
    return replace(artifact, **texts)


def _curves(encoders: "list[Encoder]", names: Sequence[str], title: str | None) -> Any:
    from cptools.figures.curves import training_curves

    labels = numbered(names)
    runs: dict[str, dict[str, list[float]]] = {}
    for encoder, label in zip(encoders, labels, strict=True):
        runs |= _runs(encoder, label)
    if not any(runs.values()):
        raise ValueError("the encoders have no training curves; train them with `cp.pretrain`")
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
    told = caption(dataset.history)
    return draw_contacts(
        dataset, title=title, caption=" | ".join([facts, *([told] if told else [])])
    )


def _poisoned(poisoned: "Dataset", given: "str | Dataset | None", title: str | None) -> Any:
    import numpy as np

    from cptools.figures.noise_grid import noise_grid

    clean = clean_images(poisoned, given, need="the figure")
    shown = changed_a_class(clean, poisoned.train_images, poisoned.train_labels)
    before, after = clean[shown], poisoned.train_images[shown]
    levels = int(np.abs(before.astype(np.int16) - after).max())
    if levels == 0:
        raise ValueError(
            "this dataset is the clean one: there is no noise to plot; leave out `subject`"
            " and `dataset`"
        )
    done = changes(poisoned.history)
    is_noise = done and {*done} <= {"poison", "random noise"}
    heading = " and ".join(dict.fromkeys(done)) or "change"
    return noise_grid(
        before,
        after,
        [poisoned.classes[label] for label in poisoned.train_labels[shown]],
        levels=levels,
        difference="noise" if is_noise else "difference",
        changed=_CHANGES[done[-1]] if done else "changed",
        title=f"{heading.capitalize()} on {poisoned.name}" if title is None else title,
        caption=caption(poisoned.history),
    )


def _delta(delta: "Delta", given: "str | Dataset | None", title: str | None) -> Any:
    from cptools.core.epsilon import levels, parse_epsilon
    from cptools.figures.noise_grid import delta_grid, noise_grid

    heading = title if title is not None else f"{delta.mode.capitalize()}-wise {delta.algorithm}"
    most = levels(parse_epsilon(delta.epsilon))
    if given is None:
        shown = delta.delta[:CLASSES]
        kind = delta.mode if delta.assigner is None else "cluster"
        return delta_grid(
            shown,
            delta.classes[:CLASSES] or [f"{kind} {number}" for number in range(len(shown))],
            levels=most,
            title=heading,
            caption=caption(delta.history),
        )
    dataset = read_given(given)
    chosen = one_a_class(dataset.train_labels)
    return noise_grid(
        dataset.train_images[chosen],
        poisoned_images(delta, dataset, chosen),
        [dataset.classes[label] for label in dataset.train_labels[chosen]],
        levels=most,
        title=heading,
        caption=caption(delta.history),
    )


def _applied(delta: "Delta", clean: "Dataset") -> "Dataset":
    """The dataset that a delta makes of the clean one."""
    images = poisoned_images(delta, clean, slice(None))
    return replace(clean, train_images=images, history=delta.history)


def _shared(datasets: "list[Dataset]") -> "Iterator[Entry]":
    """The commands that all have in common, from the first on."""
    steps = zip(*(dataset.history for dataset in datasets), strict=False)
    return (step for step, *_ in takewhile(lambda s: s.count(s[0]) == len(s), steps))
