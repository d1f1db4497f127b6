"""What training and poisoning need from an algorithm."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Backbone(nn.Module):
    """A network from normalized images [B, 3, H, W] to features [B, feature_dim]."""

    feature_dim: int


class Algorithm(nn.Module):
    """A learner: `encoder`, `head`, `loss` and `after_step()`.

    `loss(view_a, view_b, *, labels=None, dual=False)` is the loss of a batch in textbook scale, a
    scalar. It takes `num_views` independent views [B, 3, S, S] of the same images, normalized;
    their classes, int64 [B], which contrastive learners do not look at; and `dual`: let the
    gradient flow through the branch that is held constant (the momentum branch of MoCo and BYOL,
    the stopped branch of SimSiam) to the views. The weights of a momentum branch receive none
    either way.

    Attributes:
        encoder: the backbone; features are its output [B, feature_dim].
        head: projector, and whatever else the online branch has.
        num_views: views of an image that the loss compares.
        needs_classes: whether the constructor takes `num_classes`, and the loss needs labels.
        has_momentum: whether a momentum branch exists (MoCo, BYOL), through which the gradient
            of the poison may flow: the dual branch scheme of CP section 4.2.
    """

    encoder: Backbone
    head: nn.ModuleDict
    loss: Callable[..., Tensor]
    num_views = 2
    needs_classes = False
    has_momentum = False

    def embed(self, view: Tensor) -> Tensor:
        """Unit vectors [B, D] whose alignment and uniformity the curves show."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Move what moves once an optimizer step: momentum encoder, queue."""


def unit(z: Tensor) -> Tensor:
    """Rows of z [B, D] scaled to length 1, in float32."""
    return F.normalize(z.float(), dim=1)


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
            "use a larger --batch-size or a smaller --bn-groups"
        )
    return torch.cat([forward(part) for part in x.tensor_split(groups)])


def branch_gradient(dual: bool) -> AbstractContextManager[None]:
    """Context of the momentum branch: gradients only in the dual branch scheme."""
    return torch.set_grad_enabled(dual and torch.is_grad_enabled())


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target <- momentum * target + (1 - momentum) * online, for parameters, not buffers."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), 1 - momentum)
