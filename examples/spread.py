#!/usr/bin/env python3
"""Spread noise of one size over images of twice the size.

    spread.py spline|nearest|tile SMALL.npy LARGE.npy

Both files hold float32 [K, 3, S, S], as `cptools export` writes a delta. `spline` is what
`cp-protect` does.
"""

import sys

import numpy as np

from cptools.core.spread import spread


def spline(noise: np.ndarray) -> np.ndarray:
    """By cubic splines between the values."""
    side = 2 * noise.shape[-1]
    rows = [np.concatenate([lines for _, lines in spread(row, side, side)]) for row in noise]
    return np.stack(rows).transpose(0, 3, 1, 2)


WAYS = {
    "spline": spline,
    "nearest": lambda noise: noise.repeat(2, 2).repeat(2, 3),
    "tile": lambda noise: np.tile(noise, (1, 1, 2, 2)),
}

if __name__ == "__main__":
    way, small, large = sys.argv[1:]
    np.save(large, WAYS[way](np.load(small)).astype(np.float32))
