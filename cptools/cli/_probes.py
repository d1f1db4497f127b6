"""What `cp-probe` measures, method by method, as lines of its report and as sentences."""

from typing import TYPE_CHECKING, Any

from cptools.cli._app import UsageError
from cptools.cli._embedding import check_size, measure_distances
from cptools.cli._encoder import build_backbone
from cptools.cli._noise import clean_images, count_changed
from cptools.cli._progress import track
from cptools.core.presets import VIEWS  # noqa: TID253 - without torch

if TYPE_CHECKING:
    from torch import Tensor, device, nn

    from cptools.artifacts.schema import Dataset, Encoder
    from cptools.core.evaluation.probe import ProbeEpoch, ProbeResult

Values = dict[str, Any]
Report = dict[str, Any]  # keys are stable, units in their names

SUSPECTS = 20  # images that an audit names


def report_encoder(
    encoder: "Encoder", dataset: "Dataset", settings: Values, place: "device", *, quiet: bool
) -> Report:
    """The line of an encoder on a dataset."""
    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.provenance import history_to_json

    check_size(encoder, dataset)
    measure = _distances if settings["method"] == "distances" else _accuracy
    return {
        **measure(encoder, dataset, settings, place, quiet=quiet),
        "dataset": dataset.name,
        "dataset_sha256": dataset_digest(dataset),
        "algorithm": encoder.algorithm,
        "architecture": encoder.architecture,
        "width": encoder.width,
        "encoder_sha256": digest(encoder.tensors),
        "settings": settings,
        "history": history_to_json(encoder.history),
    }


def report_noise(
    poisoned: "Dataset", given: str | None, settings: Values, place: "device", *, quiet: bool
) -> list[Report]:
    """A line for each classifier of a dataset's noise; `given` is what `--dataset` said."""
    import torch

    from cptools.core.evaluation.separability import HIDDEN, separability

    work = separability(
        torch.from_numpy(clean_images(poisoned, given, need="the noise")),
        torch.from_numpy(poisoned.train_images),
        torch.from_numpy(poisoned.train_labels),
        holdout=settings["holdout"],
        iterations=settings["iterations"],
        seed=settings["seed"],
        device=place,
    )
    found = track(
        work,
        total=len(HIDDEN),
        describe=lambda s: f"{s.classifier} {100 * s.held_out.accuracy:.1f} %",
        label="separability",
        quiet=quiet,
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


def report_changed(poisoned: "Dataset", given: str | None, settings: Values) -> Report:
    """The line of how many images of a dataset are not the clean ones, as of a coreset."""
    return {
        **_share("changed", count_changed(poisoned, given), len(poisoned.train_images)),
        **_about(poisoned, settings),
    }


def report_audit(dataset: "Dataset", settings: Values, place: "device", *, quiet: bool) -> Report:
    """The line of a dataset that may be poisoned."""
    import torch

    from cptools.core.evaluation.audit import PARTS, Audit, audit

    work = audit(
        torch.from_numpy(dataset.train_images),
        torch.from_numpy(dataset.train_labels),
        len(dataset.classes),
        seed=settings["seed"],
        device=place,
    )
    found = Audit.of(
        track(
            work, total=PARTS, describe=lambda part: f"{part.score:.2f}", label="audit", quiet=quiet
        )
    )
    marked = (found.evidence >= 1).nonzero().squeeze(1)
    worst = marked[found.evidence[marked].argsort(descending=True, stable=True)][:SUSPECTS]
    return {
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
        "marked_percent": round(100 * len(marked) / len(found.evidence), 2),
        "suspects": worst.tolist(),
        "total": len(found.evidence),
        **_about(dataset, settings),
    }


def _about(dataset: "Dataset", settings: Values) -> Report:
    """What a line says of the dataset that it is about."""
    from cptools.artifacts.history import dataset_digest
    from cptools.artifacts.provenance import history_to_json

    return {
        "dataset": dataset.name,
        "dataset_sha256": dataset_digest(dataset),
        "settings": settings,
        "history": history_to_json(dataset.history),
    }


def sentence(report: Report) -> str:
    """A line of the report for a person."""
    method = report["settings"]["method"]
    if method == "audit":
        return (
            f"{report['verdict']}: {report['total']} images of {report['dataset']} score"
            f" {report['score']:.2f}, where 1 raises the alarm (detail shared within classes:"
            f" {report['agreement_score']:.2f}; color of noise: {report['noise_score']:.2f});"
            f" {report['marked_percent']:.1f} % of the images marked"
        )
    if method == "changed":
        return (
            f"{report['changed_percent']:.1f} % of {report['total']} images of {report['dataset']}"
            f" are not the clean ones ({_interval(report)})"
        )
    if method == "separability":
        return (
            f"{report['classifier']} classifier of noise alone: the class of"
            f" {report['accuracy_percent']:.1f} % of {report['total']} held-out images of"
            f" {report['dataset']} ({_interval(report)}),"
            f" {report['train_accuracy_percent']:.1f} % of the {report['train_total']} it was"
            " fitted to"
        )
    model = f"{report['algorithm']}, {report['architecture']} width {report['width']}"
    if method == "distances":
        return (
            f"cosine distance of two views of each of {report['total']} images of"
            f" {report['dataset']}: median {report['median']:.3f}, mean {report['mean']:.3f},"
            f" {report['close_percent']:.1f} % below {report['close_below']}"
            f" ({report['features']} of {model})"
        )
    note = ", the best epoch on the test images" if report["selected_on_test"] else ""
    what = "own classifier" if method == "head" else f"{method} probe"
    return (
        f"{report['accuracy_percent']:.1f} % of {report['total']} test images of"
        f" {report['dataset']} ({_interval(report)}; {what} of {model}{note})"
    )


def _short(number: float) -> float:
    return float(f"{number:.6g}")


def _interval(report: Report) -> str:
    return f"95% interval {report['low_percent']:.1f} to {report['high_percent']:.1f}"


def _share(name: str, count: int, total: int) -> Report:
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


def _counts(result: "ProbeResult") -> Report:
    return {
        "accuracy_percent": round(100 * result.accuracy, 2),
        "low_percent": round(100 * result.low, 2),
        "high_percent": round(100 * result.high, 2),
        "correct": result.correct,
        "total": result.total,
    }


def _distances(
    encoder: "Encoder", dataset: "Dataset", settings: Values, place: "device", *, quiet: bool
) -> Report:
    """The distribution of distances of two views."""
    from cptools.core.evaluation.distances import BINS, CLOSE, MOST

    found, features = measure_distances(
        encoder,
        dataset,
        {name: settings[name] for name in VIEWS},
        place,
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
    encoder: "Encoder", clean: "Dataset", settings: Values, place: "device", *, quiet: bool
) -> Report:
    """Accuracy on the test images."""
    if not len(clean.test_images):
        raise UsageError(f"{clean.name} has no test images; give a dataset with some")
    if len(clean.classes) < 2:
        raise UsageError(f"{clean.name} has one class only; there is nothing to tell apart")
    network = build_backbone(encoder, place)
    if settings["method"] == "sgd":
        last = _train_linear(network, encoder, clean, settings, place, quiet=quiet)
        result = last.best if settings["select"] == "best" else last.result
    else:
        last, result = None, _on_features(network, encoder, clean, settings)
    return {
        **_counts(result),
        "selected_on_test": settings.get("select") == "best",
        "best_epoch": last and last.best_epoch,
    }


def _train_linear(
    network: "nn.Module",
    encoder: "Encoder",
    clean: "Dataset",
    settings: Values,
    place: "device",
    *,
    quiet: bool,
) -> "ProbeEpoch":
    """The last epoch of the probe by SGD."""
    import torch

    from cptools.core.evaluation.probe import SGDProbe
    from cptools.core.views import Views

    work = SGDProbe(
        network,
        torch.from_numpy(clean.train_images).to(place),
        torch.from_numpy(clean.train_labels).to(place),
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
        quiet=quiet,
    )
    return last


def _on_features(
    network: "nn.Module", encoder: "Encoder", clean: "Dataset", settings: Values
) -> "ProbeResult":
    """What needs each image encoded once."""
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
        UsageError: it has none, or one for another number of classes.
    """
    import torch

    names = ("head.classifier.weight", "head.classifier.bias")
    if not encoder.tensors.keys() >= set(names):
        raise UsageError(
            f"an encoder of {encoder.algorithm} has no classifier of its own; take another"
            " --method, or train one by cp-pretrain --alg supervised"
        )
    weight, bias = (torch.from_numpy(encoder.tensors[name]) for name in names)
    if weight.shape != (num_classes, encoder.feature_dim) or bias.shape != (num_classes,):
        raise UsageError(
            f"the encoder's classifier is {'x'.join(map(str, weight.shape))}, not for"
            f" {encoder.feature_dim} features and {num_classes} classes; give the dataset whose"
            " classes it was trained on"
        )
    return weight, bias
