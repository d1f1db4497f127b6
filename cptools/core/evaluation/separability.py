"""Whether a simple classifier can tell the class of an image from its noise alone: CP figure 5.

Noise that poisons supervised learning is linearly separable by class (Yu et al., Availability
attacks create shortcuts, KDD 2022); noise against contrastive learning, made image by image, is
not (He, Zha and Katabi, ICLR 2023, section 5.5). As in Yu et al., the noise of all images together
is scaled to [0, 1], and a linear classifier and one with a hidden layer of 30 tanh units are fitted
by L-BFGS. Two things differ:

- Their code reports training accuracy alone. With more pixels than images (3072 for 32 x 32) that
  is 100% for pure random noise too; here part of the images is held out, and both are reported.
- A step of 0.5, theirs, is only the first try of a strong Wolfe line search: the loss cannot rise,
  in fewer evaluations and to the same accuracies.

N images, D = 3 H W values each, C classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.checks import check_images, check_labels, check_whole
from cptools.core.encoders.heads import initialize
from cptools.core.evaluation.probe import ProbeResult
from cptools.core.random import stream
from cptools.core.sources import select

HIDDEN = {"linear": 0, "mlp": 30}
"""Tanh units of the hidden layer of each classifier; 0 for none."""

_BLOCK = 2048  # images scaled at a time
_OVERSAMPLING, _POWER = 8, 12  # of the randomized range finder


@dataclass(frozen=True)
class Separability:
    """How well one classifier tells classes from noise.

    Attributes:
        classifier: `linear` or `mlp`.
        train: Accuracy on the noise that it was fitted to.
        held_out: Accuracy on the noise that it never saw.
    """

    classifier: str
    train: ProbeResult
    held_out: ProbeResult


def changed_rows(clean: Tensor, poisoned: Tensor) -> Tensor:
    """Images that differ anywhere: int64, ascending.

    Args:
        clean: uint8 [N, 3, H, W].
        poisoned: uint8 [N, 3, H, W].
    """
    if clean.shape != poisoned.shape or clean.dtype != poisoned.dtype:
        raise ValueError(
            f"clean images are {clean.dtype} {list(clean.shape)}, poisoned ones {poisoned.dtype}"
            f" {list(poisoned.shape)}; give the same images with and without noise"
        )
    parts = zip(clean.split(_BLOCK), poisoned.split(_BLOCK), strict=True)
    return torch.cat([(a != b).flatten(1).any(1) for a, b in parts]).nonzero().squeeze(1)


def scaled_noise(
    clean: Tensor, poisoned: Tensor, rows: Tensor, device: torch.device | None = None
) -> Tensor:
    """The noise of some images, scaled so that the least value of all is 0 and the greatest 1.

    Args:
        clean: uint8 [N, 3, H, W].
        poisoned: uint8 [N, 3, H, W].
        rows: int64 [K], the images, in the order wanted.
        device: Where the result is to be.

    Returns:
        float32 [K, D]; all 0 where every value is the same. Nothing else of this size is made:
        614 MB for 50,000 images of 32 x 32.
    """
    noise = torch.empty(len(rows), clean[0].numel(), device=device)
    for out, part in zip(noise.split(_BLOCK), rows.split(_BLOCK), strict=True):
        out.copy_((poisoned[part].short() - clean[part]).flatten(1))
    low, high = noise.min(), noise.max()
    return noise.sub_(low).div_((high - low).clamp(min=1))


def separability(
    clean: Tensor,
    poisoned: Tensor,
    labels: Tensor,
    *,
    holdout: float = 0.2,
    iterations: int = 1000,
    seed: int = 0,
    device: torch.device | None = None,
) -> Iterator[Separability]:
    """Fit each classifier of `HIDDEN` to the noise; images without noise do not count.

    Args:
        clean: uint8 [N, 3, H, W].
        poisoned: uint8 [N, 3, H, W], the same images with noise.
        labels: int64 [N] in 0 .. C - 1.
        holdout: Share of each class that is held out, in (0, 1).
        iterations: Of L-BFGS, at most; the authors' 50 steps of 20 each are 1000.
        seed: Of the split and of the initial weights.
        device: Where to compute.

    Yields:
        The result of one classifier after the other.

    Raises:
        ValueError: There is no noise or one class of it, or too little to hold any out.
    """
    check_images(clean, "clean images")
    check_labels(labels, clean)
    check_whole("iterations", iterations, 1)
    rows = changed_rows(clean, poisoned)
    if not len(rows):
        raise ValueError("there is no noise; give a poisoned dataset")
    classes, y = labels[rows].unique(return_inverse=True)
    if len(classes) < 2:
        raise ValueError("the noise is of one class only; give a dataset with noise in several")
    kept, held = _split(y, holdout, seed)
    order = torch.cat([kept, held])
    x, y = scaled_noise(clean, poisoned, rows[order], device), y[order].to(device)
    num = len(kept)
    for name, hidden in HIDDEN.items():
        model = _fit(x[:num], y[:num], len(classes), hidden, iterations, seed)
        with torch.no_grad():
            right = model(x).argmax(1) == y
        yield Separability(
            name,
            ProbeResult.of(int(right[:num].sum()), num),
            ProbeResult.of(int(right[num:].sum()), len(held)),
        )


def principal_plane(x: Tensor, *, seed: int = 0) -> tuple[Tensor, tuple[float, float]]:
    """Project rows on the two directions in which they vary most.

    By the randomized range finder with power iterations (Halko, Martinsson and Tropp, 2011,
    algorithm 4.4), so that neither [D, D] nor another [N, D] is made. No label is looked at: a
    cluster that can be seen is there.

    Args:
        x: float [N, D], N at least 1.
        seed: Of the range finder.

    Returns:
        Coordinates [N, 2], the one that is largest in magnitude positive in both, and the share of
        the variance that lies along each, in [0, 1].
    """
    num, dim = x.shape
    mean = x.mean(0)
    rank = min(2 + _OVERSAMPLING, num, dim)
    basis = torch.randn(dim, rank, generator=stream(seed, "plane")).to(x.device, x.dtype)
    for _ in range(_POWER):
        projected = torch.linalg.qr(x @ basis - mean @ basis)[0]
        basis = torch.linalg.qr(x.T @ projected - torch.outer(mean, projected.sum(0)))[0]
    u, s, _ = torch.linalg.svd(x @ basis - mean @ basis, full_matrices=False)
    points = x.new_zeros(num, 2)
    points[:, : min(2, rank)] = (u * s)[:, :2]
    largest = points.gather(0, points.abs().argmax(0, keepdim=True))
    points *= torch.where(largest < 0, -1.0, 1.0)
    total = float(x.var(0, correction=0).sum()) * num
    first, second = (points.square().sum(0) / (total or 1)).tolist()
    return points, (first, second)


def _split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to fit and rows to hold out, stratified."""
    try:
        kept, held = select.holdout(labels.cpu().numpy(), share, seed)
    except ValueError as error:
        raise ValueError(f"{error}; give more images or another `holdout`") from None
    return torch.from_numpy(kept), torch.from_numpy(held)


def _fit(
    x: Tensor, y: Tensor, num_classes: int, hidden: int, iterations: int, seed: int
) -> nn.Module:
    """Minimize the mean cross-entropy from random weights."""
    if hidden:
        layers = [nn.Linear(x.shape[1], hidden), nn.Tanh(), nn.Linear(hidden, num_classes)]
    else:
        layers = [nn.Linear(x.shape[1], num_classes)]
    model = nn.Sequential(*layers)
    initialize(model, stream(seed, "separability", hidden))
    model.to(x.device)
    optimizer = torch.optim.LBFGS(
        model.parameters(), lr=0.5, max_iter=iterations, line_search_fn="strong_wolfe"
    )

    def objective() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return float(loss.detach())

    with torch.enable_grad():
        optimizer.step(objective)
    return model
