"""From resolved settings to views, encoders, algorithms and learners."""

from collections.abc import Mapping
from fractions import Fraction
from typing import cast

import torch
from torch import Tensor, nn

from cptools.core.algorithms import ALGORITHMS
from cptools.core.algorithms.base import Algorithm, Backbone
from cptools.core.encoders import ENCODERS, PREFIX, Encoder, is_foreign
from cptools.core.encoders.foreign import as_backbone, check_trust, make_foreign, seeded
from cptools.core.encoders.heads import initialize
from cptools.core.encoders.strided import replace_strided
from cptools.core.encoders.two_stream import TwoStreamEncoder
from cptools.core.encoders.weights import load_weights
from cptools.core.epsilon import parse_epsilon
from cptools.core.lazy import load
from cptools.core.random import stream
from cptools.core.settings import SETTINGS, Setting, Settings
from cptools.core.training import Learner
from cptools.core.views import Views

# Setting -> argument of the algorithm's constructor; an algorithm's own settings keep their names.
ALGORITHM_OPTIONS = {
    "head_hidden": "hidden",
    "head_dim": "dim",
    "temperature": "temperature",
    "loss": "objective",
    "ema": "momentum",
    "queue_size": "queue_size",
    "redundancy_weight": "redundancy_weight",
    "invariance_weight": "invariance_weight",
    "variance_weight": "variance_weight",
    "covariance_weight": "covariance_weight",
    "prototypes": "num_prototypes",
    "frozen_epochs": "frozen_epochs",
    "teacher_temperature": "teacher_temperature",
    "teacher_start": "teacher_start",
    "teacher_warmup": "teacher_warmup",
    "sinkhorn_epsilon": "sinkhorn_epsilon",
    "queue_start": "queue_start",
    "mask_ratio": "mask_ratio",
    "decoder_width": "decoder_width",
    "decoder_layers": "decoder_layers",
    "local_views": "local_views",
    "local_size": "local_size",
    "local_area": "local_area",
    "bn_groups": "bn_groups",
    "adv_epsilon": "epsilon",
    "adv_steps": "steps",
    "adv_step_size": "step_size",
    "ce_weight": "ce_weight",
    "draws": "draws",
    "intensity": "intensity",
}
JITTER = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation, hue (CP appendix A)


def build_views(
    values: Settings,
    *,
    size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Views:
    """Views of a recipe for images of a dataset.

    Args:
        values: resolved settings.
        size: side of the images in pixels.
        mean: per-channel mean of the normalization, in [0, 1].
        std: per-channel standard deviation of the normalization.

    Raises:
        ValueError: the jitter turns hue by more than half a circle, or a value is out of range.
    """
    strength = values["jitter"]
    brightness, contrast, saturation, hue = (strength * factor for factor in JITTER)
    if hue > 0.5:
        raise ValueError(f"`jitter` {strength} turns hue by more than half a circle; at most 5")
    used = values["views"].split(",")
    return Views(
        size=size,
        mean=mean,
        std=std,
        scale=(values["crop_area"] if "crop" in used else 1.0, 1.0),
        flip=float(values["flip_prob"]) if "flip" in used else 0.0,
        jitter=(brightness, contrast, saturation, hue),
        jitter_p=float(values["jitter_prob"]) if "jitter" in used else 0.0,
        gray_p=float(values["gray_prob"]) if "gray" in used else 0.0,
        blur_p=float(values["blur_prob"]) if "blur" in used else 0.0,
        pad=values["pad"],
        shared=tuple(filter(None, values["share_views"].split(","))),
    )


def build_encoder(
    name: str,
    width: int,
    *,
    size: int | None = None,
    generator: torch.Generator | None = None,
    trust: bool = False,
) -> Backbone:
    """A backbone; its weights are drawn by the algorithm that takes it, unless it keeps its own.

    Args:
        name: a key of ENCODERS, "timm:NAME" or "package.module:function"; with the prefix lab- two
            such networks, of half the width where they have one, of lightness and of color.
        width: channels of the first stage; means nothing to timm and functions.
        size: side of the images in pixels; some encoders, and all from outside, need it.
        generator: of the initial weights of one that keeps its own; left out: of a fixed seed.
        trust: whether the caller vouches for the code that a "package.module:function" is. A name
            that was read in a file is no reason to.

    Raises:
        ValueError: there is no such encoder, nobody vouches for it, or it is no network from
            images of this size to features.
    """
    base = name.removeprefix(PREFIX)
    entry = None if is_foreign(base) else ENCODERS.find(base)
    if entry is None:
        check_trust(base, trust=trust)

    def make(width: int) -> Backbone:
        if entry is None:
            network = make_foreign(base, _known(size, base))
        else:
            network = _made(entry, width, size, base)
        replace_strided(network)
        if entry is None or not hasattr(network, "feature_dim"):
            return as_backbone(network, base, _known(size, base))
        return cast("Backbone", network)

    def build() -> Backbone:
        if name.startswith(PREFIX):
            half = max(1, width // 2)
            return TwoStreamEncoder(make(half), make(half))
        return make(width)

    if entry is not None and not entry.keeps_weights:
        return build()
    with seeded(generator or torch.Generator().manual_seed(0)):
        encoder = build()
    encoder.keeps_weights = True
    return encoder


def _made(entry: Encoder, width: int, size: int | None, name: str) -> nn.Module:
    sizes = (width, _known(size, name)) if entry.needs_size else (width,)
    return cast("nn.Module", load(entry.build)(*sizes))


def _known(size: int | None, name: str) -> int:
    if size is None:
        raise ValueError(f"the encoder {name} may depend on the images' size; give it as `size`")
    return size


def build_algorithm(
    alg: str,
    values: Settings,
    *,
    num_classes: int | tuple[int, ...],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    seed: int,
    role: str = "victim",
    size: int | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Algorithm:
    """An algorithm with fresh weights, by resolved settings.

    Whoever gives the settings vouches for a "package.module:function" that is their encoder.

    Args:
        alg: a key of ALGORITHMS.
        values: resolved settings.
        num_classes: of the labels, or of each labeling where there are several; algorithms that
            look at no labels do not take it.
        mean: per-channel mean of the normalization, in [0, 1]; of adversarial training alone.
        std: per-channel standard deviation of the normalization; of adversarial training alone.
        seed: of the initial weights.
        role: "attacker" or "victim"; keeps the two from starting at the same weights where their
            seeds are equal: the attacker cannot know the victim's initialization (CP section 3).
        size: side of the images in pixels; some encoders need it.
        weights: that the encoder starts from in place of the seed's, by name; see `load_weights`.

    Raises:
        ValueError: there is no such algorithm or encoder; views are to share what an algorithm of
            one view cannot; or the weights are not the encoder's.
    """
    entry = ALGORITHMS.find(alg)
    kind = load(entry.build)
    if kind.num_views == 1 and values.get("share_views"):
        raise ValueError(f"`share_views` does not apply to `alg={alg}`, which sees one view")
    arguments = ALGORITHM_OPTIONS | {name: name for name in entry.own_settings}
    table = SETTINGS | dict(entry.own_settings)
    options = {
        arguments[name]: _number(table[name], value)
        for name, value in values.items()
        if name in arguments
    }
    if kind.needs_classes:
        options["num_classes"] = num_classes
    if kind.needs_pixels:
        options |= {"mean": mean, "std": std}
    encoder = build_encoder(
        kind.encoder_prefix + values["encoder"],
        values["width"],
        size=size,
        generator=stream(seed, role, "encoder"),
        trust=True,
    )
    if weights is not None:
        initialize(encoder, stream(seed, role, "encoder"))  # what the weights leave out
        parameter = "encoder_init" if role == "attacker" else "init"
        load_weights(encoder, weights, values["encoder"], parameter)
        encoder.keeps_weights = True
    algorithm: Algorithm = kind(encoder, generator=stream(seed, role, "weights"), **options)
    return algorithm


def _number(setting: Setting, value: object) -> object:
    """The number that a setting is: fractions are kept as text."""
    return float(parse_epsilon(str(value))) if setting.kind is Fraction else value


def build_learner(
    alg: str,
    values: Settings,
    *,
    num_classes: int | tuple[int, ...],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
    bf16: bool,
    seed: int,
    role: str = "victim",
    size: int | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Learner:
    """An algorithm on its device with its optimizer, by resolved settings; see `build_algorithm`.

    Args:
        alg: a key of ALGORITHMS.
        values: resolved settings.
        num_classes: of the labels, or of each labeling where there are several.
        mean: per-channel mean of the normalization, in [0, 1].
        std: per-channel standard deviation of the normalization.
        device: where to train.
        bf16: compute the network in bfloat16.
        seed: of the initial weights.
        role: "attacker" or "victim".
        size: side of the images in pixels; some encoders need it.
        weights: that the encoder starts from, by name.

    Raises:
        ValueError: there is no such algorithm or encoder, or a setting or weight does not suit it.
    """
    algorithm = build_algorithm(
        alg,
        values,
        num_classes=num_classes,
        mean=mean,
        std=std,
        seed=seed,
        role=role,
        size=size,
        weights=weights,
    )
    algorithm = algorithm.to(device).to(memory_format=torch.channels_last)
    return Learner(
        algorithm,
        optimizer=values["optimizer"],
        lr=values["lr"],
        min_lr=values["min_lr"],
        weight_decay=values["weight_decay"],
        momentum=values["momentum"],
        loss_scale=values["loss_scale"],
        bf16=bf16,
    )
