"""`cp-pretrain`: train an encoder on a dataset, as a victim would."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import Version, make_app, run, tool
from cptools.cli._data import SOURCES, entry, main_input, open_dataset
from cptools.cli._streams import deliver, plan_output, resolve_input
from cptools.cli._work import (
    check_checkpoint,
    end_dry_run,
    note_queue,
    run_work,
    show_settings,
    to_arrays,
)

if TYPE_CHECKING:
    from cptools.artifacts.schema import Dataset, Encoder

app = make_app("cp-pretrain")


@tool(app)
def pretrain(
    input: opt.StartInput = None,
    output: opt.Output = None,
    alg: opt.Alg = "simclr",
    recipe: opt.Recipe = "quick",
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the training images.")
    ] = None,
    encoder: opt.Encoder = None,
    width: opt.Width = None,
    head_hidden: opt.HeadHidden = None,
    head_dim: opt.HeadDim = None,
    temperature: opt.Temperature = None,
    ema: opt.Ema = None,
    queue_size: opt.QueueSize = None,
    bn_groups: opt.BnGroups = None,
    batch_size: opt.BatchSize = None,
    optimizer: opt.Optimizer = None,
    lr: opt.Lr = None,
    min_lr: opt.MinLr = None,
    warmup_epochs: Annotated[
        int | None, typer.Option("--warmup-epochs", min=0, help="Epochs of linear warm-up.")
    ] = None,
    warmup_lr: Annotated[
        float | None, typer.Option("--warmup-lr", min=0.0, help="Where the warm-up starts.")
    ] = None,
    weight_decay: opt.WeightDecay = None,
    momentum: opt.Momentum = None,
    loss_scale: opt.LossScale = None,
    crop_area: opt.CropArea = None,
    flip_prob: opt.FlipProb = None,
    jitter: opt.Jitter = None,
    jitter_prob: opt.JitterProb = None,
    gray_prob: opt.GrayProb = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    checkpoint: opt.CheckpointFile = None,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
) -> None:
    """Train an encoder by contrastive learning, without labels.

    Reads a dataset, clean or poisoned, and writes the encoder with the curves of its loss,
    alignment and uniformity. Without input, it trains on the built-in shapes.
    """
    typed = dict(locals())
    from cptools.core import recipes

    path = resolve_input(input, starts_chain=True, sources=SOURCES, quiet=quiet)
    target = "-" if dry_run else plan_output(output, default_name=f"{alg}.encoder.safetensors")
    check_checkpoint(checkpoint)
    reader = open_dataset(path)
    values = recipes.resolve(
        recipes.pretrain(recipe, alg=alg, dataset=reader.name),
        {name: typed[name] for name in recipes.PRETRAIN},
        context=f"--alg {alg}",
    )
    settings: dict[str, Any] = {"alg": alg, "recipe": recipe, "seed": seed, **values}
    if dry_run:
        end_dry_run(settings)

    from cptools.core.device import choose_bf16, choose_device

    place = choose_device(device)
    bf16 = choose_bf16(precision, place)
    settings |= {"device": place.type, "precision": "bf16" if bf16 else "fp32"}
    show_settings(settings, verbose=verbose)
    trained = _train(reader.read(), settings, place, quiet=quiet, checkpoint=checkpoint)
    deliver(trained, target, o=output, quiet=quiet)


def _train(
    dataset: "Dataset",
    settings: dict[str, Any],
    device: Any,
    *,
    quiet: bool,
    checkpoint: Path | None,
) -> "Encoder":
    import torch

    from cptools.artifacts.history import dataset_digest
    from cptools.artifacts.schema import Encoder
    from cptools.core.build import build_learner, build_views
    from cptools.core.training import Pretraining, with_prefix

    command = entry("cp-pretrain", settings, main_input(dataset_digest(dataset)))
    images = torch.from_numpy(dataset.train_images).to(device)
    note_queue(settings, len(images), quiet=quiet)
    learner = build_learner(
        settings["alg"],
        settings,
        device=device,
        bf16=settings["precision"] == "bf16",
        seed=settings["seed"],
    )
    work = Pretraining(
        images,
        learner,
        build_views(settings, size=images.shape[-1], mean=dataset.mean, std=dataset.std),
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        warmup_epochs=settings["warmup_epochs"],
        warmup_lr=settings["warmup_lr"],
        seed=settings["seed"],
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


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
