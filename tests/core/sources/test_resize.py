import numpy as np
import pytest
from PIL import Image

from cptools.core.sources.resize import resize


@pytest.mark.parametrize("size", [1, 7, 16, 33])
def test_it_is_pillows_lanczos_of_each_picture(size):
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8)
    resized = resize(images, size)
    assert resized.shape == (3, 3, size, size)
    assert resized.dtype == np.uint8
    for before, after in zip(images, resized, strict=True):
        channels = [
            np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.LANCZOS))
            for plane in before
        ]
        assert np.array_equal(after, np.stack(channels))


def test_the_same_size_is_the_same_pictures():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    assert resize(images, 8) is images
