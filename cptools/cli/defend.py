"""`cp-defend`: clean a dataset of poison, as far as a defense can."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, tool
from cptools.cli._data import FileReader, entry, main_input
from cptools.cli._progress import track
from cptools.cli._streams import deliver, plan_output, resolve_input
from cptools.cli._work import end_dry_run, show_settings

if TYPE_CHECKING:
    from torch import Tensor

app = make_app("cp-defend")


@tool(app)
def defend(
    input: opt.DatasetInput = None,
    output: opt.Output = None,
    mc: Annotated[
        bool, typer.Option("--mc", help="Matrix completion: drop pixels, restore them by low rank.")
    ] = False,
    mc_drop: Annotated[
        float,
        typer.Option("--mc-drop", min=0.0, max=0.99, help="Probability that a pixel is dropped."),
    ] = 0.25,
    mc_keep: Annotated[
        float,
        typer.Option(
            "--mc-keep",
            min=0.0,
            max=1.0,
            help="Share of singular values kept (unconfirmed: the paper's value is lost).",
        ),
    ] = 0.5,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
) -> None:
    """Defend a dataset against poison before anybody trains on it.

    Reads a dataset and writes it with its training images treated; the test images stay as they
    are. --mc is the matrix completion of Contrastive Poisoning, section 6: the best of its table 8.
    """
    if not mc:
        raise UsageError("no defense is chosen; give --mc")
    settings: dict[str, Any] = {"mc": mc, "mc_drop": mc_drop, "mc_keep": mc_keep, "seed": seed}
    if dry_run:
        end_dry_run(settings)
    path = resolve_input(input, starts_chain=False, sources=(), quiet=quiet)
    reader = FileReader(path)
    target = plan_output(output, default_name=f"{reader.file_name}-mc.dataset.safetensors")
    show_settings(settings, verbose=verbose)
    dataset = reader.read()

    from dataclasses import replace

    import torch

    from cptools.artifacts.history import dataset_digest
    from cptools.core.device import choose_device

    place = choose_device(device)
    settings["device"] = place.type
    images = torch.from_numpy(dataset.train_images).to(place)
    defended = _complete(images, drop=mc_drop, keep=mc_keep, seed=seed, quiet=quiet)
    command = entry("cp-defend", settings, main_input(dataset_digest(dataset)))
    deliver(
        replace(
            dataset,
            train_images=defended.cpu().numpy(),
            history=(*dataset.history, command),
        ),
        target,
        o=output,
        quiet=quiet,
    )


def _complete(images: "Tensor", *, drop: float, keep: float, seed: int, quiet: bool) -> "Tensor":
    import torch

    from cptools.core.defenses.matrix_completion import complete_batches
    from cptools.core.random import stream

    size = 512
    batches = complete_batches(
        images, drop=drop, keep=keep, generator=stream(seed, "mc"), batch_size=size
    )
    done = track(
        batches,
        total=-(-len(images) // size),
        describe=lambda _: "",
        label="matrix completion",
        quiet=quiet,
    )
    return torch.cat(list(done))


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
