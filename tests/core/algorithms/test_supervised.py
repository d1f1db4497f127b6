"""Supervised learning: cross-entropy of one view, by hand; groups of batch norm."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cptools.core.algorithms.supervised import Supervised
from cptools.core.build import build_encoder

CLASSES = 3
LABELS = torch.tensor([0, 2, 1, 1, 0, 2, 2, 0])


def make(**options: Any) -> Supervised:
    return Supervised(
        build_encoder("resnet10", 2),
        num_classes=CLASSES,
        generator=torch.Generator().manual_seed(0),
        **options,
    )


def images() -> Tensor:
    return torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_loss_is_the_cross_entropy_of_the_logits() -> None:
    algorithm = make().eval()
    logits = algorithm.classify(images())
    assert logits.shape == (8, CLASSES)
    total = 0.0
    for row, label in zip(logits.tolist(), LABELS.tolist(), strict=True):
        total += math.log(sum(map(math.exp, row))) - row[label]
    assert float(algorithm.loss(images(), labels=LABELS).detach()) == pytest.approx(
        total / 8, rel=1e-5
    )
    features = algorithm.encoder(images())
    weight, bias = algorithm.head["classifier"].weight, algorithm.head["classifier"].bias
    torch.testing.assert_close(logits, features @ weight.T + bias)


def test_it_takes_one_view_and_labels() -> None:
    algorithm = make()
    assert (algorithm.num_views, algorithm.needs_classes, algorithm.has_momentum) == (
        1,
        True,
        False,
    )
    with torch.no_grad():
        losses = [
            algorithm.eval().loss(images(), labels=LABELS, dual=dual) for dual in (True, False)
        ]
    assert torch.equal(*losses)


def test_embeddings_are_unit_features() -> None:
    algorithm = make().eval()
    z = algorithm.embed(images())
    assert z.shape == (8, algorithm.encoder.feature_dim)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(8))


def test_labels_reach_every_weight() -> None:
    algorithm = make().train()
    algorithm.loss(images(), labels=LABELS).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in algorithm.parameters())


def test_groups_of_batch_norm_see_their_slices_alone() -> None:
    grouped, slow = make(bn_groups=2).train(), make().train()
    loss = grouped.loss(images(), labels=LABELS)
    logits = torch.cat([slow.classify(part) for part in images().chunk(2)])
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, LABELS))
    for name, value in slow.state_dict().items():
        torch.testing.assert_close(grouped.state_dict()[name], value)
