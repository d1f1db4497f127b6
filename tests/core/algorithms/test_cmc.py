"""CMC: its loss by hand, its gradient, groups of batch norm, what it embeds."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cptools.core.algorithms.cmc import CMC
from cptools.core.algorithms.losses import info_nce, info_nce_in_batch
from cptools.core.build import build_encoder
from cptools.core.encoders.two_stream import TwoStreamEncoder

MEAN, STD = (0.5, 0.45, 0.4), (0.2, 0.25, 0.3)


def make(**options: Any) -> CMC:
    encoder = build_encoder("lab-resnet10", 4)
    assert isinstance(encoder, TwoStreamEncoder)
    generator = torch.Generator().manual_seed(0)
    options = {"hidden": 7, "dim": 5, **options}
    return CMC(encoder, mean=MEAN, std=STD, generator=generator, **options)


def images(num: int = 6) -> Tensor:
    return torch.randn(num, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_loss_by_hand() -> None:
    """Each lightness finds its color among all, and each color its lightness."""
    algorithm, x = make(temperature=0.3).eval(), images()
    lightness, color = algorithm.encoder.split(x)
    z = F.normalize(algorithm.head["projector"](algorithm.encoder.lightness(lightness)))
    w = F.normalize(algorithm.head["color_projector"](algorithm.encoder.color(color)))
    total = torch.zeros(())
    for i in range(len(x)):
        scores = torch.stack([z[i] @ w[j] / 0.3 for j in range(len(x))])
        total += scores.logsumexp(0) - scores[i]
        scores = torch.stack([w[i] @ z[j] / 0.3 for j in range(len(x))])
        total += scores.logsumexp(0) - scores[i]
    torch.testing.assert_close(algorithm.loss(x), total / (2 * len(x)))
    torch.testing.assert_close(algorithm.loss(x, dual=True), total / (2 * len(x)))
    expected = F.normalize(torch.cat([z, w], dim=1))
    torch.testing.assert_close(algorithm.embed(x), expected)


def test_in_batch_is_a_queue_of_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = F.normalize(torch.randn(2, 5, 4, generator=generator), dim=2)
    rows = [
        info_nce(q[i : i + 1], k[i : i + 1], torch.cat([k[:i], k[i + 1 :]]), temperature=0.2)
        for i in range(5)
    ]
    found = info_nce_in_batch(q, k, temperature=0.2)
    torch.testing.assert_close(found, torch.stack(rows).mean())


def test_the_gradient_reaches_both_networks_and_the_pixels() -> None:
    algorithm = make()
    x = images().requires_grad_()
    algorithm.loss(x).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert all(float(channel.abs().max()) > 0 for channel in x.grad.unbind(1))
    for name, parameter in algorithm.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all()


def test_groups_of_batch_norm() -> None:
    whole, parts = make(bn_groups=1), make(bn_groups=2)
    x = images()
    assert not torch.allclose(whole.loss(x), parts.loss(x))
    z = torch.cat([make()._embeddings(half) for half in x.chunk(2)])
    expected = sum(
        info_nce_in_batch(a, b, temperature=0.07) / 2
        for a, b in ((z[:, 0], z[:, 1]), (z[:, 1], z[:, 0]))
    )
    torch.testing.assert_close(make(bn_groups=2).loss(x), expected)


def test_it_learns_to_find_the_color() -> None:
    algorithm = make(temperature=0.2)
    optimizer = torch.optim.Adam(algorithm.parameters(), lr=3e-3)
    x = images(8)
    first = algorithm.loss(x).item()
    for _ in range(80):
        optimizer.zero_grad()
        algorithm.loss(x).backward()
        optimizer.step()
    assert algorithm.loss(x).item() < first / 4
