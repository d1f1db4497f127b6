"""Evaluate encoders and datasets: `cp.probe` and `cp.audit`, the workflow of `cp-probe`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cptools.core.recipes import PROBE_METHODS, PROBE_SETTINGS  # noqa: TID253 - without torch
from cptools.reports.report import Report
from cptools.workflows.datasets import SOURCES, clean_dataset, names_source
from cptools.workflows.doors import (
    PRECISIONS,
    check_artifact,
    check_given,
    check_path,
    check_seed,
    check_word,
    naming,
    used_hardware,
)
from cptools.workflows.encoders import check_size, view_settings
from cptools.workflows.lists import write_scores
from cptools.workflows.measures import (
    measure_audit,
    measure_changed,
    measure_encoder,
    measure_noise,
)
from cptools.workflows.progress import Progress, tracker

if TYPE_CHECKING:
    import os

    import torch

    from cptools.artifacts.schema import Dataset, Encoder

    Given = str | Dataset  # a dataset, or where it can be had

DATASET_METHODS = ("separability", "audit", "changed")


def choose_method(given: str | None, kind: str, algorithm: str) -> str | None:
    """The method for an artifact of this kind and, of an encoder, algorithm; None: the recipe's.

    Raises:
        ValueError: the method does not apply to this kind.
    """
    if given is not None:
        check_word(given, tuple(PROBE_METHODS), name="method")
    if kind == "dataset":
        if given not in (None, *DATASET_METHODS):
            raise ValueError(
                f"`method={given}` evaluates an encoder, this is a dataset; train one on it with"
                " `cp.pretrain`, or leave `method` out"
            )
        return given or "separability"
    if given in DATASET_METHODS:
        raise ValueError(
            f"`method={given}` evaluates a dataset, this is an encoder; give the dataset that it"
            " was trained on"
        )
    classifiers = ("supervised", "advsupervised", "ueraser")
    return given or ("head" if algorithm in classifiers else None)


def probe_settings(
    artifact: "Encoder | Dataset",
    method: str | None = None,
    *,
    given: "Sequence[Given]" = (),
    recipe: str = "quick",
    seed: int = 0,
    precision: str = "auto",
    **settings: Any,
) -> dict[str, Any]:
    """All settings of a probe, validated; `given` are the datasets given; see `probe`.

    Raises:
        ValueError: an argument is not valid for the method.
    """
    from cptools.artifacts import schema
    from cptools.core import recipes

    seed = check_seed(seed)
    check_word(precision, PRECISIONS, name="precision")
    method = choose_method(method, artifact.kind, getattr(artifact, "algorithm", ""))
    source = artifact.source.name if artifact.source else ""
    base = recipes.probe(recipe, method=method, dataset=source.rpartition("/")[2])
    context = f"`method={base['method']}`"
    values = recipes.resolve(base, settings, context=context, table=PROBE_SETTINGS)
    told: dict[str, Any] = {"recipe": recipe, "seed": seed, **values}
    if not isinstance(artifact, schema.Dataset):
        if values["method"] == "distances":
            told |= view_settings(artifact, recipe)
        return told
    if given and method == "audit":
        raise ValueError(f"`dataset` does not apply to {context}; leave it out")
    if len(given) > 1:
        raise ValueError("a poisoned dataset has one clean one; give `dataset` once")
    if precision == "bf16":
        raise ValueError(f"`precision=bf16` does not apply to {context}; leave it out")
    return told


def probe(
    artifact: "Encoder | Dataset",
    dataset: "Given | Sequence[Given] | None" = None,
    *,
    method: str | None = None,
    recipe: str = "quick",
    seed: int = 0,
    device: "str | torch.device" = "auto",
    precision: str = "auto",
    progress: Progress = None,
    scores: "str | os.PathLike[str] | None" = None,
    names: tuple[str, ...] = (),
    **settings: Any,
) -> Report:
    """Evaluate an encoder by a classifier on its frozen features, or a dataset by its noise.

    The classifier is trained on CLEAN labeled images even if the encoder was trained on poison (CP
    sections 3 and 5.2), and tested on the test images. The 95% intervals are Wilson's: they cover
    the choice of test images, not the randomness of training.

    Args:
        artifact: an encoder, or a dataset whose noise is evaluated.
        dataset: to evaluate the encoder on, one or several; for a poisoned dataset: its clean
            one. None: the clean source recorded in the artifact.
        method: of encoders lbfgs, sgd (the paper's protocol), knn, head or distances; of datasets
            separability, audit or changed. None: by the recipe, head for a supervised encoder.
        recipe: default hyperparameters: `quick` is fast, `paper` is the paper's protocol.
        seed: random seed, at least 0.
        device: auto, cpu, cuda or cuda:N.
        precision: of the networks: auto, fp32 or bf16.
        progress: whether to show a progress bar; None: only in a notebook.
        scores: CSV file for what an audit has against each image.
        names: of the files of the images, for that file.
        **settings: hyperparameters that override the recipe, e.g. `epochs=10`.

    Returns:
        The report, a record for each dataset or classifier.

    Raises:
        ValueError: an argument is not valid for the method, or the clean dataset is missing.
    """
    from cptools.artifacts import schema

    check_artifact(artifact, "encoder", "dataset", name="artifact")
    track = tracker(progress)
    if scores is not None:
        scores = check_scores(scores, choose_method(method, artifact.kind, ""))
    given = _given(dataset)
    told = probe_settings(
        artifact, method, given=given, recipe=recipe, seed=seed, precision=precision, **settings
    )
    if not isinstance(artifact, schema.Dataset):
        for one in given:
            if not isinstance(one, str):  # those in files are seen to when their turn comes
                check_size(artifact, one)
        device, _ = used_hardware(told, device, precision)
        return Report(
            tuple(
                measure_encoder(
                    artifact,
                    clean_dataset(artifact.source, one, need="the probe", side=artifact.input_size),
                    told,
                    device,
                    track,
                )
                for one in given or (None,)
            )
        )
    device, _ = used_hardware(told, device, "fp32")
    clean = given[0] if given else None
    if told["method"] == "audit":
        record, evidence = measure_audit(artifact, told, device, track)
        if scores is not None:
            write_scores(artifact, evidence.tolist(), names, scores)
        return Report((record,))
    if told["method"] == "changed":
        return Report((measure_changed(artifact, clean, told),))
    return Report(tuple(measure_noise(artifact, clean, told, device, track)))


def check_scores(path: object, method: str | None) -> str:
    """Make sure, before any work, that an audit can write scores to a file.

    Raises:
        ValueError: it cannot, or this is no audit.
    """
    from cptools.artifacts.atomic import check_writable

    if method != "audit":
        raise ValueError("`scores` applies to `method=audit`; leave it out")
    with naming("scores"):
        path = check_path(path, name="scores")
        check_writable(path)
    return path


def _given(dataset: "Given | Sequence[Given] | None") -> "tuple[Given, ...]":
    """The datasets, or where they can be had, one after the other."""
    if dataset is None:
        return ()
    several = dataset if isinstance(dataset, list | tuple) else [dataset]
    given = tuple(check_given(one, name="dataset") for one in several)
    for one in given:
        if (
            isinstance(one, str)
            and one not in (*SOURCES, "-")
            and not (names_source(one) or Path(one).exists())
        ):
            raise ValueError(
                f"`dataset`: cannot read {one}: No such file or directory; give another"
            )
    return given


def audit(
    dataset: "Dataset",
    *,
    seed: int = 0,
    device: "str | torch.device" = "auto",
    progress: Progress = None,
    scores: "str | os.PathLike[str] | None" = None,
) -> Report:
    """Check whether a dataset of unknown provenance looks poisoned, without clean data.

    Args:
        dataset: the dataset to check.
        seed: random seed, at least 0.
        device: auto, cpu, cuda or cuda:N.
        progress: whether to show a progress bar; None: only in a notebook.
        scores: CSV file for what speaks against each image, in units of the limit for one.

    Returns:
        A report with a `verdict` and scores; a score of 1 or more raises an alarm.

    Raises:
        ValueError: an argument is invalid.
    """
    check_artifact(dataset, "dataset", name="dataset")  # an encoder would be told of `artifact`
    return probe(
        dataset, method="audit", seed=seed, device=device, progress=progress, scores=scores
    )
