"""The whole view: parity with torchvision on PIL, distributions, independence, gradient."""

import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pil_views import NAMES, PIL_OPERATIONS, from_pil, pictures, pil_crop, pil_view, to_pil
from torch import Tensor
from torchvision.transforms import ColorJitter

from cptools.core.views import ViewParams, Views, draw_views, normalize
from cptools.core.views.color import jitter, plan_jitter
from cptools.core.views.geometry import resized_crop

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
PLAIN = Views(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # without normalization


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pil_views(images: Tensor, params: ViewParams, size: int = 32) -> Tensor:
    return torch.stack([pil_view(to_pil(x), params, i, size) for i, x in enumerate(images)])


def test_errors_against_torchvision_on_pil() -> None:
    """Prints the table of errors in gray levels, operation by operation (``pytest -s``)."""
    num = 300
    images = pictures(num, 32, 32, seed=1)
    x = images.double() / 255
    params = PLAIN.draw(num, 32, 32, seeded(2))
    rows: dict[str, Tensor] = {}

    boxes = torch.stack((params.top, params.left, params.height, params.width, params.flip))
    crops = [from_pil(pil_crop(to_pil(image), params, i, 32)) for i, image in enumerate(images)]
    rows["crop and flip"] = 255 * resized_crop(x, boxes, size=32) - torch.stack(crops)
    for number, name in enumerate(NAMES):
        factors = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(num, 1)
        factors[:, number] = params.factors[:, number]
        plan = plan_jitter(
            torch.ones(num) > 0, params.order, factors, device=x.device, dtype=x.dtype
        )
        pil = [
            from_pil(PIL_OPERATIONS[number](to_pil(image), float(factor)))
            for image, factor in zip(images, factors[:, number], strict=True)
        ]
        rows[name] = 255 * jitter(x.flatten(2), plan).view(x.shape) - torch.stack(pil)
    everyone, nobody = torch.ones(num) > 0, torch.ones(num) < 0
    whole = torch.tensor([0, 0, 32, 32]).repeat(num, 1).t()
    still = replace(
        params, top=whole[0], left=whole[1], height=whole[2], width=whole[3],
        flip=nobody, jitter=nobody, gray=everyone,
    )  # fmt: skip
    rows["grayscale"] = 255 * PLAIN.apply(x, still) - pil_views(images, still)
    factors = params.factors.clone()
    factors[:, 3] = 0
    no_hue = replace(params, factors=factors)
    pil = torch.stack(
        [
            pil_view(to_pil(image), replace(no_hue, order=order), i, 32)
            for order in [_without_hue(params.order)]
            for i, image in enumerate(images)
        ]
    )
    rows["all but hue"] = 255 * PLAIN.apply(x, no_hue) - pil
    rows["all"] = 255 * PLAIN.apply(x, params) - pil_views(images, params)

    print(f"\n{'operation':14} {'max':>6} {'mean':>6} {'bias':>6}   (gray levels)")  # noqa: T201
    for name, error in rows.items():
        size = error.abs()
        print(f"{name:14} {size.max():6.2f} {size.mean():6.3f} {error.mean():+6.3f}")  # noqa: T201
    largest = {name: float(error.abs().max()) for name, error in rows.items()}
    average = {name: float(error.abs().mean()) for name, error in rows.items()}
    assert largest["crop and flip"] < 1.02
    assert max(largest[name] for name in NAMES[:3]) < 1.21
    assert largest["grayscale"] < 0.51
    assert average["hue"] < 1.2
    assert largest["all but hue"] < 7  # four such errors in a row, grown by factors up to 1.4
    assert average["all but hue"] < 1.2
    assert average["all"] < 1.8


def _without_hue(order: Tensor) -> Tensor:
    """Orders for :func:`pil_view` that leave hue out, [B, 3]."""
    return order[order != 3].view(-1, 3)


def test_normalization_comes_last() -> None:
    x = pictures(10, 20, 28, seed=3).float() / 255
    views = Views(16, MEAN, STD)
    params = views.draw(10, 20, 28, seeded(4))
    plain = replace(views, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)).apply(x, params)
    expected = (plain - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(views.apply(x, params), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(normalize(plain, MEAN, STD), expected, rtol=0, atol=1e-5)


@given(
    num=st.integers(1, 6),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    size=st.integers(1, 20),
    strength=st.floats(0, 2),
    hue=st.floats(0, 0.5),
    seed=st.integers(0, 2**30),
    double=st.booleans(),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_shape_type_and_range(
    num: int,
    height: int,
    width: int,
    size: int,
    strength: float,
    hue: float,
    seed: int,
    double: bool,
) -> None:
    dtype = torch.float64 if double else torch.float32
    generator = seeded(seed)
    x = torch.rand(num, 3, height, width, generator=generator, dtype=dtype).round(decimals=1)
    views = replace(PLAIN, size=size, jitter=(strength, strength, strength, hue))
    y = views(x.requires_grad_(), generator)
    assert y.shape == (num, 3, size, size)
    assert y.dtype == dtype
    assert y.min() >= -1e-6
    assert y.max() <= 1 + 1e-6
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.isfinite().all()


def test_a_view_depends_on_its_own_image_and_parameters_only() -> None:
    x = pictures(24, 32, 32, seed=5).double() / 255
    views = Views(32, MEAN, STD)
    params = views.draw(24, 32, 32, seeded(6))
    together = views.apply(x, params)
    for rows in (slice(0, 1), slice(7, 8), torch.tensor([20, 3, 11])):
        torch.testing.assert_close(views.apply(x[rows], params[rows]), together[rows])
    shuffled = torch.randperm(24, generator=seeded(7))
    torch.testing.assert_close(views.apply(x[shuffled], params[shuffled]), together[shuffled])


def test_same_generator_same_view() -> None:
    x = pictures(16, 32, 32, seed=8).float() / 255
    views = Views(32, MEAN, STD)
    generator = seeded(9)
    first, second = views(x, generator), views(x, generator)
    assert torch.equal(first, views(x, seeded(9)))
    assert not torch.equal(first, second)
    state = torch.get_rng_state()
    views(x, generator)
    assert torch.equal(state, torch.get_rng_state())


def test_a_weaker_recipe_sees_the_same_crops() -> None:
    weak = replace(PLAIN, jitter_p=0.0, gray_p=0.0)
    ours, theirs = weak.draw(50, 32, 32, seeded(1)), PLAIN.draw(50, 32, 32, seeded(1))
    for name in ("top", "left", "height", "width", "flip"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
    assert not ours.jitter.any()
    assert not ours.gray.any()
    x = pictures(50, 32, 32, seed=2).float() / 255
    boxes = torch.stack((ours.top, ours.left, ours.height, ours.width, ours.flip))
    torch.testing.assert_close(weak.apply(x, ours), resized_crop(x, boxes, size=32))


def test_gradient_of_the_view_by_finite_differences() -> None:
    x = torch.rand(6, 3, 5, 4, dtype=torch.float64, generator=seeded(11), requires_grad=True)
    views = Views(4, MEAN, STD)
    params = views.draw(6, 5, 4, seeded(12))
    params = replace(params, gray=torch.arange(6) % 3 == 0)
    assert params.jitter.any()
    assert torch.autograd.gradcheck(lambda y: views.apply(y, params), (x,))


def test_probabilities_and_factors() -> None:
    num = 20000
    params = PLAIN.draw(num, 32, 32, seeded(13))
    for values, probability in ((params.flip, 0.5), (params.jitter, 0.8), (params.gray, 0.2)):
        sigma = (probability * (1 - probability) / num) ** 0.5
        assert abs(values.double().mean() - probability) < 4 * sigma
    low, high = torch.tensor([0.6, 0.6, 0.6, -0.1]), torch.tensor([1.4, 1.4, 1.4, 0.1])
    unit = (params.factors - low) / (high - low)
    even = (torch.arange(num) + 0.5) / num
    assert (unit.sort(0).values - even.unsqueeze(1)).abs().max() < 1.95 / num**0.5
    correlation = torch.corrcoef(torch.cat((unit, params.flip.float().unsqueeze(1)), 1).t())
    assert (correlation - torch.eye(5)).abs().max() < 4 / num**0.5


def test_every_order_is_as_likely_as_another() -> None:
    num = 24000
    order = PLAIN.draw(num, 32, 32, seeded(14)).order
    assert torch.equal(order.sort(1).values, torch.arange(4).expand(num, 4))
    code = (order * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = code.unique(return_counts=True)[1].double()
    assert len(counts) == 24
    expected = num / 24
    assert ((counts - expected) ** 2 / expected).sum() < 49.7  # chi-square of 23, 0.1 percent


def test_factor_bounds_are_torchvisions() -> None:
    strong = replace(PLAIN, jitter=(1.5, 0.5, 0.0, 0.3))
    factors = strong.draw(5000, 32, 32, seeded(15)).factors
    theirs = ColorJitter(1.5, 0.5, 0.0, 0.3)
    bounds = (theirs.brightness, theirs.contrast, (1.0, 1.0), theirs.hue)
    for values, (low, high) in zip(factors.t(), bounds, strict=True):
        assert low - 1e-6 <= values.min() <= low + 0.01 * (high - low) + 1e-6
        assert high - 0.01 * (high - low) - 1e-6 <= values.max() <= high + 1e-6


def test_all_that_the_device_of_the_images_needs_is_moved_there() -> None:
    views = Views(8, MEAN, STD)
    params = views.draw(16, 10, 12, seeded(16))
    assert params.gray.any()
    assert all(getattr(params, field.name).device.type == "cpu" for field in fields(params))
    # the meta device has shapes but no numbers, and refuses to be mixed with tensors on the CPU
    x = torch.empty(16, 3, 10, 12, device="meta", requires_grad=True)
    y = views.apply(x, params)
    assert y.shape == (16, 3, 8, 8)
    assert torch.autograd.grad(y.sum(), x)[0].device == x.device


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_views_and_gradients() -> None:
    x = pictures(64, 32, 32, seed=19).float() / 255
    views = Views(32, MEAN, STD)
    params = views.draw(64, 32, 32, seeded(20))
    upstream = torch.randn(64, 3, 32, 32, generator=seeded(21))
    results = []
    for device in ("cpu", "cuda"):
        images = x.to(device).requires_grad_()
        y = views.apply(images, params)
        assert y.device.type == device
        (gradient,) = torch.autograd.grad(y, images, upstream.to(device))
        results.append((y.detach().cpu(), gradient.cpu()))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=1e-4)
    difference = (results[0][1] - results[1][1]).abs()
    assert (difference > 1e-3).double().mean() < 1e-3  # rounding may cross a clamp


def test_channels_last_and_autocast_change_nothing() -> None:
    x = pictures(12, 32, 32, seed=17).float() / 255
    views = Views(32, MEAN, STD)
    params = views.draw(12, 32, 32, seeded(18))
    expected = views.apply(x, params)
    assert torch.equal(views.apply(x.to(memory_format=torch.channels_last), params), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(views.apply(x, params), expected)


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 3, 8, 8, dtype=torch.bfloat16),
        torch.zeros(2, 1, 8, 8),
        torch.zeros(3, 8, 8),
    ],
)
def test_images_of_another_kind_are_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match="views need float32 or float64 images"):
        PLAIN.apply(x, PLAIN.draw(2, 8, 8, seeded(0)))


def test_a_wrong_number_of_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="2 images, but the parameters of 3 views"):
        PLAIN.apply(torch.zeros(2, 3, 8, 8), PLAIN.draw(3, 8, 8, seeded(0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size"),
        ({"std": (1.0, 0.0, 1.0)}, "std"),
        ({"scale": (0.5, 0.2)}, "scale"),
        ({"ratio": (0.0, 1.0)}, "ratio"),
        ({"flip": 1.5}, "flip"),
        ({"jitter_p": -0.1}, "jitter_p"),
        ({"gray_p": 2.0}, "gray_p"),
        ({"jitter": (-0.1, 0.4, 0.4, 0.1)}, "jitter"),
        ({"jitter": (0.4, 0.4, 0.4, 0.6)}, "jitter"),
    ],
)
def test_impossible_recipes_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message} "):
        replace(PLAIN, **options)  # type: ignore[arg-type]


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, cptools.core.views; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(seed=st.integers(0, 2**31), pad=st.integers(1, 9))
@settings(max_examples=20)
def test_padding_is_a_window_of_the_picture_in_black(seed: int, pad: int) -> None:
    images = pictures(6, 12, 12, seed=seed % 1000)
    views = replace(PLAIN, size=12, scale=(1, 1), flip=0, jitter_p=0, gray_p=0, pad=pad)
    params = views.draw(6, 12, 12, seeded(seed))
    for i, (image, view) in enumerate(
        zip(images, views.apply(images.double() / 255, params), strict=True)
    ):
        wide = Image.new("RGB", (12 + 2 * pad, 12 + 2 * pad))
        wide.paste(to_pil(image), (pad, pad))
        top, left = int(params.top[i]), int(params.left[i])
        assert 0 <= top <= 2 * pad
        assert 0 <= left <= 2 * pad
        window = wide.crop((left, top, left + 12, top + 12))
        torch.testing.assert_close(255 * view, from_pil(window).double(), atol=1e-3, rtol=0)


def test_shifts_are_uniform_and_leave_the_other_numbers_alone() -> None:
    plain, padded = PLAIN, replace(PLAIN, pad=2)
    with_pad, without = padded.draw(5000, 32, 32, seeded(1)), plain.draw(5000, 32, 32, seeded(1))
    for name in ("height", "width", "flip", "jitter", "order", "factors", "gray"):
        assert torch.equal(getattr(with_pad, name), getattr(without, name))
    for name in ("top", "left"):
        shift = getattr(with_pad, name) - getattr(without, name)
        counts = torch.bincount(shift, minlength=5)
        assert len(counts) == 5
        assert 900 < int(counts.min()) <= int(counts.max()) < 1100


def test_padding_is_refused_below_zero() -> None:
    with pytest.raises(ValueError, match="pad must not be negative"):
        replace(PLAIN, pad=-1)


def test_a_weak_view_is_a_shifted_and_flipped_window_and_nothing_else() -> None:
    views = Views(32, MEAN, STD, flip=0.3)
    weak = views.weak()
    x = torch.rand(300, 3, 32, 32, generator=seeded(0))
    params = weak.draw(300, 32, 32, seeded(1))
    assert not (params.jitter | params.gray).any()
    assert (params.height == 32).all()
    assert (params.width == 32).all()
    assert (int(params.top.min()), int(params.left.max())) == (0, 8)  # 4 pixels either way
    assert 0.2 < float(params.flip.float().mean()) < 0.4
    padded = torch.nn.functional.pad(x, (4,) * 4)
    for i, view in enumerate(weak.apply(x, params)):
        top, left = int(params.top[i]), int(params.left[i])
        window = padded[i, :, top : top + 32, left : left + 32]
        expected = normalize(window.flip(2)[None] if params.flip[i] else window[None], MEAN, STD)
        torch.testing.assert_close(view, expected[0], atol=1e-5, rtol=0)
    assert weak.weak() == weak
    assert Views(8, MEAN, STD).weak().pad == 1


def test_a_local_view_is_of_less_of_the_image_and_smaller() -> None:
    views = Views(32, MEAN, STD, scale=(0.4, 1.0), ratio=(1.0, 1.0), flip=0.3)
    local = views.local(12, 0.1)
    params = local.draw(300, 32, 32, seeded(1))
    assert local(torch.rand(300, 3, 32, 32), seeded(1)).shape == (300, 3, 12, 12)
    area = (params.height * params.width).float() / 32**2
    assert 0.08 < float(area.min()) < 0.12  # whole pixels
    assert 0.38 < float(area.max()) < 0.42
    assert replace(local, size=32, scale=views.scale) == views
    assert views.local(32, 0.4).scale == (0.4, 0.4)
    with pytest.raises(ValueError, match=r"of 33 pixels do not fit .* of 32; give `local_size=32`"):
        views.local(33, 0.1)
    with pytest.raises(ValueError, match=r"`local_area` 0\.5 is above 0\.4, .* `crop_area`"):
        views.local(12, 0.5)


def test_drawing_several_views_is_one_draw_of_copies() -> None:
    x = torch.rand(11, 3, 8, 8, generator=seeded(0))
    views = Views(8, MEAN, STD)
    view_a, view_b = draw_views(views, x, 2, seeded(1))
    both = views(torch.cat([x, x]), seeded(1))
    assert torch.equal(draw_views(views, x, 1, seeded(1))[0], views(x, seeded(1)))
    assert torch.equal(view_a, both[:11])
    assert torch.equal(view_b, both[11:])
    assert bool((view_a != view_b).flatten(1).any(1).all())
