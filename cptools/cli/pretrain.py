"""`cp-pretrain`: train an encoder on a dataset, as a victim would."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, tool
from cptools.cli._data import SOURCES, entry, main_input, open_dataset
from cptools.cli._pseudo_labels import check_labels_from, open_labels_from, pseudo_labels
from cptools.cli._streams import check_one_stdin, deliver, plan_output, resolve_input
from cptools.cli._work import (
    check_checkpoint,
    end_dry_run,
    note_queue,
    run_work,
    show_settings,
    to_arrays,
    training_tensors,
)
from cptools.core.algorithms import ALGORITHMS  # noqa: TID253 - a registry, without torch
from cptools.core.defenses import ON_THE_FLY  # noqa: TID253 - a registry, without torch
from cptools.core.recipes import pretrain_settings  # noqa: TID253 - without torch

if TYPE_CHECKING:
    from cptools.artifacts.schema import Artifact, Dataset, Encoder
    from cptools.core.settings import Settings
    from cptools.core.views import DrawsViews

app = make_app("cp-pretrain")


@tool(app, options=opt.options_of(pretrain_settings()))
def pretrain(
    input: opt.StartInput = None,
    output: opt.Output = None,
    alg: Annotated[str, opt.one_of("--alg", ALGORITHMS, "Learning algorithm.")] = "simclr",
    recipe: opt.Recipe = "quick",
    watch: Annotated[
        str | None,
        typer.Option(
            "--watch",
            metavar="FILE",
            help="Dataset, such as the clean one, whose loss, alignment and uniformity are "
            "measured after each epoch as well.",
        ),
    ] = None,
    labels_from: Annotated[
        str | None,
        typer.Option(
            "--labels-from",
            metavar="ENCODER",
            help="Encoder of the same images; clusters of its features are pseudo-labels (advcl).",
        ),
    ] = None,
    defend: Annotated[
        str | None,
        typer.Option(
            "--defend",
            metavar="STEPS",
            help="Defenses of cp-defend applied anew to every view, such as mc:rank=8,jpeg:10.",
        ),
    ] = None,
    defend_at: Annotated[
        str | None,
        opt.one_of(
            "--defend-at",
            tuple(ON_THE_FLY),
            "Whether they are applied to the image before a view is drawn of it [left out], or to "
            "the view.",
        ),
    ] = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    checkpoint: opt.CheckpointFile = None,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
    **typed: Any,
) -> None:
    """Train an encoder by contrastive learning, without labels; or by labels (supervised).

    Reads a dataset, clean or poisoned, and writes the encoder with the curves of its loss,
    alignment and uniformity. Without input, it trains on the built-in shapes.
    """
    from cptools.core import recipes

    path = resolve_input(input, starts_chain=True, sources=SOURCES, quiet=quiet)
    target = "-" if dry_run else plan_output(output, default_name=f"{alg}.encoder.safetensors")
    check_checkpoint(checkpoint)
    check_one_stdin(input=path, watch=watch, labels_from=labels_from)
    reader = open_dataset(path)
    watched = None if watch is None else open_dataset(watch)
    labeler = open_labels_from(alg, labels_from)
    values = recipes.resolve(
        recipes.pretrain(recipe, alg=alg, dataset=reader.name),
        typed,
        context=f"--alg {alg}",
        table=pretrain_settings(),
    )
    settings: dict[str, Any] = {"alg": alg, "recipe": recipe, "seed": seed, **values}
    settings |= _defenses(defend, defend_at)
    if dry_run:
        end_dry_run(settings)
    check_labels_from(alg, labels_from)

    from cptools.core.device import choose_bf16, choose_device

    place = choose_device(device)
    bf16 = choose_bf16(precision, place)
    settings |= {"device": place.type, "precision": "bf16" if bf16 else "fp32"}
    show_settings(settings, verbose=verbose)
    trained = _train(
        reader.read(),
        None if watched is None else watched.read(),
        None if labeler is None else labeler.read(),
        settings,
        place,
        quiet=quiet,
        checkpoint=checkpoint,
    )
    deliver(trained, target, o=output, quiet=quiet)


def _defenses(steps: str | None, at: str | None) -> dict[str, str]:
    """The settings of `--defend` and `--defend-at`, whole; empty where there is no defense."""
    from cptools.core.defenses.steps import parse_steps

    if steps is None:
        if at is not None:
            raise UsageError(f"--defend-at {at} needs --defend; give that as well")
        return {}
    try:
        whole = parse_steps(steps)
    except ValueError as error:
        raise UsageError(f"--defend {steps}: {error}") from None
    return {"defend": ",".join(map(str, whole)), "defend_at": at or "image"}


def _views(settings: dict[str, Any], dataset: "Dataset") -> "DrawsViews":
    """The views of the settings, with the defenses that are applied on the fly."""
    from cptools.core.build import build_views
    from cptools.core.defenses.steps import defender, parse_steps
    from cptools.core.lazy import load

    size = dataset.train_images.shape[-1]
    views = build_views(cast("Settings", settings), size=size, mean=dataset.mean, std=dataset.std)
    if "defend" not in settings:
        return views
    defended: DrawsViews = load(ON_THE_FLY[settings["defend_at"]])(
        views, defender(parse_steps(settings["defend"]))
    )
    return defended


def _train(
    dataset: "Dataset",
    watched: "Dataset | None",
    labeler: "Artifact | None",
    settings: dict[str, Any],
    device: Any,
    *,
    quiet: bool,
    checkpoint: Path | None,
) -> "Encoder":

    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.schema import Encoder, Input
    from cptools.core.build import build_learner
    from cptools.core.training import Pretraining, with_prefix

    inputs = main_input(dataset_digest(dataset))
    watch: dict[str, Any] = {}
    if watched is not None:
        _check_same_task(watched, dataset)
        inputs["watch"] = Input(dataset_digest(watched), watched.history, "dataset")
        watch["watch"], watch["watch_labels"] = training_tensors(watched, device)
    images, labels = training_tensors(dataset, device)
    num_classes: int | tuple[int, ...] = len(dataset.classes)
    if isinstance(labeler, Encoder):
        inputs["labels_from"] = Input(digest(labeler.arrays()), labeler.history, "encoder")
        num_classes, (labels, *others) = pseudo_labels(
            labeler,
            dataset,
            [] if watched is None else [watch["watch"]],
            device,
            seed=settings["seed"],
            bf16=settings["precision"] == "bf16",
        )
        if watched is not None:
            (watch["watch_labels"],) = others
    command = entry("cp-pretrain", settings, inputs)
    note_queue(settings, len(images), quiet=quiet)
    learner = build_learner(
        settings["alg"],
        cast("Settings", settings),
        num_classes=num_classes,
        mean=dataset.mean,
        std=dataset.std,
        device=device,
        bf16=settings["precision"] == "bf16",
        seed=settings["seed"],
        size=images.shape[-1],
    )
    work = Pretraining(
        images,
        labels,
        learner,
        _views(settings, dataset),
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        warmup_epochs=settings["warmup_epochs"],
        warmup_lr=settings["warmup_lr"],
        seed=settings["seed"],
        **watch,
    )
    run_work(
        work,
        total=work.epochs,
        done=lambda: len(work.history),
        describe=lambda e: f"loss {e.loss:.3f}",
        label=f"training ({settings['alg']})",
        quiet=quiet,
        checkpoint=checkpoint,
        command=command,
    )
    algorithm = learner.algorithm
    tensors = (
        with_prefix("backbone", algorithm.encoder.state_dict())
        | with_prefix("head", algorithm.head.state_dict())
        | with_prefix("curve", work.curves())
    )
    return Encoder(
        to_arrays(tensors),
        architecture=algorithm.encoder_prefix + settings["encoder"],
        width=settings["width"],
        feature_dim=algorithm.encoder.feature_dim,
        algorithm=settings["alg"],
        input_size=images.shape[-1],
        mean=dataset.mean,
        std=dataset.std,
        source=dataset.source,
        history=(*dataset.history, command),
    )


def _check_same_task(watched: "Dataset", dataset: "Dataset") -> None:
    size, wanted = watched.train_images.shape[-1], dataset.train_images.shape[-1]
    if size != wanted or watched.classes != dataset.classes:
        raise UsageError(
            f"--watch has {size}-pixel images of {len(watched.classes)} classes, the input has"
            f" {wanted}-pixel images of {len(dataset.classes)}; give the clean dataset of the input"
        )


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
