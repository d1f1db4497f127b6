"""How good the features of a frozen encoder are: linear probes and k nearest neighbors.

Four answers to one question, from the quickest to the papers' own:

- `classifier_accuracy` takes the classifier that a supervised encoder was trained with.
- `knn` needs no training.
- `linear_probe_lbfgs` fits the best linear classifier on features of plain images; deterministic.
- `SGDProbe` is the protocol of He, Zha and Katabi (ICLR 2023): a linear layer trained by SGD for
  100 epochs on augmented images. Their code reports the best TEST epoch; here the last epoch is the
  result, and the best one is kept beside it.

The others train on whatever images they are given: the papers' protocol is clean images, also for
an encoder that was pretrained on poison.

N train images, M test images, B images a batch, D features, C = num_classes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.checks import check_images, check_whole, to_float
from cptools.core.evaluation.frozen import device_of, encode, frozen
from cptools.core.evaluation.statistics import wilson
from cptools.core.random import stream
from cptools.core.views import Views, normalize

_DECAY_AT = (0.6, 0.75, 0.9)  # epochs 60, 75 and 90 of 100
_DECAY = 0.2
_MOMENTUM = 0.9


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy on the test images.

    Attributes:
        correct: Test images classified correctly.
        total: Test images.
        accuracy: correct / total, a fraction in [0, 1].
        low: Lower end of the 95% Wilson interval of the accuracy: the sampling of the test images
            alone, not the randomness of training.
        high: Upper end.
    """

    correct: int
    total: int
    accuracy: float
    low: float
    high: float

    @classmethod
    def of(cls, correct: int, total: int) -> "ProbeResult":
        """Make the result of counts."""
        return cls(correct, total, correct / total, *wilson(correct, total))


@dataclass(frozen=True)
class ProbeEpoch:
    """What an epoch of the SGD probe ended with.

    Attributes:
        epoch: Counted from 1.
        loss: Mean training cross-entropy over the epoch's images.
        correct: Test images classified correctly after this epoch.
        total: Test images.
        best_epoch: The first epoch with the highest test accuracy so far.
        best_correct: Test images classified correctly after it. It is selected on the test images
            and therefore optimistic.
    """

    epoch: int
    loss: float
    correct: int
    total: int
    best_epoch: int
    best_correct: int

    @property
    def accuracy(self) -> float:
        """Test accuracy after this epoch, a fraction in [0, 1]."""
        return self.correct / self.total

    @property
    def result(self) -> ProbeResult:
        """The result if this is the last epoch."""
        return ProbeResult.of(self.correct, self.total)

    @property
    def best(self) -> ProbeResult:
        """The result of the best test epoch so far."""
        return ProbeResult.of(self.best_correct, self.total)


def features(
    encoder: nn.Module,
    images: Tensor,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    batch_size: int = 1000,
    bf16: bool = False,
) -> Tensor:
    """Encode images without augmentation or gradients, in eval mode.

    Args:
        encoder: Normalized float images [B, 3, H, W] -> features [B, D]; its training flags are as
            before afterwards.
        images: uint8 [N, 3, H, W], on any device.
        mean: Mean of each channel in [0, 1].
        std: Standard deviation of each channel.
        batch_size: Images encoded at a time.
        bf16: Compute the network in bfloat16.

    Returns:
        float32 [N, D] on the encoder's device.

    Raises:
        ValueError: There are no images.
    """
    if not len(images):
        raise ValueError("there are no images to encode")
    check_images(images)
    check_whole("batch_size", batch_size, 1)
    device = device_of(encoder)
    parts = []
    with frozen(encoder):
        for start in range(0, len(images), batch_size):
            x = to_float(images[start : start + batch_size].to(device))
            parts.append(encode(encoder, normalize(x, mean, std), bf16=bf16))
    return torch.cat(parts)


def knn(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    num_classes: int,
    k: int = 200,
    temperature: float = 0.1,
    batch_size: int = 512,
) -> ProbeResult:
    """Classify by the k nearest training features, each voting with exp(cosine / temperature).

    Args:
        train_features: float [N, D].
        train_labels: int64 [N] in 0 .. C - 1.
        test_features: float [M, D].
        test_labels: int64 [M].
        num_classes: C.
        k: Neighbors; all N where there are fewer.
        temperature: Sharpness of the votes.
        batch_size: Test images compared at a time.

    Returns:
        The accuracy on the test images.

    Raises:
        ValueError: The shapes or labels do not fit together, or `k` or `temperature` is not
            positive.

    Source:
        Wu et al., Unsupervised feature learning via non-parametric instance discrimination,
        CVPR 2018; the values are theirs for large datasets (k = 200).
    """
    _check(train_features, train_labels, num_classes, "training")
    _check(test_features, test_labels, num_classes, "test")
    if k < 1 or not 0 < temperature < math.inf:
        raise ValueError(f"expected k >= 1 and temperature > 0, got {k} and {temperature}")
    bank = F.normalize(train_features.float(), dim=1)
    queries = F.normalize(test_features.float(), dim=1).to(bank.device)
    train_labels, test_labels = train_labels.to(bank.device), test_labels.to(bank.device)
    correct = 0
    for start in range(0, len(queries), batch_size):
        part = slice(start, start + batch_size)
        cosine, nearest = (queries[part] @ bank.T).topk(min(k, len(bank)), dim=1)
        # A softmax over the neighbors scales each row of votes alike, and cannot overflow.
        weights = (cosine / temperature).softmax(1)
        votes = weights.new_zeros(len(weights), num_classes)
        votes.scatter_add_(1, train_labels[nearest], weights)
        correct += _count(votes, test_labels[part])
    return ProbeResult.of(correct, len(queries))


def linear_probe_lbfgs(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    num_classes: int,
    l2: float = 1e-4,
    max_iter: int = 200,
) -> ProbeResult:
    """Fit multinomial logistic regression to standardized features by L-BFGS.

    Minimizes mean cross-entropy + l2 / 2 * ||W||^2 from W = 0: convex, hence without randomness.

    Args:
        train_features: float [N, D]; float64 is computed in float64, all else in float32.
        train_labels: int64 [N] in 0 .. C - 1.
        test_features: float [M, D].
        test_labels: int64 [M].
        num_classes: C.
        l2: Weight decay, of the weights and not of the bias.
        max_iter: Iterations of L-BFGS at most.

    Returns:
        The accuracy on the test images.

    Raises:
        ValueError: The shapes or labels do not fit together, or an option is out of range.
    """
    _check(train_features, train_labels, num_classes, "training")
    _check(test_features, test_labels, num_classes, "test")
    if not 0 <= l2 < math.inf or max_iter < 1:
        raise ValueError(f"expected l2 >= 0 and max_iter >= 1, got {l2} and {max_iter}")
    dtype = torch.promote_types(train_features.dtype, torch.float32)
    x = train_features.detach().to(dtype)
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 1e-6 * (1 + mean.abs()), std, 1)  # a constant feature says nothing
    x = (x - mean) / std
    y = train_labels.to(x.device)
    weight = x.new_zeros(num_classes, x.shape[1]).requires_grad_()
    bias = x.new_zeros(num_classes).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iter,
        history_size=20,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def objective() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), y) + l2 / 2 * weight.square().sum()
        loss.backward()
        return float(loss.detach())

    with torch.enable_grad():
        optimizer.step(objective)
    with torch.no_grad():
        test = (test_features.detach().to(x.device, dtype) - mean) / std
        correct = _count(F.linear(test, weight, bias), test_labels.to(x.device))
    return ProbeResult.of(correct, len(test_labels))


def classifier_accuracy(
    test_features: Tensor, test_labels: Tensor, weight: Tensor, bias: Tensor
) -> ProbeResult:
    """Classify by an encoder's own linear layer: the test accuracy of supervised learning.

    Args:
        test_features: float [M, D].
        test_labels: int64 [M] in 0 .. C - 1.
        weight: float [C, D].
        bias: float [C].

    Returns:
        The accuracy on the test images.

    Raises:
        ValueError: The shapes or labels do not fit together.
    """
    fits = weight.ndim == 2 and weight.shape[1:] == test_features.shape[1:]
    if not fits or bias.shape != weight.shape[:1]:
        raise ValueError(
            f"a classifier of shape {list(weight.shape)} and {list(bias.shape)} does not fit"
            f" {list(test_features.shape)} features"
        )
    _check(test_features, test_labels, len(weight), "test")
    device = test_features.device
    scores = F.linear(test_features.float(), weight.to(device).float(), bias.to(device).float())
    return ProbeResult.of(_count(scores, test_labels.to(device)), len(test_labels))


class SGDProbe:
    """The linear probe of the papers: Linear + cross-entropy by SGD on augmented images.

    Learning rate `lr`, times 0.2 after 60, 75 and 90% of the epochs; momentum 0.9; no weight decay.
    The encoder is frozen and in eval mode, so the test images are encoded once. Each epoch has its
    own random streams: a probe that was restored ends with the same numbers as one that ran
    through.

    Args:
        encoder: Normalized float images [B, 3, H, W] -> features [B, D].
        train_images: uint8 [N, 3, H, W], on any device.
        train_labels: int64 [N] in 0 .. C - 1.
        test_images: uint8 [M, 3, H, W].
        test_labels: int64 [M].
        views: Augmentation of the training images, crop and flip in the papers; its mean and std
            normalize the test images as well.
        num_classes: C.
        epochs: Length of training.
        batch_size: Images a step; the last batch of an epoch may be smaller.
        lr: Initial learning rate; the papers take 1.0, and 10 for ImageNet-100.
        seed: Of the initial weights, the order of the images and their augmentation.
        bf16: Compute the encoder in bfloat16.

    Raises:
        ValueError: The images and labels do not fit together, or an option is out of range.
    """

    def __init__(
        self,
        encoder: nn.Module,
        train_images: Tensor,
        train_labels: Tensor,
        test_images: Tensor,
        test_labels: Tensor,
        *,
        views: Views,
        num_classes: int,
        epochs: int = 100,
        batch_size: int = 512,
        lr: float = 1.0,
        seed: int = 0,
        bf16: bool = False,
    ) -> None:
        check_images(train_images, "training images")
        check_images(test_images, "test images")
        _check(train_images, train_labels, num_classes, "training")
        _check(test_images, test_labels, num_classes, "test")
        if epochs < 1 or batch_size < 1 or not 0 < lr < math.inf:
            raise ValueError(
                f"expected epochs, batch size and lr above 0, got {epochs}, {batch_size} and {lr}"
            )
        self.encoder, self.views, self.seed, self.bf16 = encoder, views, seed, bf16
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.device = device_of(encoder)
        self.train_images, self.train_labels = train_images, train_labels
        self.test_labels = test_labels.to(self.device)
        self.test_features = features(
            encoder, test_images, mean=views.mean, std=views.std, bf16=bf16
        )
        # nn.Linear's own initialization, from this probe's stream.
        bound = self.test_features.shape[1] ** -0.5
        initial = torch.rand(
            (num_classes, self.test_features.shape[1] + 1), generator=stream(seed, "probe", "init")
        )
        self.parameters = (initial * 2 - 1).mul_(bound).to(self.device)  # [C, D + 1], bias last
        self.velocity = torch.zeros_like(self.parameters)
        self.epoch, self.best_epoch, self.best_correct = 0, 0, -1

    def state(self) -> dict[str, Tensor]:
        """Return all that `restore` needs to carry on after the last finished epoch."""
        counts = [self.epoch, self.best_epoch, self.best_correct]
        return {
            "probe.parameters": self.parameters.clone(),
            "probe.velocity": self.velocity.clone(),
            "probe.counts": torch.tensor(counts),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Carry on from the `state` of a probe made with the same arguments."""
        self.parameters = state["probe.parameters"].to(self.device, copy=True)
        self.velocity = state["probe.velocity"].to(self.device, copy=True)
        self.epoch, self.best_epoch, self.best_correct = map(int, state["probe.counts"])

    def run(self) -> Iterator[ProbeEpoch]:
        """Train the epochs that are left; the last one yielded is the result.

        Raises:
            FloatingPointError: The loss is no longer finite.
        """
        while self.epoch < self.epochs:
            with frozen(self.encoder):
                loss = self._train_epoch()
            if not torch.isfinite(loss):
                raise FloatingPointError("the probe diverged (loss is not finite); lower its lr")
            self.epoch += 1
            correct = _count(_linear(self.test_features, self.parameters), self.test_labels)
            if correct > self.best_correct:
                self.best_epoch, self.best_correct = self.epoch, correct
            yield ProbeEpoch(
                epoch=self.epoch,
                loss=float(loss),
                correct=correct,
                total=len(self.test_labels),
                best_epoch=self.best_epoch,
                best_correct=self.best_correct,
            )

    def _train_epoch(self) -> Tensor:
        """One pass over the training images; returns the mean loss."""
        order = torch.randperm(
            len(self.train_images), generator=stream(self.seed, "probe", "order", self.epoch)
        )
        generator = stream(self.seed, "probe", "views", self.epoch)
        lr = learning_rate(self.epoch, self.epochs, self.lr)
        total = torch.zeros((), device=self.device)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            x = self.train_images[rows.to(self.train_images.device)].to(self.device)
            y = self.train_labels[rows.to(self.train_labels.device)].to(self.device)
            z = encode(self.encoder, self.views(to_float(x), generator), bf16=self.bf16)
            with torch.enable_grad():
                parameters = self.parameters.requires_grad_()
                loss = F.cross_entropy(_linear(z, parameters), y)
                (gradient,) = torch.autograd.grad(loss, parameters)
            self.velocity = _MOMENTUM * self.velocity + gradient
            self.parameters = self.parameters.detach() - lr * self.velocity
            total += loss.detach() * len(rows)
        return total / len(order)


def learning_rate(epoch: int, epochs: int, lr: float) -> float:
    """Return the rate of epoch 0 .. epochs - 1: times 0.2 after 60, 75 and 90% of the epochs."""
    return lr * _DECAY ** sum(epoch >= share * epochs for share in _DECAY_AT)


def _linear(z: Tensor, parameters: Tensor) -> Tensor:
    return F.linear(z, parameters[:, :-1], parameters[:, -1])


def _count(scores: Tensor, labels: Tensor) -> int:
    return int((scores.argmax(1) == labels).sum())


def _check(examples: Tensor, labels: Tensor, num_classes: int, what: str) -> None:
    if not len(examples) or labels.shape != examples.shape[:1]:
        raise ValueError(
            f"expected one label for each of N >= 1 {what} images, "
            f"got {len(examples)} images and labels of shape {list(labels.shape)}"
        )
    if labels.dtype != torch.int64:
        raise ValueError(f"expected {what} labels as int64, got {labels.dtype}; give labels.long()")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(f"expected {what} labels from 0 to {num_classes - 1}, got {low} to {high}")
