"""Matrix completion against LAPACK's SVD, one matrix at a time."""

from typing import Any

import numpy as np
import pytest
import torch

from cptools.core.defenses.matrix_completion import matrix_completion


def smooth_images(num: int, height: int, width: int, seed: int) -> torch.Tensor:
    """uint8 images with the 1/f spectrum of photographs."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft2(torch.randn((num, 3, height, width), generator=generator))
    frequency = torch.hypot(
        torch.fft.fftfreq(height)[:, None].expand(-1, width // 2 + 1),
        torch.fft.rfftfreq(width)[None].expand(height, -1),
    )
    frequency[0, 0] = 1 / max(height, width)
    x = torch.fft.irfft2(spectrum / frequency**1.2, s=(height, width))
    x = x / x.std((1, 2, 3), keepdim=True).clamp(min=1e-6) * 0.25 + 0.45
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def masks_of(num: int, shape: tuple[int, int, int], mask: str, drop: float, seed: int) -> Any:
    """Image by image: bool [num, C, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    draws = (1, *shape[1:]) if mask == "pixel" else shape
    return np.stack(
        [
            np.broadcast_to(torch.rand(draws, generator=generator).numpy() >= drop, shape)
            for _ in range(num)
        ]
    )


def complete_one(y: Any, seen: Any, keep: Any, rank: Any, eta: Any) -> Any:
    """One matrix on [-1, 1] in double precision."""
    u, s, vh = np.linalg.svd(y * seen, full_matrices=False)
    stays = np.arange(len(s)) < (rank or max(1, int((keep or 0.5) * len(s) + 1e-9)))
    if eta is not None:
        stays = s >= (2 + eta) * np.sqrt(max(y.shape) * seen.mean())
    return np.clip((u * np.where(stays, s, 0)) @ vh / max(seen.mean(), 1e-6), -1, 1)


def complete_slowly(images: Any, masks: Any, layout: str, **options: Any) -> Any:
    """The recipe, one matrix at a time: the estimate on [-1, 1]."""
    given = {"keep": None, "rank": None, "eta": None, **options}
    x = images / 127.5 - 1
    out = np.empty(x.shape)
    for n in range(len(x)):
        if layout == "side":
            y, seen = np.concatenate(x[n], axis=1), np.concatenate(masks[n], axis=1)
            out[n] = np.split(complete_one(y, seen, **given), x.shape[1], axis=1)
        else:
            for c in range(x.shape[1]):
                out[n, c] = complete_one(x[n, c], masks[n, c], **given)
    return out


@pytest.mark.parametrize("mask", ["pixel", "entry"])
@pytest.mark.parametrize("layout", ["apart", "side"])
@pytest.mark.parametrize(
    ("shape", "drop", "options"),
    [
        ((3, 32, 32), 0.25, {}),
        ((3, 32, 32), 0.0, {"keep": 0.5}),
        ((3, 32, 32), 0.25, {"keep": 0.8}),
        ((3, 32, 32), 0.9, {"keep": 0.1}),
        ((3, 32, 32), 0.25, {"rank": 1}),
        ((3, 32, 32), 0.25, {"rank": 32}),
        ((3, 32, 32), 0.25, {"eta": -1.5}),
        ((3, 32, 32), 0.25, {"eta": 0.01}),
        ((3, 24, 40), 0.25, {"rank": 7}),
        ((3, 40, 24), 0.25, {"keep": 0.29}),
        ((3, 40, 24), 0.25, {"eta": -1.6}),
        ((1, 40, 24), 0.25, {}),
        ((1, 24, 40), 0.25, {"eta": -1.4}),
        ((2, 64, 64), 0.25, {}),
        ((3, 7, 1), 0.5, {}),
        ((3, 1, 1), 0.5, {"keep": 1.0}),
        ((3, 1, 1), 0.5, {"eta": -1.0}),
    ],
)
def test_equals_lapack_one_matrix_at_a_time(
    shape: tuple[int, int, int], drop: float, options: Any, layout: Any, mask: Any
) -> None:
    images = smooth_images(12, shape[1], shape[2], seed=1)[:, : shape[0]]
    got = matrix_completion(
        images,
        drop=drop,
        layout=layout,
        mask=mask,
        generator=torch.Generator().manual_seed(5),
        **options,
    )
    masks = masks_of(12, shape, mask, drop, seed=5)
    expected = complete_slowly(images.numpy(), masks, layout, **options)
    assert got.dtype == torch.uint8
    assert got.is_contiguous()
    # Rounding to nearest, up to the float32 error of the estimate.
    assert np.abs(got.numpy() - (expected + 1) * 127.5).max() <= 0.5 + 127.5 * 1e-3


def test_nothing_dropped_and_all_kept_is_the_identity() -> None:
    images = smooth_images(4, 16, 20, seed=2)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(matrix_completion(images, drop=0, keep=1, generator=generator), images)


def test_constant_images_come_back() -> None:
    """A constant is a rank-one matrix: exact where nothing is dropped, close where much is."""
    images = torch.tensor([0, 90, 128, 255], dtype=torch.uint8)[:, None, None, None]
    images = images.repeat(1, 3, 32, 32)
    whole = matrix_completion(images, drop=0, generator=torch.Generator().manual_seed(0))
    assert torch.equal(whole, images)
    filled = matrix_completion(
        images, drop=0.25, keep=1 / 32, generator=torch.Generator().manual_seed(0)
    )
    assert (filled.float().mean((1, 2, 3)) - images.float().mean((1, 2, 3))).abs().max() < 12


def test_an_image_with_every_pixel_dropped_is_mid_gray() -> None:
    images = torch.full((500, 3, 1, 1), 200, dtype=torch.uint8)
    got = matrix_completion(images, drop=0.5, generator=torch.Generator().manual_seed(0))
    # One pixel is either seen, and comes back, or dropped.
    assert set(got.unique().tolist()) == {128, 200}
    assert 0.4 < (got[:, 0, 0, 0] == 128).float().mean() < 0.6


@pytest.mark.parametrize("mask", ["pixel", "entry"])
def test_the_mask_is_bernoulli_and_shared_by_the_channels_where_asked(mask: Any) -> None:
    images = torch.full((60, 3, 32, 32), 255, dtype=torch.uint8)
    images[:, 1:] = 0
    got = matrix_completion(
        images, drop=0.25, keep=1, mask=mask, generator=torch.Generator().manual_seed(7)
    )
    seen = (got != 128).float()
    assert seen.mean((0, 2, 3)).tolist() == pytest.approx([0.75] * 3, abs=0.01)
    both = (seen[:, 0] * seen[:, 1]).mean().item()
    assert both == pytest.approx(0.75 if mask == "pixel" else 0.75**2, abs=0.01)


def test_same_seed_same_bytes_other_seed_others() -> None:
    images = smooth_images(20, 32, 32, seed=3)

    def run(seed: int) -> torch.Tensor:
        return matrix_completion(images, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_threads_change_no_byte() -> None:
    images = smooth_images(600, 12, 12, seed=3)
    alone = matrix_completion(images, generator=torch.Generator().manual_seed(1))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        shared = matrix_completion(images, generator=torch.Generator().manual_seed(1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.equal(shared, alone)


@pytest.mark.parametrize("mask", ["pixel", "entry"])
@pytest.mark.parametrize("size", [32, 5, 1])
def test_images_in_parts_give_what_they_give_together(size: int, mask: Any) -> None:
    images = smooth_images(20, size, size, seed=3)
    together = matrix_completion(
        images, mask=mask, generator=torch.Generator().manual_seed(1)
    ).int()
    generator = torch.Generator().manual_seed(1)
    parts = [
        matrix_completion(part, mask=mask, generator=generator) for part in images.split([1, 12, 7])
    ]
    # Another batch size may round a float32 product differently, but draws the same masks.
    assert (torch.cat(parts).int() - together).abs().max() <= 1


def test_high_frequency_poison_shrinks() -> None:
    """What it is for: a random +-8 pattern loses most of its energy relative to other change."""
    images = smooth_images(40, 32, 32, seed=4)
    generator = torch.Generator().manual_seed(1)
    signs = torch.randint(0, 2, images.shape, generator=generator) * 16 - 8
    poisoned = (images.int() + signs).clamp(0, 255).to(torch.uint8)
    noise = (poisoned.int() - images.int()).double()

    def completed(x: torch.Tensor) -> torch.Tensor:
        return matrix_completion(
            x, drop=0.25, keep=0.25, generator=torch.Generator().manual_seed(2)
        ).double()

    remaining = completed(poisoned) - completed(images)
    share = (remaining * noise).sum() / (noise * noise).sum()
    assert 0 < share < 0.6


def test_no_images_are_no_trouble() -> None:
    none = torch.zeros((0, 3, 4, 4), dtype=torch.uint8)
    assert matrix_completion(none, generator=torch.Generator()).shape == none.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": 1.0}, "drop is 1.0; give a probability of at least 0 and below 1"),
        ({"drop": -0.1}, "drop is -0.1"),
        ({"drop": float("nan")}, "drop is nan"),
        ({"keep": 0.0}, "keep is 0.0; give a share of singular values above 0 and at most 1"),
        ({"keep": 1.1}, "keep is 1.1"),
        ({"keep": float("nan")}, "keep is nan"),
        ({"rank": 0}, "rank is 0, but the matrices are 8 x 10; give a rank from 1 to 8"),
        ({"rank": 9}, "rank is 9, but the matrices are 8 x 10; give a rank from 1 to 8"),
        ({"rank": 9, "layout": "side"}, "rank is 9, but the matrices are 8 x 30; give"),
        ({"eta": 1.0}, "eta is 1.0; give a number of at least -2 and below 1"),
        ({"eta": -2.1}, "eta is -2.1"),
        ({"eta": float("nan")}, "eta is nan"),
        ({"keep": 0.5, "rank": 3}, "exclude one another; give only one of them"),
        ({"rank": 3, "eta": 0.0}, "exclude one another"),
        ({"layout": "below"}, "layout is 'below'; give apart or side"),
        ({"mask": "row"}, "mask is 'row'; give pixel or entry"),
    ],
)
def test_bad_options_are_refused(options: Any, message: str) -> None:
    images = smooth_images(2, 8, 10, seed=0)
    with pytest.raises(ValueError, match=message):
        matrix_completion(images, generator=torch.Generator(), **options)


def test_bad_images_are_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8 images"):
        matrix_completion(torch.zeros((2, 3, 4, 4)), generator=torch.Generator())
