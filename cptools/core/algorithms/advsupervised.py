"""Supervised adversarial training (Madry et al., ICLR 2018): cross-entropy of adversarial views."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cptools.core.algorithms.adversarial import PGD
from cptools.core.algorithms.base import Backbone
from cptools.core.algorithms.supervised import Supervised
from cptools.core.epsilon import Epsilon
from cptools.core.evaluation.frozen import frozen
from cptools.core.views import DrawsViews, draw_views


class AdvSupervised(Supervised):
    """A classifier that is trained on the worst view in a ball about each view.

    The adversary climbs the cross-entropy inside the ball (their equation 2.1), from a random
    point of it; the classifier goes down the cross-entropy of what it found. Batch norm takes
    running statistics during the attack, as in the official code of Fu et al. (ICLR 2022), which
    the settings are from.

    What the adversary adds is a constant to the gradient, so that poison is optimized against it
    as robust unlearnable examples are: at the adversarial view, with respect to the view.

    Args:
        encoder: backbone with `feature_dim`.
        mean: per-channel mean of the normalization, in [0, 1].
        std: per-channel standard deviation of the normalization.
        epsilon: radius of the adversarial ball on the pixel scale, in [0, 1].
        steps: of the attack.
        step_size: of a step of the attack, in units of epsilon.
        options: of `Supervised`.
    """

    num_views = 3
    needs_pixels = True

    def __init__(
        self,
        encoder: Backbone,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        epsilon: Epsilon = 4 / 255,
        steps: int = 10,
        step_size: float = 0.2,
        **options: Any,
    ):
        super().__init__(encoder, **options)
        self.attack = PGD(mean, std, epsilon=epsilon, steps=steps, step_size=step_size)

    def draw(self, x: Tensor, views: DrawsViews, generator: torch.Generator) -> tuple[Tensor, ...]:
        """A view, another one for the curve of alignment, and where the attack starts."""
        view, other = draw_views(views, x, 2, generator)
        return view, other, self.attack.start(view.detach(), generator)

    def loss(self, *views: Tensor, labels: Tensor, dual: bool = False) -> Tensor:
        """Mean cross-entropy of the adversarial views, in nats; `dual` changes nothing."""
        view, _, start = views
        with frozen(self):
            worst = self.attack(
                lambda x: F.cross_entropy(self.classify(x).float(), labels), view, start
            )
        return super().loss(view + (worst - view).detach(), labels=labels)
