"""SwAV: codes by Sinkhorn and Knopp and the swapped prediction in loops, queue, prototypes."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from learners import BATCH, cross_entropy, images, make, rows
from torch import Tensor

from cptools.core.algorithms.swav import sinkhorn

OPTIONS: dict[str, Any] = {
    "num_prototypes": 5, "temperature": 0.4, "sinkhorn_epsilon": 0.3, "frozen_epochs": 2,
    "queue_size": 8, "queue_start": 3, "local_views": 2, "local_size": 6, "local_area": 0.1,
}  # fmt: skip


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code, which computes losses in float32, in float64 instead."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def views_of(x: Tensor) -> tuple[Tensor, ...]:
    """Two global views and two local ones, differentiable."""
    return 1.1 * x, 0.8 * x.flip(3) - 0.1, x[..., 2:, 1:7], 0.9 * x[..., :6, :6]


def slow_sinkhorn(scores: list[list[float]], epsilon: float) -> list[list[float]]:
    """The pseudocode of the paper's appendix: rows get a share of 1 / K, columns of 1 / B."""
    num, k = len(scores), len(scores[0])
    q = torch.tensor(scores, dtype=torch.float64).div(epsilon).exp().T.tolist()  # [K][B]
    for _ in range(3):
        for row in q:
            total = sum(row)
            row[:] = [x / (k * total) for x in row]
        for b in range(num):
            total = sum(row[b] for row in q)
            for row in q:
                row[b] /= num * total
    return [[row[b] * num for row in q] for b in range(num)]


def slow_swav(a: Any, views: tuple[Tensor, ...], *, with_queue: bool) -> Tensor:
    """Equation 2 over all pairs of a global view and another: - sum q log p."""
    joint = [a.encoder(torch.cat(same)) for same in (views[:2], views[2:])]
    z = [rows(part) for out in joint for part in a.head["projector"](out).split(BATCH)]
    prototypes = list(a.head["prototypes"].weight)
    total, pairs = torch.zeros((), dtype=views[0].dtype), 0
    for i in range(2):
        scored = [*z[i], *(a.queue[i] if with_queue else ())]
        scores = [[float((row @ c).detach()) for c in prototypes] for row in scored]
        codes = slow_sinkhorn(scores, OPTIONS["sinkhorn_epsilon"])[:BATCH]
        for v in range(4):
            if v == i:
                continue
            pairs += 1
            for row, code in zip(z[v], codes, strict=True):
                logits = [row @ c / OPTIONS["temperature"] for c in prototypes]
                for k, share in enumerate(code):
                    total = total + share * cross_entropy(logits, k) / BATCH
    return total / pairs


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("epoch", [3, 4])
@pytest.mark.usefixtures("in_float64")
def test_the_loss_and_its_gradient_are_the_papers(training: bool, epoch: int) -> None:
    algorithm = make("swav", **OPTIONS).train(training)
    algorithm.start_epoch(epoch, 9)
    slow = deepcopy(algorithm)
    x, leaf = images().requires_grad_(), images().requires_grad_()
    expected = slow_swav(slow, views_of(x), with_queue=epoch == 4)
    for dual in (False, True):
        loss = algorithm.loss(*views_of(leaf), dual=dual)
        torch.testing.assert_close(loss, expected)
        got = torch.autograd.grad(loss, leaf)[0]
        wanted = torch.autograd.grad(expected, x, retain_graph=True)[0]
        torch.testing.assert_close(got, wanted)
    other = slow_swav(slow, views_of(images()), with_queue=epoch == 3)
    assert abs(float(other.detach() - expected.detach())) > 1e-4


def test_codes_share_the_prototypes_out() -> None:
    scores = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)).tanh()
    q = sinkhorn(scores + torch.tensor([0.9, 0, 0, 0]), epsilon=0.5)
    torch.testing.assert_close(q.sum(dim=1), torch.ones(40))
    torch.testing.assert_close(q.sum(dim=0), torch.full((4,), 10.0), atol=0.1, rtol=0)
    sharp = sinkhorn(scores, epsilon=0.01)
    assert bool(sharp.isfinite().all())
    assert float(sharp.amax(dim=1).mean()) > float(q.amax(dim=1).mean())
    torch.testing.assert_close(sinkhorn(torch.zeros(3, 4), epsilon=0.05), torch.full((3, 4), 0.25))


@pytest.mark.parametrize("epoch", [2, 3])
def test_prototypes_are_frozen_at_first(epoch: int) -> None:
    algorithm = make("swav", **OPTIONS)
    algorithm.start_epoch(epoch, 9)
    algorithm.loss(*views_of(images())).backward()
    for name, weight in algorithm.named_parameters():
        assert (weight.grad is None) == (name == "head.prototypes.weight" and epoch == 2), name


def test_after_step_fills_the_queue_of_each_view_and_normalizes_prototypes() -> None:
    algorithm = make("swav", **OPTIONS)
    first = algorithm.queue.clone()
    torch.testing.assert_close(first.norm(dim=2), torch.ones(2, 8, dtype=first.dtype))
    assert not torch.allclose(algorithm.head["prototypes"].weight.norm(dim=1), first.new_ones(5))
    algorithm.eval().loss(*views_of(images()))
    algorithm.after_step()
    for i, view in enumerate(views_of(images())[:2]):
        torch.testing.assert_close(algorithm.queue[i, :BATCH], algorithm.embed(view).to(first))
        assert torch.equal(algorithm.queue[i, BATCH:], first[i, : 8 - BATCH])
    norms = algorithm.head["prototypes"].weight.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_without_a_queue() -> None:
    algorithm = make("swav", **OPTIONS | {"queue_size": 0, "queue_start": 0})
    assert algorithm.is_queue_used
    algorithm.loss(*views_of(images()))
    algorithm.after_step()
    assert algorithm.queue.shape == (2, 0, 4)
