"""Defenses as augmentations: drawn anew for every view of every image in every epoch.

This is how the paper uses matrix completion (CP section 6b: "data augmentations"), while
`cp-defend` bakes one draw into a dataset. Whether a defense comes before the random views or after
them is not in its text; both are here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from cptools.core.views import Views, normalize

Defend = Callable[[Tensor, Generator], Tensor]  # uint8 [B, 3, H, W] and a generator to uint8


def in_8_bits(x: Tensor, defend: Defend, generator: Generator) -> Tensor:
    """Apply a defense to float images in [0, 1], rounded to 8 bits before and after.

    The gradient does not pass.

    Args:
        x: float [B, 3, H, W] in [0, 1].
        defend: the defense.
        generator: on the CPU; advances.

    Returns:
        float32 [B, 3, H, W] in [0, 1].
    """
    pixels = (x.detach() * 255).round_().clamp_(0, 255).to(torch.uint8)
    return defend(pixels, generator).float().div_(255)


@dataclass(frozen=True)
class DefendedImages:
    """Random views of defended images.

    Attributes:
        views: how views are drawn.
        defend: what is done to the images before.
    """

    views: Views
    defend: Defend

    def __call__(self, x: Tensor, generator: Generator, copies: int = 1) -> Tensor:
        """Views [B, 3, S, S], normalized, of images [B, 3, H, W] in [0, 1]."""
        return self.views(in_8_bits(x, self.defend, generator), generator, copies)

    def weak(self) -> "DefendedImages":
        """The same of the weak views."""
        return replace(self, views=self.views.weak())

    def local(self, size: int, area: float) -> "DefendedImages":
        """The same of the local views."""
        return replace(self, views=self.views.local(size, area))


@dataclass(frozen=True)
class DefendedViews:
    """Defended random views of images.

    Attributes:
        views: how views are drawn.
        defend: what is done to the views, before they are normalized.
    """

    views: Views
    defend: Defend

    def __call__(self, x: Tensor, generator: Generator, copies: int = 1) -> Tensor:
        """Views [B, 3, S, S], normalized, of images [B, 3, H, W] in [0, 1]."""
        plain = replace(self.views, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        view = in_8_bits(plain(x, generator, copies), self.defend, generator)
        return normalize(view, self.views.mean, self.views.std)

    def weak(self) -> "DefendedViews":
        """The same of the weak views."""
        return replace(self, views=self.views.weak())

    def local(self, size: int, area: float) -> "DefendedViews":
        """The same of the local views."""
        return replace(self, views=self.views.local(size, area))
