"""What training and poisoning need from an algorithm."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.views import DrawsViews, draw_views


class Backbone(nn.Module):
    """A network from normalized images [B, 3, H, W] to features [B, feature_dim].

    Attributes:
        feature_dim: length of a feature vector.
        keeps_weights: whether `heads.initialize` leaves its initial weights alone.
    """

    feature_dim: int
    keeps_weights: bool = False


class Algorithm(nn.Module):
    """A learner: `encoder`, `head`, `draw`, `loss`, `start_epoch` and `after_step()`.

    `loss(view_a, view_b, *, labels=None, dual=False)` is the loss of a batch in textbook scale, a
    scalar. It takes the views that `draw` returned; the classes of the images, int64 [B], which
    most contrastive learners do not look at; and `dual`: let the gradient flow through the branch
    that is held constant (the momentum branch of MoCo and BYOL, the stopped branch of SimSiam) to
    the views. The weights of a momentum branch receive none either way.

    Attributes:
        encoder: the backbone; features are its output [B, feature_dim].
        head: projector, and whatever else the online branch has.
        num_views: views of an image that the loss takes.
        needs_classes: whether the constructor takes `num_classes`, and the loss needs labels.
        needs_pixels: whether the constructor takes `mean` and `std`, the normalization of the
            pixels, by which a step in a view is a step in gray levels.
        num_classes: of the labels that the loss looks at, or of each labeling where there are
            several; None where it looks at none.
        encoder_prefix: of the names of the encoders that it takes, such as lab- of lab-resnet18.
        has_momentum: whether a momentum branch exists (`Momentum`), through which the gradient
            of the poison may flow: the dual branch scheme of CP section 4.2.
        bn_groups: slices of the batch that batch norm sees apart in training.
    """

    encoder: Backbone
    head: nn.ModuleDict
    loss: Callable[..., Tensor]
    num_views = 2
    needs_classes = False
    needs_pixels = False
    num_classes: int | tuple[int, ...] | None = None
    encoder_prefix = ""
    has_momentum = False
    bn_groups = 1

    @property
    def groups(self) -> int:
        """Slices of the batch for `in_groups`; by running statistics it may go in one."""
        return self.bn_groups if self.training else 1

    def draw(self, x: Tensor, views: DrawsViews, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The views that `loss` takes of images x [B, 3, H, W] in [0, 1].

        All randomness of a step is drawn here; the first two, where there are two, are independent
        draws of `views`.

        Returns:
            `num_views` batches [B, 3, S, S], normalized.
        """
        return draw_views(views, x, self.num_views, generator)

    def embed(self, view: Tensor) -> Tensor:
        """Unit vectors [B, D] whose alignment and uniformity the curves show."""
        raise NotImplementedError

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Change what a schedule changes, before an epoch of training or a round of an attack.

        Args:
            epoch: counted from 1.
            epochs: how many there are.
        """

    def after_step(self) -> None:
        """Move what moves once an optimizer step: momentum encoder, queue."""


def unit(z: Tensor) -> Tensor:
    """Rows of z [B, D] scaled to length 1, in float32."""
    return F.normalize(z.float(), dim=1)


def jointly(
    forward: Callable[[Tensor], Tensor], views: Sequence[Tensor], groups: int
) -> tuple[Tensor, ...]:
    """Outputs [B, ...] of each view, views of one size, of which batch norm sees all together."""
    # [B, V, ...]: a slice of the batch holds all views of its images.
    stacked = torch.stack(tuple(views), dim=1)
    z = in_groups(lambda part: forward(part.flatten(0, 1)), stacked, groups)
    parts: tuple[Tensor, ...] = z.unflatten(0, (-1, len(views))).unbind(1)  # of [B, V, ...]
    return parts


def in_groups(forward: Callable[[Tensor], Tensor], x: Tensor, groups: int) -> Tensor:
    """Apply `forward` to `groups` slices of the batch, one after the other, as even as can be.

    Batch normalization then sees each slice alone, as on that many GPUs without synchronized
    batch norm: CP's attacker normalized over quarters of its batch.
    """
    if groups == 1:
        return forward(x)
    if len(x) < 2 * groups:
        raise ValueError(
            f"a batch of {len(x)} images makes no {groups} groups of two or more; "
            "use a larger `batch_size` or a smaller `bn_groups`"
        )
    return torch.cat([forward(part) for part in x.tensor_split(groups)])
