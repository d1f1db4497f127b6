"""Measure encoders and datasets: `cp.probe` and `cp.audit`, the workflow of `cp-probe`."""

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
        ValueError: it measures another kind.
    """
    if given is not None:
        check_word(given, tuple(PROBE_METHODS), name="method")
    if kind == "dataset":
        if given not in (None, *DATASET_METHODS):
            raise ValueError(
                f"`method={given}` measures an encoder, this is a dataset; train one on it with"
                " `cp.pretrain`, or leave `method` out"
            )
        return given or "separability"
    if given in DATASET_METHODS:
        raise ValueError(
            f"`method={given}` measures a dataset, this is an encoder; give the dataset that it"
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
    """All settings of a probe, checked; `given` are the datasets that are named; see `probe`.

    Raises:
        ValueError: an argument is none that the method has.
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
    """Measure an encoder by a classifier on its frozen features, or a dataset by its noise.

    The classifier trains on CLEAN labeled images, also for an encoder that was trained on poison
    (CP sections 3 and 5.2), and is tested on the test images. Intervals are Wilson's, 95%: they
    cover the choice of test images, not the randomness of training.

    Args:
        artifact: an encoder, or a dataset whose noise is measured.
        dataset: to probe the encoder on, one or several; of a poisoned dataset: the clean one.
            None: the clean source that the artifact names.
        method: of encoders lbfgs, sgd (the paper's protocol), knn, head or distances; of datasets
            separability, audit or changed. None: by the recipe, head for a supervised encoder.
        recipe: default hyperparameters: `quick` is fast, `paper` is the paper's protocol.
        seed: of everything random, at least 0.
        device: auto, cpu, cuda or cuda:N.
        precision: of the networks: auto, fp32 or bf16.
        progress: None: a bar in a notebook; True or False: a bar or none.
        **settings: hyperparameters in place of the recipe's, such as `epochs=10`.

    Returns:
        The report, a record for each dataset or classifier.

    Raises:
        ValueError: an argument is none that the method has, or the clean dataset cannot be had.
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
    """Ask whether a dataset of unknown provenance looks poisoned; no clean data is needed.

    Args:
        dataset: the suspected one.
        seed: of everything random, at least 0.
        device: auto, cpu, cuda or cuda:N.
        progress: None: a bar in a notebook; True or False: a bar or none.

    Returns:
        A report with a `verdict`, and scores of which 1 raises the alarm.

    Raises:
        ValueError: an argument is not what is said here.
    """
    check_artifact(dataset, "dataset", name="dataset")
    return probe(dataset, method="audit", seed=seed, device=device, progress=progress)
