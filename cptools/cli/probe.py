"""`cp-probe`: how good an encoder's features are."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, tool
from cptools.cli._data import clean_dataset
from cptools.cli._progress import track
from cptools.cli._streams import check_one_stdin, resolve_input
from cptools.cli._work import end_dry_run, show_settings
from cptools.core.recipes import PROBE_METHODS  # noqa: TID253 - without torch

if TYPE_CHECKING:
    from torch import nn

    from cptools.artifacts.schema import Dataset, Encoder

app = make_app("cp-probe")


@tool(app)
def probe(
    input: opt.EncoderInput = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the report here as JSON lines, atomically; left out: stdout.",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            metavar="FILE",
            help="Labeled dataset to probe on, may be repeated; left out: the "
            "clean source that the encoder names.",
        ),
    ] = None,
    recipe: opt.Recipe = "quick",
    method: Annotated[
        str | None,
        opt.one_of(
            "--method",
            PROBE_METHODS,
            "lbfgs: linear, on cached features; sgd: linear, the paper's "
            "protocol; knn: nearest neighbors.",
        ),
    ] = None,
    l2: Annotated[float | None, typer.Option("--l2", min=0.0, help="Weight decay (lbfgs).")] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Iterations at most (lbfgs).")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Epochs (sgd).")] = None,
    batch_size: opt.BatchSize = None,
    lr: Annotated[
        float | None, typer.Option("--lr", min=1e-9, help="Learning rate at the start (sgd).")
    ] = None,
    select: Annotated[
        str | None,
        opt.one_of(
            "--select",
            ("last", "best"),
            "Epoch to report (sgd): the last, or the best on the TEST "
            "images, as the official code does.",
        ),
    ] = None,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Neighbors (knn).")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=1e-3, help="Of the votes (knn).")
    ] = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
) -> None:
    """Measure an encoder by a classifier on its frozen features.

    The classifier trains on CLEAN labeled images, also for an encoder that was trained on poison
    (the paper's protocol), and is tested on the test images. The interval is Wilson's, 95%: it
    covers the choice of test images, not the randomness of training.
    """
    typed = dict(locals())
    from cptools.core import recipes

    path = resolve_input(input, starts_chain=False, sources=(), quiet=quiet)
    check_one_stdin(input=path, dataset=dataset)

    from cptools.artifacts.atomic import atomic_write, check_writable
    from cptools.artifacts.schema import Encoder
    from cptools.artifacts.stream import open_artifact

    if output not in (None, "-"):
        check_writable(output)
    encoder = open_artifact(path, expect=("encoder",)).read()
    assert isinstance(encoder, Encoder)
    source_name = encoder.source.name if encoder.source else ""
    values = recipes.resolve(
        recipes.probe(recipe, method=method, dataset=source_name.rpartition("/")[2]),
        {name: typed[name] for name in recipes.PROBE},
        context=f"--method {method or recipes.probe(recipe, method=None, dataset='')['method']}",
    )
    settings: dict[str, Any] = {"recipe": recipe, "seed": seed, **values}
    if dry_run:
        end_dry_run(settings)

    from cptools.core.device import choose_bf16, choose_device

    place = choose_device(device)
    bf16 = choose_bf16(precision, place)
    settings |= {"device": place.type, "precision": "bf16" if bf16 else "fp32"}
    show_settings(settings, verbose=verbose)
    reports = []
    given: list[str | None] = [*dataset] if dataset else [None]
    for name in given:
        clean = clean_dataset(encoder.source, name, need="the probe")
        reports.append(_report(encoder, clean, settings, place, quiet=quiet))
    lines = "".join(json.dumps(report) + "\n" for report in reports)
    if output not in (None, "-"):
        with atomic_write(output) as file:
            file.write(lines.encode())
    elif as_json or output == "-" or not sys.stdout.isatty():
        typer.echo(lines, nl=False)
    else:
        for report in reports:
            typer.echo(_sentence(report))


def _report(
    encoder: "Encoder", clean: "Dataset", settings: dict[str, Any], device: Any, *, quiet: bool
) -> dict[str, Any]:
    """One line of the report: keys are stable, units in their names."""
    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.provenance import history_to_json
    from cptools.cli._encoder import build_backbone

    if clean.train_images.shape[-1] != encoder.input_size:
        raise UsageError(
            f"the encoder was trained on images of {encoder.input_size} pixels, {clean.name} has"
            f" {clean.train_images.shape[-1]}; make it with cp-dataset --size {encoder.input_size}"
        )
    if not len(clean.test_images):
        raise UsageError(f"{clean.name} has no test images; give a dataset with some")
    if len(clean.classes) < 2:
        raise UsageError(f"{clean.name} has one class only; there is nothing to tell apart")
    result, best_epoch = _measure(
        build_backbone(encoder, device), encoder, clean, settings, device, quiet=quiet
    )
    return {
        "accuracy_percent": round(100 * result.accuracy, 2),
        "low_percent": round(100 * result.low, 2),
        "high_percent": round(100 * result.high, 2),
        "correct": result.correct,
        "total": result.total,
        "selected_on_test": settings.get("select") == "best",
        "best_epoch": best_epoch,
        "dataset": clean.name,
        "dataset_sha256": dataset_digest(clean),
        "algorithm": encoder.algorithm,
        "architecture": encoder.architecture,
        "width": encoder.width,
        "encoder_sha256": digest(encoder.tensors),
        "settings": settings,
        "history": history_to_json(encoder.history),
    }


def _measure(
    network: "nn.Module",
    encoder: "Encoder",
    clean: "Dataset",
    settings: dict[str, Any],
    device: Any,
    *,
    quiet: bool,
) -> tuple[Any, int | None]:
    """ProbeResult, and the best epoch where epochs were compared."""
    import torch

    from cptools.core.evaluation.probe import SGDProbe, features, knn, linear_probe_lbfgs
    from cptools.core.views import Views

    bf16 = settings["precision"] == "bf16"
    num_classes = len(clean.classes)
    x, y, test_x, test_y = (
        torch.from_numpy(array)
        for array in (clean.train_images, clean.train_labels, clean.test_images, clean.test_labels)
    )
    if settings["method"] == "sgd":
        work = SGDProbe(
            network,
            x.to(device),
            y.to(device),
            test_x,
            test_y,
            views=Views(encoder.input_size, encoder.mean, encoder.std, jitter_p=0.0, gray_p=0.0),
            num_classes=num_classes,
            epochs=settings["epochs"],
            batch_size=settings["batch_size"],
            lr=settings["lr"],
            seed=settings["seed"],
            bf16=bf16,
        )
        *_, last = track(
            work.run(),
            total=work.epochs,
            describe=lambda e: f"{100 * e.accuracy:.1f} %",
            label="linear probe",
            quiet=quiet,
        )
        return (last.best if settings["select"] == "best" else last.result), last.best_epoch
    train_f, test_f = (
        features(network, images, mean=encoder.mean, std=encoder.std, bf16=bf16)
        for images in (x, test_x)
    )
    if settings["method"] == "knn":
        return knn(
            train_f, y, test_f, test_y,
            num_classes=num_classes, k=settings["k"], temperature=settings["temperature"],
        ), None  # fmt: skip
    return linear_probe_lbfgs(
        train_f, y, test_f, test_y,
        num_classes=num_classes, l2=settings["l2"], max_iter=settings["iterations"],
    ), None  # fmt: skip


def _sentence(report: dict[str, Any]) -> str:
    """The report for a person."""
    note = ", the best epoch on the test images" if report["selected_on_test"] else ""
    return (
        f"{report['accuracy_percent']:.1f} % of {report['total']} test images of"
        f" {report['dataset']} (95% interval {report['low_percent']:.1f} to"
        f" {report['high_percent']:.1f}; {report['settings']['method']} probe of"
        f" {report['algorithm']}, {report['architecture']} width {report['width']}{note})"
    )


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
