"""MAE: the loss of an image a patch at a time, what is hidden, positions, weights."""

import math
from typing import Any

import pytest
import torch
from learners import Tiny
from torch import Tensor, nn

from cptools.core.algorithms.mae import MAE, waves
from cptools.core.build import build_encoder
from cptools.core.views import Views

SIDE, PATCH = 16, 4
OPTIONS: dict[str, Any] = {"decoder_width": 32, "decoder_layers": 2, "mask_ratio": 0.7}


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code, which computes losses in float32, in float64 instead."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def mae(**changes: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    encoder = build_encoder("vit-tiny", 12, size=SIDE, generator=generator)
    return MAE(encoder, generator=generator, **OPTIONS | changes)


def moved() -> Any:
    """One in float64 whose weights are as after some training."""
    algorithm, generator = mae().double(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in algorithm.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return algorithm


def inputs(num: int = 3) -> tuple[Tensor, Tensor]:
    """Views, and the random numbers of their patches."""
    generator = torch.Generator().manual_seed(2)
    views = torch.randn(num, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return views, torch.rand(num, 16, generator=generator)


def slow_mae(a: Any, views: Tensor, chance: Tensor) -> Tensor:
    """Section 3, an image and a patch at a time: 11 of 16 patches hidden, those of high chance."""
    vit, decoder, total = a.encoder, a.head["decoder"], torch.zeros((), dtype=views.dtype)
    for view, numbers in zip(views, chance.tolist(), strict=True):
        squares = [
            view[:, r : r + PATCH, c : c + PATCH]
            for r in range(0, SIDE, PATCH)
            for c in range(0, SIDE, PATCH)
        ]
        seen = sorted(range(16), key=numbers.__getitem__)[:5]
        sequence = [vit.class_token[0, 0] + vit.encoder.pos_embedding[0, 0]]
        for n in seen:
            token = (vit.conv_proj.weight * squares[n]).sum((1, 2, 3)) + vit.conv_proj.bias
            sequence.append(token + vit.encoder.pos_embedding[0, 1 + n])
        out = vit.encoder.ln(vit.encoder.layers(torch.stack(sequence)[None]))[0]
        out = decoder.embed(out)
        filled = [out[0]]
        for n in range(16):
            token = out[1 + seen.index(n)] if n in seen else decoder.hidden_token[0, 0]
            filled.append(token + decoder.positions[n])
        out = decoder.predict(decoder.norm(decoder.layers(torch.stack(filled)[None])))[0]
        for n in set(range(16)) - set(seen):
            values = squares[n].flatten()
            mean = values.sum() / len(values)
            variance = ((values - mean) ** 2).sum() / len(values)
            wanted = (values - mean) / (variance + 1e-6).sqrt()
            total = total + ((out[1 + n] - wanted) ** 2).sum() / len(values) / 11
    return total / len(views)


@pytest.mark.usefixtures("in_float64")
def test_the_loss_and_its_gradient_are_the_papers() -> None:
    algorithm = moved()
    views, chance = inputs()
    for dual in (False, True):
        a, b = (views.clone().requires_grad_() for _ in range(2))
        got, expected = algorithm.loss(a, a, chance, dual=dual), slow_mae(algorithm, b, chance)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(torch.autograd.grad(got, a), torch.autograd.grad(expected, b))
    assert float(expected.detach()) > 0.5


def test_draw_hides_other_patches_in_every_view() -> None:
    algorithm = mae()
    views = Views(size=SIDE, mean=(0.5,) * 3, std=(0.2,) * 3)
    x = torch.rand(4, 3, SIDE, SIDE)
    view, other, chance = algorithm.draw(x, views, torch.Generator().manual_seed(0))
    assert view.shape == other.shape == x.shape
    orders = {tuple(row) for row in chance.argsort(dim=1).tolist()}
    assert len(orders) == 4
    again = algorithm.draw(x, views, torch.Generator().manual_seed(0))
    assert torch.equal(again[2], chance)
    assert algorithm.visible == 5


def test_every_weight_learns() -> None:
    algorithm = mae()
    views, chance = (tensor.float() for tensor in inputs())
    algorithm.loss(views, views, chance).backward()
    for name, weight in algorithm.named_parameters():
        assert weight.grad is not None, name
        assert bool(weight.grad.any()), name


def test_positions_are_sines_and_cosines_of_column_and_row() -> None:
    grid = waves(3, 8).view(3, 3, 8)
    for row in range(3):
        for column in range(3):
            expected = [
                wave(place / 10000 ** (i / 2))
                for place in (column, row)
                for wave in (math.sin, math.cos)
                for i in range(2)
            ]
            assert grid[row, column].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_decoder_is_drawn_from_the_generator() -> None:
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        states.append(mae().state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    layer = mae(decoder_width=64).head["decoder"].layers[0].self_attention
    bound = (6 / (64 + 3 * 64)) ** 0.5
    assert 0.95 * bound < float(layer.in_proj_weight.detach().abs().max()) <= bound


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_ratio": 1.0}, "`mask_ratio` 1.0 hides 16 of 16 patches; some have to be hidden"),
        ({"mask_ratio": 0.02}, "`mask_ratio` 0.02 hides 0 of 16 patches; some have to be hidden"),
        ({"decoder_width": 40}, "`decoder_width` 40 is no multiple of 32; give `decoder_width=32`"),
        ({"decoder_layers": 0}, "`decoder_layers` is 0; give a whole number from 1"),
    ],
)
def test_what_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mae(**changes)


@pytest.mark.parametrize("encoder", [Tiny(), nn.Identity()])
def test_an_encoder_without_patches_is_refused(encoder: Any) -> None:
    with pytest.raises(ValueError, match=r"mae hides patches, .* give `encoder=vit-tiny` or"):
        MAE(encoder, generator=torch.Generator())
