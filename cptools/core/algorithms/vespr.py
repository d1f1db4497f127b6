"""VESPR (Styborski et al., ECCV 2024): a supervised adversary hides the poison from SimCLR."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.algorithms.adversarial import PGD
from cptools.core.algorithms.base import Backbone, in_groups, unit
from cptools.core.algorithms.simclr import SimCLR
from cptools.core.checks import check_number, check_whole
from cptools.core.encoders.heads import initialize
from cptools.core.epsilon import Epsilon
from cptools.core.evaluation.frozen import frozen
from cptools.core.views import DrawsViews, draw_views


class VESPR(SimCLR):
    """SimCLR and a classifier on the same backbone, on views that fool the classifier.

    Styborski, Lyu, Huang and Kong (Exploiting supervised poison vulnerability to strengthen
    self-supervised defense): L = alpha L_CL + beta L_CE of views with
    delta* = argmax L_CE(c(f(x + delta)), y) in the ball. What a poison makes predictable by class
    is what the adversary takes away, so that neither loss can rest on it. Only the abstract and
    summaries of the paper could be had; what they leave open is as in its code (JStyborski/VESPR):
    the first of two views is adversarial, by T steps from a random start, in eval mode, climbing
    cross-entropy alone; cross-entropy is the mean over both views; alpha is 1. That code passes one
    view after the other and lets pixels leave [0, 1]; here both views pass jointly, as SimCLR's,
    and stay inside.

    A victim, not an attacker: adversarial views are constants to the gradient of a poison.

    Args:
        encoder: backbone with `feature_dim`.
        num_classes: of the labels.
        mean: per-channel mean of the normalization, in [0, 1].
        std: per-channel standard deviation of the normalization.
        epsilon: radius of the adversarial ball on the pixel scale, in [0, 1].
        steps: T.
        step_size: of a step of the attack, in units of epsilon.
        ce_weight: beta.
        generator: source of the initial weights.
        options: of `SimCLR`.
    """

    num_views = 3
    needs_classes = True
    needs_pixels = True

    def __init__(
        self,
        encoder: Backbone,
        *,
        num_classes: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        epsilon: Epsilon = 4 / 255,
        steps: int = 10,
        step_size: float = 0.15,
        ce_weight: float = 1.0,
        generator: torch.Generator,
        **options: Any,
    ):
        super().__init__(encoder, generator=generator, **options)
        check_whole("num_classes", num_classes, 1)
        check_number("ce_weight", ce_weight)
        classifier = nn.Linear(encoder.feature_dim, num_classes)
        initialize(classifier, generator)
        self.head["classifier"] = classifier
        self.num_classes, self.ce_weight = num_classes, ce_weight
        self.attack = PGD(mean, std, epsilon=epsilon, steps=steps, step_size=step_size)

    def draw(self, x: Tensor, views: DrawsViews, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Two views, and where the attack on the first starts, at random in its ball."""
        view_a, view_b = draw_views(views, x, 2, generator)
        return view_a, view_b, self.attack.start(view_a, generator)

    def loss(self, *views: Tensor, labels: Tensor, dual: bool = False) -> Tensor:  # type: ignore[override]
        """NT-Xent and cross-entropy of the adversarial first view and the second."""
        view, other, start = views

        def climbed(x: Tensor) -> Tensor:
            return F.cross_entropy(self.head["classifier"](self.encoder(x)).float(), labels)

        with frozen(self):
            adversarial = self.attack(climbed, view, start)
        stacked = torch.stack((adversarial, other), dim=1)  # a slice holds both views of its images
        features = in_groups(lambda part: self.encoder(part.flatten(0, 1)), stacked, self.groups)
        z = unit(in_groups(self.head["projector"], features, self.groups)).unflatten(0, (-1, 2))
        contrastive = self.objective(*z.unbind(1), temperature=self.temperature)
        logits = self.head["classifier"](features).float()
        return contrastive + self.ce_weight * F.cross_entropy(logits, labels.repeat_interleave(2))
