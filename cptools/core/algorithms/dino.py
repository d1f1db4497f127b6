"""DINO (Caron et al., ICCV 2021): a network learns to say what its own moving average says."""

import math
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.algorithms.base import Backbone, jointly
from cptools.core.algorithms.momentum import Momentum, branch_gradient, ema_update
from cptools.core.algorithms.multi_crop import GLOBAL, MultiCrop, by_size
from cptools.core.checks import check_number, check_whole
from cptools.core.encoders.heads import mlp_gelu3
from cptools.core.views import DrawsViews

CENTER_MOMENTUM = 0.9  # m of equation 4


class DINO(Momentum):
    """DINO, equation 3: H(P_t(x), P_s(x')), the mean over all pairs of different views.

    The teacher, the moving average of the student, sees the two global views alone; the student
    sees all. Both end in a softmax over K outputs: cosines of the projection to K directions. The
    teacher's outputs are centered, less their moving average (equation 4), and sharpened by a low
    temperature, which rises linearly to its value in the first epochs. The momentum rises to 1 on
    half a cosine, here once an epoch, in the paper with every step. In the first epochs the
    directions of the student get no gradient (`frozen_epochs`).

    The head is the paper's (section 3 and appendix C): three layers with GELU, no batch norm, and
    directions of length 1. Where this differs from the official code (facebookresearch/dino): it
    draws the head's weights from a normal distribution, clips gradients, lets the weight decay rise
    and solarizes a view. Its teacher's temperature stays at 0.04 by default; the paper's rises to
    0.07. An attacker's rounds count as epochs.

    Args:
        encoder: backbone with `feature_dim`, for views of both sizes.
        hidden: width of the projector.
        dim: dimension of the projection.
        num_prototypes: K.
        temperature: tau_s, the student's.
        teacher_temperature: tau_t, the teacher's.
        teacher_start: tau_t in the first epoch.
        teacher_warmup: epochs until tau_t has risen to its value.
        frozen_epochs: epochs in which the student's directions stay as they are.
        momentum: m of the teacher in the first epoch.
        local_views: number of local views.
        local_size: their side in pixels.
        local_area: smallest area of their crops, as a fraction of the image's.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights.
    """

    center: Tensor
    momentum_prototypes: nn.Linear

    def __init__(
        self,
        encoder: Backbone,
        *,
        hidden: int = 2048,
        dim: int = 256,
        num_prototypes: int = 65536,
        temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        teacher_start: float = 0.04,
        teacher_warmup: int = 30,
        frozen_epochs: int = 1,
        momentum: float = 0.996,
        local_views: int = 8,
        local_size: int = 96,
        local_area: float = 0.05,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        crops = MultiCrop(local_views, local_size, local_area)
        crops.check(encoder)
        check_whole("num_prototypes", num_prototypes, 1)
        prototypes = nn.Linear(dim, num_prototypes, bias=False)
        head = {
            "projector": mlp_gelu3(encoder.feature_dim, hidden, dim),
            "prototypes": prototypes,
        }
        super().__init__(encoder, head, momentum=momentum, bn_groups=bn_groups, generator=generator)
        check_number("temperature", temperature, above=True)
        check_number("teacher_temperature", teacher_temperature, above=True)
        check_number("teacher_start", teacher_start, above=True)
        check_whole("teacher_warmup", teacher_warmup, 0)
        check_whole("frozen_epochs", frozen_epochs, 0)
        self.momentum_prototypes = deepcopy(prototypes).requires_grad_(False)
        self.register_buffer("center", torch.zeros(num_prototypes))
        self.crops, self.num_views = crops, crops.num_views
        self.temperature, self.frozen_epochs = temperature, frozen_epochs
        self.warm, self.warmup = (teacher_start, teacher_temperature), teacher_warmup
        self.first_momentum = momentum
        self.batch_center: Tensor | None = None
        self.start_epoch(1, 1)

    def draw(self, x: Tensor, views: DrawsViews, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The two global views, and the local ones."""
        return self.crops.draw(x, views, generator)

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Let the teacher's temperature and momentum rise; free the directions."""
        done = min(1.0, (epoch - 1) / self.warmup) if self.warmup else 1.0
        start, end = self.warm
        self.sharpness = start + (end - start) * done
        rise = (1 - math.cos(math.pi * (epoch - 1) / epochs)) / 2
        self.momentum = self.first_momentum + (1 - self.first_momentum) * rise
        self.is_frozen = epoch <= self.frozen_epochs

    def loss(self, *views: Tensor, labels: Tensor | None = None, dual: bool = False) -> Tensor:
        """Mean cross-entropy, in nats, of the student on one view and the teacher on another."""
        weight = self.head.get_parameter("prototypes.weight")
        directions = weight.detach() if self.is_frozen else weight
        z = by_size(self.embed, views, self.groups)
        said = [(cosines(part, directions) / self.temperature).log_softmax(dim=1) for part in z]
        with branch_gradient(dual):
            targets = jointly(self._momentum_embed, views[:GLOBAL], self.groups)
            outputs = [cosines(part, self.momentum_prototypes.weight) for part in targets]
            taught = [
                ((output - self.center) / self.sharpness).softmax(dim=1) for output in outputs
            ]
        self.batch_center = torch.cat(outputs).detach().mean(dim=0)
        losses = [
            -(target * log_prob).sum(dim=1).mean()
            for i, target in enumerate(taught)
            for j, log_prob in enumerate(said)
            if i != j
        ]
        return torch.stack(losses).mean()

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the teacher, and the center by the teacher's outputs in the step just made."""
        super().after_step()
        ema_update(self.momentum_prototypes, self.head["prototypes"], self.momentum)
        assert self.batch_center is not None
        self.center.lerp_(self.batch_center, 1 - CENTER_MOMENTUM)
        self.batch_center = None


def cosines(z: Tensor, directions: Tensor) -> Tensor:
    """Cosines [N, K] of unit vectors [N, D] to K directions [K, D], of any length, in float32."""
    with torch.autocast(z.device.type, enabled=False):
        return z @ F.normalize(directions.float(), dim=1).T
