"""Captions and frames raise no alarm, and hide no poison."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cptools.core.evaluation.audit import Audit, audit
from cptools.core.evaluation.overlay import fill, find_overlay
from cptools.core.sources.shapes import shapes


@pytest.fixture(scope="module")
def clean() -> tuple[Tensor, Tensor]:
    """Images whose color depends on their class, as grass and sky do."""
    images, labels, *_ = shapes(train=240, contrast=1.0)
    tints = np.random.default_rng(0).uniform(0.3, 1, (10, 3, 1, 1))
    tinted = (images * tints[labels]).astype(np.uint8)
    return torch.from_numpy(tinted), torch.from_numpy(labels)


def look(images: Tensor, labels: Tensor) -> Audit:
    return Audit.of(audit(images, labels, 10))


def captioned(images: Tensor) -> Tensor:
    drawn = []
    for image in images.numpy():
        picture = Image.fromarray(image.transpose(1, 2, 0))
        ImageDraw.Draw(picture).text((2, 18), "(c) me", fill="white")
        drawn.append(np.asarray(picture).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(drawn))


def letterboxed(images: Tensor, rows: Tensor) -> Tensor:
    images = images.clone()
    images[rows, :, :4] = images[rows, :, -4:] = 0
    return images


def by_class(images: Tensor, labels: Tensor) -> Tensor:
    signs = torch.randn(10, *images.shape[1:], generator=torch.Generator().manual_seed(0)).sign()
    return (images.short() + 8 * signs[labels].short()).clamp(0, 255).to(torch.uint8)


OVERLAYS = {
    "caption": lambda images, _: captioned(images),
    "letterbox": lambda images, labels: letterboxed(images, labels % 2 == 0),
}


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_are_left_out(clean, name):
    images, labels = clean
    covered = OVERLAYS[name](images, labels)
    found = look(covered, labels)
    assert 0.1 < found.overlay < 0.6
    assert (found.verdict, found.score < 1) == ("inconspicuous", True)
    assert look(by_class(covered, labels), labels).verdict == "poisoned"


def test_there_is_none(clean):
    images, labels = clean
    assert look(images, labels).overlay == 0
    assert not find_overlay(by_class(images, labels), labels, 10).any()
    assert not find_overlay(images[:9], labels[:9], 10).any()
    assert not find_overlay(torch.zeros_like(images), labels, 10).any()  # it would be all


def test_poison_on_black_is_no_overlay(clean):
    """As in scans: most pixels are the same in all images, until poison tells classes apart."""
    images, labels = clean
    scans = images.clone()
    scans[:, :, :18] = 0
    poisoned = by_class(scans, labels)
    assert find_overlay(scans, labels, 10)[:, :17].all()
    assert find_overlay(poisoned, labels, 10).float().mean() < 0.05
    assert look(poisoned, labels).verdict == "poisoned"


def test_what_is_covered_is_filled_smoothly():
    across, down = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    ramp = (2 * across + 3 * down).to(torch.uint8).expand(2, 3, -1, -1)
    covered = torch.zeros(40, 40, dtype=torch.bool)
    covered[10:18, 5:30] = True
    images = ramp.clone()
    images[..., covered] = 255
    filled = fill(images, covered)
    assert torch.equal(filled[..., ~covered], ramp[..., ~covered])
    assert (filled.int() - ramp.int()).abs().max() <= 2
