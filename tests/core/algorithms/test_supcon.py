"""SupCon: equation 2 an anchor at a time, its limits, labels."""

import math
from copy import deepcopy

import pytest
import torch
from learners import images, input_gradient, make, rows, views_of
from torch import Tensor

from cptools.core.algorithms.losses import nt_xent
from cptools.core.algorithms.supcon import sup_con

TAU = 0.3
LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code, which computes losses in float32, in float64 instead."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def slow_sup_con(z: list[Tensor], labels: list[int]) -> Tensor:
    """Equation 2, L_out: the mean over the positives is outside of the logarithm."""
    total = torch.zeros((), dtype=z[0].dtype)
    for i, anchor in enumerate(z):
        others = [a for a in range(len(z)) if a != i]
        below = torch.stack([(anchor @ z[a] / TAU).exp() for a in others]).sum()
        positives = [a for a in others if labels[a] == labels[i]]
        terms = [((anchor @ z[p] / TAU).exp() / below).log() for p in positives]
        total = total - torch.stack(terms).sum() / len(positives)
    return total / len(z)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_the_loss_is_the_papers(training: bool) -> None:
    algorithm = make("supcon", num_classes=3, temperature=TAU).train(training)
    slow = deepcopy(algorithm)
    a, b = views_of(images())
    z = rows(slow.head["projector"](slow.encoder(torch.cat([a, b]))))
    expected = slow_sup_con(z, LABELS.tolist() * 2)
    torch.testing.assert_close(algorithm.loss(a, b, labels=LABELS), expected)
    torch.testing.assert_close(algorithm.loss(b, a, labels=LABELS), expected)
    assert float(expected.detach()) > 0.1


@pytest.mark.usefixtures("in_float64")
def test_gradients_and_one_branch() -> None:
    algorithm = make("supcon", num_classes=3).eval()
    x = images()[:4].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: algorithm.loss(*views_of(x), labels=LABELS[:4]), x, fast_mode=True, atol=1e-6
    )
    single, dual = (input_gradient(algorithm, dual=dual, labels=LABELS) for dual in (False, True))
    assert torch.equal(single, dual)


def test_images_of_classes_of_their_own_make_it_nt_xent() -> None:
    z = torch.nn.functional.normalize(torch.randn(3, 5, 4, generator=torch.Generator()), dim=2)
    got = sup_con(*z, labels=torch.arange(5), temperature=TAU)
    torch.testing.assert_close(got, nt_xent(*z, temperature=TAU))


def test_a_collapsed_batch_is_log_of_the_others() -> None:
    z = torch.eye(4)[[0] * 5]
    for labels in (torch.zeros(5, dtype=torch.int64), torch.arange(5)):
        loss = float(sup_con(z, z, labels=labels, temperature=TAU))
        assert loss == pytest.approx(math.log(9), rel=1e-6)


def test_the_loss_is_float32_inside_bfloat16_autocast() -> None:
    z = torch.nn.functional.normalize(torch.randn(2, 6, 16), dim=2)
    expected = sup_con(*z, labels=LABELS, temperature=TAU)
    with torch.autocast("cpu", torch.bfloat16):
        got = sup_con(*z, labels=LABELS, temperature=TAU)
    torch.testing.assert_close(got, expected)
