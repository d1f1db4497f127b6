"""SwAV (Caron et al., NeurIPS 2020): a view is to tell to which prototypes another one belongs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.algorithms.base import Backbone, unit
from cptools.core.algorithms.multi_crop import GLOBAL, MultiCrop, by_size
from cptools.core.algorithms.projected import Projected
from cptools.core.checks import check_number, check_whole
from cptools.core.encoders.heads import mlp_bn
from cptools.core.views import DrawsViews

ITERATIONS = 3  # of Sinkhorn and Knopp (section 3.1)


class SwAV(Projected):
    """SwAV, equations 2 to 6: l(z_v, q_i), the mean over all pairs of different views v and i.

    The scores of a view are the cosines of its projection to the prototypes. Codes q of a batch,
    made of the two global views alone, are its scores turned into assignments that use all
    prototypes alike; every other view is to predict them by a softmax of its own scores. Codes are
    constants: `dual` changes nothing. For small batches, projections of earlier ones take part in
    the assignment (the queue, of each global view its own). Prototypes have length 1: they are
    normalized after each step, and in the first epochs get no gradient (`frozen_epochs`).

    As in the official code (facebookresearch/swav), the iterations of Sinkhorn and Knopp end with
    the images: codes of an image sum to 1. Its queue is filled in the last epochs before
    `queue_start`; here with every step, and its first content is random. An attacker's rounds count
    as epochs.

    Args:
        encoder: backbone with `feature_dim`, for views of both sizes.
        hidden: width of the projector.
        dim: dimension of the projection.
        num_prototypes: K.
        temperature: tau of the predictions.
        sinkhorn_epsilon: weight of the codes' entropy.
        queue_size: projections of earlier batches that take part in the codes; 0: none.
        queue_start: epochs before they do.
        frozen_epochs: epochs in which the prototypes stay as they are.
        local_views: number of local views.
        local_size: their side in pixels.
        local_area: smallest area of their crops, as a fraction of the image's.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights and of the queue's first content.
    """

    queue: Tensor

    def __init__(
        self,
        encoder: Backbone,
        *,
        hidden: int = 2048,
        dim: int = 128,
        num_prototypes: int = 3000,
        temperature: float = 0.1,
        sinkhorn_epsilon: float = 0.05,
        queue_size: int = 0,
        queue_start: int = 15,
        frozen_epochs: int = 1,
        local_views: int = 6,
        local_size: int = 96,
        local_area: float = 0.05,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        crops = MultiCrop(local_views, local_size, local_area)
        crops.check(encoder)
        check_whole("num_prototypes", num_prototypes, 1)
        head = {
            "projector": mlp_bn(encoder.feature_dim, hidden, dim),
            "prototypes": nn.Linear(dim, num_prototypes, bias=False),
        }
        super().__init__(encoder, head, bn_groups=bn_groups, generator=generator)
        check_number("temperature", temperature, above=True)
        check_number("sinkhorn_epsilon", sinkhorn_epsilon, above=True)
        check_whole("queue_size", queue_size, 0)
        check_whole("queue_start", queue_start, 0)
        check_whole("frozen_epochs", frozen_epochs, 0)
        self.crops, self.num_views = crops, crops.num_views
        self.temperature, self.sinkhorn_epsilon = temperature, sinkhorn_epsilon
        self.queue_start, self.frozen_epochs = queue_start, frozen_epochs
        first = torch.randn(GLOBAL * queue_size, dim, generator=generator)
        self.register_buffer("queue", unit(first).unflatten(0, (GLOBAL, queue_size)))
        self.keys: Tensor | None = None
        self._normalize()
        self.start_epoch(1, 1)

    @torch.no_grad()
    def _normalize(self) -> None:
        weight = self.head.get_parameter("prototypes.weight")
        weight.copy_(F.normalize(weight, dim=1))

    def draw(self, x: Tensor, views: DrawsViews, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The two global views, and the local ones."""
        return self.crops.draw(x, views, generator)

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Free the prototypes; let the queue take part."""
        self.is_frozen = epoch <= self.frozen_epochs
        self.is_queue_used = epoch > self.queue_start

    def loss(self, *views: Tensor, labels: Tensor | None = None, dual: bool = False) -> Tensor:
        """Mean cross-entropy, in nats, of the codes of one view and the predictions of another."""
        weight = self.head.get_parameter("prototypes.weight")
        prototypes = weight.detach() if self.is_frozen else weight
        z = by_size(self.embed, views, self.groups)
        self.keys = torch.stack(z[:GLOBAL]).detach()
        with torch.autocast(views[0].device.type, enabled=False):
            scores = [part @ prototypes.float().T for part in z]
        said = [(score / self.temperature).log_softmax(dim=1) for score in scores]
        losses = [
            -(code * log_prob).sum(dim=1).mean()
            for i in range(GLOBAL)
            for code in [self._codes(scores[i], self.queue[i], prototypes)]
            for v, log_prob in enumerate(said)
            if v != i
        ]
        return torch.stack(losses).mean()

    @torch.no_grad()
    def _codes(self, scores: Tensor, queue: Tensor, prototypes: Tensor) -> Tensor:
        """Codes [N, K] of a view's scores [N, K], beside those of its queue [Q, D]."""
        together = scores
        if self.is_queue_used and len(queue):
            with torch.autocast(scores.device.type, enabled=False):
                together = torch.cat([scores, queue @ prototypes.float().T])
        return sinkhorn(together, epsilon=self.sinkhorn_epsilon)[: len(scores)]

    @torch.no_grad()
    def after_step(self) -> None:
        """Normalize the prototypes; the step's projections enter the queue's front."""
        self._normalize()
        assert self.keys is not None
        self.queue = torch.cat([self.keys, self.queue], dim=1)[:, : self.queue.shape[1]]
        self.keys = None


def sinkhorn(scores: Tensor, *, epsilon: float) -> Tensor:
    """Codes Q of equation 3: diag(u) exp(scores / epsilon) diag(v), rows sum to 1.

    Args:
        scores: float [N, K], of N images to K prototypes.
        epsilon: weight of the entropy; the smaller, the nearer to one prototype an image.

    Returns:
        [N, K]: each iteration gives every prototype the same share, then every image.
    """
    log_q = scores / epsilon
    for _ in range(ITERATIONS):
        log_q = log_q.log_softmax(dim=0).log_softmax(dim=1)
    return log_q.exp()
