"""MoCo v3: algorithm 1 a row at a time, the two branches, the momentum encoder."""

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


def slow_moco_v3(algorithm: Any, a: Tensor, b: Tensor, *, constant: bool = False) -> Tensor:
    """Algorithm 1: ctr(q1, k2) + ctr(q2, k1), each 2 tau times the mean cross-entropy."""
    head, total = algorithm.head, torch.zeros((), dtype=a.dtype)
    for query, key in ((a, b), (b, a)):
        q = rows(head["predictor"](head["projector"](algorithm.encoder(query))))
        k = rows(algorithm.momentum_projector(algorithm.momentum_encoder(key)))
        if constant:
            k = [torch.tensor(row.tolist(), dtype=row.dtype) for row in k]
        for i in range(BATCH):
            scores = [q[i] @ other / TAU for other in k]
            total = total + 2 * TAU * cross_entropy(scores, i) / BATCH
    return total


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dual", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_the_loss_is_the_papers(training: bool, dual: bool) -> None:
    algorithm = make("moco-v3", temperature=TAU).train(training)
    a, b = views_of(images())
    expected = slow_moco_v3(deepcopy(algorithm), a, b)
    torch.testing.assert_close(algorithm.loss(a, b, dual=dual), expected)
    torch.testing.assert_close(algorithm.loss(b, a, dual=dual), expected)  # no view is special
    assert float(expected.detach()) > 0.1


@pytest.mark.usefixtures("in_float64")
def test_keys_are_constants_unless_both_branches_carry_gradient() -> None:
    algorithm = make("moco-v3", temperature=TAU).eval()
    for dual in (True, False):
        x = images().requires_grad_()
        expected = slow_moco_v3(algorithm, *views_of(x), constant=not dual)
        wanted = torch.autograd.grad(expected, x)[0]
        torch.testing.assert_close(input_gradient(algorithm, dual=dual), wanted)
    single, dual_one = (input_gradient(algorithm, dual=dual) for dual in (False, True))
    assert float((dual_one - single).norm()) > 0.05 * float(single.norm())


@pytest.mark.parametrize("dual", [True, False])
def test_weights_of_the_momentum_branch_get_no_gradient(dual: bool) -> None:
    algorithm = make("moco-v3")
    algorithm.loss(*views_of(images()), dual=dual).backward()
    for name, weight in algorithm.named_parameters():
        assert (weight.grad is None) == name.startswith("momentum_")
        assert weight.requires_grad == (weight.grad is not None)


def test_after_step_is_the_moving_average_of_the_weights_alone() -> None:
    algorithm = make("moco-v3", momentum=0.9)
    algorithm.loss(*views_of(images()))
    before = {name: tensor.clone() for name, tensor in algorithm.state_dict().items()}
    algorithm.after_step()
    weights = {name for name, _ in algorithm.named_parameters()}
    for name, tensor in algorithm.state_dict().items():
        online = name.replace("momentum_encoder", "encoder").replace(
            "momentum_projector", "head.projector"
        )
        wanted = before[name]
        if online != name and name in weights:
            wanted = 0.9 * wanted + 0.1 * before[online]
        torch.testing.assert_close(tensor, wanted)
