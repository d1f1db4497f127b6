import numpy as np
import pytest

from cptools.core.sources.contrast import scale_contrast


def test_every_level_moves_toward_mid_gray():
    levels = np.arange(256, dtype=np.uint8)
    quarter = scale_contrast(levels, 0.25)
    assert quarter[0] == 96  # 127.5 - 31.875, rounded
    assert quarter[255] == 159
    assert np.abs(quarter - 127.5 - 0.25 * (levels - 127.5)).max() <= 0.5


def test_full_contrast_changes_nothing():
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    assert np.array_equal(scale_contrast(images, 1.0), images)


@pytest.mark.parametrize("contrast", [0.0, -1.0, 1.1, float("nan")])
def test_out_of_range(contrast):
    with pytest.raises(ValueError, match="contrast in"):
        scale_contrast(np.zeros(1, dtype=np.uint8), contrast)
