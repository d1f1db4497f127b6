"""Which defense to take, without clean images: `cp.recommend`, and `cp-defend --recommend`."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from cptools.reports.report import Report
from cptools.workflows.datasets import make_dataset
from cptools.workflows.defend import defend
from cptools.workflows.doors import check_artifact, check_count, check_seed, naming, used_hardware
from cptools.workflows.encoders import build_backbone
from cptools.workflows.pretrain import pretrain, pretrain_settings
from cptools.workflows.progress import Progress, tracker

if TYPE_CHECKING:
    import torch

    from cptools.artifacts.schema import Dataset
    from cptools.core.evaluation.probe import ProbeResult

EPSILON = 8 / 255  # the ball that a poison is assumed to keep to
HOLDOUT = 0.3  # of the images: to test on
LEAST = 2.0  # standard errors that a defense has to be better by than none


class Candidate(NamedTuple):
    """A way to train on suspected images.

    Attributes:
        command: how it is typed; {alg} is the victim's algorithm.
        steps: of `cp.defend`, before the training; empty for none.
        hardened: what is added to the recipe.
        alg: the algorithm in place of the victim's, and the only one that it stands in for.
    """

    command: str
    steps: str = ""
    hardened: str = ""
    alg: tuple[str, str] | None = None


CANDIDATES = {
    "none": Candidate("cp-pretrain --alg {alg}"),
    "no-crop": Candidate("cp-pretrain --alg {alg} --recipe quick+no-crop", hardened="+no-crop"),
    "temperature": Candidate(
        "cp-pretrain --alg {alg} --recipe quick+temperature", hardened="+temperature"
    ),
    "early-stopping": Candidate(
        "cp-pretrain --alg {alg} --recipe quick+early-stopping", hardened="+early-stopping"
    ),
    "gray": Candidate("cp-defend --gray | cp-pretrain --alg {alg}", steps="gray"),
    "jpeg": Candidate("cp-defend --jpeg 10 | cp-pretrain --alg {alg}", steps="jpeg:10"),
    "mc": Candidate("cp-defend --mc | cp-pretrain --alg {alg}", steps="mc"),
    "advsimclr": Candidate("cp-pretrain --alg advsimclr", alg=("simclr", "advsimclr")),
    "vespr": Candidate("cp-pretrain --alg vespr", alg=("simclr", "vespr")),
    "ueraser": Candidate("cp-pretrain --alg ueraser", alg=("supervised", "ueraser")),
}
"""What is tried. Those that do not apply to the victim's algorithm are left out."""


@dataclass(frozen=True)
class _Found:
    """What one candidate comes to."""

    name: str
    score: "ProbeResult"
    clean: "ProbeResult"


def recommend(
    dataset: "Dataset",
    alg: str = "simclr",
    *,
    trusted: "Dataset | None" = None,
    epochs: int | None = None,
    seed: int = 0,
    device: "str | torch.device" = "auto",
    progress: Progress = None,
) -> Report:
    """Recommend a defense for a dataset that may be poisoned, by small trainings with each.

    Each encoder is trained on 70% of the images, defended, and scored by a linear probe on
    scrubbed images (`cptools.core.defenses.scrub`): on the same 70% it is fitted, on the others
    tested. What the defense costs on clean images is told by a second training and a probe on
    images as they are: trusted ones or, without such, the built-in shapes of the same size, which
    are clean, but other images. A defense is recommended that has the best score, unless it is
    within two standard errors of none.

    Args:
        dataset: the suspected one, with labels.
        alg: the algorithm that is to be trained on it.
        trusted: clean labeled images, for the cost; None: the built-in shapes.
        epochs: of each training; None: as many as recipe quick has.
        seed: random seed, at least 0.
        device: auto, cpu, cuda or cuda:N.
        progress: whether to show a progress bar; None: only in a notebook.

    Returns:
        A record for each candidate, the best first; one has `recommended`.

    Raises:
        ValueError: an argument is invalid, or there are too few images or classes.
    """
    check_artifact(dataset, "dataset", name="dataset")
    track, seed = tracker(progress), check_seed(seed)
    epochs = None if epochs is None else check_count(epochs, name="epochs")
    settings = pretrain_settings(alg, seed=seed, epochs=epochs)
    if trusted is not None:
        check_artifact(trusted, "dataset", name="trusted")
    told: dict[str, Any] = {
        "method": "recommend", "alg": alg, "epochs": settings["epochs"], "seed": seed,
    }  # fmt: skip
    used, _ = used_hardware(told, device, "fp32")
    parts = _split(dataset, seed, name="dataset")
    clean = trusted or make_dataset("shapes", {"size": dataset.train_images.shape[-1]})
    clean_parts = _split(clean, seed, name="trusted")
    usual = {"seed": seed, "device": used, "precision": "fp32", "progress": False}
    candidates = {name: c for name, c in CANDIDATES.items() if _applies(c, alg)}
    work = _sweep(parts, clean_parts, alg, candidates, epochs, usual)
    found = [
        *track(
            work,
            total=len(candidates),
            describe=lambda f: f"{f.name} {100 * f.score.accuracy:.1f} %",
            label="defenses",
        )
    ]
    return Report(tuple(_records(found, candidates, dataset, clean.name, told)))


def _applies(candidate: Candidate, alg: str) -> bool:
    from cptools.core.recipes import pretrain as recipe

    if candidate.alg is not None:
        return candidate.alg[0] == alg
    try:
        recipe("quick" + candidate.hardened, alg=alg, dataset="")
    except ValueError:
        return False
    return True


def _split(dataset: "Dataset", seed: int, *, name: str) -> "tuple[Dataset, Dataset]":
    """The images to train and fit on, and those to test on, stratified."""
    from cptools.core.sources import select

    if len(dataset.classes) < 2:
        raise ValueError(f"{dataset.name} has only one class; give a dataset with several")
    with naming(name):
        rows = select.holdout(dataset.train_labels, HOLDOUT, seed)
    first, second = (
        replace(
            dataset,
            train_images=dataset.train_images[chosen],
            train_labels=dataset.train_labels[chosen],
            train_index=None,
        )
        for chosen in rows
    )
    return first, second


def _sweep(
    parts: "tuple[Dataset, Dataset]",
    clean_parts: "tuple[Dataset, Dataset]",
    alg: str,
    candidates: dict[str, Candidate],
    epochs: int | None,
    usual: dict[str, Any],
) -> Iterator[_Found]:
    """Train and score with one candidate after the other."""
    seed = usual["seed"]
    scrubbed = _scrubbed(*parts, seed)
    for name, candidate in candidates.items():
        results = []
        for (fitted, _), probed in ((parts, scrubbed), (clean_parts, clean_parts)):
            used = fitted
            if candidate.steps:
                where = {key: usual[key] for key in ("seed", "device", "progress")}
                used = defend(fitted, candidate.steps, **where)
            chosen = candidate.alg[1] if candidate.alg else alg
            recipe = "quick" + candidate.hardened
            given = pretrain_settings(chosen, recipe=recipe)["epochs"]
            if epochs is not None:  # as short, in proportion
                given = max(1, round(given * epochs / pretrain_settings(alg)["epochs"]))
            encoder = pretrain(used, chosen, recipe=recipe, epochs=given, **usual)
            results.append(_probe(encoder, *probed, usual["device"]))
        yield _Found(name, *results)


def _scrubbed(fitted: "Dataset", held: "Dataset", seed: int) -> "tuple[Dataset, Dataset]":
    """Both without what the images of a class have in common."""
    import torch

    from cptools.core.defenses.scrub import class_marks, scrub
    from cptools.core.random import stream

    tensors = [
        (torch.from_numpy(p.train_images), torch.from_numpy(p.train_labels)) for p in (fitted, held)
    ]
    images, labels = tensors[0]
    marks = class_marks(images, labels, len(fitted.classes), epsilon=EPSILON)
    first, second = (
        scrub(images, labels, marks, epsilon=EPSILON, generator=stream(seed, "scrub", number))
        for number, (images, labels) in enumerate(tensors)
    )
    return (
        replace(fitted, train_images=first.numpy()),
        replace(held, train_images=second.numpy()),
    )


def _probe(
    encoder: Any, fitted: "Dataset", held: "Dataset", device: "torch.device"
) -> "ProbeResult":
    """A linear probe, fitted on the training images of the first and tested on the second's."""
    import torch

    from cptools.core.evaluation.probe import features, linear_probe_lbfgs

    network = build_backbone(encoder, device, trust=True)
    (f, y), (test_f, test_y) = (
        (
            features(network, torch.from_numpy(p.train_images), mean=encoder.mean, std=encoder.std),
            torch.from_numpy(p.train_labels),
        )
        for p in (fitted, held)
    )
    return linear_probe_lbfgs(f, y, test_f, test_y, num_classes=len(fitted.classes))


def _records(
    found: list[_Found],
    candidates: dict[str, Candidate],
    dataset: "Dataset",
    clean: str,
    told: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """A line for each candidate, the best first."""
    from cptools.artifacts.history import dataset_digest
    from cptools.artifacts.provenance import history_to_json

    none = found[0]
    ordered = sorted(found, key=lambda one: -one.score.accuracy)
    best = ordered[0] if is_better(ordered[0].score, none.score) else none
    for one in ordered:
        yield {
            "defense": one.name,
            "recommended": one is best,
            "command": candidates[one.name].command.format(alg=told["alg"]),
            "score_percent": round(100 * one.score.accuracy, 2),
            "low_percent": round(100 * one.score.low, 2),
            "high_percent": round(100 * one.score.high, 2),
            "clean_percent": round(100 * one.clean.accuracy, 2),
            "clean_dataset": clean,
            "cost_points": round(100 * (none.clean.accuracy - one.clean.accuracy), 2),
            "correct": one.score.correct,
            "total": one.score.total,
            "dataset": dataset.name,
            "dataset_sha256": dataset_digest(dataset),
            "settings": told,
            "history": history_to_json(dataset.history),
        }


def is_better(one: "ProbeResult", none: "ProbeResult") -> bool:
    """Whether an accuracy is above another one by more than two standard errors of both."""
    variance = sum(r.accuracy * (1 - r.accuracy) / r.total for r in (one, none))
    return bool(one.accuracy - none.accuracy > LEAST * variance**0.5)
