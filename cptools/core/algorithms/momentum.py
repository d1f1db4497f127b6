"""What learners with a momentum branch have in common (He et al. 2020, section 3.2)."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from copy import deepcopy

import torch
from torch import Tensor, nn

from cptools.core.algorithms.base import Backbone, in_groups, unit
from cptools.core.algorithms.projected import Projected
from cptools.core.checks import check_number


class Momentum(Projected):
    """A learner with moving averages of its encoder and projector, which learn nothing themselves.

    Args:
        encoder: backbone with `feature_dim`.
        head: networks of the head by name, `projector` among them.
        momentum: m of the moving averages, which follow once an optimizer step.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights.
    """

    has_momentum = True

    def __init__(
        self,
        encoder: Backbone,
        head: Mapping[str, nn.Module],
        *,
        momentum: float,
        bn_groups: int,
        generator: torch.Generator,
    ):
        super().__init__(encoder, head, bn_groups=bn_groups, generator=generator)
        check_number("momentum", momentum, 0, 1)
        self.momentum_encoder = deepcopy(self.encoder).requires_grad_(False)
        self.momentum_projector = deepcopy(self.head["projector"]).requires_grad_(False)
        self.momentum = momentum

    def _momentum_embed(self, view: Tensor) -> Tensor:
        return unit(self.momentum_projector(self.momentum_encoder(view)))

    def momentum_embeddings(self, *views: Tensor, dual: bool) -> list[Tensor]:
        """Unit projections [B, D] of each view by the momentum branch.

        Args:
            views: [B, 3, S, S] each.
            dual: let the gradient flow through the branch.
        """
        with branch_gradient(dual):
            return [in_groups(self._momentum_embed, view, self.groups) for view in views]

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the momentum branch."""
        ema_update(self.momentum_encoder, self.encoder, self.momentum)
        ema_update(self.momentum_projector, self.head["projector"], self.momentum)


def branch_gradient(dual: bool) -> AbstractContextManager[None]:
    """Context of the momentum branch: gradients only in the dual branch scheme."""
    return torch.set_grad_enabled(dual and torch.is_grad_enabled())


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target <- momentum * target + (1 - momentum) * online, for parameters, not buffers."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), 1 - momentum)
