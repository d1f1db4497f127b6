"""Gaussian blur of a batch, each image with its own strength, with a gradient."""

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA = (0.1, 2.0)  # pixels (SimCLR, appendix A)


def kernel_size(size: int) -> int:
    """A tenth of the image's side, odd, and at least 3 (SimCLR, appendix A)."""
    return max(3, size // 10 | 1)


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, as torchvision's `GaussianBlur` of `kernel_size`, mirrored at the edges.

    Args:
        x: float [B, C, H, W].
        sigma: float [B], in pixels; images of 0 stay as they are.

    Returns:
        Of the shape of x; x itself where an image is too small to be mirrored.
    """
    taps = kernel_size(min(x.shape[-2:]))
    half = taps // 2
    if min(x.shape[-2:]) <= half:
        return x
    place = torch.arange(-half, half + 1, device=x.device, dtype=x.dtype)
    width = sigma.to(x.device, x.dtype)[:, None]
    weights = torch.exp(-0.5 * (place / width.clamp(min=1e-3)).square())  # [B, taps]
    weights = torch.where(width > 0, weights, (place == 0).to(x.dtype))
    weights = weights / weights.sum(1, keepdim=True)
    for dim in (2, 3):
        edge = (half, half, 0, 0) if dim == 3 else (0, 0, half, half)
        padded = F.pad(x, edge, mode="reflect")
        x = sum(
            (
                weights[:, tap].view(-1, 1, 1, 1) * padded.narrow(dim, tap, x.shape[dim])
                for tap in range(taps)
            ),
            start=x.new_zeros(()),
        )
    return x
