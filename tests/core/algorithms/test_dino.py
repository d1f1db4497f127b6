"""DINO: equation 3 a number at a time, centering, schedules, multi-crop, the two branches."""

import math
from copy import deepcopy
from typing import Any

import pytest
import torch
from learners import BATCH, Tiny, images, make, rows
from torch import Tensor, nn

from cptools.core.algorithms.dino import DINO
from cptools.core.views import Views

OPTIONS: dict[str, Any] = {
    "num_prototypes": 5, "temperature": 0.4, "teacher_temperature": 0.3, "teacher_start": 0.2,
    "teacher_warmup": 4, "frozen_epochs": 2, "momentum": 0.9,
    "local_views": 2, "local_size": 6, "local_area": 0.1,
}  # fmt: skip


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code, which computes losses in float32, in float64 instead."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def dino(**changes: Any) -> Any:
    algorithm = make("dino", **OPTIONS | changes)
    algorithm.center.normal_(0, 0.5, generator=torch.Generator().manual_seed(3))
    return algorithm


def views_of(x: Tensor) -> tuple[Tensor, ...]:
    """Two global views and two local ones, differentiable."""
    return 1.1 * x, 0.8 * x.flip(3) - 0.1, x[..., 2:, 1:7], 0.9 * x[..., :6, :6]


def slow_outputs(
    encoder: nn.Module, projector: nn.Module, prototypes: nn.Linear, views: tuple[Tensor, ...]
) -> list[list[list[Tensor]]]:
    """Cosines to prototypes, of each view and image; batch norm sees views of a size jointly."""
    features = [encoder(torch.cat(same)) for same in (views[:2], views[2:]) if same]
    z = [part for joint in features for part in projector(joint).split(BATCH)]
    directions = rows(prototypes.weight)
    return [[[row @ w for w in directions] for row in rows(part)] for part in z]


def softmax(scores: list[Tensor]) -> list[Tensor]:
    total = torch.stack(scores).exp().sum()
    return [score.exp() / total for score in scores]


def slow_dino(a: Any, views: tuple[Tensor, ...], *, constant: bool = False) -> Tensor:
    """Equation 3: the mean over images and pairs of views of - sum P_t log P_s."""
    students = slow_outputs(a.encoder, a.head["projector"], a.head["prototypes"], views)
    teachers = slow_outputs(
        a.momentum_encoder, a.momentum_projector, a.momentum_prototypes, views[:2]
    )
    total, terms = torch.zeros((), dtype=views[0].dtype), 0
    for i, teacher in enumerate(teachers):
        for j, student in enumerate(students):
            if i == j:
                continue
            for t, s in zip(teacher, student, strict=True):
                p_t = softmax([(x - c) / a.sharpness for x, c in zip(t, a.center)])  # noqa: B905
                if constant:
                    p_t = [torch.tensor(p.item(), dtype=p.dtype) for p in p_t]
                p_s = softmax([x / OPTIONS["temperature"] for x in s])
                total = total - sum(p * q.log() for p, q in zip(p_t, p_s, strict=True))
            terms += len(teacher)
    return total / terms


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_local", [0, 2])
@pytest.mark.usefixtures("in_float64")
def test_the_loss_is_the_papers(training: bool, num_local: int) -> None:
    algorithm = dino(local_views=num_local).train(training)
    views = views_of(images())[: 2 + num_local]
    expected = slow_dino(deepcopy(algorithm), views)
    torch.testing.assert_close(algorithm.loss(*views), expected)
    assert float(expected.detach()) > 0.5


@pytest.mark.parametrize("dual", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_the_teacher_is_a_constant_unless_both_branches_carry_gradient(dual: bool) -> None:
    algorithm = dino().eval()
    x, leaf = images().requires_grad_(), images().requires_grad_()
    expected = torch.autograd.grad(slow_dino(algorithm, views_of(x), constant=not dual), x)[0]
    got = torch.autograd.grad(algorithm.loss(*views_of(leaf), dual=dual), leaf)[0]
    torch.testing.assert_close(got, expected)


def test_schedules() -> None:
    algorithm = dino()
    temperatures, momenta, frozen = [], [], []
    for epoch in range(1, 9):
        algorithm.start_epoch(epoch, 8)
        temperatures.append(algorithm.sharpness)
        momenta.append(algorithm.momentum)
        frozen.append(algorithm.is_frozen)
    assert temperatures == pytest.approx([0.2, 0.225, 0.25, 0.275, 0.3, 0.3, 0.3, 0.3])
    assert momenta == pytest.approx([1 - 0.05 * (1 + math.cos(math.pi * t / 8)) for t in range(8)])
    assert frozen == [True, True] + [False] * 6
    algorithm = dino(teacher_warmup=0, frozen_epochs=0)
    assert (algorithm.sharpness, algorithm.is_frozen) == (0.3, False)


@pytest.mark.parametrize("epoch", [2, 3])
@pytest.mark.parametrize("dual", [True, False])
def test_what_gets_gradient(epoch: int, dual: bool) -> None:
    algorithm = dino()
    algorithm.start_epoch(epoch, 8)
    algorithm.loss(*views_of(images()), dual=dual).backward()
    for name, weight in algorithm.named_parameters():
        frozen = name == "head.prototypes.weight" and epoch == 2
        assert (weight.grad is None) == (name.startswith("momentum_") or frozen), name


@pytest.mark.usefixtures("in_float64")
def test_after_step_moves_teacher_and_center() -> None:
    algorithm = dino()
    views = views_of(images())
    slow = deepcopy(algorithm)
    outputs = slow_outputs(
        slow.momentum_encoder, slow.momentum_projector, slow.momentum_prototypes, views[:2]
    )
    means = [
        sum(float(row[k].detach()) for view in outputs for row in view) / (2 * BATCH)
        for k in range(5)
    ]
    algorithm.loss(*views)
    before = {name: tensor.clone() for name, tensor in algorithm.state_dict().items()}
    algorithm.after_step()
    weights = {name for name, _ in algorithm.named_parameters()}
    for name, tensor in algorithm.state_dict().items():
        wanted = before[name]
        online = name.replace("momentum_encoder", "encoder").replace("momentum_", "head.")
        if name == "center":
            wanted = 0.9 * wanted + 0.1 * torch.tensor(means)
        elif online != name and name in weights:
            wanted = 0.9 * wanted + 0.1 * before[online]
        torch.testing.assert_close(tensor, wanted)


def test_views_are_two_global_ones_and_smaller_local_ones() -> None:
    algorithm = dino(local_views=3)
    views = Views(size=8, mean=(0.5,) * 3, std=(0.2,) * 3, scale=(0.4, 1.0))
    x = torch.rand(2, 3, 8, 8)
    drawn = algorithm.draw(x, views, torch.Generator().manual_seed(0))
    assert algorithm.num_views == len(drawn) == 5
    assert [view.shape[-1] for view in drawn] == [8, 8, 6, 6, 6]
    again = algorithm.draw(x, views, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert not torch.equal(drawn[2], drawn[3])


class OneSize(Tiny):
    """A backbone for images of 8 pixels alone."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == 8
        return super().forward(x)


def test_an_encoder_for_one_size_takes_no_local_views() -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match=r"no.* local views of 6 pixels \(Assert.*`local_views=0`"):
        DINO(OneSize(), local_views=1, local_size=6, generator=generator)  # type: ignore[arg-type]
    DINO(OneSize(), local_views=0, generator=generator)  # type: ignore[arg-type]
