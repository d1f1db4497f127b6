"""`cp-select`: keep a part of a dataset that is worth as much as the whole, a coreset."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, say, tool
from cptools.cli._data import SOURCES, entry, main_input, open_dataset
from cptools.cli._streams import check_one_stdin, deliver, plan_output, resolve_input
from cptools.cli._work import end_dry_run, show_settings
from cptools.core.coresets import CORESETS  # noqa: TID253 - a registry, without torch

if TYPE_CHECKING:
    from torch import Tensor, device

    from cptools.artifacts.schema import Dataset, Encoder

app = make_app("cp-select")

METHODS = " ".join(f"{name}: {entry.text}" for name, entry in CORESETS.items())


@tool(app)
def select(
    input: opt.StartInput = None,
    output: opt.Output = None,
    method: Annotated[str, opt.one_of("--method", CORESETS, METHODS)] = "sas",
    fraction: Annotated[
        float | None,
        typer.Option(
            "--fraction",
            min=0.0,
            max=1.0,
            help="Share of the training images to keep; for sas below a half.",
            show_default=False,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="FILE",
            help="Proxy whose embeddings are compared (sas, sas-topk, paper2).",
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            "--classes",
            min=1,
            help="Latent classes, by k-means of the proxy's features; as many as there are classes "
            "if left out.",
        ),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="The labels are the latent classes.")
    ] = False,
    views: Annotated[
        int | None,
        typer.Option(
            "--num-views", min=1, help="Random views whose embeddings are averaged (sas): 8."
        ),
    ] = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
) -> None:
    """Select a coreset of the training images.

    The test images stay. Rows are kept in their order, and `train.index` says which they are.
    """
    chosen, context = CORESETS[method], f"--method {method}"
    if fraction is None or not fraction:
        raise UsageError(
            "no share to keep is given; give --fraction above 0, such as --fraction 0.2"
        )
    for flag, given, applies in (
        ("--encoder", encoder, chosen.embeddings),
        ("--classes", classes, chosen.classes == "latent"),
        ("--labels", labels, chosen.classes == "latent"),
        ("--num-views", views, chosen.embeddings == "views"),
    ):
        if given and not applies:
            raise UsageError(f"{flag} does not apply to {context}; leave it out")
    if labels and classes:
        raise UsageError("latent classes are by --labels or by --classes N; leave one out")
    settings: dict[str, Any] = {
        "method": method, "fraction": fraction, "classes": classes, "labels": labels or None,
        "num_views": (views or 8) if chosen.embeddings == "views" else None, "seed": seed,
    }  # fmt: skip
    if dry_run:
        end_dry_run(settings)
    if chosen.embeddings and encoder is None:
        raise UsageError(
            f"{context} compares embeddings, which need an encoder; make one with cp-pretrain INPUT"
            " -o ENCODER and give --encoder ENCODER"
        )
    path = resolve_input(input, starts_chain=True, sources=SOURCES, quiet=quiet)
    target = plan_output(output, default_name="coreset.dataset.safetensors")
    check_one_stdin(input=path, encoder=encoder)
    from cptools.artifacts.schema import Encoder
    from cptools.artifacts.stream import open_artifact

    reader = open_dataset(path)
    proxy = None if encoder is None else open_artifact(encoder, expect=("encoder",)).read()
    assert proxy is None or isinstance(proxy, Encoder)

    from cptools.core.device import choose_bf16, choose_device

    place = choose_device(device)
    settings |= {
        "device": place.type,
        "precision": "bf16" if choose_bf16(precision, place) else "fp32",
    }
    show_settings(settings, verbose=verbose)
    if method == "sas" and fraction > 0.5:
        say("note: beyond a half, sas adds the images least like those that it kept", quiet=quiet)
    dataset = reader.read()
    coreset = _select(dataset, proxy, settings, place)
    lost = _lost_classes(dataset, coreset)
    if lost:
        say(f"note: no image of {', '.join(lost)} is kept", quiet=quiet)
    deliver(coreset, target, o=output, quiet=quiet)


def _lost_classes(dataset: "Dataset", coreset: "Dataset") -> list[str]:
    """Names of the classes that the coreset has no image of."""
    lost = {*dataset.train_labels.tolist()} - {*coreset.train_labels.tolist()}
    return [dataset.classes[label] for label in sorted(lost)]


def _select(
    dataset: "Dataset", proxy: "Encoder | None", settings: dict[str, Any], place: "device"
) -> "Dataset":
    """The coreset."""
    from dataclasses import replace

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
        of_images.append(_embeddings(dataset, proxy, settings, place))
    if chosen.classes == "latent" and not settings["labels"]:
        assert proxy is not None
        of_images.append(_latent_classes(dataset, proxy, settings, place))
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
    dataset: "Dataset", proxy: "Encoder", settings: dict[str, Any], place: "device"
) -> "Tensor":
    """What the method compares: embeddings of the proxy, of views or of the images themselves."""
    import torch

    from cptools.cli._embedding import build_embedding, build_training_views, check_size
    from cptools.core.coresets import EMBEDDINGS
    from cptools.core.lazy import load

    check_size(proxy, dataset)
    kind = CORESETS[settings["method"]].embeddings
    assert kind is not None
    network, embed, _ = build_embedding(proxy, place)
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
    dataset: "Dataset", proxy: "Encoder", settings: dict[str, Any], place: "device"
) -> "Tensor":
    """Clusters of the features of the proxy's backbone, int64 [N]."""
    import torch

    from cptools.cli._encoder import build_backbone
    from cptools.core.coresets.budgets import latent_classes
    from cptools.core.evaluation.probe import features

    found = features(
        build_backbone(proxy, place),
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
        raise UsageError(
            "the encoder makes numbers of these images that are not finite; give another --encoder"
        )
    return found


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
