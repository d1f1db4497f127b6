"""Defenses: functions from images to images that may undo a poison. Torch-free until one is used.

Each takes uint8 [N, C, H, W] and returns the same shape, in 8 bits. Adding one is a function in a
file here and an entry of DEFENSES; the options of `cp-defend`, the words of `cp-pretrain --defend`,
the help, the man page and the history are made of it.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from cptools.core.plugins import Registry, check_spec
from cptools.core.settings import RESERVED, Setting, check_value


class Defense(NamedTuple):
    """A defense and what it can be told.

    Attributes:
        function: "module:function", from images and these settings to images.
        text: what it does, a sentence for `--help`.
        settings: its settings, by argument.
        defaults: values of settings that may be left out.
        main: the setting that has no default and stands for the defense: `--jpeg 10`; None for a
            defense that is only named.
        choices: settings of which at most one is given; the one in `defaults` gives way.
        is_random: whether the function takes a `generator`.
        learns: "module:function" of a defense that learns from images first, from all of them (or
            trusted ones), those of its settings that it takes and a `generator`; the function takes
            what it returns as `learned`.
    """

    function: str
    text: str
    settings: Mapping[str, Setting] = {}
    defaults: Mapping[str, Any] = {}
    main: str | None = None
    choices: tuple[str, ...] = ()
    is_random: bool = False
    learns: str | None = None


def _check(name: str, defense: Defense) -> None:
    check_spec(defense.function)
    if defense.learns is not None:
        check_spec(defense.learns)
    needed = {*defense.defaults, *defense.choices} | ({defense.main} - {None})
    if needed - set(defense.settings):
        raise ValueError("a default, a choice or the main setting is none of its settings")
    for option in (name, *(f"{name}_{setting}" for setting in defense.settings)):
        if option in RESERVED or not re.fullmatch("[a-z][a-z0-9_]*", option):
            raise ValueError(f"the option {option} is taken or cannot be typed")
    for setting, value in defense.defaults.items():
        if check_value(defense.settings[setting], value) != value:
            raise ValueError(f"its default of {setting} is {value!r}")


_HERE = "cptools.core.defenses."

_OWN = {
    "mc": Defense(
        _HERE + "matrix_completion:matrix_completion",
        "Matrix completion: drop pixels, restore them by low rank (CP section 6).",
        {
            "drop": Setting(float, "Probability that a pixel is dropped.", 0, 0.99),
            "keep": Setting(
                float,
                "Share of the singular values kept (unconfirmed: the paper's value is lost).",
                0,
                1,
            ),
            "rank": Setting(int, "Number of singular values kept, in place of a share.", 1),
            "eta": Setting(
                float,
                "Keep the singular values above (2 + eta) sqrt(n p), Chatterjee's own rule, in "
                "place of a share.",
                -2,
            ),
            "layout": Setting(
                ("apart", "side"),
                "Each channel a matrix, or all side by side as one (unconfirmed).",
            ),
            "mask": Setting(
                ("pixel", "entry"),
                "Drop pixels, or entries of each channel apart (unconfirmed).",
            ),
        },
        {"drop": 0.25, "keep": 0.5, "layout": "apart", "mask": "pixel"},
        choices=("keep", "rank", "eta"),
        is_random=True,
    ),
    "noise": Defense(
        _HERE + "noise:gaussian_noise",
        "Gaussian noise of standard deviation SIGMA on the pixel scale 0 to 1 (the paper's small "
        "and large are lost; 8/255 and 64/255 are guesses).",
        {"sigma": Setting(Fraction, "Standard deviation on the pixel scale 0 to 1.", 0, 1)},
        main="sigma",
        is_random=True,
    ),
    "smooth": Defense(
        _HERE + "smooth:gaussian_smoothing",
        "Gaussian smoothing by a kernel of KERNEL pixels, an odd number (the paper's small and "
        "large are lost; 3 and 15 are guesses).",
        {
            "kernel": Setting(int, "Side of the kernel in pixels, odd.", 1),
            "sigma": Setting(
                float,
                "Standard deviation in pixels; left out: 0.3 ((KERNEL - 1) / 2 - 1) + 0.8.",
                0.01,
            ),
        },
        main="kernel",
    ),
    "cutout": Defense(
        _HERE + "cutout:cutout",
        "Cut one square hole of SIZE pixels into each image (DeVries and Taylor 2017; 16 is "
        "usual at 32 pixels, and the paper's is lost).",
        {"size": Setting(int, "Side of the hole in pixels.", 1)},
        main="size",
        is_random=True,
    ),
    "gray": Defense(_HERE + "reduce:grayscale", "Grayscale (Liu et al., ICML 2023: ISS)."),
    "jpeg": Defense(
        _HERE + "reduce:jpeg",
        "JPEG compression at QUALITY, 1 to 100 (ISS uses 10).",
        {"quality": Setting(int, "Quality of libjpeg.", 1, 100)},
        main="quality",
    ),
    "webp": Defense(
        _HERE + "reduce:webp",
        "WebP compression at QUALITY, 1 to 100 (Pillow's own is 80).",
        {"quality": Setting(int, "Quality of libwebp.", 1, 100)},
        main="quality",
    ),
    "resize": Defense(
        _HERE + "rescale:resize",
        "Resize by FACTOR and back, bilinear: 0.5, or 0.9 as a screenshot does.",
        {"factor": Setting(float, "Factor of both sides.", 0.01, 4)},
        main="factor",
    ),
    "crop": Defense(
        _HERE + "rescale:crop",
        "Keep the middle SHARE of both sides and resize it back, bilinear.",
        {"share": Setting(float, "Part of both sides that is kept.", 0.01, 1)},
        main="share",
    ),
    "bits": Defense(
        _HERE + "reduce:bit_depth",
        "Round each channel to BITS bits, 1 to 8 (Xu, Evans, Qi 2018).",
        {"bits": Setting(int, "Bits kept.", 1, 8)},
        main="bits",
    ),
    "mixup": Defense(
        _HERE + "mix:mixup",
        "Blend each image with another one, its share from Beta(ALPHA, ALPHA) and at least half, "
        "so that its label holds (Zhang et al. 2018).",
        {"alpha": Setting(float, "Both parameters of the Beta distribution.", 0.01, 100)},
        main="alpha",
        is_random=True,
    ),
    "cutmix": Defense(
        _HERE + "mix:cutmix",
        "Paste a patch of another image into each, of at most half its area, drawn likewise (Yun "
        "et al. 2019).",
        {"alpha": Setting(float, "Both parameters of the Beta distribution.", 0.01, 100)},
        main="alpha",
        is_random=True,
    ),
    "ueraser": Defense(
        _HERE + "ueraser:ueraser",
        "UEraser's augmentations: plasma brightness and contrast, channel shuffle, TrivialAugment "
        "(Qin et al. 2023; for the worst of several draws, `cp-pretrain --alg ueraser`).",
        {
            "intensity": Setting(
                float, "Greatest strength of the plasma brightness, on the pixel scale.", 0, 1
            )
        },
        {"intensity": 1.0},
        is_random=True,
    ),
    "purify": Defense(
        _HERE + "purify:purify",
        "Add Gaussian noise of SIGMA on the pixel scale 0 to 1 and take it away by a denoiser that "
        "is trained on the dataset or on `trusted` images (after AVATAR, whose noise is 43/255; "
        "16/255 suits shapes).",
        {
            "sigma": Setting(Fraction, "Standard deviation on the pixel scale 0 to 1.", 0, 1),
            "steps": Setting(int, "Steps from that noise to none.", 1),
            "epochs": Setting(int, "Epochs of the training of the denoiser.", 1),
            "width": Setting(int, "Channels inside of the denoiser.", 1),
        },
        {"steps": 4, "epochs": 12, "width": 32},
        main="sigma",
        is_random=True,
        learns=_HERE + "purify:train_denoiser",
    ),
}

DEFENSES = Registry(
    "defense", Defense, _OWN, group="cptools.defenses", check=_check, pattern="[a-z][a-z0-9]*"
)

ON_THE_FLY = {  # where a defense is applied in every view anew, before or after it is drawn
    "image": _HERE + "on_the_fly:DefendedImages",
    "view": _HERE + "on_the_fly:DefendedViews",
}
