"""Embeddings of views against loops over single images, and what their inner products estimate."""

import pytest
import torch
from torch import Tensor, nn

from cptools.core.coresets.embeddings import image_embeddings, view_embeddings
from cptools.core.evaluation.probe import features
from cptools.core.random import stream
from cptools.core.views import Views

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
VIEWS = Views(8, MEAN, STD)
FLIPS = Views(8, MEAN, STD, scale=(1, 1), ratio=(1, 1), flip=0.5, jitter_p=0, gray_p=0)


def pictures(num: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num, 3, 8, 8), generator=generator, dtype=torch.uint8)


@pytest.fixture
def net() -> nn.Module:
    """What eval mode matters for."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 5)]
    network = nn.Sequential(*layers)
    network(torch.randn(20, 3, 8, 8))  # running statistics unlike those of a batch
    return network


def test_views_equal_a_loop_over_single_images(net: nn.Module) -> None:
    images = pictures(7)
    net.train()
    got = view_embeddings(net, net, images, VIEWS, count=3, seed=5, batch_size=4)
    assert net.training
    assert not got.requires_grad
    net.eval()
    generator, expected = stream(5, "select", "views"), torch.zeros(7, 5)
    for first, last in ((0, 4), (4, 7)):
        for _ in range(3):
            params = VIEWS.draw(last - first, 8, 8, generator)
            for i in range(first, last):
                view = VIEWS.apply(
                    images[i : i + 1].float() / 255, params[i - first : i - first + 1]
                )
                z = net(view)[0].detach()
                expected[i] += z / z.norm() / 3
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert bool((got.norm(dim=1) < 1).all())


def test_images_equal_their_features_at_unit_length(net: nn.Module) -> None:
    images = pictures(7)
    got = image_embeddings(net, net, images, mean=MEAN, std=STD, batch_size=3)
    expected = features(net, images, mean=MEAN, std=STD)
    torch.testing.assert_close(got, expected / expected.norm(dim=1, keepdim=True))
    assert net.training


def test_seeds_and_streams(net: nn.Module) -> None:
    a, b, c = (view_embeddings(net, net, pictures(4), VIEWS, seed=s) for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_similarity_of_two_images_is_unbiased_and_of_one_is_not(net: nn.Module) -> None:
    """Two views each, plain and mirrored, so that all expectations are known."""
    images, count, draws = pictures(5, seed=3), 2, 1500
    sides = [image_embeddings(net, net, x, mean=MEAN, std=STD) for x in (images, images.flip(3))]
    mean = (sides[0] + sides[1]) / 2
    spread = (sides[0] - mean).square().sum(1)  # variance of a view's embedding
    assert float(spread.min()) > 0.01
    copies = images.repeat(draws, 1, 1, 1)
    z = view_embeddings(net, net, copies, FLIPS, count=count).view(draws, 5, -1)
    drawn = z @ z.mT
    error = (drawn.std(0) / draws**0.5).clamp(min=1e-7)
    expected = mean @ mean.T + torch.diag(spread / count)
    assert float(((drawn.mean(0) - expected) / error).abs().max()) < 4.5
    assert bool((torch.diag(expected - mean @ mean.T) > 8 * torch.diag(error)).all())
