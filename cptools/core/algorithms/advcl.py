"""AdvCL (Fan et al., NeurIPS 2021): adversarial, plain and high-frequency views, pseudo-labels."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from cptools.core.algorithms.adversarial import PGD
from cptools.core.algorithms.base import Algorithm, Backbone, in_groups, unit
from cptools.core.algorithms.losses import nt_xent
from cptools.core.checks import check_number, check_whole
from cptools.core.encoders.heads import initialize, mlp_bn
from cptools.core.epsilon import Epsilon
from cptools.core.views import DrawsViews, draw_views

LOW = 1 / 4  # radius of the low frequencies, of the image's side: 8 of 32
PLAIN, SECOND = "normal", "pgd_ce"  # sets of batch norm, by their names in the official code


class AdvCL(Algorithm):
    """AdvCL: NT-Xent of four views, and cross-entropy of an adversarial view on pseudo-labels.

    The four views are two draws of the contrastive views, a weak view (flip and shift), changed by
    an adversary who climbs the NT-Xent, and the high frequencies of that weak view as it was. A
    second adversary climbs the cross-entropy from the same weak view to several pseudo-labels, each
    told by a linear head of its own from the backbone's features. The loss is
    NT-Xent + ce_weight * (mean over the heads of the cross-entropy).

    The backbone has three sets of batch norm, one for the plain views, one for each adversary; all
    else is shared. As in the official code (LijieFan/AdvCL), every view is normalized by itself,
    with the statistics of its batch during the attacks as well, and the running statistics follow
    each of their steps. `encoder` holds the set of the first adversary, by which AdvCL's linear
    probe evaluates, robust and clean accuracy alike; the others are in the head, each as a list of
    layers in the backbone's order. Weights and buffers of an encoder so keep torchvision's names.

    Where this differs from the official code: it takes pseudo-labels from an encoder pretrained on
    ImageNet, clean images that the victim of a poison does not have; here they are clusters of the
    features of whatever encoder one has trained. Its weight of 0.2 stands beside a contrastive loss
    that is 0.5 / 0.07 times the textbook one. It does not normalize pixels, and passes the plain
    views through the network again at every step of the attack, to the same embeddings: their
    running statistics move faster.

    A victim, not an attacker: adversarial views are constants to the gradient of a poison.

    Args:
        encoder: backbone with `feature_dim`.
        num_classes: pseudo-classes of each labeling.
        mean: per-channel mean of the normalization, in [0, 1].
        std: per-channel standard deviation of the normalization.
        epsilon: radius of the adversarial balls on the pixel scale, in [0, 1].
        steps: of the attacks.
        step_size: of a step of an attack, in units of epsilon.
        ce_weight: weight of the cross-entropy.
        hidden: width of the projector.
        dim: dimension of the embedding.
        temperature: tau of NT-Xent.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights.
    """

    num_views = 5
    needs_classes = True
    needs_pixels = True

    def __init__(
        self,
        encoder: Backbone,
        *,
        num_classes: tuple[int, ...],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        epsilon: Epsilon = 8 / 255,
        steps: int = 5,
        step_size: float = 0.25,
        ce_weight: float = 0.028,
        hidden: int = 512,
        dim: int = 128,
        temperature: float = 0.5,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        super().__init__()
        check_number("temperature", temperature, above=True)
        check_number("ce_weight", ce_weight)
        check_whole("bn_groups", bn_groups, 1)
        self.encoder, self.num_classes = encoder, tuple(num_classes)
        self.head = nn.ModuleDict(
            {
                "projector": mlp_bn(encoder.feature_dim, hidden, dim),
                "classifiers": nn.ModuleList(
                    nn.Linear(encoder.feature_dim, num) for num in num_classes
                ),
            }
        )
        initialize(self, generator)
        layers = {n: m for n, m in encoder.named_modules() if isinstance(m, _BatchNorm)}
        self.norms = tuple(layers)
        for name in (PLAIN, SECOND):
            self.head[name] = nn.ModuleList(deepcopy(layer) for layer in layers.values())
        self.attack = PGD(mean, std, epsilon=epsilon, steps=steps, step_size=step_size)
        self.ce_weight = ce_weight
        self.temperature = temperature
        self.bn_groups = bn_groups

    def draw(self, x: Tensor, views: DrawsViews, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Two views, a weak one, and where both attacks on that start, at random in its ball."""
        pair = draw_views(views, x, 2, generator)
        (weak,) = draw_views(views.weak(), x, 1, generator)
        return *pair, weak, *(self.attack.start(weak, generator) for _ in range(2))

    def _features(self, view: Tensor, norms: str | None = None) -> Tensor:
        """Features [B, D] of the backbone, by its own batch norm or a set of the head."""
        if norms is None:
            return in_groups(self.encoder, view, self.groups)
        tensors = {
            f"{name}.{key}": tensor
            for name, layer in zip(self.norms, self.head[norms].children(), strict=True)
            for key, tensor in layer.state_dict(keep_vars=True).items()
        }
        return in_groups(
            lambda part: functional_call(self.encoder, tensors, (part,)), view, self.groups
        )

    def _embed(self, view: Tensor, norms: str | None = None) -> Tensor:
        features = self._features(view, norms)
        return unit(in_groups(self.head["projector"], features, self.groups))

    def _cross_entropy(self, view: Tensor, labels: Tensor) -> Tensor:
        """Mean over the heads; labels int64 [B, L]."""
        features = self._features(view, SECOND)
        losses = [
            F.cross_entropy(head(features).float(), y)
            for head, y in zip(self.head["classifiers"].children(), labels.unbind(1), strict=True)
        ]
        return torch.stack(losses).mean()

    def embed(self, view: Tensor) -> Tensor:
        """Unit embeddings [B, D] by the first adversary's batch norm."""
        return self._embed(view)

    def loss(
        self,
        view_a: Tensor,
        view_b: Tensor,
        weak: Tensor,
        start: Tensor,
        second_start: Tensor,
        *,
        labels: Tensor,
        dual: bool = False,
    ) -> Tensor:
        """NT-Xent of four views and cross-entropy; there is one branch: `dual` changes nothing.

        Each adversary climbs its own term: the other one does not depend on it, and the sign of the
        gradient not on the weights of the terms.
        """
        # Nothing that the first adversary does changes the plain views' embeddings.
        plain = [self._embed(view, PLAIN) for view in (view_a, view_b, high_frequencies(weak))]
        fixed = [z.detach() for z in plain]
        first = self.attack(
            lambda x: nt_xent(self._embed(x), *fixed, temperature=self.temperature), weak, start
        )
        second = self.attack(lambda x: self._cross_entropy(x, labels), weak, second_start)
        contrastive = nt_xent(self._embed(first), *plain, temperature=self.temperature)
        return contrastive + self.ce_weight * self._cross_entropy(second, labels)


def high_frequencies(view: Tensor) -> Tensor:
    """A view without the disk of its low frequencies, of radius `LOW` times its side.

    Of a normalized view this is the high-frequency part of the image over std: the mean goes
    with the low frequencies.

    Args:
        view: float [B, 3, S, S].

    Returns:
        [B, 3, S, S]; the mean of each channel is 0.
    """
    size = view.shape[-1]
    rows, columns = torch.fft.fftfreq(size, 1 / size), torch.fft.rfftfreq(size, 1 / size)
    keep = rows.view(-1, 1).square() + columns.square() >= (LOW * size) ** 2
    spectrum = torch.fft.rfft2(view) * keep.to(view.device)
    high: Tensor = torch.fft.irfft2(spectrum, s=(size, size))
    return high
