"""SimCLR whose anchor has its adversarial example as one more positive (Kim et al. 2020)."""

from typing import Any

import torch
from torch import Tensor

from cptools.core.algorithms.adversarial import PGD
from cptools.core.algorithms.base import Backbone
from cptools.core.algorithms.losses import nt_xent
from cptools.core.algorithms.simclr import SimCLR
from cptools.core.epsilon import Epsilon
from cptools.core.evaluation.frozen import frozen
from cptools.core.views import DrawsViews, draw_views


class AdvSimCLR(SimCLR):
    """Adversarial SimCLR: NT-Xent of two views and the adversarial example of the first.

    The example climbs the NT-Xent of the first and second view inside the ball about the first: an
    instance-wise attack, without labels (Kim, Tack, Hwang, NeurIPS 2020). It is a positive of both
    afterwards, and a negative of the other images. As in their official code (Kim-Minseon/RoCL),
    batch norm takes running statistics during the attack, and sees all three views of a batch
    jointly in training. That code sums over the two positives of an embedding, where this takes the
    mean; it adds a term between the example and the second view, of weight 1/256, which is left
    out; and it does not normalize pixels.

    A victim, not an attacker: adversarial views are constants to the gradient of a poison.

    Args:
        encoder: backbone with `feature_dim`.
        mean: per-channel mean of the normalization, in [0, 1].
        std: per-channel standard deviation of the normalization.
        epsilon: radius of the adversarial ball on the pixel scale, in [0, 1].
        steps: of the attack.
        step_size: of a step of the attack, in units of epsilon.
        options: of `SimCLR`.
    """

    num_views = 3
    needs_pixels = True

    def __init__(
        self,
        encoder: Backbone,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        epsilon: Epsilon = 8 / 255,
        steps: int = 7,
        step_size: float = 0.25,
        **options: Any,
    ):
        super().__init__(encoder, **options)
        self.attack = PGD(mean, std, epsilon=epsilon, steps=steps, step_size=step_size)

    def draw(self, x: Tensor, views: DrawsViews, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Two views, and where the attack on the first starts, at random in its ball."""
        view_a, view_b = draw_views(views, x, 2, generator)
        return view_a, view_b, self.attack.start(view_a, generator)

    def loss(self, *views: Tensor, labels: Tensor | None = None, dual: bool = False) -> Tensor:
        """NT-Xent of the two views and the adversarial one; `dual` changes nothing."""
        view, other, start = views
        with frozen(self):
            z = self.embed(other).detach()
            adversarial = self.attack(
                lambda x: nt_xent(self.embed(x), z, temperature=self.temperature), view, start
            )
        return super().loss(view, other, adversarial)
