"""Natural perturbations: functions from images to images, with strengths. Torch-free until used.

Each takes uint8 [N, 3, H, W] and returns the same. Adding one is a function in a file here and an
entry of PERTURBATIONS.

Severities are those of CIFAR-10-C and frames those of CIFAR-10-P (Hendrycks and Dietterich,
Benchmarking neural network robustness to common corruptions and perturbations, ICLR 2019), with the
constants of the scripts that made the two (hendrycks/robustness: create_c/make_cifar_c.py and
create_p/make_cifar_p.py). What those do by ImageMagick, OpenCV, scikit-image, SciPy and Pillow is
done here by tensors, and differs as follows:

- 8 bits are reached once, at the end, by rounding; the scripts cut off, half a level darker.
- Constants that are lengths in pixels hold for a shorter side of 32 and are scaled with it.
- Each image has random numbers of its own, made of the seed, the perturbation and its row, and for
  the frames of a noise of the frame.
- Of `frost`, the images that the script pastes are not at hand; the texture is made by code.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import NamedTuple


class Level(NamedTuple):
    """A strength of a perturbation.

    Attributes:
        function: "module:function", from images and the constants to images.
        constants: by argument.
    """

    function: str
    constants: Mapping[str, float]


Levels = tuple[Level | None, ...]  # None leaves the images as they are


class Perturbation(NamedTuple):
    """A perturbation and its strengths.

    Attributes:
        text: what it does, a sentence for `--help`.
        severities: 1, 2, ..., of CIFAR-10-C.
        frames: 0, 1, ..., of CIFAR-10-P: a short film.
        is_random: whether the functions take `draws`.
        is_noise: whether every frame draws anew; else a film keeps what was drawn.
    """

    text: str
    severities: Levels = ()
    frames: Levels = ()
    is_random: bool = False
    is_noise: bool = False

    def levels(self, by: str) -> dict[int, Level | None]:
        """Its severities or its frames, by number; `by` is "severity" or "frame"."""
        if by == "severity":
            return dict(enumerate(self.severities, 1))
        return dict(enumerate(self.frames))


class Suite(NamedTuple):
    """Perturbations that belong together.

    Attributes:
        text: what it is, a sentence for `--help`.
        by: what sets their strength, "severity" or "frame".
        kinds: keys of PERTURBATIONS.
    """

    text: str
    by: str
    kinds: tuple[str, ...]


def nearest_kind(name: str) -> str:
    """The perturbation whose name is most like a name."""
    return get_close_matches(name, PERTURBATIONS, 1, cutoff=0)[0]


def _table(function: str, names: str, *rows: float | tuple[float, ...]) -> Levels:
    """Levels of one function, from their constants row by row."""
    keys = names.split()
    tuples = (row if isinstance(row, tuple) else (row,) for row in rows)
    return tuple(
        Level(f"cptools.core.perturbations.{function}", dict(zip(keys, row, strict=True)))
        for row in tuples
    )


def _drawings(function: str, name: str, value: float) -> Levels:
    """The clean image, then 30 drawings of one noise."""
    return (None, *_table(function, name, *[value] * 30))


def _noise(
    text: str, function: str, name: str, severities: tuple[float, ...], frames: float | None
) -> Perturbation:
    return Perturbation(
        text,
        _table(function, name, *severities),
        () if frames is None else _drawings(function, name, frames),
        is_random=True,
        is_noise=True,
    )


_FRAMES = range(31)

PERTURBATIONS = {
    "gaussian_noise": _noise(
        "Gaussian noise on every channel of every pixel.",
        "noise:gaussian_noise", "sigma", (0.04, 0.06, 0.08, 0.09, 0.10), 0.02,
    ),
    "gaussian_noise_2": _noise(
        "The stronger Gaussian noise of CIFAR-10-P.", "noise:gaussian_noise", "sigma", (), 0.04
    ),
    "gaussian_noise_3": _noise(
        "The strongest Gaussian noise of CIFAR-10-P.", "noise:gaussian_noise", "sigma", (), 0.06
    ),
    "shot_noise": _noise(
        "Shot noise: the Poisson noise of few photons.",
        "noise:shot_noise", "photons", (500, 250, 100, 75, 50), 700,
    ),
    "shot_noise_2": _noise(
        "The stronger shot noise of CIFAR-10-P.", "noise:shot_noise", "photons", (), 400
    ),
    "shot_noise_3": _noise(
        "The strongest shot noise of CIFAR-10-P.", "noise:shot_noise", "photons", (), 200
    ),
    "speckle_noise": _noise(
        "Speckle noise: Gaussian, in proportion to the value.",
        "noise:speckle_noise", "sigma", (0.06, 0.10, 0.12, 0.16, 0.20), 0.05,
    ),
    "speckle_noise_2": _noise(
        "The stronger speckle noise of CIFAR-10-P.", "noise:speckle_noise", "sigma", (), 0.07
    ),
    "speckle_noise_3": _noise(
        "The strongest speckle noise of CIFAR-10-P.", "noise:speckle_noise", "sigma", (), 0.10
    ),
    "impulse_noise": _noise(
        "Impulse noise: salt and pepper, each channel apart.",
        "noise:impulse_noise", "amount", (0.01, 0.02, 0.03, 0.05, 0.07), None,
    ),
    "gaussian_blur": Perturbation(
        "Gaussian blur.",
        _table("blur:gaussian_blur", "sigma reach", (0.4, 4), (0.6, 4), (0.7, 4), (0.8, 4), (1, 4)),
        _table("blur:gaussian_blur", "sigma reach", *[(0.3 + 0.015 * i, 7) for i in _FRAMES]),
    ),
    "defocus_blur": Perturbation(
        "Defocus: blur by a disk.",
        _table(
            "blur:defocus_blur", "radius sigma",
            (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1),
        ),
    ),
    "glass_blur": Perturbation(
        "Frosted glass: blur, pixels taken from their neighbors, blur.",
        _table(
            "blur:glass_blur", "sigma delta times",
            (0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2),
        ),
        is_random=True,
    ),
    "motion_blur": Perturbation(
        "Motion blur: a trail to one side.",
        _table(
            "blur:motion_blur", "radius sigma low high",
            (6, 1, -45, 45), (6, 1.5, -45, 45), (6, 2, -45, 45), (8, 2, -45, 45), (9, 2.5, -45, 45),
        ),
        _table(
            "blur:motion_blur", "radius sigma low high",
            *[(6, 1.8, 9 * (i - 20), 9 * (i - 20)) for i in range(21)],
        ),
        is_random=True,
    ),
    "zoom_blur": Perturbation(
        "Zoom blur: the mean of enlargements.",
        _table("blur:zoom_blur", "steps step", *[(steps, 0.01) for steps in (6, 11, 15, 20, 25)]),
        _table("blur:zoom_film", "steps step", *[(i, 0.004) for i in _FRAMES]),
    ),
    "snow": Perturbation(
        "Snow: a whitened image, flakes across it.",
        _table(
            "weather:snow", "mean std zoom least radius sigma keep low high",
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95, -135, -45),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9, -135, -45),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9, -135, -45),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85, -135, -45),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8, -135, -45),
        ),
        _table(
            "weather:snow", "mean std zoom least radius sigma keep low high",
            *[(0.05, 0.3, 2, 0.5, 10, 2, 0.85, 4 * i - 150, 4 * i - 150) for i in _FRAMES],
        ),
        is_random=True,
    ),
    "frost": Perturbation(
        "Frost on a window; its texture is made by code.",
        _table(
            "weather:frost", "keep ice", (1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)
        ),
        is_random=True,
    ),
    "fog": Perturbation(
        "Fog: a fractal cloud.",
        _table(
            "weather:fog", "thickness decay", (0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)
        ),
        is_random=True,
    ),
    "spatter": Perturbation(
        "Spatter: water or, from severity 4, mud.",
        (
            *_table(
                "spatter:water", "mean std sigma least opacity drips",
                (0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0),
                (0.65, 0.3, 1, 0.69, 0.5, 0),
            ),
            *_table(
                "spatter:mud", "mean std sigma least soft",
                (0.65, 0.1, 0.7, 0.69, 0.6), (0.65, 0.1, 0.5, 0.68, 0.6),
            ),
        ),
        _table(
            "spatter:water", "mean std sigma least opacity drips",
            *[(0.6, 0.265, 1.75, 0.7, 0.6, i) for i in _FRAMES],
        ),
        is_random=True,
    ),
    "brightness": Perturbation(
        "Brightness: value of hue, saturation and value.",
        _table("color:brightness", "shift", 0.05, 0.1, 0.15, 0.2, 0.3),
        _table("color:brightness", "shift", *[1.5 * (i - 15) / 100 for i in _FRAMES]),
    ),
    "contrast": Perturbation(
        "Less contrast.", _table("color:contrast", "factor", 0.75, 0.5, 0.4, 0.3, 0.15)
    ),
    "saturate": Perturbation(
        "Less saturation or, from severity 3, more.",
        _table(
            "color:saturate", "factor shift", (0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)
        ),
    ),
    "elastic_transform": Perturbation(
        "Elastic: moved corners, and pixels that wander.",
        _table(
            "geometry:elastic_transform", "strength sigma corner",
            (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
        is_random=True,
    ),
    "pixelate": Perturbation(
        "Pixelation: shrunk and enlarged again.",
        _table("digital:pixelate", "share", 0.95, 0.9, 0.85, 0.75, 0.65),
    ),
    "jpeg_compression": Perturbation(
        "JPEG compression.", _table("digital:jpeg_compression", "quality", 80, 65, 58, 50, 40)
    ),
    "translate": Perturbation(
        "Shift, from left to right.",
        frames=_table("geometry:translate", "pixels", *[i - 7 for i in range(16)]),
    ),
    "rotate": Perturbation(
        "Rotation, from left to right.",
        frames=_table("geometry:rotate", "degrees", *[i - 15 for i in _FRAMES]),
    ),
    "tilt": Perturbation(
        "A turn in space.",
        frames=_table("geometry:tilt", "degrees", *[0.75 * (i - 15) for i in _FRAMES]),
    ),
    "scale": Perturbation(
        "Scaling, from smaller to larger.",
        frames=_table("geometry:scale", "factor", *[(2 * i + 70) / 100 for i in _FRAMES]),
    ),
    "shear": Perturbation(
        "Shear.", frames=_table("geometry:shear", "degrees", *[i - 15 for i in _FRAMES])
    ),
    "layered": Perturbation(
        "Two different ones of the comparison's others on one another, drawn for each image.",
        frames=_table("layered:layered", "place", *[i / 30 for i in _FRAMES]),
        is_random=True,
    ),
}  # fmt: skip

SUITES = {
    "cifar10-c": Suite(
        "CIFAR-10-C, the four extra corruptions among them.",
        "severity",
        tuple(name for name, kind in PERTURBATIONS.items() if kind.severities),
    ),
    "cifar10-p": Suite(
        "CIFAR-10-P, the four extra perturbations among them.",
        "frame",
        (
            "gaussian_noise", "shot_noise", "speckle_noise", "motion_blur", "zoom_blur",
            "gaussian_blur", "snow", "spatter", "brightness", "translate", "rotate", "tilt",
            "scale", "shear",
        ),
    ),
    "ucla": Suite(
        "What the comparison of MoCo and SimCLR names (its constants are unconfirmed: it gives "
        "none, but calls its data CIFAR-10-P).",
        "frame",
        (
            "brightness", "gaussian_blur", "gaussian_noise", "motion_blur", "rotate", "scale",
            "shear", "layered",
        ),
    ),
}  # fmt: skip
