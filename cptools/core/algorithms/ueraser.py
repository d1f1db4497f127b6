"""UEraser (Qin et al. 2023): supervised learning by the worst of several strong augmentations."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cptools.core.algorithms.base import Backbone, in_groups
from cptools.core.algorithms.supervised import Supervised
from cptools.core.checks import check_number, check_whole
from cptools.core.defenses.on_the_fly import in_8_bits
from cptools.core.defenses.ueraser import ueraser
from cptools.core.views import DrawsViews, draw_views, normalize


class UEraser(Supervised):
    """A classifier that learns from the augmentation of each image with the greatest loss.

    Qin, Gao, Zhao, Ye and Xu (2023, algorithm 1): of K draws of the augmentations of each view
    (`cptools.core.defenses.ueraser`) the one with the greatest cross-entropy counts, in the pass
    that trains, so that batch norm sees all draws jointly, as in their code (lafeat/ueraser). Of
    K = 1 it is UEraser-Lite. Evaluation sees plain views.

    A victim, not an attacker: its views are in 8 bits, without a gradient.

    Args:
        encoder: backbone with `feature_dim`.
        mean: per-channel mean of the normalization, in [0, 1].
        std: per-channel standard deviation of the normalization.
        draws: K.
        intensity: greatest strength of the plasma brightness, on the pixel scale 0 to 1.
        options: of `Supervised`.
    """

    needs_pixels = True

    def __init__(
        self,
        encoder: Backbone,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        draws: int = 5,
        intensity: float = 1.0,
        **options: Any,
    ):
        super().__init__(encoder, **options)
        check_whole("draws", draws, 1)
        check_number("intensity", intensity)
        self.mean, self.std = mean, std
        self.draws, self.intensity = draws, intensity

    def draw(self, x: Tensor, views: DrawsViews, generator: torch.Generator) -> tuple[Tensor, ...]:
        """K augmentations [B, 3, S, S] of a view of each image, normalized."""
        (view,) = draw_views(views, x, 1, generator)
        mean, std = (torch.tensor(v, device=x.device).view(3, 1, 1) for v in (self.mean, self.std))
        pixels = torch.cat([view * std + mean] * self.draws)
        augmented = in_8_bits(
            pixels,
            lambda y, g: ueraser(y, intensity=self.intensity, generator=g),
            generator,
        )
        return normalize(augmented, self.mean, self.std).chunk(self.draws)

    def loss(self, *views: Tensor, labels: Tensor, dual: bool = False) -> Tensor:
        """The mean over the images of the greatest cross-entropy among the views of each."""
        stacked = torch.stack(views, dim=1)  # a slice of the batch holds all views of its images
        logits = in_groups(lambda part: self.classify(part.flatten(0, 1)), stacked, self.groups)
        losses = F.cross_entropy(
            logits.float(), labels.repeat_interleave(len(views)), reduction="none"
        )
        return losses.view(-1, len(views)).amax(1).mean()
