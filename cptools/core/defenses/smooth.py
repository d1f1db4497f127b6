"""Gaussian smoothing, a defense of CP table 8."""

from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from cptools.core.checks import check_images, check_number, check_whole


def gaussian_smoothing(images: Tensor, *, kernel: int, sigma: float | None = None) -> Tensor:
    """Smooth with a Gaussian kernel, mirrored at the borders.

    He, Zha and Katabi (ICLR 2023, section 6b and table 8: "Gauss-Smooth") control "the size of the
    Gaussian kernel"; the two sizes and any standard deviation are missing from the text that could
    be had.

    Args:
        images: uint8 [N, C, H, W].
        kernel: Side of the kernel in pixels, odd; 1 changes nothing.
        sigma: Standard deviation in pixels; None takes 0.3 ((kernel - 1) / 2 - 1) + 0.8, as OpenCV
            and torchvision do.

    Returns:
        uint8 [N, C, H, W], rounded to nearest.

    Raises:
        ValueError: The kernel is even, or reaches beyond the mirrored image.
    """
    check_images(images, channels=None, empty=True)
    check_whole("kernel", kernel, 1)
    if sigma is not None:
        check_number("sigma", sigma, above=True)
    if kernel % 2 == 0:
        raise ValueError(f"a kernel of {kernel} pixels has no middle; give an odd number")
    shorter = min(images.shape[-2:])
    if kernel // 2 >= shorter and kernel > 1:
        raise ValueError(
            f"a kernel of {kernel} pixels is too large for images of {shorter}; give at most"
            f" {2 * shorter - 1}"
        )
    if kernel == 1:
        return images.clone()
    smoothed: Tensor = gaussian_blur(images, [kernel, kernel], None if sigma is None else [sigma])
    return smoothed
