"""Entries for cptools. This module imports no torch: `--help` lists what it adds."""

from cptools.core.algorithms import ALGORITHMS, Algorithm
from cptools.core.defenses import Defense
from cptools.core.encoders import Encoder
from cptools.core.poisons import Attack
from cptools.core.settings import Setting, Settings

STRIPES = Attack(
    "cptools_example.methods:stripes",
    quick={"class": {"period": 4}},  # type: ignore[typeddict-unknown-key]
    paper={"class": {"period": 8}},  # type: ignore[typeddict-unknown-key]
    own_settings={"period": Setting(int, "Width of a stripe in pixels (stripes).", 1, 64)},
)


class BarlowSettings(Settings, total=False):
    """The settings of an algorithm that has one of its own."""

    redundancy: float


_QUICK: BarlowSettings = {
    "lr": ALGORITHMS["simclr"].quick["lr"],
    "epochs": 40, "loss_scale": 1.0, "head_hidden": 64, "head_dim": 32, "redundancy": 0.01,
}  # fmt: skip
_PAPER: BarlowSettings = {
    "lr": 0.2, "loss_scale": 0.024, "head_hidden": 8192, "head_dim": 8192, "redundancy": 0.0051,
}  # fmt: skip
BARLOW = Algorithm(
    "cptools_example.methods:BarlowTwins",
    quick=_QUICK,
    paper=_PAPER,
    own_settings={"redundancy": Setting(float, "Weight lambda of the off-diagonal (barlow).", 0)},
)

PATCHES = Encoder("cptools_example.methods:patches", width=12, keeps_weights=True)

MEDIAN = Defense(
    "cptools_example.methods:median",
    "Median filter of SIDE pixels, an odd number.",
    {"side": Setting(int, "Side of the window in pixels, odd.", 1, 15)},
    main="side",
)
