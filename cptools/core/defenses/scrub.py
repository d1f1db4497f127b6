"""Images as good as clean for telling encoders apart: what they share by class is taken away.

Who has no clean images cannot measure what a defense gives back: held-out images are as poisoned
as the others, and an encoder that rests on the poison does well on them. Here each image loses what
its class has in common, as far as a poison of the ball could be that, after which the means of all
classes are alike; then noise of half the size of the ball hides what a poison wrote into single
images. A shortcut from poison to label no longer pays; what images show is still there.
"""

import torch
from torch import Generator, Tensor

from cptools.core.checks import check_images, check_labels, check_number
from cptools.core.defenses.noise import gaussian_noise


def class_marks(images: Tensor, labels: Tensor, num_classes: int, *, epsilon: float) -> Tensor:
    """What the images of a class have in common: its mean less that of all, inside the ball.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N].
        num_classes: K.
        epsilon: radius of the ball, on the pixel scale 0 to 1.

    Returns:
        float32 [K, C, H, W] in gray levels; 0 for a class without images.
    """
    check_images(images, channels=None)
    check_labels(labels, images)
    check_number("epsilon", epsilon, 0, 1)
    overall = images.float().mean(0)
    marks = torch.zeros(num_classes, *images.shape[1:], device=images.device)
    for label in labels.unique().tolist():
        marks[label] = images[labels == label].float().mean(0) - overall
    return marks.clamp(-255 * epsilon, 255 * epsilon)


def remove_marks(images: Tensor, labels: Tensor, marks: Tensor) -> Tensor:
    """Take the mark of its class off each image.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N].
        marks: what `class_marks` returned.

    Returns:
        uint8 [N, C, H, W].
    """
    return (images - marks[labels]).round_().clamp_(0, 255).to(torch.uint8)


def scrub(
    images: Tensor, labels: Tensor, marks: Tensor, *, epsilon: float, generator: Generator
) -> Tensor:
    """Marks removed, and white noise of standard deviation epsilon / 2; see the module.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N].
        marks: what `class_marks` returned.
        epsilon: radius of the ball, on the pixel scale 0 to 1.
        generator: on the CPU; advances.

    Returns:
        uint8 [N, C, H, W].
    """
    removed = remove_marks(images, labels, marks)
    return gaussian_noise(removed, sigma=epsilon / 2, generator=generator)
