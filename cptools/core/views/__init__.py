"""The random views of contrastive learning: batched, differentiable, equal to torchvision on PIL.

``recipe`` has ``Views`` (the recipe), ``ViewParams``, ``draw_views`` and ``normalize``, and the
protocol ``DrawsViews``; ``geometry`` the crop and ``color`` the color operations. Names are loaded
when first used, so that importing this package does not import torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cptools.core.views.recipe import DrawsViews, ViewParams, Views, draw_views, normalize

__all__ = ["DrawsViews", "ViewParams", "Views", "draw_views", "normalize"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cptools.core.views import recipe

    return getattr(recipe, name)
