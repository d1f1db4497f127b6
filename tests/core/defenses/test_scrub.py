"""Scrubbing: marks of classes an image at a time, and what a shortcut is worth afterwards."""

import torch

from cptools.core.defenses.scrub import class_marks, remove_marks, scrub


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def data(num=200, size=6):
    images = torch.randint(60, 196, (num, 3, size, size), generator=generator(1)).to(torch.uint8)
    return images, torch.arange(num) % 4


def poisoned():
    """Images, each with a mark of its class of +-6 levels."""
    images, labels = data()
    delta = torch.randint(0, 2, (4, 3, 6, 6), generator=generator(2)) * 12 - 6
    return (images + delta[labels]).to(torch.uint8), labels, delta


def test_marks_are_means_inside_the_ball():
    images, labels = data(12)
    marks = class_marks(images, labels, 5, epsilon=4 / 255)
    overall = sum(image.double() for image in images) / 12
    for label in range(4):
        own = [image.double() for image, y in zip(images, labels, strict=True) if y == label]
        expected = (sum(own) / len(own) - overall).clamp(-4, 4)
        torch.testing.assert_close(marks[label].double(), expected, atol=1e-4, rtol=0)
    assert not marks[4].any(), "of a class without images"


def test_what_is_left_is_the_image_less_its_mark():
    images, labels, _ = poisoned()
    marks = class_marks(images, labels, 4, epsilon=8 / 255)
    for image, label, result in zip(
        images, labels, remove_marks(images, labels, marks), strict=True
    ):
        expected = (image - marks[label]).round().clamp(0, 255)
        assert torch.equal(result, expected.to(torch.uint8))


def test_a_shortcut_is_worth_nothing_afterwards():
    images, labels, delta = poisoned()

    def told(x):
        """How often the mark that an image goes along with most is that of its class."""
        centered = (x.float() - x.float().mean(0)).flatten(1)
        return ((centered @ delta.flatten(1).float().T).argmax(1) == labels).float().mean()

    marks = class_marks(images, labels, 4, epsilon=8 / 255)
    scrubbed = scrub(images, labels, marks, epsilon=8 / 255, generator=generator())
    assert told(images) > 0.45
    assert told(scrubbed) < 0.35, "a quarter by chance"
    moved = (scrubbed.float() - images).square().mean().sqrt()
    assert 3 < moved < 12
