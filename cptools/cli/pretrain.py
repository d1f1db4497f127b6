"""`cp-pretrain`: train an encoder on a dataset, as a victim would."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, tool
from cptools.cli._data import SOURCES, entry, main_input, open_dataset
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
from cptools.core.knobs import KNOBS  # noqa: TID253 - without torch
from cptools.core.recipes import PRETRAIN  # noqa: TID253 - without torch

if TYPE_CHECKING:
    from cptools.artifacts.schema import Dataset, Encoder

app = make_app("cp-pretrain")


@tool(app, options=opt.options_of({name: KNOBS[name] for name in PRETRAIN}))
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
    check_one_stdin(input=path, watch=watch)
    reader = open_dataset(path)
    watched = None if watch is None else open_dataset(watch)
    values = recipes.resolve(
        recipes.pretrain(recipe, alg=alg, dataset=reader.name), typed, context=f"--alg {alg}"
    )
    settings: dict[str, Any] = {"alg": alg, "recipe": recipe, "seed": seed, **values}
    if dry_run:
        end_dry_run(settings)

    from cptools.core.device import choose_bf16, choose_device

    place = choose_device(device)
    bf16 = choose_bf16(precision, place)
    settings |= {"device": place.type, "precision": "bf16" if bf16 else "fp32"}
    show_settings(settings, verbose=verbose)
    trained = _train(
        reader.read(),
        None if watched is None else watched.read(),
        settings,
        place,
        quiet=quiet,
        checkpoint=checkpoint,
    )
    deliver(trained, target, o=output, quiet=quiet)


def _train(
    dataset: "Dataset",
    watched: "Dataset | None",
    settings: dict[str, Any],
    device: Any,
    *,
    quiet: bool,
    checkpoint: Path | None,
) -> "Encoder":

    from cptools.artifacts.history import dataset_digest
    from cptools.artifacts.schema import Encoder, Input
    from cptools.core.build import build_learner, build_views
    from cptools.core.training import Pretraining, with_prefix

    inputs = main_input(dataset_digest(dataset))
    watch: dict[str, Any] = {}
    if watched is not None:
        _check_same_task(watched, dataset)
        inputs["watch"] = Input(dataset_digest(watched), watched.history, "dataset")
        watch["watch"], watch["watch_labels"] = training_tensors(watched, device)
    command = entry("cp-pretrain", settings, inputs)
    images, labels = training_tensors(dataset, device)
    note_queue(settings, len(images), quiet=quiet)
    learner = build_learner(
        settings["alg"],
        settings,
        num_classes=len(dataset.classes),
        device=device,
        bf16=settings["precision"] == "bf16",
        seed=settings["seed"],
    )
    work = Pretraining(
        images,
        labels,
        learner,
        build_views(settings, size=images.shape[-1], mean=dataset.mean, std=dataset.std),
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
        architecture=settings["encoder"],
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
