"""Every setting that a recipe can hold: its type, its range and what it means. Torch-free.

The command-line options of `cp-generate` and `cp-pretrain` are made of the table, and what comes
from Python is checked against it. An attack or an algorithm adds settings of its own in its entry.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from numbers import Integral, Real
from typing import NamedTuple, TypedDict

from cptools.core.degradations import DEGRADATIONS, check_degradations
from cptools.core.encoders import ENCODERS, FOREIGN
from cptools.core.epsilon import parse_epsilon


class Setting(NamedTuple):
    """A setting.

    Attributes:
        kind: int or float, or the words to choose from; Fraction is a number on the pixel scale
            that may be written as one, such as 8/255, and is kept as it was written; str is text
            in a form of its own, which `check` knows.
        text: what it means, a sentence for `--help`; other settings are named in backticks.
        low: least value, or None.
        high: greatest value, or None.
        several: whether any of the words may be chosen at once, with commas between them.
        pattern: of further words that are allowed, a regular expression; None: no others.
        others: what these words are, for people, such as "timm:NAME".
        check: returns such text as histories have it, or raises ValueError.
    """

    kind: type[int] | type[float] | type[Fraction] | type[str] | Collection[str]
    text: str
    low: float | None = None
    high: float | None = None
    several: bool = False
    pattern: str | None = None
    others: tuple[str, ...] = ()
    check: Callable[[object], str] | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The words to choose from; none of a number."""
        return () if isinstance(self.kind, type) else tuple(self.kind)

    @property
    def placeholder(self) -> str:
        """What stands for a value in `--help`."""
        if isinstance(self.kind, type) and self.kind is not str:
            return "N" if self.kind is int else "X"
        return ("," if self.several else "|").join((*self.words, *self.others))


def read_value(setting: Setting, text: str) -> int | float | str:
    """Read a setting from text; words and fractions stay text.

    Raises:
        ValueError: it is not of the setting's kind, or out of its range; one line.
    """
    if setting.kind is not int and setting.kind is not float:
        return check_value(setting, text)
    try:
        value = int(text) if setting.kind is int else float(text)
    except ValueError:
        value = math.nan
    return _number(setting, value, repr(text))


def check_value(setting: Setting, value: object) -> int | float | str:
    """A value from Python as the type that the setting has.

    Whole floats do for int and whole numbers for float, numpy's as well; words may come as a
    sequence where several may be chosen. Text is no number, nor is True.

    Raises:
        ValueError: it is not of the setting's kind, out of its range or not finite; one line.
    """
    if setting.check is not None:
        return setting.check(value)
    if setting.words:
        return _words(setting, value)
    if setting.kind is Fraction:
        return _fraction(setting, value)
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return _number(setting, value if is_number else math.nan, repr(value))  # type: ignore[arg-type]


def _number(setting: Setting, value: Real | float, shown: str) -> int | float:
    number: int | float
    try:
        number = int(value) if isinstance(value, Integral) else float(value)
        fits = _is_within(setting, number)
    except OverflowError:
        fits = False
    if not fits or (setting.kind is int and number != int(number)):
        kind = "a whole number" if setting.kind is int else "a number"
        least = "" if setting.low is None else f" from {setting.low}"
        most = "" if setting.high is None else f" to {setting.high}"
        raise ValueError(f"{shown} is not {kind}{least}{most}")
    return int(number) if setting.kind is int else float(number)


def _is_within(setting: Setting, value: float | Fraction) -> bool:
    low = -math.inf if setting.low is None else setting.low
    high = math.inf if setting.high is None else setting.high
    return low <= value <= high and math.isfinite(value)


def _words(setting: Setting, value: object) -> str:
    if setting.several and isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not {'words' if setting.several else 'a word'}")
    if not setting.several:
        return _word(setting, value)
    chosen = {_word(setting, word.strip()) for word in value.split(",") if word.strip()}
    return ",".join(word for word in setting.words if word in chosen)


def _word(setting: Setting, word: str) -> str:
    if word in setting.words:
        return word
    if setting.pattern is not None and re.fullmatch(setting.pattern, word, re.ASCII):
        return word
    broken = getattr(setting.kind, "broken", {})  # names of packages that cannot be used
    raise ValueError(
        broken.get(word) or f"{word!r} is not one of {', '.join((*setting.words, *setting.others))}"
    )


def _fraction(setting: Setting, value: object) -> str:
    text = ""
    if isinstance(value, Fraction | str):
        text = str(value)
    elif isinstance(value, Real) and not isinstance(value, bool):
        text = str(float(value))  # numpy's numbers are written in their own way
    try:
        number = parse_epsilon(text)
    except ValueError:
        number = None
    if number is None or not _is_within(setting, number):
        raise ValueError(f"{value!r} is not a number from 0 to 1, such as 8/255")
    return "".join(text.split()) if "/" in text else str(float(number))


AUGMENTATIONS = ("crop", "flip", "jitter", "gray", "blur")

SETTINGS = {
    # The alternation of poisoning (algorithm 1)
    "branch": Setting(
        ("dual", "single"), "Gradient through the momentum branch too (dual), or not."
    ),
    "rounds": Setting(int, "T: alternations of encoder and noise.", 1),
    "model_steps": Setting(int, "T_theta: encoder steps per round.", 0),
    "noise_steps": Setting(int, "T_delta: batches per round on which the noise is optimized.", 0),
    "pgd_steps": Setting(int, "T_p: PGD steps on each noise batch.", 1),
    "step_size": Setting(float, "PGD step size, in units of epsilon.", 0, 2),
    "survive": Setting(
        str,
        "Learn noise that survives what images go through once published: each batch goes through "
        "one of these before its views, or through none.",
        others=tuple(f"{name}:{'N' if d.is_whole else 'X'}" for name, d in DEGRADATIONS.items()),
        several=True,
        check=check_degradations,
    ),
    # Schedule
    "epochs": Setting(int, "Passes over the training images.", 1),
    "warmup_epochs": Setting(int, "Epochs of linear learning-rate warm-up.", 0),
    "warmup_lr": Setting(float, "Learning rate at the start of the warm-up.", 0),
    # Model
    "encoder": Setting(
        ENCODERS,
        "Backbone; a function that returns one, or a model of timm, by its name.",
        pattern=FOREIGN,
        others=("package.module:function", "timm:NAME"),
    ),
    "width": Setting(
        int,
        "Channels of the backbone's first stage, or dimensions of a ViT; another `encoder` comes "
        "at its own (64; mobilenetv2 32, wideresnet28 160, convnext-tiny 96, vit-tiny 192, "
        "vit-small 384, resnet10 8).",
        1,
    ),
    "head_hidden": Setting(int, "Hidden width of the projection and prediction heads.", 1),
    "head_dim": Setting(int, "Dimension of the embedding.", 1),
    "temperature": Setting(
        float,
        "tau of InfoNCE (simclr, moco, moco-v3, nnclr, supcon, cmc, advsimclr, advcl, vespr) or of "
        "the softmax that learns (dino, swav).",
        1e-3,
    ),
    "loss": Setting(
        ("nt-xent", "infonce", "hinge", "align-uniform", "cosine"),
        "Loss of simclr and moco: nt-xent (simclr: negatives in both views), infonce (negatives in "
        "the other view, or in the queue), or one without temperature.",
    ),
    "ema": Setting(
        float,
        "Momentum m of the momentum encoder (moco, moco-v3, byol; dino: in the first epoch).",
        0,
        1,
    ),
    "queue_size": Setting(
        int,
        "Negatives in the queue (moco), candidates for the nearest neighbor (nnclr), both fewer "
        "than there are training images, or embeddings that share the codes (swav; 0: none).",
        0,
    ),
    "redundancy_weight": Setting(
        float, "lambda: weight of the correlations off the diagonal (barlow-twins).", 0
    ),
    "invariance_weight": Setting(float, "lambda: weight of the invariance (vicreg).", 0),
    "variance_weight": Setting(float, "mu: weight of the variance (vicreg).", 0),
    "covariance_weight": Setting(float, "nu: weight of the covariance (vicreg).", 0),
    "prototypes": Setting(int, "K: prototypes, the outputs of the softmax (dino, swav).", 1),
    "frozen_epochs": Setting(
        int, "First epochs, or rounds of an attack, in which the prototypes stay as they are.", 0
    ),
    "teacher_temperature": Setting(float, "tau of the teacher's softmax (dino).", 1e-3),
    "teacher_start": Setting(float, "tau of the teacher's softmax in the first epoch.", 1e-3),
    "teacher_warmup": Setting(
        int, "Epochs, or rounds of an attack, until it has risen to `teacher_temperature`.", 0
    ),
    "sinkhorn_epsilon": Setting(float, "Weight of the entropy of the codes (swav).", 1e-3),
    "queue_start": Setting(
        int, "Epochs, or rounds of an attack, before the queue takes part in the codes (swav).", 0
    ),
    "local_views": Setting(
        int, "Local views of an image, smaller crops beside two global ones (dino, swav).", 0
    ),
    "local_size": Setting(int, "Side of the local views in pixels; at most that of the images.", 1),
    "local_area": Setting(
        float,
        "Smallest area of a local view's crop, as a fraction of the image; the largest is "
        "`crop_area`.",
        0.01,
        1,
    ),
    "bn_groups": Setting(int, "Batch-norm groups (emulates N GPUs without SyncBN).", 1),
    "mask_ratio": Setting(float, "Part of the patches that is hidden (mae).", 0, 1),
    "decoder_width": Setting(int, "Dimensions of the decoder, a multiple of 32 (mae).", 32),
    "decoder_layers": Setting(int, "Layers of the decoder (mae).", 1),
    # Adversarial training
    "adv_epsilon": Setting(
        Fraction,
        "L-infinity radius of adversarial views, on the pixel scale 0 to 1 (advsupervised, "
        "advsimclr, advcl, vespr).",
        0,
        1,
    ),
    "adv_steps": Setting(
        int, "PGD steps of an adversarial view (advsupervised, advsimclr, advcl, vespr).", 1
    ),
    "adv_step_size": Setting(
        float, "PGD step size of adversarial views, in units of `adv_epsilon`.", 0, 2
    ),
    "ce_weight": Setting(
        float, "Weight of the cross-entropy, on pseudo-labels (advcl) or labels (vespr).", 0
    ),
    "draws": Setting(int, "K: augmentations of an image, of which the worst counts (ueraser).", 1),
    "intensity": Setting(
        float, "Greatest strength of the plasma brightness, on the pixel scale (ueraser).", 0, 1
    ),
    # Optimization
    "batch_size": Setting(int, "Batch size.", 2),
    "optimizer": Setting(("sgd", "adamw", "lars"), "Optimizer of the encoder."),
    "lr": Setting(float, "Learning rate at the start of the cosine schedule.", 0),
    "min_lr": Setting(
        float, "Learning rate at the end of the cosine schedule, as a fraction of `lr`.", 0, 1
    ),
    "weight_decay": Setting(float, "Weight decay: L2 (sgd, lars) or decoupled (adamw).", 0),
    "momentum": Setting(float, "Momentum of SGD and LARS; beta1 of AdamW.", 0, 0.9999),
    "loss_scale": Setting(
        float,
        "Factor of the textbook loss; the official code's loss has a factor of 1.786 (simclr), "
        "2.857 (moco), 0.25 (byol), AdvCL's 7.143.",
        1e-6,
    ),
    # Views
    "views": Setting(
        AUGMENTATIONS, "Augmentations of the views, separated by commas.", several=True
    ),
    "share_views": Setting(
        AUGMENTATIONS,
        "Augmentations drawn once per image and shared by all its views; the others are drawn for "
        "each view.",
        several=True,
    ),
    "crop_area": Setting(
        float, "Smallest area of a random resized crop, as a fraction of the image.", 0.01, 1
    ),
    "flip_prob": Setting(float, "Probability of a horizontal flip.", 0, 1),
    "jitter": Setting(
        float,
        "Strength of color jitter; 1 is brightness, contrast, saturation 0.4 and hue 0.1.",
        0,
        2.5,
    ),
    "jitter_prob": Setting(float, "Probability of color jitter.", 0, 1),
    "gray_prob": Setting(float, "Probability of grayscale.", 0, 1),
    "blur_prob": Setting(
        float, "Probability of Gaussian blur (SimCLR's; not in CP's views).", 0, 1
    ),
    "pad": Setting(int, "Pixels of black padding around the image, for random shifts.", 0, 1024),
}
"""Every setting but those of single attacks and algorithms."""


class Settings(TypedDict, total=False):
    """Resolved settings, as `cptools.core.recipes.resolve` returns them.

    A recipe holds those that apply to its algorithm or attack; the table says their ranges. Words
    of several and fractions are text, as histories have them. Entries of other packages may extend
    it: `class MySettings(Settings, total=False)`.
    """

    branch: str
    rounds: int
    model_steps: int
    noise_steps: int
    pgd_steps: int
    step_size: float
    survive: str
    epochs: int
    warmup_epochs: int
    warmup_lr: float
    encoder: str
    width: int
    head_hidden: int
    head_dim: int
    temperature: float
    loss: str
    ema: float
    queue_size: int
    redundancy_weight: float
    invariance_weight: float
    variance_weight: float
    covariance_weight: float
    prototypes: int
    frozen_epochs: int
    teacher_temperature: float
    teacher_start: float
    teacher_warmup: int
    sinkhorn_epsilon: float
    queue_start: int
    local_views: int
    local_size: int
    local_area: float
    bn_groups: int
    mask_ratio: float
    decoder_width: int
    decoder_layers: int
    adv_epsilon: str
    adv_steps: int
    adv_step_size: float
    ce_weight: float
    draws: int
    intensity: float
    batch_size: int
    optimizer: str
    lr: float
    min_lr: float
    weight_decay: float
    momentum: float
    loss_scale: float
    views: str
    share_views: str
    crop_area: float
    flip_prob: float
    jitter: float
    jitter_prob: float
    gray_prob: float
    blur_prob: float
    pad: int
    # of single attacks
    stop_error: float
    csd_weight: float
    noise_draws: int
    entangle: str
    classifier_lr: float
    patch_size: int
    rms: float
    least_response: float


RESERVED = frozenset({
    "input", "output", "alg", "mode", "epsilon", "delta", "init", "half", "recipe", "seed",
    "device", "precision", "checkpoint", "dry_run", "quiet", "verbose", "version", "help", "watch",
    "labels_from", "defend", "defend_at", "probe_every", "report", "clean", "trusted", "dataset",
    "recommend", "victim", "proxy_epochs", "encoder_init", "log", "json", "context", "export",
    "info", "audit", "clusters", "names", "scores", "size", "install_completion", "show_completion",
})  # fmt: skip
"""Names of what the tools are told besides settings, which no setting may have."""


def check_entry(
    recipes: Collection[Mapping[str, object]],
    own: Mapping[str, Setting],
    others: Collection[Mapping[str, Setting]],
) -> None:
    """Refuse settings of an entry of another package that cannot work.

    Args:
        recipes: the settings of each recipe.
        own: the settings that the entry adds to the table.
        others: what other entries add.

    Raises:
        ValueError: a name is taken or unknown, or a value is not one that its setting has.
    """
    for name, setting in own.items():
        if name in SETTINGS or name in RESERVED or not re.fullmatch("[a-z][a-z0-9_]*", name):
            raise ValueError(f"its setting {name} has a name that is taken or is no name")
        if any(other.get(name, setting) != setting for other in others):
            raise ValueError(f"its setting {name} is another one elsewhere")
    table = SETTINGS | dict(own)
    for recipe in recipes:
        for name, value in recipe.items():
            if name not in table:
                raise ValueError(f"{name} is no setting; add it to the entry's own_settings")
            try:
                is_same = check_value(table[name], value) == value
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            if not is_same:
                raise ValueError(f"{name}: {value!r} is not as it would be written")
