"""Networks of saved encoders, their embeddings, and augmentations as in their training."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import os

    import torch
    from torch import Tensor, nn

    from cptools.artifacts.schema import Dataset, Encoder
    from cptools.core.algorithms.base import Backbone
    from cptools.core.evaluation.distances import Distances
    from cptools.core.settings import Settings
    from cptools.core.views import Views


_WIDE = 1024  # width from which a tensor has to have that many rows or columns


def open_encoder(path: "str | os.PathLike[str]") -> "Callable[[], Encoder]":
    """Open an encoder file and check its header; the function returned reads it.

    Raises:
        ArtifactError: it is not an encoder.
    """
    from cptools.artifacts.schema import Encoder
    from cptools.artifacts.stream import open_artifact

    reader = open_artifact(path, expect=("encoder",))

    def read() -> Encoder:
        encoder = reader.read()
        assert isinstance(encoder, Encoder)
        return encoder

    return read


def build_backbone(
    encoder: "Encoder", device: "torch.device", *, trust: bool = False
) -> "Backbone":
    """The backbone of an artifact, on its device, in eval mode.

    Args:
        encoder: the artifact.
        device: where.
        trust: call code outside cptools where the file names some.

    Raises:
        ValueError: the architecture is unknown or not to be trusted, or the weights are not its
            own.
    """
    import torch

    from cptools.core.build import build_encoder
    from cptools.core.encoders import ENCODERS, PREFIX, is_foreign

    name = encoder.architecture.removeprefix(PREFIX)
    if name not in ENCODERS and not is_foreign(name):
        raise ValueError(
            f"unknown architecture {encoder.architecture!r}; this version has {', '.join(ENCODERS)}"
        )
    weights = backbone_tensors(encoder)
    if encoder.width > max(_WIDE, *(max(w.shape, default=0) for w in weights.values())):
        raise ValueError(  # before a network of that width takes memory
            f"the weights are not those of {encoder.architecture} of width {encoder.width}, as no"
            " tensor is that large; give an encoder of cp-pretrain"
        )
    network = build_encoder(
        encoder.architecture, encoder.width, size=encoder.input_size, trust=trust
    )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(
            f"the weights are not those of {encoder.architecture} of width {encoder.width}"
            f" ({reason})"
        ) from None
    return network.eval().to(device).to(memory_format=torch.channels_last)


def backbone_tensors(encoder: "Encoder") -> "dict[str, Tensor]":
    """The state dict of an encoder's backbone."""
    import torch

    return {
        name.removeprefix("backbone."): torch.from_numpy(array)
        for name, array in encoder.tensors.items()
        if name.startswith("backbone.")
    }


def check_size(encoder: "Encoder", dataset: "Dataset") -> None:
    """Check that images have the size that the encoder was trained on."""
    if dataset.train_images.shape[-1] != encoder.input_size:
        raise ValueError(
            f"the encoder was trained on images of {encoder.input_size} pixels, {dataset.name} has"
            f" {dataset.train_images.shape[-1]}; load it with"
            f" `size={encoder.input_size}`"
        )


def build_embedding(
    encoder: "Encoder", device: "torch.device"
) -> "tuple[nn.Module, Callable[[Tensor], Tensor], str]":
    """The network of an artifact, a function of it from views to embeddings, and what these are.

    Embeddings are outputs of the projector, as in the paper and in the training curves; for an
    encoder without projector (supervised, or imported) they are its features.

    Returns:
        The module, the function, and `projector` or `backbone`.

    Raises:
        ValueError: the weights are not those of the algorithm or architecture named.
    """
    import torch

    from cptools.core.algorithms import ALGORITHMS
    from cptools.core.build import build_encoder
    from cptools.core.lazy import load
    from cptools.core.settings import check_value

    backbone = build_backbone(encoder, device)
    head = {
        name.removeprefix("head."): torch.from_numpy(array)
        for name, array in encoder.tensors.items()
        if name.startswith("head.")
    }
    matrices = sorted(n for n, w in head.items() if n.startswith("projector.") and w.ndim == 2)
    if not matrices:
        return backbone, backbone, "backbone"
    if encoder.algorithm not in ALGORITHMS:
        raise ValueError(
            f"unknown algorithm {encoder.algorithm!r}; this version has {', '.join(ALGORITHMS)}"
        )
    entry = ALGORITHMS[encoder.algorithm]
    kind = load(entry.build)
    told: dict[str, Any] = {**entry.quick}
    for step in encoder.history:
        if step.tool == "cp-pretrain":
            told |= step.parameters
    options: dict[str, Any] = {
        name: check_value(setting, told[name]) for name, setting in entry.own_settings.items()
    }
    if kind.needs_pixels:
        options |= {"mean": encoder.mean, "std": encoder.std}
    if kind.needs_classes:
        classifiers = [name for name in head if re.fullmatch(r"classifiers\.\d+\.bias", name)]
        several = tuple(len(head[name]) for name in sorted(classifiers))
        options["num_classes"] = several or len(head.get("classifier.bias", "1"))
    try:
        algorithm = kind(
            build_encoder(encoder.architecture, encoder.width, size=encoder.input_size),
            hidden=len(head[matrices[0]]),
            dim=len(head[matrices[-1]]),
            generator=torch.Generator(),
            **options,
        )
        algorithm.head.load_state_dict(head)
    except (RuntimeError, TypeError):
        raise ValueError(
            f"the head is not that of {encoder.algorithm}; train the encoder with `cp.pretrain`"
        ) from None
    algorithm.encoder = backbone
    algorithm.head.to(device)
    return algorithm, algorithm.embed, "projector"


def view_settings(encoder: "Encoder", recipe: str) -> dict[str, Any]:
    """Augmentations that an encoder was trained with, by its history, else those of the recipe."""
    from cptools.core import recipes
    from cptools.core.algorithms import ALGORITHMS
    from cptools.core.presets import VIEWS

    alg = encoder.algorithm if encoder.algorithm in ALGORITHMS else "simclr"
    values: dict[str, Any] = {**recipes.pretrain(recipe, alg=alg, dataset="")}
    for step in encoder.history:
        if step.tool == "cp-pretrain":
            values = {**values, "pad": 0, **step.parameters}
    return {name: values[name] for name in VIEWS}


def build_training_views(encoder: "Encoder", views: dict[str, Any] | None = None) -> "Views":
    """Random views with the augmentations that an encoder was trained with.

    Args:
        encoder: whose.
        views: what `view_settings` returned, by which they are made; left out, of recipe quick.

    Raises:
        ValueError: the augmentations in the history are invalid.
    """
    from cptools.core.build import build_views
    from cptools.core.settings import SETTINGS, check_value

    views = views or view_settings(encoder, "quick")
    try:
        checked = {name: check_value(SETTINGS[name], value) for name, value in views.items()}
        values = cast("Settings", checked)
        return build_views(values, size=encoder.input_size, mean=encoder.mean, std=encoder.std)
    except ValueError as error:  # an untrusted header
        raise ValueError(
            f"the augmentations in the encoder's history are invalid: {error}; train it again"
        ) from None


def measure_distances(
    encoder: "Encoder",
    dataset: "Dataset",
    views: dict[str, Any],
    device: "torch.device",
    *,
    seed: int,
    bf16: bool,
) -> "tuple[Distances, str]":
    """Distances of two views of each training image, and what the embeddings are.

    Args:
        encoder: whose.
        dataset: of which.
        views: what `view_settings` returned.
        device: where to compute.
        seed: of the views.
        bf16: compute the networks in bfloat16.

    Raises:
        ValueError: the images or the views do not suit the encoder.
    """
    import torch

    from cptools.core.evaluation.distances import Distances, view_distances

    check_size(encoder, dataset)
    drawn = build_training_views(encoder, views)
    network, embed, kind = build_embedding(encoder, device)
    images = torch.from_numpy(dataset.train_images)
    return Distances.of(view_distances(network, embed, images, drawn, seed=seed, bf16=bf16)), kind
