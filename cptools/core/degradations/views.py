"""Views of images that went through something on the way: what the attacks' `survive` is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Generator, Tensor

from cptools.core.degradations import DEGRADATIONS, parse_degradations
from cptools.core.lazy import load
from cptools.core.views import DrawsViews, color

Degrade = Callable[[Tensor], Tensor]  # float [B, 3, H, W] in [0, 1] to the same


@dataclass(frozen=True)
class DegradedViews:
    """Views of images that all went through one of some degradations, or through none.

    A batch draws which, each as likely as the others and as none (expectation over
    transformations: Athalye et al., ICML 2018). It is drawn for a batch and not for an image,
    because all pictures of a data set tend to share their way: within a mixed batch a learner
    could tell images apart by what they went through, which says nothing of the noise. All views
    of an image share it, as they come from one file.

    Attributes:
        views: how views are drawn.
        degrade: the degradations, with gradients.
    """

    views: DrawsViews
    degrade: tuple[Degrade, ...]

    def __call__(self, x: Tensor, generator: Generator, copies: int = 1) -> Tensor:
        """Views [B, 3, S, S], normalized, of images [B, 3, H, W] in [0, 1]."""
        drawn = int(torch.randint(len(self.degrade) + 1, (), generator=generator))
        if drawn:
            with color.full_precision(x.device):
                once = self.degrade[drawn - 1](x[: len(x) // copies])
            x = torch.cat([once] * copies)
        return self.views(x, generator, copies)

    def weak(self) -> "DegradedViews":
        """The same of the weak views."""
        return replace(self, views=self.views.weak())

    def local(self, size: int, area: float) -> "DegradedViews":
        """The same of the local views."""
        return replace(self, views=self.views.local(size, area))


def _degraded(function: Callable[[Tensor, float], Tensor], number: float, x: Tensor) -> Tensor:
    return function(x, number)


def surviving(views: DrawsViews, survive: str) -> DrawsViews:
    """Views of what degradations leave, such as `jpeg:75,blur:1`; the views themselves of "".

    Raises:
        ValueError: it names no degradations; one line.
    """
    degrade = tuple(
        partial(_degraded, load(DEGRADATIONS[name].function), number)
        for name, number in parse_degradations(survive)
    )
    return DegradedViews(views, degrade) if degrade else views
