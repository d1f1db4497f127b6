"""Every defense but matrix completion, against slow readings of its definition."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cptools.core.defenses import DEFENSES
from cptools.core.defenses.boxes import random_boxes
from cptools.core.defenses.cutout import cutout
from cptools.core.defenses.mix import cutmix, mixup
from cptools.core.defenses.noise import gaussian_noise
from cptools.core.defenses.reduce import bit_depth, grayscale, jpeg, webp
from cptools.core.defenses.rescale import crop, resize
from cptools.core.defenses.smooth import gaussian_smoothing
from cptools.core.defenses.steps import make_step


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(num: int = 6, height: int = 32, width: int = 32, channels: int = 3) -> torch.Tensor:
    """uint8 images: smooth gradients with an edge and some noise, no two alike."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    base = torch.stack([(k + 1) * x + (channels - k) * y for k in range(channels)])
    shift = torch.arange(num).view(-1, 1, 1, 1) * 17
    noise = torch.randint(0, 40, (num, channels, height, width), generator=generator(9))
    return ((base + shift + noise) % 256).to(torch.uint8)


SHAPES = [(6, 3, 32, 32), (5, 3, 7, 12), (3, 1, 9, 9), (4, 3, 1, 1), (1, 3, 2, 5), (0, 3, 8, 8)]
GENTLE = {"noise": "8/255", "smooth": 1, "cutout": 1, "jpeg": 50, "bits": 4, "mixup": 1.0,
          "cutmix": 1.0, "webp": 80, "resize": 0.5, "crop": 0.8}  # fmt: skip


@pytest.mark.parametrize("name", [n for n, defense in DEFENSES.items() if not defense.learns])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_pictures_stay_pictures(name: str, shape: tuple[int, ...]) -> None:
    from cptools.core.defenses.steps import defender

    main = DEFENSES[name].main
    step = make_step(name, {} if main is None else {main: GENTLE[name]})
    images = torch.randint(0, 256, shape, generator=generator(), dtype=torch.uint8)
    before = images.clone()
    defended = defender([step])(images, generator(1))
    assert (defended.shape, defended.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before), "the input is left alone"
    assert torch.equal(defended, defender([step])(images, generator(1)))


def test_noise_is_white_and_of_its_size() -> None:
    images = torch.full((200, 3, 32, 32), 128, dtype=torch.uint8)
    noise = gaussian_noise(images, sigma=8 / 255, generator=generator()).double() - 128
    num = noise.numel()
    assert abs(noise.mean()) < 5 * 8 / math.sqrt(num)
    rounding = 1 / 12  # variance that rounding to whole levels adds
    assert noise.var() == pytest.approx(64 + rounding, rel=5 * math.sqrt(2 / num))
    for shifted in (noise.roll(1, dims=k) for k in range(4)):
        assert abs((noise * shifted).mean()) < 5 * 64 / math.sqrt(num)


def test_noise_is_rounded_and_clamped() -> None:
    images = pictures()
    drawn = torch.randn(images.shape, generator=generator(3)).double().numpy()
    expected = np.clip(np.rint(images.numpy() + drawn * 255 * 0.2), 0, 255)
    got = gaussian_noise(images, sigma=0.2, generator=generator(3)).numpy()
    assert (got != expected).mean() < 1e-3  # float32 and float64 round some ties apart
    assert np.abs(got - expected).max() <= 1
    assert torch.equal(gaussian_noise(images, sigma=0, generator=generator()), images)


@pytest.mark.parametrize(
    ("kernel", "sigma", "height", "width"),
    [(3, None, 8, 8), (15, None, 32, 32), (5, 0.7, 6, 9), (7, 2.0, 4, 4)],
)
def test_smoothing_is_a_convolution_with_mirrored_borders(
    kernel: int, sigma: float | None, height: int, width: int
) -> None:
    images = pictures(2, height, width)
    spread = sigma or 0.3 * ((kernel - 1) / 2 - 1) + 0.8
    reach = kernel // 2
    weights = np.exp(-np.square(np.arange(-reach, reach + 1)) / (2 * spread**2))
    weights /= weights.sum()
    padded = np.pad(images.double().numpy(), [(0, 0), (0, 0), *[(reach, reach)] * 2], "reflect")
    expected = np.zeros(images.shape)
    for i in range(kernel):
        for j in range(kernel):
            part = padded[:, :, i : i + height, j : j + width]
            expected += weights[i] * weights[j] * part
    got = gaussian_smoothing(images, kernel=kernel, sigma=sigma).numpy()
    assert np.abs(got - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(
    ("kernel", "size", "message"),
    [
        (2, 8, "has no middle"),
        (9, 4, "too large for images of 4; give at most 7"),
        (3, 1, "most 1"),
    ],
)
def test_smoothing_refuses(kernel: int, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gaussian_smoothing(pictures(1, size, size), kernel=kernel)


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(0, 12), st.integers(0, 12),
    st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_boxes_are_rectangles_around_a_pixel(
    height: int, width: int, tall: int, wide: int, seed: int
) -> None:
    sides = torch.tensor([[tall] * 5, [wide] * 5])
    boxes = random_boxes(sides, height=height, width=width, generator=generator(seed))
    assert boxes.shape == (5, 1, height, width)
    for box in boxes[:, 0].numpy():
        rows, columns = box.any(1), box.any(0)
        assert np.array_equal(box, np.outer(rows, columns))
        for line, side, length in ((rows, tall, height), (columns, wide, width)):
            inside = np.flatnonzero(line)
            if not tall or not wide:
                assert not len(inside)
                continue
            assert len(inside) == inside[-1] - inside[0] + 1  # in one piece
            whole = min(side, length)
            assert (side + 1) // 2 <= len(inside) <= whole or len(inside) == whole
            if inside[0] > 0 and inside[-1] < length - 1:
                assert len(inside) == side


def test_box_centers_are_uniform() -> None:
    sides = torch.ones((2, 8000), dtype=torch.int64)
    counts = random_boxes(sides, height=4, width=5, generator=generator()).sum((0, 1)).double()
    assert counts.sum() == 8000
    assert (counts - 400).abs().max() < 5 * math.sqrt(400)


def test_cutout_fills_a_hole_with_the_mean_color() -> None:
    images = pictures(20)
    cut = cutout(images, size=10, generator=generator())
    changed = 0
    for before, after in zip(images.numpy(), cut.numpy(), strict=True):
        mean = np.rint(before.reshape(3, -1).mean(1))
        differs = (before != after).any(0)
        changed += differs.sum()
        assert differs.sum() <= 100
        assert np.all(after[:, differs] == mean[:, None])
    assert 20 * 25 <= changed <= 20 * 100  # a corner hole is a quarter of a whole one


def test_cutout_refuses_a_hole_larger_than_the_image() -> None:
    with pytest.raises(ValueError, match=r"a hole of 9 pixels is larger than the image; .* most 8"):
        cutout(pictures(1, 8, 12), size=9, generator=generator())
    whole = cutout(pictures(1, 1, 1), size=1, generator=generator())
    assert torch.equal(whole, pictures(1, 1, 1))


def test_gray_is_luma() -> None:
    images = pictures()
    gray = grayscale(images)
    luma = (images.double() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    assert (gray.double() - luma.unsqueeze(1)).abs().max() <= 0.5 + 1e-4
    assert torch.equal(gray[:, 0], gray[:, 1])
    assert torch.equal(gray[:, 0], gray[:, 2])
    one = pictures(2, channels=1)
    assert torch.equal(grayscale(one), one)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_keeps_less_at_lower_quality(channels: int) -> None:
    images = pictures(3, 24, 30, channels)
    errors = [
        (jpeg(images, quality=q).double() - images).square().mean() for q in (1, 10, 50, 90, 100)
    ]
    assert errors == sorted(errors, reverse=True)
    flat = torch.full((1, channels, 16, 16), 77, dtype=torch.uint8)
    assert (jpeg(flat, quality=90).int() - flat.int()).abs().max() <= 1


def test_webp_is_pillows() -> None:
    images = pictures(3)
    for image, got in zip(images, webp(images, quality=80), strict=True):
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "WEBP", quality=80)
        assert np.array_equal(np.asarray(Image.open(file)), got.permute(1, 2, 0).numpy())
    errors = [(webp(images, quality=q).double() - images).abs().mean() for q in (1, 50, 100)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48), (9, 20)])
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.25, 0.01])
def test_resizing_and_back_is_pillows(height: int, width: int, factor: float) -> None:
    images = pictures(2, height, width)
    other = (max(round(width * factor), 1), max(round(height * factor), 1))
    for image, got in zip(images, resize(images, factor=factor), strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        there = picture.resize(other, Image.Resampling.BILINEAR)
        back = there.resize((width, height), Image.Resampling.BILINEAR)
        assert np.array_equal(np.asarray(back), got.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("share", "rows", "columns"), [(0.9, 29, 22), (0.5, 16, 12), (1, 32, 24)])
def test_cropping_is_pillows(share: float, rows: int, columns: int) -> None:
    images = pictures(2, 32, 24)
    top, left = (32 - rows) // 2, (24 - columns) // 2
    for image, got in zip(images, crop(images, share=share), strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        kept = picture.crop((left, top, left + columns, top + rows))
        expected = kept.resize((24, 32), Image.Resampling.BILINEAR)
        assert np.array_equal(np.asarray(expected), got.permute(1, 2, 0).numpy())
    assert torch.equal(crop(images, share=1), images)


def test_jpeg_blocks_hold_few_frequencies() -> None:
    """At quality 10 most cosine coefficients of an 8 x 8 block of luma are exactly zero."""
    n = np.arange(8)
    dct = np.sqrt(2 / 8) * np.cos((2 * n[None] + 1) * n[:, None] * np.pi / 16)
    dct[0] /= np.sqrt(2)
    images = pictures(4, channels=1)
    blocks = jpeg(images, quality=10).double().numpy().reshape(4, 4, 8, 4, 8).swapaxes(2, 3)
    small = np.abs(dct @ blocks @ dct.T) < 2.5  # a pixel is rounded by at most half a level
    assert small.mean() > 0.75
    before = images.double().numpy().reshape(4, 4, 8, 4, 8).swapaxes(2, 3)
    assert (np.abs(dct @ before @ dct.T) < 2.5).mean() < 0.2


@pytest.mark.parametrize("bits", range(1, 9))
def test_bits_round_to_the_nearest_level(bits: int) -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    got = bit_depth(values, bits=bits).flatten().tolist()
    levels = [round(255 * k / (2**bits - 1)) for k in range(2**bits)]
    assert sorted(set(got)) == levels
    for value, after in enumerate(got):
        assert abs(value - after) <= min(abs(value - level) for level in levels) + 1
    assert bits < 8 or got == list(range(256))


def test_mixup_blends_with_another_image_and_keeps_the_larger_share() -> None:
    images = torch.stack(
        [torch.full((3, 4, 4), 10 * k, dtype=torch.uint8) for k in range(25)]
    )  # a blend tells its share and its partner, up to rounding
    mixed = mixup(images, alpha=1.0, generator=generator()).double()[:, 0, 0, 0].numpy()
    own = 10.0 * np.arange(25)
    partners = 10.0 * np.arange(25)
    low, high = (own + partners.min()) / 2 - 0.5, (own + partners.max()) / 2 + 0.5
    assert ((low <= mixed) & (mixed <= high)).all()
    assert (np.abs(mixed - own) > 1).mean() > 0.6


def test_mixup_shares_are_of_the_beta_distribution() -> None:
    num = 4000
    images = torch.zeros((2 * num, 1, 1, 1), dtype=torch.uint8)
    images[num:] = 200
    mixed = mixup(images, alpha=1.0, generator=generator())[:num].double() / 200
    moved = mixed[mixed > 0]  # half have a partner of the other kind; 1 - share is uniform to 1/2
    assert len(moved) == pytest.approx(num / 2, rel=0.1)
    assert moved.max() <= 0.5
    assert moved.mean() == pytest.approx(0.25, abs=0.02)
    still = mixup(images, alpha=0.01, generator=generator())
    assert (still == images).double().mean() > 0.9


def test_cutmix_pastes_less_than_half_of_another_image_in_place() -> None:
    images = torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 16, 16) * 6
    mixed = cutmix(images, alpha=1.0, generator=generator()).numpy()[:, 0]
    shares = []
    for k, picture in enumerate(mixed):
        values = set(np.unique(picture)) - {6 * k}
        assert len(values) <= 1
        pasted = picture != 6 * k
        shares.append(pasted.mean())
        assert np.array_equal(pasted, np.outer(pasted.any(1), pasted.any(0)))
    assert max(shares) <= 0.5
    assert np.mean(shares) > 0.08


def test_mixing_is_a_permutation() -> None:
    """Every image is the partner of one: none is lost, none counts twice."""
    images = torch.arange(50, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 8, 8)
    mixed = cutmix(images, alpha=100.0, generator=generator())  # patches of half the image
    pasted = [set(np.unique(m)) - {k} for k, m in enumerate(mixed.numpy())]
    partners = [p.pop() for p in pasted if p]
    assert len(partners) > 40
    assert len(set(partners)) == len(partners)
