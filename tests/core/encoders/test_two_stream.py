"""Lab by the definitions of CIE, color by color; two networks of lightness and of color."""

import pytest
import torch
from torch import Tensor, nn

from cptools.core.build import build_encoder
from cptools.core.encoders import ENCODERS
from cptools.core.encoders.heads import initialize
from cptools.core.encoders.two_stream import TwoStreamEncoder, rgb_to_lab, with_channels

MEAN, STD = (0.5, 0.45, 0.4), (0.2, 0.25, 0.3)


def lab_of(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """One color, by the definitions: IEC 61966-2-1 (sRGB), CIE 15 (L*a*b*), white D65."""

    def linear(value: float) -> float:
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    def f(share: float) -> float:
        return share ** (1 / 3) if share > (6 / 29) ** 3 else share / (3 * (6 / 29) ** 2) + 4 / 29

    r, g, b = linear(red), linear(green), linear(blue)
    x = f((0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047)
    y = f(0.2126729 * r + 0.7151522 * g + 0.0721750 * b)
    z = f((0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def encoder_of(name: str = "resnet10", width: int = 6) -> TwoStreamEncoder:
    encoder = build_encoder(f"lab-{name}", width)
    assert isinstance(encoder, TwoStreamEncoder)
    initialize(encoder, torch.Generator().manual_seed(0))
    encoder.normalized_by(MEAN, STD)
    return encoder.eval()


def test_lab_of_colors() -> None:
    colors = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    colors[:4] = torch.tensor([[1.0, 1, 1], [0, 0, 0], [0.02, 0.04, 0.001], [0, 0, 1]])
    found = rgb_to_lab(colors.view(-1, 3, 1, 1).double()).view(-1, 3)
    expected = torch.tensor([lab_of(*color) for color in colors.double().tolist()])
    torch.testing.assert_close(found.float(), expected, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(found[0], torch.tensor([100.0, 0, 0]).double(), atol=0.01, rtol=0)


@pytest.mark.parametrize("value", [0.0, 1e-7, 0.04045, 0.3, 1.0])
def test_gradient_of_lab_is_finite_and_right(value: float) -> None:
    x = torch.full((1, 3, 2, 2), value, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(rgb_to_lab(x)[:, 0].sum(), x)
    step = 1e-9
    above, below = (rgb_to_lab(x.detach() + shift)[0, 0, 0, 0] for shift in (step, 0))
    if value != 0.04045:  # where two pieces meet
        slope = float((above - below) / step)
        assert float(gradient[0, :, 0, 0].sum()) == pytest.approx(slope, rel=1e-3)
    assert torch.isfinite(gradient).all()


def test_gray_images_have_no_color() -> None:
    gray = torch.rand(2, 1, 5, 4, generator=torch.Generator().manual_seed(1)).expand(-1, 3, -1, -1)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    lightness, color = encoder_of().split((gray - mean) / std)
    assert (lightness.shape, color.shape) == ((2, 1, 5, 4), (2, 2, 5, 4))
    middle = torch.tensor([98.233 - 86.183, 94.478 - 107.857]) / 2
    half = torch.tensor([86.183 + 98.233, 107.857 + 94.478]) / 2
    expected = (-middle / half).view(1, 2, 1, 1).expand_as(color)
    torch.testing.assert_close(color, expected, atol=1e-3, rtol=0)
    assert float(lightness.abs().max()) <= 1


@torch.no_grad()
def test_features_stand_side_by_side() -> None:
    """Each network sees its channels only."""
    encoder = encoder_of()
    assert encoder.feature_dim == 48
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    lightness, color = encoder.split(x)
    features = encoder(x)
    torch.testing.assert_close(features[:, :24], encoder.lightness(lightness))
    torch.testing.assert_close(features[:, 24:], encoder.color(color))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    pixels = (x * std + mean).clamp(0, 1)
    gray_like = _without_color(pixels, mean, std)
    changed = encoder(gray_like)
    torch.testing.assert_close(changed[:, :24], features[:, :24], atol=2e-4, rtol=1e-3)
    assert float((changed - features)[:, 24:].abs().max()) > 1e-3


def _without_color(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The gray image of the same lightness, normalized."""
    y = (rgb_to_lab(pixels)[:, :1] + 16) / 116
    linear = torch.where(y > 6 / 29, y**3, 3 * (6 / 29) ** 2 * (y - 4 / 29))
    value = torch.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return (value.expand(-1, 3, -1, -1) - mean) / std


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_can_be_split(name: str) -> None:
    width = {"densenet121": 16, "vit-tiny": 12, "vit-small": 12}.get(name, 4)
    encoder = build_encoder(f"lab-{name}", width, size=32)
    assert isinstance(encoder, TwoStreamEncoder)
    first = [
        next(m for m in part.modules() if isinstance(m, nn.Conv2d))
        for part in (encoder.lightness, encoder.color)
    ]
    assert [conv.in_channels for conv in first] == [1, 2]
    plain = build_encoder(name, width // 2, size=32)
    expected = next(m for m in plain.modules() if isinstance(m, nn.Conv2d))
    for conv in first:
        for key in ("out_channels", "kernel_size", "stride", "padding"):
            assert getattr(conv, key) == getattr(expected, key)
        assert (conv.bias is None) == (expected.bias is None)
    assert encoder.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 2 * plain.feature_dim)


def test_the_narrowest() -> None:
    encoder = build_encoder("lab-resnet10", 1)
    assert encoder.feature_dim == 16


def test_the_rest_of_a_network_stays() -> None:
    network = build_encoder("resnet10", 2)
    before = {n: p for n, p in network.named_parameters() if n != "conv1.weight"}
    after = dict(with_channels(network, 5).named_parameters())
    assert after.pop("conv1.weight").shape == (2, 5, 3, 3)
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


def test_normalization_travels_with_the_weights() -> None:
    encoder, other = encoder_of(), build_encoder("lab-resnet10", 6).eval()
    other.load_state_dict(encoder.state_dict())
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(other(x), encoder(x))
