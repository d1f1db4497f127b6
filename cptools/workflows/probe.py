"""Evaluate encoders and datasets: `cp.probe` and `cp.audit`, the workflow of `cp-probe`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cptools.core.recipes import PROBE_METHODS, PROBE_SETTINGS  # noqa: TID253 - without torch
from cptools.reports.report import Report
from cptools.workflows.datasets import clean_dataset
from cptools.workflows.doors import check_artifact, check_seed, check_word, used_hardware
from cptools.workflows.encoders import view_settings
from cptools.workflows.measures import (
    measure_audit,
    measure_changed,
    measure_encoder,
    measure_noise,
)
from cptools.workflows.progress import Progress

if TYPE_CHECKING:
    import torch

    from cptools.artifacts.schema import Dataset, Encoder

    Given = str | Dataset

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
    return given or ("head" if algorithm == "supervised" else None)


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
    from cptools.core import recipes

    check_seed(seed)
    method = choose_method(method, artifact.kind, getattr(artifact, "algorithm", ""))
    source = artifact.source.name if artifact.source else ""
    base = recipes.probe(recipe, method=method, dataset=source.rpartition("/")[2])
    context = f"`method={base['method']}`"
    values = recipes.resolve(base, settings, context=context, table=PROBE_SETTINGS)
    told: dict[str, Any] = {"recipe": recipe, "seed": seed, **values}
    if artifact.kind == "encoder":
        if values["method"] == "distances":
            told |= view_settings(artifact, recipe)  # type: ignore[arg-type]
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
        **settings: hyperparameters that override the recipe, e.g. `epochs=10`.

    Returns:
        The report, a record for each dataset or classifier.

    Raises:
        ValueError: an argument is not valid for the method, or the clean dataset is missing.
    """
    check_artifact(artifact, "encoder", "dataset", name="artifact")
    several = isinstance(dataset, Sequence) and not isinstance(dataset, str)
    given: list[Given] = [*dataset] if several else [] if dataset is None else [dataset]  # type: ignore[misc,list-item]
    for one in given:
        if not isinstance(one, str):
            check_artifact(one, "dataset", name="dataset")
    told = probe_settings(
        artifact, method, given=given, recipe=recipe, seed=seed, precision=precision, **settings
    )
    is_encoder = artifact.kind == "encoder"
    device, _ = used_hardware(told, device, precision if is_encoder else "fp32")
    clean = given[0] if given else None
    if is_encoder:
        records = [
            measure_encoder(
                artifact,  # type: ignore[arg-type]
                clean_dataset(artifact.source, one, need="the probe"),
                told,
                device,
                progress,
            )
            for one in given or [None]  # type: ignore[list-item]
        ]
    elif told["method"] == "audit":
        records = [measure_audit(artifact, told, device, progress)]  # type: ignore[arg-type]
    elif told["method"] == "changed":
        records = [measure_changed(artifact, clean, told)]  # type: ignore[arg-type]
    else:
        records = measure_noise(artifact, clean, told, device, progress)  # type: ignore[arg-type]
    return Report(tuple(records))


def audit(
    dataset: "Dataset",
    *,
    seed: int = 0,
    device: "str | torch.device" = "auto",
    progress: Progress = None,
) -> Report:
    """Check whether a dataset of unknown provenance looks poisoned, without clean data.

    Args:
        dataset: the dataset to check.
        seed: random seed, at least 0.
        device: auto, cpu, cuda or cuda:N.
        progress: whether to show a progress bar; None: only in a notebook.

    Returns:
        A report with a `verdict` and scores; a score of 1 or more raises an alarm.

    Raises:
        ValueError: an argument is invalid.
    """
    check_artifact(dataset, "dataset", name="dataset")
    return probe(dataset, method="audit", seed=seed, device=device, progress=progress)
