"""Select a coreset: `cp.select`, the workflow of `cp-select`."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cptools.core.coresets import CORESETS  # noqa: TID253 - a registry, without torch
from cptools.workflows.doors import (
    check_artifact,
    check_count,
    check_flag,
    check_labeled,
    check_seed,
    check_share,
    check_word,
    used_hardware,
)
from cptools.workflows.histories import entry, main_input

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cptools.artifacts.schema import Dataset, Encoder

_log = logging.getLogger(__name__)


def select_settings(
    method: str = "sas",
    fraction: float | None = None,
    *,
    has_encoder: bool = False,
    classes: int | None = None,
    labels: bool = False,
    num_views: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """All settings of a selection, checked; see `select`.

    Raises:
        ValueError: an argument is missing, out of range, or does not apply to the method.
    """
    check_word(method, tuple(CORESETS), name="method")
    seed = check_seed(seed)
    check_flag(labels, name="labels")
    chosen, context = CORESETS[method], f"`method={method}`"
    if fraction is None or not fraction:
        raise ValueError(
            "no fraction to keep is given; give `fraction` above 0, e.g. `fraction=0.2`"
        )
    for name, given, applies in (
        ("encoder", has_encoder, chosen.embeddings),
        ("classes", classes, chosen.classes == "latent"),
        ("labels", labels, chosen.classes == "latent"),
        ("num_views", num_views, chosen.embeddings == "views"),
    ):
        if given not in (None, False) and not applies:
            raise ValueError(f"`{name}` does not apply to {context}; leave it out")
    if labels and classes is not None:
        raise ValueError("latent classes are given by `labels` or by `classes=N`; leave one out")
    counts = {
        name: None if count is None else check_count(count, name=name)
        for name, count in (("classes", classes), ("num_views", num_views))
    }
    return {
        "method": method, "fraction": check_share(fraction, name="fraction"),
        "classes": counts["classes"], "labels": labels or None,
        "num_views": (counts["num_views"] or 8) if chosen.embeddings == "views" else None,
        "seed": seed,
    }  # fmt: skip


def check_proxy(method: str, *, is_given: bool) -> None:
    """Refuse to compare embeddings without an encoder.

    Raises:
        ValueError: the method needs one.
    """
    if CORESETS[method].embeddings and not is_given:
        raise ValueError(
            f"`method={method}` compares embeddings, which need an encoder; train one with"
            " `cp.pretrain` and give it as `encoder`"
        )


def select(
    dataset: "Dataset",
    method: str = "sas",
    fraction: float | None = None,
    *,
    encoder: "Encoder | None" = None,
    classes: int | None = None,
    labels: bool = False,
    num_views: int | None = None,
    seed: int = 0,
    device: "str | torch.device" = "auto",
    precision: str = "auto",
) -> "Dataset":
    """Select a coreset of the training images.

    Args:
        dataset: any; its test images are unchanged.
        method: a key of `cptools.core.coresets.CORESETS`.
        fraction: fraction of the training images to keep, in (0, 1]; for sas below 0.5.
        encoder: the proxy whose embeddings are compared (sas, sas-topk, paper2).
        classes: number of latent classes, k-means clusters of the proxy's features; None: the
            number of classes.
        labels: use the labels as latent classes.
        num_views: number of augmented views whose embeddings are averaged (sas); None: 8.
        seed: random seed, at least 0.
        device: auto, cpu, cuda or cuda:N.
        precision: of the networks: auto, fp32 or bf16.

    Returns:
        The coreset, images in their order; `train_index` records their rows in the dataset.

    Raises:
        ValueError: an argument is missing, out of range, or does not apply to the method; or the
            encoder does not fit these images.
    """
    check_artifact(dataset, "dataset", name="dataset")
    if encoder is not None:
        check_artifact(encoder, "encoder", name="encoder")
    told = select_settings(
        method,
        fraction,
        has_encoder=encoder is not None,
        classes=classes,
        labels=labels,
        num_views=num_views,
        seed=seed,
    )
    check_proxy(method, is_given=encoder is not None)
    if labels or CORESETS[method].classes == "labels":
        check_labeled(dataset, "`labels`" if labels else f"`method={method}`", "")
    elif CORESETS[method].classes == "latent" and classes is None:
        check_labeled(dataset, f"`method={method}`", ", or a number of `classes`")
    device, _ = used_hardware(told, device, precision)
    if method == "sas" and told["fraction"] > 0.5:
        _log.warning(
            "for fractions above 0.5, sas adds the images least similar to those already selected"
        )
    coreset = _select(dataset, encoder, told, device)
    if lost := _lost_classes(dataset, coreset):
        _log.warning("no image of %s is selected", ", ".join(lost))
    return coreset


def _lost_classes(dataset: "Dataset", coreset: "Dataset") -> list[str]:
    """Names of the classes that the coreset has no image of."""
    lost = {*dataset.train_labels.tolist()} - {*coreset.train_labels.tolist()}
    return [dataset.classes[label] for label in sorted(lost)]


def _select(
    dataset: "Dataset", proxy: "Encoder | None", settings: dict[str, Any], device: "torch.device"
) -> "Dataset":
    """The coreset."""
    import torch

    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.schema import Input
    from cptools.core.coresets.budgets import budgets
    from cptools.core.lazy import load

    chosen = CORESETS[settings["method"]]
    labels = torch.from_numpy(dataset.train_labels)
    # Whatever the method's own classes are: raises where there are fewer images than labels.
    budgets(labels.unique(return_counts=True)[1], settings["fraction"])
    inputs = main_input(dataset_digest(dataset))
    of_images: list[Any] = []
    options = {"seed": settings["seed"]} if chosen.is_random else {}
    if proxy is not None:
        inputs["encoder"] = Input(digest(proxy.arrays()), proxy.history, "encoder")
        of_images.append(_embeddings(dataset, proxy, settings, device))
    if chosen.classes == "latent" and not settings["labels"]:
        assert proxy is not None
        of_images.append(_latent_classes(dataset, proxy, settings, device))
    elif chosen.classes:
        of_images.append(labels)
    rows = load(chosen.function)(
        *(of_images or [len(dataset.train_images)]), settings["fraction"], **options
    ).numpy()
    kept = dataset.take(rows)
    return replace(
        kept,
        train_index=rows if kept.train_index is None else kept.train_index,
        history=(*dataset.history, entry("cp-select", settings, inputs)),
    )


def _embeddings(
    dataset: "Dataset", proxy: "Encoder", settings: dict[str, Any], device: "torch.device"
) -> "Tensor":
    """What the method compares: embeddings of the proxy, of views or of the images themselves."""
    import torch

    from cptools.core.coresets import EMBEDDINGS
    from cptools.core.lazy import load
    from cptools.workflows.encoders import build_embedding, build_training_views, check_size

    check_size(proxy, dataset)
    kind = CORESETS[settings["method"]].embeddings
    assert kind is not None
    network, embed, _ = build_embedding(proxy, device)
    options: dict[str, Any] = {"bf16": settings["precision"] == "bf16"}
    if kind == "views":
        options |= {
            "views": build_training_views(proxy),
            "count": settings["num_views"],
            "seed": settings["seed"],
        }
    else:
        options |= {"mean": proxy.mean, "std": proxy.std}
    return _finite(
        load(EMBEDDINGS[kind])(network, embed, torch.from_numpy(dataset.train_images), **options)
    )


def _latent_classes(
    dataset: "Dataset", proxy: "Encoder", settings: dict[str, Any], device: "torch.device"
) -> "Tensor":
    """Clusters of the features of the proxy's backbone, int64 [N]."""
    import torch

    from cptools.core.coresets.budgets import latent_classes
    from cptools.core.evaluation.probe import features
    from cptools.workflows.encoders import build_backbone

    found = features(
        build_backbone(proxy, device),
        torch.from_numpy(dataset.train_images),
        mean=proxy.mean,
        std=proxy.std,
        bf16=settings["precision"] == "bf16",
    )
    num = settings["classes"] or len(dataset.classes)
    return latent_classes(_finite(found), num, seed=settings["seed"])


def _finite(found: "Tensor") -> "Tensor":
    """What an encoder makes of images, if it can be compared."""
    if not found.isfinite().all():
        raise ValueError("the embeddings of these images are not finite; give another `encoder`")
    return found
