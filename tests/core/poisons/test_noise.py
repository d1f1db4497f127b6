"""Random noise: uniform in the ball, repeatable."""

import torch

from cptools.core.poisons.noise import random_noise


def test_noise_is_uniform_in_the_ball() -> None:
    delta = random_noise((50, 3, 16, 16), torch.Generator().manual_seed(3))
    assert delta.shape == (50, 3, 16, 16)
    assert delta.dtype == torch.float32
    assert delta.abs().max() <= 1
    counts = torch.histc(delta, bins=20, min=-1, max=1)
    expected = delta.numel() / 20
    # Chi-square with 19 degrees of freedom: 43.8 is exceeded once in a thousand.
    assert ((counts - expected) ** 2 / expected).sum() < 43.8
    assert (
        abs(torch.corrcoef(torch.stack([delta[:, 0].flatten(), delta[:, 1].flatten()]))[0, 1])
        < 0.03
    )


def test_same_seed_same_noise() -> None:
    first, again, other = (
        random_noise((4, 3, 5, 6), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
