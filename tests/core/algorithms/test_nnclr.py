"""NNCLR: algorithm 1 a row at a time, constant neighbors, the support set."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from learners import BATCH, cross_entropy, images, input_gradient, make, rows, views_of
from torch import Tensor

TAU = 0.3


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code, which computes losses in float32, in float64 instead."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def small(size: int = 9) -> Any:
    return make("nnclr", temperature=TAU, queue_size=size)


def slow_nnclr(algorithm: Any, a: Tensor, b: Tensor) -> Tensor:
    """Algorithm 1, where the nearest is that of the smallest distance."""
    z = [algorithm.head["projector"](algorithm.encoder(view)) for view in (a, b)]
    p = [rows(algorithm.head["predictor"](projected)) for projected in z]
    total = torch.zeros((), dtype=a.dtype)
    for this, other in ((0, 1), (1, 0)):
        for i, row in enumerate(rows(z[this])):
            near = [float((row - entry).detach().norm()) for entry in algorithm.queue]
            neighbor = algorithm.queue[near.index(min(near))]
            scores = [neighbor @ prediction / TAU for prediction in p[other]]
            total = total + cross_entropy(scores, i) / BATCH / 2
    return total


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_the_loss_is_the_papers(training: bool) -> None:
    algorithm = small().train(training)
    a, b = views_of(images())
    expected = slow_nnclr(deepcopy(algorithm), a, b)
    torch.testing.assert_close(algorithm.loss(a, b), expected)
    torch.testing.assert_close(algorithm.loss(b, a), expected)  # no view is special
    assert float(expected.detach()) > 0.1


@pytest.mark.usefixtures("in_float64")
def test_gradients_flow_through_predictions_alone() -> None:
    algorithm = small().eval()
    x = images()[:4].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: algorithm.loss(*views_of(x)), x, fast_mode=True, atol=1e-6
    )
    single, dual = (input_gradient(algorithm, dual=dual) for dual in (False, True))
    assert torch.equal(single, dual)
    # Both views have predictions.
    views = [view.requires_grad_() for view in views_of(images())]
    for gradient in torch.autograd.grad(algorithm.loss(*views), views):
        assert float(gradient.norm()) > 1e-4
    assert not algorithm.queue.requires_grad


@pytest.mark.parametrize("size", [1, BATCH, 2 * BATCH + 2])
@pytest.mark.usefixtures("in_float64")
def test_the_support_set_is_first_in_first_out(size: int) -> None:
    algorithm = small(size).eval()
    torch.testing.assert_close(
        algorithm.queue.norm(dim=1), torch.ones(size, dtype=torch.float64), atol=1e-6, rtol=0
    )
    expected = algorithm.queue.tolist()
    for step in range(3):
        a, b = views_of(images(step))
        before = algorithm.queue.clone()
        algorithm.loss(a, b)
        assert torch.equal(algorithm.queue, before)  # a loss alone moves nothing
        algorithm.after_step()
        expected = [*algorithm.embed(a).tolist(), *expected][:size]
        wanted = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(algorithm.queue, wanted, atol=1e-6, rtol=0)
    assert "queue" in algorithm.state_dict()
