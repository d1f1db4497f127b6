"""SimCLR, MoCo, BYOL, SimSiam: losses, the two branches, momentum, queue, groups of batch norm."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.algorithms import ALGORITHMS
from cptools.core.algorithms.base import Algorithm, in_groups
from cptools.core.algorithms.byol import BYOL
from cptools.core.algorithms.moco import MoCo
from cptools.core.algorithms.momentum import ema_update
from cptools.core.algorithms.simclr import SimCLR
from cptools.core.algorithms.simsiam import SimSiam
from cptools.core.lazy import load

BATCH = 6
CONTRASTIVE = ["simclr", "moco", "byol", "simsiam"]  # of two views; the others have their own file
CONSTANT = ["moco", "byol", "simsiam"]  # learners with a branch that training holds constant
MOMENTUM = dict.fromkeys(("moco", "byol"), ("momentum_encoder", "momentum_projector"))


class Tiny(nn.Module):
    """A smooth backbone with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_dim = 5
        self.conv = nn.Conv2d(3, 5, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.bn(self.conv(x))).mean((2, 3))


def make(name: str, *, seed: int = 0, **options: Any) -> Algorithm:
    """A small algorithm whose momentum branch has weights of its own, as after some training."""
    options = {"hidden": 7, "dim": 4, **options}
    if name == "moco":
        options.setdefault("queue_size", 9)
    generator = torch.Generator().manual_seed(seed)
    algorithm: Algorithm = load(ALGORITHMS[name].build)(Tiny(), generator=generator, **options)
    with torch.no_grad():
        for part in MOMENTUM.get(name, ()):
            for weight in getattr(algorithm, part).parameters():
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
        for layer in algorithm.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.2, generator=generator)
                layer.running_var.uniform_(0.2, 1, generator=generator)
    return algorithm


def images(seed: int = 0, num: int = BATCH) -> Tensor:
    return torch.randn(num, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def views_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two different differentiable views."""
    return 1.1 * x, 0.8 * x.flip(3) - 0.1


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code, which computes losses in float32, in float64 instead."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def normalized(z: Tensor) -> Tensor:
    return z / z.norm(dim=1, keepdim=True)


def queries(algorithm: Algorithm, view: Tensor) -> Tensor:
    return normalized(algorithm.head["projector"](algorithm.encoder(view)))


def momentum_embeddings(algorithm: Any, view: Tensor) -> Tensor:
    return normalized(algorithm.momentum_projector(algorithm.momentum_encoder(view)))


def predictions(algorithm: Any, view: Tensor) -> Tensor:
    head = algorithm.head
    return normalized(head["predictor"](head["projector"](algorithm.encoder(view))))


def moco_loss(q: Tensor, k: Tensor, queue: Tensor, tau: float) -> Tensor:
    """Of each query: -log of its key's share."""
    total = torch.zeros((), dtype=q.dtype)
    for query, key in zip(q, k, strict=True):
        scores = torch.stack([query @ other / tau for other in (key, *queue)])
        total = total + scores.logsumexp(0) - scores[0]
    return total / len(q)


def byol_loss(p_a: Tensor, p_b: Tensor, z_a: Tensor, z_b: Tensor) -> Tensor:
    return ((p_a - z_b) ** 2).sum() / len(p_a) + ((p_b - z_a) ** 2).sum() / len(p_a)


def projections(algorithm: Algorithm, view: Tensor) -> Tensor:
    projected: Tensor = algorithm.head["projector"](algorithm.encoder(view))
    return projected


def simsiam_loss(p_a: Tensor, p_b: Tensor, z_a: Tensor, z_b: Tensor) -> Tensor:
    """Half the negative cosine of each direction, a pair at a time."""
    total = torch.zeros((), dtype=p_a.dtype)
    for p, z in (*zip(p_a, z_b, strict=True), *zip(p_b, z_a, strict=True)):
        total = total - p @ z / (p.norm() * z.norm()) / 2
    return total / len(p_a)


def simclr_loss(z_a: Tensor, z_b: Tensor, tau: float) -> Tensor:
    z, num = torch.cat([z_a, z_b]), len(z_a)
    total = torch.zeros((), dtype=z.dtype)
    for i in range(2 * num):
        others = torch.stack([z[i] @ z[j] / tau for j in range(2 * num) if j != i])
        total = total + others.logsumexp(0) - z[i] @ z[(i + num) % (2 * num)] / tau
    return total / (2 * num)


def reference_loss(algorithm: Any, a: Tensor, b: Tensor, *, constant: bool = False) -> Tensor:
    """The loss from the parts; `constant` takes the momentum branch's output as given numbers."""

    def momentum(branch: Callable[[Any, Tensor], Tensor], view: Tensor) -> Tensor:
        z = branch(algorithm, view)
        return torch.tensor(z.tolist(), dtype=z.dtype) if constant else z

    match algorithm:
        case SimCLR():
            z_a, z_b = queries(algorithm, torch.cat([a, b])).chunk(2)
            return simclr_loss(z_a, z_b, algorithm.temperature)
        case MoCo():
            k = momentum(momentum_embeddings, b)
            return moco_loss(queries(algorithm, a), k, algorithm.queue, algorithm.temperature)
        case BYOL():
            z_a, z_b = momentum(momentum_embeddings, a), momentum(momentum_embeddings, b)
            return byol_loss(predictions(algorithm, a), predictions(algorithm, b), z_a, z_b)
        case SimSiam():
            z_a, z_b = projections(algorithm, a), projections(algorithm, b)
            p_a, p_b = algorithm.head["predictor"](z_a), algorithm.head["predictor"](z_b)
            if constant:
                z_a, z_b = (torch.tensor(z.tolist(), dtype=z.dtype) for z in (z_a, z_b))
            return simsiam_loss(p_a, p_b, z_a, z_b)
    raise AssertionError(algorithm)


@pytest.mark.parametrize("name", CONTRASTIVE)
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("dual", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_loss_is_the_papers(name: str, mode: str, dual: bool) -> None:
    algorithm = make(name).double().train(mode == "train")
    a, b = views_of(images().double())
    expected = reference_loss(deepcopy(algorithm), a, b)
    torch.testing.assert_close(algorithm.loss(a, b, dual=dual), expected)
    assert abs(float(expected.detach())) > 0.01


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_loss_is_float32_of_float32(name: str) -> None:
    algorithm = make(name).eval()
    a, b = views_of(images())
    loss = algorithm.loss(a, b)
    assert loss.dtype == torch.float32
    assert loss.shape == ()
    torch.testing.assert_close(loss, reference_loss(algorithm, a, b), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_embeddings_are_unit_vectors(name: str) -> None:
    z = make(name).eval().embed(images())
    assert z.shape == (BATCH, 4)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(BATCH))


def input_gradient(algorithm: Algorithm, x: Tensor, *, dual: bool) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(algorithm.loss(*views_of(x), dual=dual), x)[0]


@pytest.mark.parametrize("name", CONTRASTIVE)
@pytest.mark.usefixtures("in_float64")
def test_dual_branch_is_the_whole_gradient(name: str) -> None:
    algorithm = make(name).double().eval()
    x = images(num=3).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: algorithm.loss(*views_of(x), dual=True), x, fast_mode=True, atol=1e-7
    )
    # One coordinate at a time as well, on some pixels.
    gradient = input_gradient(algorithm, x, dual=True)
    for index in [(0, 0, 3, 3), (1, 2, 4, 2), (2, 1, 1, 5)]:
        step = torch.zeros_like(x)
        step[index] = 1e-5
        with torch.no_grad():
            up, down = (algorithm.loss(*views_of(x + s), dual=True) for s in (step, -step))
        assert float(gradient[index]) == pytest.approx(float(up - down) / 2e-5, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", CONSTANT)
@pytest.mark.usefixtures("in_float64")
def test_the_constant_branch_carries_gradient_in_the_dual_scheme_only(name: str) -> None:
    algorithm: Any = make(name).double().eval()
    x = images().double()
    dual, single = (input_gradient(algorithm, x, dual=dual) for dual in (True, False))
    through_momentum = dual - single
    assert float(through_momentum.norm()) > 0.05 * float(single.norm())
    # What the dual scheme adds is the derivative with the online branch's output held.
    leaf = x.clone().requires_grad_()
    a, b = views_of(leaf)
    with torch.no_grad():
        q, p_a, p_b = (
            (queries(algorithm, a), None, None)
            if name == "moco"
            else (None, predictions(algorithm, a), predictions(algorithm, b))
        )
    if name == "moco":
        loss = moco_loss(
            q, momentum_embeddings(algorithm, b), algorithm.queue, algorithm.temperature
        )
    elif name == "byol":
        loss = byol_loss(
            p_a, p_b, momentum_embeddings(algorithm, a), momentum_embeddings(algorithm, b)
        )
    else:
        loss = simsiam_loss(p_a, p_b, projections(algorithm, a), projections(algorithm, b))
    torch.testing.assert_close(through_momentum, torch.autograd.grad(loss, leaf)[0])


@pytest.mark.parametrize("name", CONSTANT)
@pytest.mark.usefixtures("in_float64")
def test_single_branch_takes_keys_as_constants(name: str) -> None:
    algorithm = make(name).double().eval()
    x = images().double()
    leaf = x.clone().requires_grad_()
    constant = reference_loss(algorithm, *views_of(leaf), constant=True)
    expected = torch.autograd.grad(constant, leaf)[0]
    torch.testing.assert_close(input_gradient(algorithm, x, dual=False), expected)
    assert not torch.allclose(input_gradient(algorithm, x, dual=True), expected)


def test_single_branch_of_moco_has_no_path_to_the_key_view() -> None:
    algorithm = make("moco").eval()
    view_a, view_b = (images(seed).requires_grad_() for seed in (1, 2))
    loss = algorithm.loss(view_a, view_b)
    assert torch.autograd.grad(loss, view_b, allow_unused=True)[0] is None
    loss = algorithm.loss(view_a, view_b, dual=True)
    assert float(torch.autograd.grad(loss, view_b)[0].norm()) > 1e-4


def test_dual_changes_nothing_for_simclr() -> None:
    algorithm = make("simclr").eval()
    assert not algorithm.has_momentum
    assert torch.equal(
        input_gradient(algorithm, images(), dual=True),
        input_gradient(algorithm, images(), dual=False),
    )


@pytest.mark.parametrize("name", CONTRASTIVE)
@pytest.mark.parametrize("dual", [True, False])
def test_dual_never_gives_gradient_under_no_grad(name: str, dual: bool) -> None:
    with torch.no_grad():
        assert not make(name).loss(*views_of(images().requires_grad_()), dual=dual).requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", CONTRASTIVE)
@pytest.mark.parametrize("dual", [True, False])
def test_weights_of_the_momentum_branch_get_no_gradient(name: str, dual: bool) -> None:
    algorithm = make(name).train()
    algorithm.loss(*views_of(images()), dual=dual).backward()
    momentum = {
        weight
        for part in MOMENTUM.get(name, ())
        for weight in getattr(algorithm, part).parameters()
    }
    assert bool(momentum) == algorithm.has_momentum
    for weight in algorithm.parameters():
        if weight in momentum:
            assert not weight.requires_grad
            assert weight.grad is None
        else:
            assert weight.grad is not None


@pytest.mark.parametrize("name", ["moco", "byol"])
def test_momentum_branch_starts_as_a_copy(name: str) -> None:
    options = {"queue_size": 3} if name == "moco" else {}
    generator = torch.Generator().manual_seed(0)
    algorithm: Any = load(ALGORITHMS[name].build)(Tiny(), generator=generator, **options)
    online = [*algorithm.encoder.parameters(), *algorithm.head["projector"].parameters()]
    momentum = [p for part in MOMENTUM[name] for p in getattr(algorithm, part).parameters()]
    for ours, copy in zip(online, momentum, strict=True):
        assert torch.equal(ours, copy)
        assert ours.data_ptr() != copy.data_ptr()


@pytest.mark.parametrize("name", ["moco", "byol"])
def test_after_step_is_the_moving_average_of_the_weights_alone(name: str) -> None:
    algorithm: Any = make(name, momentum=0.9).train()
    algorithm.loss(*views_of(images()))
    online = [*algorithm.encoder.parameters(), *algorithm.head["projector"].parameters()]
    momentum = [p for part in MOMENTUM[name] for p in getattr(algorithm, part).parameters()]
    expected = [0.9 * m.clone() + 0.1 * o for m, o in zip(momentum, online, strict=True)]
    online_before = [weight.clone() for weight in online]
    buffers = {k: v.clone() for k, v in algorithm.named_buffers() if k != "queue"}
    algorithm.after_step()
    for got, wanted in zip(momentum, expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(online, online_before, strict=True))
    after = dict(algorithm.named_buffers())
    assert all(torch.equal(after[k], v) for k, v in buffers.items())


def test_ema_formula() -> None:
    target, online = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    nn.init.constant_(target.weight, 2.0)
    nn.init.constant_(online.weight, 4.0)
    for expected in (2.5, 2.875):
        ema_update(target, online, 0.75)
        assert target.weight.tolist() == [[expected, expected]]
    assert online.weight.tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_loss_alone_moves_neither_momentum_nor_queue(name: str) -> None:
    algorithm = make(name).train()
    before = {k: v.clone() for k, v in algorithm.state_dict().items()}
    for dual in (True, False):
        algorithm.loss(*views_of(images()), dual=dual)
    after = algorithm.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved  # batch norm's statistics in train mode
    assert all("running" in k or "num_batches" in k for k in moved)


@pytest.mark.parametrize("size", [1, BATCH, 2 * BATCH, 2 * BATCH + 2])
def test_queue_is_first_in_first_out(size: int) -> None:
    algorithm: Any = make("moco", queue_size=size).eval()
    torch.testing.assert_close(algorithm.queue.norm(dim=1), torch.ones(size))
    expected = algorithm.queue.tolist()
    for step in range(4):
        a, b = views_of(images(step))
        with torch.no_grad():
            keys = F.normalize(algorithm.momentum_projector(algorithm.momentum_encoder(b)), dim=1)
        expected = [*keys.tolist(), *expected][:size]
        algorithm.loss(a, b)
        algorithm.after_step()
        assert algorithm.queue.shape == (size, 4)
        assert not algorithm.queue.requires_grad
        torch.testing.assert_close(algorithm.queue, torch.tensor(expected), atol=1e-6, rtol=1e-5)
    assert "queue" in algorithm.state_dict()


@pytest.mark.parametrize("name", CONTRASTIVE)
@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.usefixtures("in_float64")
def test_bn_groups_see_their_slices_alone(name: str, groups: int) -> None:
    algorithm: Any = make(name, bn_groups=groups).double().train()
    slow: Any = deepcopy(algorithm)
    a, b = views_of(images().double())
    loss = algorithm.loss(a, b)

    def sliced(forward: Callable[[Any, Tensor], Tensor], *views: Tensor) -> Tensor:
        """Rows of the slices' forwards; several views of a slice go through jointly."""
        parts = []
        for g in range(groups):
            rows = slice(g * BATCH // groups, (g + 1) * BATCH // groups)
            parts.append(forward(slow, torch.cat([v[rows] for v in views])))
        return torch.cat([torch.stack(p.chunk(len(views)), dim=1) for p in parts])

    if name == "simclr":
        z = sliced(queries, a, b)
        expected = simclr_loss(z[:, 0], z[:, 1], slow.temperature)
    elif name == "moco":
        q, k = sliced(queries, a)[:, 0], sliced(momentum_embeddings, b)[:, 0]
        expected = moco_loss(q, k, slow.queue, slow.temperature)
    elif name == "simsiam":
        z_a, z_b = (sliced(projections, view)[:, 0] for view in (a, b))
        slices = [slice(g * BATCH // groups, (g + 1) * BATCH // groups) for g in range(groups)]
        p_a, p_b = (
            torch.cat([slow.head["predictor"](z[rows]) for rows in slices]) for z in (z_a, z_b)
        )
        expected = simsiam_loss(p_a, p_b, z_a.detach(), z_b.detach())
    else:
        p_a, p_b = (sliced(predictions, view)[:, 0] for view in (a, b))
        z_a, z_b = (sliced(momentum_embeddings, view)[:, 0] for view in (a, b))
        expected = byol_loss(p_a, p_b, z_a, z_b)
    torch.testing.assert_close(loss, expected)
    for key, value in slow.state_dict().items():
        torch.testing.assert_close(algorithm.state_dict()[key], value)
    whole = make(name).double().train()
    assert abs(float((whole.loss(a, b) - loss).detach())) > 1e-4


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_bn_groups_do_nothing_in_eval_mode(name: str) -> None:
    a, b = views_of(images())
    losses = [make(name, bn_groups=groups).eval().loss(a, b) for groups in (1, 3)]
    torch.testing.assert_close(*losses, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("num", "groups"), [(8, 4), (10, 4), (7, 3)])
def test_groups_are_as_many_as_asked_for_and_about_even(num: int, groups: int) -> None:
    sizes = []

    def forward(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x

    x = torch.arange(num)
    assert torch.equal(in_groups(forward, x, groups), x)
    assert len(sizes) == groups
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_weights_come_from_the_generator_alone(name: str) -> None:
    states = []
    for global_seed, seed in ((0, 0), (1, 0), (0, 1)):
        torch.manual_seed(global_seed)
        states.append(make(name, seed=seed).state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not torch.equal(states[0]["encoder.conv.weight"], states[2]["encoder.conv.weight"])


def test_too_small_a_batch_for_the_groups_is_refused():
    with pytest.raises(ValueError, match="makes no 4 groups of two or more; use a larger"):
        in_groups(lambda x: x, torch.zeros(7, 1), 4)
