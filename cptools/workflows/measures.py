"""What a probe measures, method by method, as records of its report."""

import logging
from typing import TYPE_CHECKING, Any

from cptools.core.presets import VIEWS  # noqa: TID253 - without torch
from cptools.workflows.clean import clean_images, count_changed
from cptools.workflows.doors import check_labeled
from cptools.workflows.encoders import build_backbone, check_size, measure_distances
from cptools.workflows.progress import Track

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from cptools.artifacts.schema import Dataset, Encoder
    from cptools.core.evaluation.probe import ProbeEpoch, ProbeResult

Values = dict[str, Any]
Record = dict[str, Any]  # keys are stable, units in their names

_log = logging.getLogger(__name__)

SUSPECTS = 20  # images that an audit names


def measure_encoder(
    encoder: "Encoder",
    dataset: "Dataset",
    settings: Values,
    device: "torch.device",
    track: Track,
) -> Record:
    """The record of an encoder on a dataset."""
    check_size(encoder, dataset)
    measure = _distances if settings["method"] == "distances" else _accuracy
    return measure(encoder, dataset, settings, device, track) | _about_encoder(
        encoder, dataset, settings
    )


def describe_encoder(
    encoder: "Encoder", dataset: "Dataset", settings: Values, result: "ProbeResult"
) -> Record:
    """The record of an encoder on a dataset whose accuracy is known: that of the last epoch."""
    return (
        _counts(result)
        | {"selected_on_test": False, "best_epoch": None}
        | _about_encoder(encoder, dataset, settings)
    )


def _about_encoder(encoder: "Encoder", dataset: "Dataset", settings: Values) -> Record:
    """What a line says of the encoder that it is about."""
    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.provenance import history_to_json

    return {
        "dataset": dataset.name,
        "dataset_sha256": dataset_digest(dataset),
        "algorithm": encoder.algorithm,
        "architecture": encoder.architecture,
        "width": encoder.width,
        "encoder_sha256": digest(encoder.tensors),
        "settings": settings,
        "history": history_to_json(encoder.history),
    }


def measure_noise(
    poisoned: "Dataset",
    given: "str | Dataset | None",
    settings: Values,
    device: "torch.device",
    track: Track,
) -> list[Record]:
    """A record for each classifier of a dataset's noise; `given` is the clean dataset."""
    import torch

    from cptools.core.evaluation.separability import HIDDEN, separability

    check_labeled(poisoned, "`method=separability`", ", or `method=audit`")

    work = separability(
        torch.from_numpy(clean_images(poisoned, given, need="the noise")),
        torch.from_numpy(poisoned.train_images),
        torch.from_numpy(poisoned.train_labels),
        holdout=settings["holdout"],
        iterations=settings["iterations"],
        seed=settings["seed"],
        device=device,
    )
    found = track(
        work,
        total=len(HIDDEN),
        describe=lambda s: f"{s.classifier} {100 * s.held_out.accuracy:.1f} %",
        label="separability",
    )
    about = _about(poisoned, settings)
    return [
        {
            **_counts(result.held_out),
            **{f"train_{name}": value for name, value in _counts(result.train).items()},
            "classifier": result.classifier,
            "hidden": HIDDEN[result.classifier],
            **about,
        }
        for result in found
    ]


def measure_changed(poisoned: "Dataset", given: "str | Dataset | None", settings: Values) -> Record:
    """The record of how many images of a dataset (e.g. a coreset) differ from the clean ones."""
    return {
        **_share("changed", count_changed(poisoned, given), len(poisoned.train_images)),
        **_about(poisoned, settings),
    }


def measure_audit(
    dataset: "Dataset",
    settings: Values,
    device: "torch.device",
    track: Track,
) -> "tuple[Record, Tensor]":
    """The record of the audit of a dataset, and what speaks against each image, in its limit."""
    import torch

    from cptools.core.evaluation.audit import PARTS, Audit, audit

    if not dataset.is_labeled:
        _log.warning("without labels the audit looks for noise alone, not for class-wise poison")

    work = audit(
        torch.from_numpy(dataset.train_images),
        torch.from_numpy(dataset.train_labels),
        len(dataset.classes),
        seed=settings["seed"],
        device=device,
    )
    found = Audit.of(
        track(work, total=PARTS, describe=lambda part: f"{part.score:.2f}", label="audit")
    )
    if found.overlay:
        _log.info("a caption or frame covers %.1f %% of the pixels; no alarm", 100 * found.overlay)
    marked = (found.evidence >= 1).nonzero().squeeze(1)
    worst = marked[found.evidence[marked].argsort(descending=True, stable=True)][:SUSPECTS]
    record = {
        "verdict": found.verdict,
        "score": _short(found.score),
        "agreement_score": _short(found.agreement.score),
        "noise_score": _short(found.noise.score),
        "color_agreement": _short(found.color.value),
        "color_agreement_deviation": _short(found.color.deviation),
        "gray_agreement": _short(found.gray.value),
        "gray_agreement_deviation": _short(found.gray.deviation),
        "class_agreement": dict(
            zip(dataset.classes, map(_short, found.agreement.by_class), strict=True)
        ),
        "noisy_percent": round(100 * found.noise.share, 2),
        "noise_level": _short(found.noise.white),
        "noise_color": _short(found.noise.color),
        "overlay_percent": round(100 * found.overlay, 2),
        "marked_percent": round(100 * len(marked) / len(found.evidence), 2),
        "suspects": worst.tolist(),
        "total": len(found.evidence),
        **_about(dataset, settings),
    }
    return record, found.evidence


def _about(dataset: "Dataset", settings: Values) -> Record:
    """What a line says of the dataset that it is about."""
    from cptools.artifacts.history import dataset_digest
    from cptools.artifacts.provenance import history_to_json

    return {
        "dataset": dataset.name,
        "dataset_sha256": dataset_digest(dataset),
        "settings": settings,
        "history": history_to_json(dataset.history),
    }


def _short(number: float) -> float:
    return float(f"{number:.6g}")


def _share(name: str, count: int, total: int) -> Record:
    """So many of the images, in percent, and Wilson's interval."""
    from cptools.core.evaluation.statistics import wilson

    low, high = wilson(count, total)
    return {
        f"{name}_percent": round(100 * count / total, 2),
        "low_percent": round(100 * low, 2),
        "high_percent": round(100 * high, 2),
        name: count,
        "total": total,
    }


def _counts(result: "ProbeResult") -> Record:
    return {
        "accuracy_percent": round(100 * result.accuracy, 2),
        "low_percent": round(100 * result.low, 2),
        "high_percent": round(100 * result.high, 2),
        "correct": result.correct,
        "total": result.total,
    }


def _distances(
    encoder: "Encoder",
    dataset: "Dataset",
    settings: Values,
    device: "torch.device",
    track: Track,
) -> Record:
    """The distribution of distances of two views."""
    from cptools.core.evaluation.distances import BINS, CLOSE, MOST

    found, features = measure_distances(
        encoder,
        dataset,
        {name: settings[name] for name in VIEWS},
        device,
        seed=settings["seed"],
        bf16=settings["precision"] == "bf16",
    )
    return {
        "mean": found.mean,
        "median": found.median,
        **_share("close", found.close, sum(found.counts)),
        "close_below": CLOSE,
        "counts": found.counts,
        "bins": [round(MOST * edge / BINS, 6) for edge in range(BINS + 1)],
        "features": features,
    }


def _accuracy(
    encoder: "Encoder",
    clean: "Dataset",
    settings: Values,
    device: "torch.device",
    track: Track,
) -> Record:
    """Accuracy on the test images."""
    _check_tests(clean)
    network = build_backbone(encoder, device)
    if settings["method"] == "sgd":
        last = _train_linear(network, encoder, clean, settings, device, track)
        result = last.best if settings["select"] == "best" else last.result
    else:
        last, result = None, features_accuracy(network, encoder, clean, settings)
    return {
        **_counts(result),
        "selected_on_test": settings.get("select") == "best",
        "best_epoch": last and last.best_epoch,
    }


def check_probed(encoder: "Encoder", clean: "Dataset", method: str) -> None:
    """Refuse a dataset on which the accuracy of an encoder cannot be measured.

    Raises:
        ValueError: it has images of another size, none to test on, or other classes.
    """
    check_size(encoder, clean)
    _check_tests(clean)
    if method == "head":
        _classifier(encoder, len(clean.classes))


def _check_tests(clean: "Dataset") -> None:
    if not len(clean.test_images):
        raise ValueError(f"{clean.name} has no test images; give a dataset with test images")
    check_labeled(clean, "the probe", "")
    if len(clean.classes) < 2:
        raise ValueError(f"{clean.name} has only one class; give a dataset with several")


def _train_linear(
    network: "nn.Module",
    encoder: "Encoder",
    clean: "Dataset",
    settings: Values,
    device: "torch.device",
    track: Track,
) -> "ProbeEpoch":
    """The last epoch of the probe by SGD."""
    import torch

    from cptools.core.evaluation.probe import SGDProbe
    from cptools.core.views import Views

    work = SGDProbe(
        network,
        torch.from_numpy(clean.train_images).to(device),
        torch.from_numpy(clean.train_labels).to(device),
        torch.from_numpy(clean.test_images),
        torch.from_numpy(clean.test_labels),
        views=Views(encoder.input_size, encoder.mean, encoder.std, jitter_p=0.0, gray_p=0.0),
        num_classes=len(clean.classes),
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        lr=settings["lr"],
        seed=settings["seed"],
        bf16=settings["precision"] == "bf16",
    )
    *_, last = track(
        work.run(),
        total=work.epochs,
        describe=lambda e: f"{100 * e.accuracy:.1f} %",
        label="linear probe",
    )
    return last


def features_accuracy(
    network: "nn.Module", encoder: "Encoder", clean: "Dataset", settings: Values
) -> "ProbeResult":
    """Accuracy by what needs each image encoded once: head, knn or lbfgs.

    Args:
        network: the encoder's backbone, which may be in training; it stays as it is.
        encoder: its normalization and, of method head, its classifier.
        clean: to train the classifier on, and to test it on.
        settings: of the probe.
    """
    import torch

    from cptools.core.evaluation.probe import (
        classifier_accuracy,
        features,
        knn,
        linear_probe_lbfgs,
    )

    def encode(images: Any) -> "Tensor":
        bf16 = settings["precision"] == "bf16"
        x = torch.from_numpy(images)
        return features(network, x, mean=encoder.mean, std=encoder.std, bf16=bf16)

    y, test_y = torch.from_numpy(clean.train_labels), torch.from_numpy(clean.test_labels)
    num_classes = len(clean.classes)
    if settings["method"] == "head":
        weight, bias = _classifier(encoder, num_classes)
        return classifier_accuracy(encode(clean.test_images), test_y, weight, bias)
    train_f, test_f = encode(clean.train_images), encode(clean.test_images)
    if settings["method"] == "knn":
        return knn(
            train_f, y, test_f, test_y,
            num_classes=num_classes, k=settings["k"], temperature=settings["temperature"],
        )  # fmt: skip
    return linear_probe_lbfgs(
        train_f, y, test_f, test_y,
        num_classes=num_classes, l2=settings["l2"], max_iter=settings["iterations"],
    )  # fmt: skip


def _classifier(encoder: "Encoder", num_classes: int) -> "tuple[Tensor, Tensor]":
    """Weight [C, D] and bias [C] of the encoder's own classifier.

    Raises:
        ValueError: it has none, or one for another number of classes.
    """
    import torch

    names = ("head.classifier.weight", "head.classifier.bias")
    if not encoder.tensors.keys() >= set(names):
        raise ValueError(
            f"an encoder of {encoder.algorithm} has no classifier of its own; use another"
            " `method`, or train one by `cp.pretrain` with `alg=supervised`"
        )
    weight, bias = (torch.from_numpy(encoder.tensors[name]) for name in names)
    if weight.shape != (num_classes, encoder.feature_dim) or bias.shape != (num_classes,):
        raise ValueError(
            f"the encoder's classifier is {'x'.join(map(str, weight.shape))}, not for"
            f" {encoder.feature_dim} features and {num_classes} classes; give the dataset whose"
            " classes it was trained on"
        )
    return weight, bias
