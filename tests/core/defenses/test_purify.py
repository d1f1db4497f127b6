"""Purification: the steps from noise to none a number at a time, what is learned, from what."""

import pytest
import torch

import cptools as cp
from cptools.core.defenses.purify import Denoiser, purify, train_denoiser
from cptools.core.defenses.steps import defend_batches, make_step


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(num=64, size=8):
    """Flat images, each of a gray of its own: what a denoiser can learn in seconds."""
    gray = torch.randint(60, 196, (num, 1, 1, 1), generator=generator(1))
    return gray.expand(num, 3, size, size).to(torch.uint8).contiguous()


def test_steps_are_those_of_the_definition():
    images, sigma, steps = pictures(2), 0.1, 3

    def learned(x, level):
        return 0.5 + (x - 0.5) / (1 + 50 * level.view(-1, 1, 1, 1))

    found = purify(
        images, sigma=sigma, steps=steps, epochs=1, width=1, learned=learned,
        generator=generator(),
    )  # fmt: skip
    noise = torch.randn(images.shape, generator=generator())
    x = (images / 255 + sigma * noise).double()
    for index in range(steps):
        strength, later = sigma * (steps - index) / steps, sigma * (steps - index - 1) / steps
        clean = 0.5 + (x - 0.5) / (1 + 50 * strength)
        x = clean + later / strength * (x - clean)
    assert ((255 * x).round() - found).abs().max() <= 1


def test_what_is_learned_takes_noise_away_and_the_seed_tells_it():
    images = pictures(320)
    options = {"sigma": 20 / 255, "epochs": 30, "width": 16}
    denoiser = train_denoiser(images, **options, generator=generator())
    clean = purify(images, **options, steps=2, learned=denoiser, generator=generator())
    error = (clean.float() - images).square().mean().sqrt()
    assert error < 15, "of noise of 20 levels, and grays that spread by 39"
    few = options | {"epochs": 1}
    one, again = (train_denoiser(images, **few, generator=generator()) for _ in range(2))
    weights = zip(one.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)


@pytest.mark.parametrize(
    "shape", [(3, 3, 7, 12), (2, 1, 9, 9), (1, 3, 1, 1), (0, 3, 8, 8)], ids=str
)
def test_any_pictures_stay_pictures(shape):
    images = torch.randint(0, 256, shape, generator=generator(), dtype=torch.uint8)
    untrained = Denoiser(shape[1], 4, generator())
    found = purify(
        images, sigma=0.1, steps=2, epochs=1, width=4, learned=untrained, generator=generator()
    )
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)
    still = purify(
        images, sigma=0.0, steps=2, epochs=1, width=4, learned=untrained, generator=generator()
    )
    assert torch.equal(still, images)


def test_it_learns_from_all_images_or_from_trusted_ones(monkeypatch):
    from cptools.core.defenses import purify as module

    seen = []

    def learn(images, *, sigma, epochs, width, generator):
        seen.append(len(images))
        return lambda x, level: x

    monkeypatch.setattr(module, "train_denoiser", learn)
    step = make_step("purify", {"sigma": "8/255"})
    parts = list(defend_batches(pictures(10), step, generator(), batch_size=4))
    assert [len(part) for part in parts] == [4, 4, 2]
    list(defend_batches(pictures(10), step, generator(), trusted=pictures(7)))
    assert seen == [10, 7]


@pytest.fixture(scope="module")
def data():
    return cp.load("shapes", limit=40, limit_test=10)


def test_trusted_images_are_told_and_matter(data):
    steps = "purify:16/255:epochs=5:width=8"
    other = cp.load("shapes", limit=40, limit_test=10, seed=1)
    alone, known = cp.defend(data, steps), cp.defend(data, steps, trusted=other)
    assert (alone.train_images != known.train_images).any()
    assert set(alone.history[-1].inputs) == {"input"}
    assert set(known.history[-1].inputs) == {"input", "trusted"}


def test_what_cannot_be_is_refused(data):
    with pytest.raises(ValueError, match="`trusted` is for purify; leave it out"):
        cp.defend(data, "gray", trusted=data)
    with pytest.raises(ValueError, match="`trusted` has 16-pixel images, the input 32-pixel ones;"):
        cp.defend(data, "purify:0.1", trusted=cp.load("shapes", limit=20, limit_test=10, size=16))
    with pytest.raises(
        ValueError, match="purify learns from a whole dataset, not from every view;"
    ):
        cp.pretrain(data, defend="purify:0.1")
    with pytest.raises(ValueError, match="purify needs its sigma"):
        cp.defend(data, "purify")
