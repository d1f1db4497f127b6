"""UEraser: the worst of the draws, image by image; what is drawn; what is refused."""

from copy import deepcopy

import pytest
import torch
from learners import Tiny, images
from torch.nn import functional as F

from cptools.core.algorithms.ueraser import UEraser
from cptools.core.views import Views

MEAN, STD = (0.5, 0.4, 0.6), (0.2, 0.3, 0.1)
LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def make(**options):
    return UEraser(
        Tiny(), num_classes=3, mean=MEAN, std=STD, generator=torch.Generator().manual_seed(0),
        **options,
    )  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_the_greatest_of_each_image(training):
    algorithm = make().train(training)
    slow = deepcopy(algorithm)
    views = [images(seed).float() for seed in range(3)]
    # Batch norm sees all draws of all images.
    joint = slow.classify(torch.stack(views, 1).flatten(0, 1)).view(6, 3, 3)
    worst = [
        max(F.cross_entropy(joint[i, k][None], LABELS[i][None]) for k in range(3)) for i in range(6)
    ]
    found = algorithm.loss(*views, labels=LABELS)
    torch.testing.assert_close(found, torch.stack(worst).mean())
    alone = algorithm.loss(views[0], labels=LABELS)
    assert torch.isfinite(alone)


def test_draws_are_augmentations_of_one_view_in_8_bits():
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    views = Views(8, MEAN, STD, scale=(1, 1), flip=0, jitter_p=0, gray_p=0)
    algorithm = make(draws=3, intensity=0.0)
    drawn = algorithm.draw(x, views, torch.Generator().manual_seed(2))
    again = algorithm.draw(x, views, torch.Generator().manual_seed(2))
    assert len(drawn) == 3
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert not torch.equal(drawn[0], drawn[1])
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    levels = 255 * (torch.cat(drawn) * std + mean)
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    same = sum(
        torch.allclose(v * std + mean, x, atol=0.003, rtol=0)
        for v in torch.cat(drawn).view(3, 6, 3, 8, 8)[:, 0]
    )
    assert same < 3, "some draw changes the first image"


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"intensity": -0.1}])
def test_what_is_no_number_of_draws(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make(**wrong)
