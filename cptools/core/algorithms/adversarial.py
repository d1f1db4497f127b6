"""Adversarial views: projected gradient ascent in a ball about each view (Madry et al. 2018)."""

from collections.abc import Callable

import torch
from torch import Tensor

from cptools.core.checks import check_normalization, check_number, check_whole
from cptools.core.epsilon import Epsilon, parse_epsilon
from cptools.core.random import on_device


class PGD:
    """Projected gradient ascent in the L-infinity ball about normalized views.

    Views are normalized, (pixel - mean) / std, so that the ball of `epsilon` on the pixel scale is
    epsilon / std in each channel, and black and white bound it at -mean / std and (1 - mean) / std.

    Args:
        mean: per-channel mean of the normalization, in [0, 1].
        std: per-channel standard deviation of the normalization.
        epsilon: radius of the ball on the pixel scale, in [0, 1], such as "8/255".
        steps: of gradient ascent, at least 1.
        step_size: of each pixel at a step, in units of epsilon.
    """

    def __init__(
        self,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        *,
        epsilon: Epsilon,
        steps: int,
        step_size: float,
    ):
        check_normalization(mean, std)
        check_whole("steps", steps, 1)
        check_number("step_size", step_size)
        self.mean, self.std = mean, std
        self.epsilon = float(parse_epsilon(epsilon))
        self.steps, self.step_size = steps, step_size

    def _radius(self, view: Tensor) -> Tensor:
        """Radius of the ball in each channel, [3, 1, 1]."""
        return self.epsilon / _channels(self.std, view)

    def bounds(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """Least and greatest values that an adversarial example of a view may have, as the view."""
        mean, std = _channels(self.mean, view), _channels(self.std, view)
        black, white, radius = -mean / std, (1 - mean) / std, self._radius(view)
        return torch.maximum(view - radius, black), torch.minimum(view + radius, white)

    def start(self, view: Tensor, generator: torch.Generator) -> Tensor:
        """A point of each view's ball, uniform but for what black and white cut off."""
        device = view.device
        uniform = torch.rand(view.shape, generator=on_device(generator, device), device=device)
        noise = (2 * uniform - 1).to(view.dtype) * self._radius(view)
        return (view + noise).clamp(*self.bounds(view))

    def __call__(self, loss: Callable[[Tensor], Tensor], view: Tensor, start: Tensor) -> Tensor:
        """Climb the loss from the start, inside the ball about the view.

        Args:
            loss: of views [B, 3, S, S]; a scalar.
            view: the middle of the ball, normalized [B, 3, S, S].
            start: where to begin, as `start` draws it.

        Returns:
            The adversarial views [B, 3, S, S], constants. The weights that the loss is computed
            with receive no gradient.
        """
        low, high = self.bounds(view.detach())
        step = self.step_size * self._radius(view)
        x = start.detach()
        for _ in range(self.steps):
            with torch.enable_grad():
                x.requires_grad_()
                (gradient,) = torch.autograd.grad(loss(x), x)
            x = (x.detach() + step * gradient.sign()).clamp(low, high)
        return x


def _channels(values: tuple[float, float, float], view: Tensor) -> Tensor:
    """A value of each channel, [3, 1, 1], of the view's type and on its device."""
    return torch.tensor(values, dtype=view.dtype, device=view.device).view(3, 1, 1)
