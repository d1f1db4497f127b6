#!/usr/bin/env python3
"""Spread noise of one size over images of twice the size.

    spread.py bilinear|nearest|tile SMALL.npy LARGE.npy

Both files hold float32 [K, 3, H, W], as `cptools export` writes a delta.
"""

import sys

import numpy as np


def bilinear(noise: np.ndarray) -> np.ndarray:
    """Between the values, which lie in the middle of two by two pixels; repeated at the border."""
    for axis in (2, 3):
        before, after = (0.75 * noise + 0.25 * np.roll(noise, step, axis) for step in (1, -1))
        shape = list(noise.shape)
        shape[axis] *= 2
        noise = np.stack([before, after], axis + 1).reshape(shape)
    return noise


WAYS = {
    "bilinear": bilinear,
    "nearest": lambda noise: noise.repeat(2, 2).repeat(2, 3),
    "tile": lambda noise: np.tile(noise, (1, 1, 2, 2)),
}

if __name__ == "__main__":
    way, small, large = sys.argv[1:]
    np.save(large, WAYS[way](np.load(small)).astype(np.float32))
