"""The one training loop: pretraining runs it epoch by epoch, poisoning a few steps a round."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from torch import Tensor

from cptools.core.algorithms.base import Algorithm, unit
from cptools.core.checks import (
    check_images,
    check_labels,
    check_number,
    check_whole,
    to_float,
)
from cptools.core.evaluation.alignment_uniformity import alignment, uniformity
from cptools.core.lars import LARS
from cptools.core.random import stream
from cptools.core.views import DrawsViews, draw_views

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda params, lr, weight_decay, momentum: torch.optim.SGD(
        params, lr=lr, weight_decay=weight_decay, momentum=momentum
    ),
    "adamw": lambda params, lr, weight_decay, momentum: torch.optim.AdamW(
        params, lr=lr, weight_decay=weight_decay, betas=(momentum, 0.999)
    ),
    "lars": lambda params, lr, weight_decay, momentum: LARS(
        params, lr=lr, weight_decay=weight_decay, momentum=momentum
    ),
}
DIVERGED = "training diverged (the loss is not finite); use a lower `lr`"
CURVE_IMAGES = 512  # images on which alignment and uniformity are measured after each epoch


@dataclass(frozen=True)
class Epoch:
    """What an epoch of pretraining ended with.

    Attributes:
        epoch: counted from 1.
        loss: mean over the epoch's steps, in textbook scale.
        alignment: mean squared distance of the unit embeddings of two views, eval mode.
        uniformity: log mean Gaussian potential of the unit embeddings, eval mode.
        eval_loss: loss of the images on which the two before were measured, eval mode; this and
            what follows only where other images are watched.
        watch_loss: the same of the watched images.
        watch_alignment: alignment of the watched images.
        watch_uniformity: uniformity of the watched images.
    """

    epoch: int
    loss: float
    alignment: float
    uniformity: float
    eval_loss: float | None = None
    watch_loss: float | None = None
    watch_alignment: float | None = None
    watch_uniformity: float | None = None


def epoch_batches(num: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """A shuffled epoch as index batches [batch_size]; an incomplete last batch is left out."""
    order = torch.randperm(num, generator=generator)
    return list(order[: num - num % batch_size].split(batch_size))


def batch_number(step: int, *, num: int, batch_size: int, seed: int, name: str) -> Tensor:
    """Batch `step` of an endless walk through shuffled epochs, as an index [batch_size]."""
    epoch, position = divmod(step, num // batch_size)
    return _order(num, seed, name, epoch)[position * batch_size : (position + 1) * batch_size]


@lru_cache(maxsize=4)  # the batches of an epoch follow each other, of two walks in turns
def _order(num: int, seed: int, name: str, epoch: int) -> Tensor:
    return torch.randperm(num, generator=stream(seed, name, epoch))


def cosine_lr(epoch: int, epochs: int, *, lr: float, floor: float) -> float:
    """Learning rate of epoch 1..epochs: from lr down to floor * lr on a half cosine."""
    low = lr * floor
    return low + (lr - low) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def warmup(step: int, steps: int, *, start: float, end: float) -> float:
    """Learning rate of warm-up step 0..steps-1: linear from start to end."""
    return start + (end - start) * step / steps


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def mean_loss(losses: list[Tensor]) -> float:
    """Mean of the steps' losses, NaN of no steps; diverged training raises FloatingPointError."""
    if not losses:
        return math.nan
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise FloatingPointError(DIVERGED)
    return mean


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors under flat names: "3.exp_avg" is of the fourth parameter."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, entry in state.items()
        for name, value in entry.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `optimizer_state`, for an optimizer over the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under names that begin with "prefix."."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with "prefix.", without it."""
    return {
        name.removeprefix(f"{prefix}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{prefix}.")
    }


class Learner:
    """An algorithm with its optimizer: what pretraining and poisoning train alike.

    Args:
        algorithm: on its device.
        optimizer: a key of OPTIMIZERS.
        lr: learning rate at the start.
        min_lr: where the cosine ends, as a fraction of lr.
        weight_decay: L2 (sgd, lars) or decoupled (adamw) weight decay.
        momentum: of SGD and LARS, or beta1 of AdamW.
        loss_scale: factor of the loss.
        bf16: compute the network in bfloat16.

    Raises:
        ValueError: there is no such optimizer, or a number is out of range.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        *,
        optimizer: str,
        lr: float,
        min_lr: float,
        weight_decay: float,
        momentum: float,
        loss_scale: float = 1.0,
        bf16: bool = False,
    ):
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {optimizer!r}; give {' or '.join(OPTIMIZERS)}")
        check_number("lr", lr)
        check_number("min_lr", min_lr, 0, 1)
        check_number("weight_decay", weight_decay)
        check_number("momentum", momentum, 0, 0.9999)
        check_number("loss_scale", loss_scale, above=True)
        self.algorithm = algorithm
        self.trainable = [p for p in algorithm.parameters() if p.requires_grad]
        self.optimizer = OPTIMIZERS[optimizer](self.trainable, lr, weight_decay, momentum)
        self.lr, self.min_lr = lr, min_lr
        self.loss_scale, self.bf16 = loss_scale, bf16

    def loss(
        self,
        x: Tensor,
        labels: Tensor,
        views: DrawsViews,
        generator: torch.Generator,
        *,
        dual: bool = False,
    ) -> Tensor:
        """Loss of fresh views of a batch.

        Args:
            x: float images [B, 3, H, W] in [0, 1].
            labels: int64 [B] or, of several labelings, [B, L].
            views: how views are drawn.
            generator: randomness of the views; advances.
            dual: let the gradient flow through the momentum branch too (CP section 4.2).

        Returns:
            A scalar, textbook scale, in float32; the views and the network pass its gradient.
        """
        drawn = self.algorithm.draw(x, views, generator)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            return self.algorithm.loss(*drawn, labels=labels, dual=dual)

    def step(
        self, x: Tensor, labels: Tensor, views: DrawsViews, generator: torch.Generator
    ) -> Tensor:
        """One step of the encoder on a batch: theta <- theta - eta grad L(theta).

        Args: as of `loss`.

        Returns:
            The loss before the step, textbook scale, a detached scalar on the device.
        """
        self.algorithm.train()
        loss = self.loss(x, labels, views, generator)
        self.optimizer.zero_grad(set_to_none=True)
        (loss * self.loss_scale).backward()  # weight decay is not scaled
        self.optimizer.step()
        self.algorithm.after_step()
        return loss.detach()

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a checkpoint needs."""
        return with_prefix("model", self.algorithm.state_dict()) | with_prefix(
            "optimizer", optimizer_state(self.optimizer)
        )

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `state`."""
        self.algorithm.load_state_dict(without_prefix("model", tensors))
        restore_optimizer(self.optimizer, without_prefix("optimizer", tensors))


def _check_labels(algorithm: Algorithm, labels: Tensor, images: Tensor, what: str) -> None:
    """Raise `ValueError` unless an algorithm can train with these labels of these images."""
    counts = algorithm.num_classes
    if not isinstance(counts, tuple):
        check_labels(labels, images, what, num_classes=counts, several=counts is None)
        return
    check_labels(labels, images, what, several=True)
    if labels.shape[1:] != (len(counts),):
        raise ValueError(
            f"expected {what} of {len(counts)} labelings, int64 [N, {len(counts)}], got"
            f" {list(labels.shape)}; give a column for each"
        )
    for column, count in zip(labels.unbind(1), counts, strict=True):
        check_labels(column, images, what, num_classes=count)


class Pretraining:
    """Training of the victim (CP section 3), epoch by epoch.

    Args:
        images: uint8 [N, 3, H, W] on the device of the algorithm.
        labels: int64 [N] on that device, or [N, L] of L labelings; most contrastive algorithms do
            not look at them.
        learner: algorithm and optimizer.
        views: how views are drawn.
        epochs: passes over the images.
        batch_size: images a step, at least 2; at most N are used.
        warmup_epochs: epochs of linear warm-up, step by step, to the cosine's value there.
        warmup_lr: where the warm-up starts.
        seed: of shuffling and views.
        watch: other images, uint8 [M, 3, H, W] on that device, such as the clean ones, whose loss,
            alignment and uniformity are measured as well (CP figure 4); nothing is learned of them.
        watch_labels: their classes, int64 [M] or [M, L].

    Raises:
        ValueError: images or labels are not of these kinds, or a number is out of range.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        learner: Learner,
        views: DrawsViews,
        *,
        epochs: int,
        batch_size: int,
        warmup_epochs: int = 0,
        warmup_lr: float = 0.01,
        seed: int = 0,
        watch: Tensor | None = None,
        watch_labels: Tensor | None = None,
    ):
        check_whole("epochs", epochs, 1)
        check_whole("batch_size", batch_size, 2)
        check_whole("warmup_epochs", warmup_epochs, 0)
        check_number("warmup_lr", warmup_lr)
        check_images(images)
        _check_labels(learner.algorithm, labels, images, "labels")
        if (watch is None) != (watch_labels is None):
            raise ValueError(
                "images to watch need labels; give `watch` and `watch_labels`, or none"
            )
        if watch is not None and watch_labels is not None:
            check_images(watch, "images to watch")
            _check_labels(learner.algorithm, watch_labels, watch, "labels to watch")
        self.images, self.labels = images, labels
        self.watch, self.watch_labels = watch, watch_labels
        self.learner, self.views = learner, views
        self.epochs, self.batch_size = epochs, min(batch_size, len(images))
        self.warmup_epochs, self.warmup_lr = min(warmup_epochs, epochs), warmup_lr
        self.seed = seed
        self.history: list[Epoch] = []

    def run(self) -> Iterator[Epoch]:
        """Train the epochs that are left, one yield each."""
        for epoch in range(len(self.history) + 1, self.epochs + 1):
            loss = self._train_epoch(epoch)
            eval_loss, *geometry = self._measure(self.images, self.labels, epoch)
            if not all(map(math.isfinite, geometry)):
                raise FloatingPointError(DIVERGED)
            watched: tuple[float, ...] = ()
            if self.watch is not None and self.watch_labels is not None:
                watched = (eval_loss, *self._measure(self.watch, self.watch_labels, epoch))
            self.history.append(Epoch(epoch, loss, *geometry, *watched))
            yield self.history[-1]

    def _train_epoch(self, epoch: int) -> float:
        """One pass over the images; returns the mean loss of its steps."""
        learner, rng = self.learner, stream(self.seed, "views", epoch)
        learner.algorithm.start_epoch(epoch, self.epochs)
        order = stream(self.seed, "shuffle", epoch)
        batches = epoch_batches(len(self.images), self.batch_size, order)
        losses = []
        for number, index in enumerate(batches):
            set_lr(learner.optimizer, self._lr(epoch, number, len(batches)))
            chosen = index.to(self.images.device)
            x, labels = to_float(self.images[chosen]), self.labels[chosen]
            losses.append(learner.step(x, labels, self.views, rng))
        return mean_loss(losses)

    def _lr(self, epoch: int, number: int, batches: int) -> float:
        """Learning rate of a batch of an epoch: the cosine's, after a warm-up to it."""
        learner, warm = self.learner, self.warmup_epochs

        def cosine_at(epoch: int) -> float:
            return cosine_lr(epoch, self.epochs, lr=learner.lr, floor=learner.min_lr)

        if epoch > warm:
            return cosine_at(epoch)
        step = (epoch - 1) * batches + number
        return warmup(step, warm * batches, start=self.warmup_lr, end=cosine_at(warm))

    @torch.no_grad()
    def _measure(self, images: Tensor, labels: Tensor, epoch: int) -> tuple[float, float, float]:
        """Loss, alignment and uniformity of the first images, by fresh views (CP figure 4)."""
        algorithm = self.learner.algorithm.eval()
        x = to_float(images[:CURVE_IMAGES])
        rng = stream(self.seed, "curve", epoch)
        if algorithm.num_views == 1:  # alignment takes another one
            drawn = draw_views(self.views, x, 2, rng)
        else:
            drawn = algorithm.draw(x, self.views, rng)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.learner.bf16):
            loss = algorithm.loss(*drawn[: algorithm.num_views], labels=labels[:CURVE_IMAGES])
            z_a, z_b = (unit(algorithm.embed(view)) for view in drawn[:2])
        return float(loss), float(alignment(z_a, z_b)), float(uniformity(z_a))

    def curves(self) -> dict[str, Tensor]:
        """What `Epoch` holds, by name: float32 [epochs done] each."""
        names = [field.name for field in fields(Epoch)][1:]
        if self.watch is None:
            names = names[:3]
        return {
            name: torch.tensor(
                [getattr(entry, name) for entry in self.history], dtype=torch.float32
            )
            for name in names
        }

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a checkpoint needs."""
        return self.learner.state() | with_prefix("curve", self.curves())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Carry on after the epochs that `state` was taken at."""
        self.learner.restore(tensors)
        curves = without_prefix("curve", tensors)
        rows = zip(*(curves[name].tolist() for name in curves), strict=True)
        self.history = [
            Epoch(epoch, **dict(zip(curves, row, strict=True))) for epoch, row in enumerate(rows, 1)
        ]
