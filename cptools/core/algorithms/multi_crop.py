"""Multi-crop (Caron et al. 2020, section 3.3): local views, small parts of an image, beside two."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cptools.core.algorithms.base import Backbone, jointly
from cptools.core.checks import check_number, check_whole
from cptools.core.views import DrawsViews, draw_views

GLOBAL = 2  # views that teach


@dataclass(frozen=True)
class MultiCrop:
    """Two global views of an image, and local ones.

    A crop of a local view is smaller than any of a global one: its area is between `local_area` and
    the smallest of those, as in SwAV (0.05 to 0.14) and DINO (0.05 to 0.4). Local views have fewer
    pixels, too (96 of 224).

    Attributes:
        local_views: how many there are; 0: the two global ones alone.
        local_size: their side in pixels.
        local_area: smallest area of their crops, as a fraction of the image's.

    Raises:
        ValueError: a number is out of range.
    """

    local_views: int
    local_size: int
    local_area: float

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_whole("local_views", self.local_views, 0)
        check_whole("local_size", self.local_size, 1)
        check_number("local_area", self.local_area, 0, 1, above=True)

    @property
    def num_views(self) -> int:
        """Views of an image."""
        return GLOBAL + self.local_views

    def check(self, encoder: Backbone) -> None:
        """Refuse an encoder that does not take local views.

        Raises:
            ValueError: it is one for images of one size, or its patches do not divide these.
        """
        if not self.local_views:
            return
        trains, size = encoder.training, self.local_size
        try:
            with torch.no_grad():
                encoder.eval()(torch.zeros(1, 3, size, size))
        except ValueError:
            raise
        except Exception as error:  # of anybody's code
            raise ValueError(
                f"the encoder does not take local views of {size} pixels"
                f" ({type(error).__name__}); give another, or `local_views=0`"
            ) from error
        finally:
            encoder.train(trains)

    def draw(self, x: Tensor, views: DrawsViews, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The global views of images x [B, 3, H, W], then the local ones, normalized."""
        drawn = draw_views(views, x, GLOBAL, generator)
        if not self.local_views:
            return drawn
        local = views.local(self.local_size, self.local_area)
        return *drawn, *draw_views(local, x, self.local_views, generator)


def by_size(
    forward: Callable[[Tensor], Tensor], views: tuple[Tensor, ...], groups: int
) -> tuple[Tensor, ...]:
    """Outputs [B, D] of each view; batch norm sees all views of one size together.

    Args:
        forward: from [N, 3, S, S] to [N, D], for any S.
        views: [B, 3, S, S] each, the global ones first.
        groups: slices of the batch that batch norm sees apart.
    """
    first, rest = views[:GLOBAL], views[GLOBAL:]
    return jointly(forward, first, groups) + (jointly(forward, rest, groups) if rest else ())
