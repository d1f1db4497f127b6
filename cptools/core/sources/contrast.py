"""Lower contrast: the regime in which a perturbation of 8/255 is not small."""

import numpy as np
from numpy.typing import NDArray


def scale_contrast(images: NDArray[np.uint8], contrast: float) -> NDArray[np.uint8]:
    """Bring images closer to mid gray: round(127.5 + contrast * (x - 127.5)).

    Args:
        images: uint8, any shape.
        contrast: Factor on the deviation from mid gray, in (0, 1]; 1 changes nothing.

    Returns:
        uint8 of that shape.

    Raises:
        ValueError: The factor is out of range.
    """
    if not 0.0 < contrast <= 1.0:
        raise ValueError(f"expected contrast in (0, 1], got {contrast}")
    table = np.rint(127.5 + contrast * (np.arange(256) - 127.5)).astype(np.uint8)
    scaled: NDArray[np.uint8] = table[images]
    return scaled
