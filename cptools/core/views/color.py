"""Color jitter as torchvision does it to PIL images, on batches, with a gradient.

Every image has its own factors and its own order of brightness, contrast, saturation and hue.
Images are float [B, 3, P] in [0, 1], ``P`` pixels in any order. The result equals torchvision's
up to PIL's rounding to 8 bits after each operation (for contrast, also of the mean; for hue, its
8-bit HSV). PIL's blends cut off instead of rounding, so that each of the three makes an image
half a gray level darker than here, on average.

How it is fast: brightness, contrast and saturation all are ``clamp(f x + (1 - f) target)`` with
target 0, the mean luma or the luma: one 3x3 matrix and one vector an image, whichever operation
it is. Images are sorted by the number of such blends before their hue, so that every step acts on
one slice of the sorted batch, and hue is turned once for all. Turning hue is piecewise linear in
the channels, and needs neither division nor gather. The gradient is written by hand, because
PyTorch's own for clamp, minimum and maximum are many times slower than these on a CPU.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

GRAY = (0.299, 0.587, 0.114)  # ITU-R 601-2 luma, as PIL's convert("L")
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # torchvision ColorJitter's numbers


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast off: half precision is too coarse for colors."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


@dataclass(frozen=True)
class JitterPlan:
    """What :func:`jitter` does to a batch, in the sorted order of its images.

    Attributes:
        rows: For each sorted channel plane, its row among the 3 B planes given, int64 [3 B].
        back: For each plane of the result, its row among the sorted ones, int64 [3 B].
        starts: The images with k blends before their hue are ``starts[k]:starts[k + 1]``; those
            from ``starts[4]`` on stay as they are.
        matrices: The linear part of each blend, [3, J, 3, 3]; J = ``starts[4]``.
        means: What the mean of each channel adds to all channels, [3, J, 1, 3].
        turn: How far the hue turns, in sextants of the circle, [J, 1, 1] in [0, 1].
    """

    rows: Tensor
    back: Tensor
    starts: tuple[int, ...]
    matrices: Tensor
    means: Tensor
    turn: Tensor


def plan_jitter(
    applied: Tensor, order: Tensor, factors: Tensor, *, device: torch.device, dtype: torch.dtype
) -> JitterPlan:
    """Sorts a batch by its operations, and turns their factors into matrices.

    A hue shift is taken apart into a third of the circle 0, 1 or 2 times, which only renames the
    channels, and at most one sextant, forwards. Backwards is forwards with red and blue swapped.

    Args:
        applied: Which images are changed at all, bool [B], CPU.
        order: The operation at each position, a permutation of 0 to 3 in each row, int64 [B, 4],
            CPU.
        factors: Of brightness, contrast, saturation (at least 0) and hue (in [-0.5, 0.5], of a
            circle), float [B, 4], CPU.
        device: Where the images are.
        dtype: Type of the images.

    Returns:
        The plan, its tensors on ``device``.
    """
    hue_position = (order == HUE).to(torch.uint8).argmax(dim=1)
    group = torch.where(applied, hue_position, 4)
    image = group.argsort(stable=True)
    counts = torch.bincount(group, minlength=5)[:4].cumsum(0)
    starts = (0, *counts.tolist())
    sorted_factors = factors[image].to(torch.float64)

    sextants = 6 * sorted_factors[:, HUE] * applied[image]
    thirds = (sextants / 2).round()
    rest = sextants - 2 * thirds
    forwards = torch.tensor([0, 1, 2])
    channel = torch.where((rest < 0).unsqueeze(1), 2 - forwards, forwards)  # [B, 3]
    renamed = (channel + thirds.long().unsqueeze(1)) % 3
    rows = 3 * image.unsqueeze(1) + channel
    back = torch.empty_like(rows).flatten()
    back[(3 * image.unsqueeze(1) + renamed).flatten()] = torch.arange(rows.numel())

    changed = starts[4]
    image, sorted_factors = image[:changed], sorted_factors[:changed]
    blends = order[image]
    blends = blends[blends != HUE].view(-1, 3)  # [J, 3], in their order
    factor = sorted_factors.gather(1, blends).t()  # [3, J]
    weights = torch.tensor(GRAY, dtype=torch.float64)
    after = torch.arange(3).view(3, 1) >= hue_position[image]  # [3, J]
    luma = torch.where(
        after.unsqueeze(2), weights[renamed[:changed]], weights[channel[:changed]]
    ).unsqueeze(2)  # [3, J, 1, 3]
    target = (1 - factor).view(3, -1, 1, 1) * luma
    operation = blends.t().reshape(3, -1, 1, 1)
    matrices = factor.view(3, -1, 1, 1) * torch.eye(3) + target * (operation == SATURATION)
    means = target * (operation == CONTRAST)
    turn = rest[:changed].abs().view(-1, 1, 1)

    return JitterPlan(
        rows=rows.flatten().to(device, non_blocking=True),
        back=back.to(device, non_blocking=True),
        starts=starts,
        matrices=matrices.to(device, dtype, non_blocking=True),
        means=means.to(device, dtype, non_blocking=True),
        turn=turn.to(device, dtype, non_blocking=True),
    )


def jitter(x: Tensor, plan: JitterPlan) -> Tensor:
    """Brightness, contrast, saturation and hue, each image with its own factors and order.

    Args:
        x: float [B, 3, P] in [0, 1].
        plan: Of these B images.

    Returns:
        [B, 3, P] in [0, 1]. Differentiable once; the gradient is finite everywhere, and 0 where
        a value was clamped.
    """
    result: Tensor = _Jitter.apply(x, plan)
    return result


def gray_matrices(gray: Tensor) -> Tensor:
    """The linear maps of channels that turn some images gray, and leave the others.

    Args:
        gray: bool [B].

    Returns:
        float64 [B, 3, 3].
    """
    luma = torch.tensor(GRAY, dtype=torch.float64).expand(3, 3)
    return torch.where(gray.view(-1, 1, 1), luma, torch.eye(3, dtype=torch.float64))


def _slices(plan: JitterPlan) -> tuple[list[tuple[int, slice]], list[tuple[int, slice]]]:
    """The blends before and after hue, in order: number of the blend, images that it acts on."""
    end = plan.starts[4]
    before = [(t, slice(plan.starts[t + 1], end)) for t in range(3)]
    after = [(t, slice(0, plan.starts[t + 1])) for t in range(3)]
    return (
        [(t, part) for t, part in before if part.start < part.stop],
        [(t, part) for t, part in after if part.start < part.stop],
    )


class _Jitter(torch.autograd.Function):
    """All steps of :func:`jitter` in one buffer. Only masks are kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: JitterPlan) -> Tensor:
        keep = ctx.needs_input_grad[0]
        saved: list[Tensor] = []
        num, _, pixels = x.shape
        z = x.reshape(3 * num, pixels).index_select(0, plan.rows).view(num, 3, pixels)
        before, after = _slices(plan)

        def blend(t: int, part: slice) -> None:
            mask = _blend(z[part], plan.matrices[t, part], plan.means[t, part], keep=keep)
            saved.extend(mask)

        for t, part in before:
            blend(t, part)
        saved.extend(_turn_hue(z[: plan.starts[4]], plan.turn, keep=keep))
        for t, part in after:
            blend(t, part)
        ctx.plan = plan
        ctx.save_for_backward(*saved)
        return z.view(3 * num, pixels).index_select(0, plan.back).view(num, 3, pixels)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        plan: JitterPlan = ctx.plan
        saved = list(ctx.saved_tensors)
        num, _, pixels = grad.shape
        before, after = _slices(plan)
        rows = torch.empty_like(plan.rows)
        rows[plan.back] = torch.arange(3 * num, device=grad.device)
        with full_precision(grad.device):
            g = grad.reshape(3 * num, pixels).index_select(0, rows).view(num, 3, pixels)
            for t, part in reversed(after):
                _blend_backward(
                    g[part], plan.matrices[t, part], plan.means[t, part], mask=saved.pop()
                )
            slope, share, is_high, is_low = saved[-4:]
            del saved[-4:]
            _turn_hue_backward(
                g[: plan.starts[4]], slope=slope, share=share, is_high=is_high, is_low=is_low
            )
            for t, part in reversed(before):
                _blend_backward(
                    g[part], plan.matrices[t, part], plan.means[t, part], mask=saved.pop()
                )
            rows[plan.rows] = torch.arange(3 * num, device=grad.device)
            g = g.view(3 * num, pixels).index_select(0, rows).view(num, 3, pixels)
        return g, None


def _blend(z: Tensor, matrices: Tensor, means: Tensor, *, keep: bool) -> list[Tensor]:
    """``z <- clamp(matrices z + means mean(z))`` in place; the mask of what was not clamped."""
    constant = torch.bmm(means, z.mean(2, keepdim=True))
    linear = torch.baddbmm(constant, matrices, z)
    torch.clamp(linear, 0, 1, out=z)
    return [torch.eq(linear, z, out=linear)] if keep else []


def _blend_backward(g: Tensor, matrices: Tensor, means: Tensor, *, mask: Tensor) -> None:
    """Gradient of :func:`_blend`, in place."""
    masked = mask * g
    sums = masked.sum((1, 2), keepdim=True) / g.shape[2]
    torch.baddbmm(means.transpose(1, 2) * sums, matrices.transpose(1, 2), masked, out=g)


def _turn_hue(z: Tensor, turn: Tensor, *, keep: bool) -> list[Tensor]:
    """Turns hue forwards (red to yellow) by ``turn`` in [0, 1] sextants, in place.

    With V and m the largest and smallest channel, channel c (red, green, blue in a circle) is a
    trapezoid of the hue: V for two sextants, falling to m in one, and so on. Turned by d it falls
    along  x[c] - x[c+1] + (1-d) V + d m  and rises along  x[c] - x[c+1] + d V + (1-d) m, and
    what these exceed is cut off at m and V. It falls where x[c+1] > x[c+2], and rises where less;
    where they are equal, it is at m or V.
    """
    high, low = z.amax(1, keepdim=True), z.amin(1, keepdim=True)
    middle = (high + low).mul_(0.5)
    half = (high - low).mul_(0.5 - turn)
    step = torch.empty_like(z)  # x[c] - x[c+1]
    torch.sub(z[:, :2], z[:, 1:], out=step[:, :2])
    torch.sub(z[:, 2], z[:, 0], out=step[:, 2])
    sign = step.sign()
    line = torch.addcmul(middle, sign, half)  # in the place of channel c + 1
    turned = step
    turned[:, :2] += line[:, 1:]
    turned[:, 2] += line[:, 0]
    if not keep:
        torch.clamp(turned, low, high, out=z)
        return []
    is_high = torch.eq(z, high, out=torch.empty_like(z))
    is_low = torch.eq(z, low, out=torch.empty_like(z))
    torch.clamp(turned, low, high, out=z)
    slope = torch.eq(turned, z, out=turned)
    slope.mul_(torch.ne(high, low, out=half))
    along = sign.mul_(0.5 - turn).add_(0.5)  # the share of V in the line, in place c + 1
    share = torch.eq(z, high, out=line)
    share[:, :2].lerp_(along[:, 1:], slope[:, :2])
    share[:, 2].lerp_(along[:, 0], slope[:, 2])
    return [slope, share, is_high, is_low]


def _turn_hue_backward(
    g: Tensor, *, slope: Tensor, share: Tensor, is_high: Tensor, is_low: Tensor
) -> None:
    """Gradient of :func:`_turn_hue`, in place.

    Args:
        g: Gradient to the turned channels; becomes that to the channels before.
        slope: 1 where the channel lies on a line, 0 where it is cut off at V or m, and at gray
            pixels (which have no derivative: each channel gets the mean of the three gradients).
        share: The share of V in the channel; that of m is the rest.
        is_high: 1 where the channel before was V.
        is_low: 1 where it was m. Equal channels share the gradient equally.
    """
    to_high = (share * g).sum(1, keepdim=True)
    to_low = g.sum(1, keepdim=True).sub_(to_high)
    to_high.div_(is_high.sum(1, keepdim=True))
    to_low.div_(is_low.sum(1, keepdim=True))
    direct = slope * g
    torch.mul(is_high, to_high, out=g)
    g.addcmul_(is_low, to_low).add_(direct)
    g[:, 1:] -= direct[:, :2]
    g[:, 0] -= direct[:, 2]
