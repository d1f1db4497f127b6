"""Adversarial training: the attack pixel by pixel, both learners as their official codes do it."""

import itertools
import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.algorithms.advcl import AdvCL, high_frequencies
from cptools.core.algorithms.adversarial import PGD
from cptools.core.algorithms.advsimclr import AdvSimCLR
from cptools.core.algorithms.advsupervised import AdvSupervised
from cptools.core.build import build_encoder
from cptools.core.encoders import ENCODERS
from cptools.core.views import Views, draw_views

BATCH, SIDE = 6, 8
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
EPSILON, STEPS, STEP = 0.1, 3, 0.4
LABELS = torch.tensor([[0, 1], [1, 2], [0, 0], [1, 1], [1, 2], [0, 0]])
VIEWS = Views(SIDE, MEAN, STD)


class Tiny(nn.Module):
    """A smooth backbone with two layers of batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_dim = 5
        self.conv = nn.Conv2d(3, 4, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.inner = nn.Sequential(nn.Conv2d(4, 5, 2, bias=False), nn.BatchNorm2d(5))

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = torch.tanh(self.inner(torch.tanh(self.bn(self.conv(x))))).mean((2, 3))
        return z


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spread_norms(algorithm: Any, seed: int) -> None:
    """Batch norm as after some training, every layer its own."""
    with torch.no_grad():
        for layer in algorithm.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.2, generator=seeded(seed))
                layer.running_var.uniform_(0.2, 1, generator=seeded(seed + 1))
                layer.weight.uniform_(0.5, 1.5, generator=seeded(seed + 2))
                layer.bias.normal_(0, 0.2, generator=seeded(seed + 3))
                seed += 4


def options(**changes: Any) -> dict[str, Any]:
    return {
        "mean": MEAN, "std": STD, "epsilon": EPSILON, "steps": STEPS, "step_size": STEP,
        "hidden": 7, "dim": 4, "generator": seeded(0), **changes,
    }  # fmt: skip


def advsimclr(**changes: Any) -> Any:
    algorithm = AdvSimCLR(Tiny(), **options(**changes))
    spread_norms(algorithm, 10)
    return algorithm


def advcl(**changes: Any) -> Any:
    algorithm = AdvCL(Tiny(), **options(num_classes=(2, 3), ce_weight=0.7, **changes))
    spread_norms(algorithm, 20)
    return algorithm


def pictures(seed: int = 0, num: int = BATCH) -> Tensor:
    return torch.rand(num, 3, SIDE, SIDE, generator=seeded(seed))


def drawn_by(algorithm: Any, seed: int = 1) -> list[Tensor]:
    return [view.double() for view in algorithm.draw(pictures(), VIEWS, seeded(seed))]


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code, which computes losses in float32, in float64 instead."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def to_pixels(view: Tensor) -> Tensor:
    mean, std = (torch.tensor(v, dtype=view.dtype).view(3, 1, 1) for v in (MEAN, STD))
    return view * std + mean


def to_view(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(v, dtype=pixels.dtype).view(3, 1, 1) for v in (MEAN, STD))
    return (pixels - mean) / std


# The attack.


def slow_attack(loss: Callable[[Tensor], Tensor], view: Tensor, start: Tensor) -> Tensor:
    """Madry et al. 2018, section 2.1, on the pixel scale, a pixel at a time."""
    middle, x = to_pixels(view), to_pixels(start)
    for _ in range(STEPS):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(to_view(leaf)), leaf)
        for index in itertools.product(*map(range, x.shape)):
            value = float(x[index]) + STEP * EPSILON * float(gradient[index].sign())
            value = max(value, float(middle[index]) - EPSILON, 0.0)
            x[index] = min(value, float(middle[index]) + EPSILON, 1.0)
    return to_view(x)


def test_the_attack_is_pgd_on_the_pixel_scale() -> None:
    attack = PGD(MEAN, STD, epsilon=EPSILON, steps=STEPS, step_size=STEP)
    network = Tiny().double().eval()
    wanted = torch.randn(2, 5, generator=seeded(3)).double()

    def loss(x: Tensor) -> Tensor:
        return (network(x) - wanted).square().sum()

    view = to_view(pictures(num=2).double())
    start = attack.start(view, seeded(4))
    got = attack(loss, view, start)
    torch.testing.assert_close(got, slow_attack(loss, view, start))
    assert float(loss(got).detach()) > float(loss(view).detach())
    assert not got.requires_grad
    assert not start.requires_grad
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0.1, 2), st.integers(1, 4))
def test_the_attack_stays_in_the_ball_and_between_black_and_white(
    seed: int, epsilon: float, step_size: float, steps: int
) -> None:
    attack = PGD(MEAN, STD, epsilon=epsilon, steps=steps, step_size=step_size)
    pixels = pictures(seed, 2)
    pixels[0, :, :4] = pixels[0, :, :4].round()  # some black, some white
    view = to_view(pixels)
    slope = torch.randn(view.shape, generator=seeded(seed + 1))
    start = attack.start(view, seeded(seed + 2))
    for found in (start, attack(lambda x: (slope * x).sum(), view, start)):
        moved = to_pixels(found)
        assert float((moved - pixels).abs().max()) <= epsilon + 1e-6
        assert -1e-6 <= float(moved.min()) <= float(moved.max()) <= 1 + 1e-6


def test_the_attack_on_a_straight_slope_ends_in_the_corner() -> None:
    attack = PGD(MEAN, STD, epsilon=EPSILON, steps=5, step_size=0.5)  # 2.5 radii, 2 needed
    pixels = pictures()
    view = to_view(pixels)
    slope = torch.randn(view.shape, generator=seeded(1))
    got = attack(lambda x: (slope * x).sum(), view, attack.start(view, seeded(2)))
    corner = (pixels + EPSILON * slope.sign()).clamp(0, 1)
    torch.testing.assert_close(to_pixels(got), corner, atol=1e-6, rtol=0)


def test_the_start_is_uniform_in_the_ball_and_the_generators() -> None:
    attack = PGD(MEAN, STD, epsilon=EPSILON, steps=1, step_size=1)
    pixels = torch.full((100, 3, SIDE, SIDE), 0.5)
    pixels[:, 2] = 0.02
    view = to_view(pixels)
    start = attack.start(view, seeded(0))
    assert torch.equal(start, attack.start(view, seeded(0)))
    assert not torch.equal(start, attack.start(view, seeded(1)))
    moved = (to_pixels(start) - pixels) / EPSILON
    for channel in (0, 1):
        counts = torch.histc(moved[:, channel], 4, -1, 1) / moved[:, channel].numel()
        assert counts.tolist() == pytest.approx([0.25] * 4, abs=0.03)
    assert float(moved[:, 2].min()) == pytest.approx(-0.2, abs=1e-4)  # black
    assert attack.start(view.double(), seeded(0)).dtype == torch.float64


@pytest.mark.gpu
def test_a_gpu_starts_in_the_ball_too() -> None:
    attack = PGD(MEAN, STD, epsilon=EPSILON, steps=1, step_size=1)
    view = to_view(pictures()).cuda()
    start = attack.start(view, seeded(0))
    assert torch.equal(start, attack.start(view, seeded(0)))
    assert not torch.equal(start, attack.start(view, seeded(1)))
    low, high = attack.bounds(view)
    assert bool(((start >= low) & (start <= high)).all())
    assert float(((start - low) / (high - low)).mean()) == pytest.approx(0.5, abs=0.03)


# Adversarial SimCLR.


def slow_nt_xent(views: list[Tensor], tau: float) -> Tensor:
    """Mean over all ordered pairs of views of an image: the other's share among all but oneself."""
    z = torch.cat([v / v.norm(dim=1, keepdim=True) for v in views])
    num, total = len(views[0]), torch.zeros((), dtype=z.dtype)
    for a in range(len(z)):
        scores = {b: z[a] @ z[b] / tau for b in range(len(z)) if b != a}
        below = torch.stack([*scores.values()]).logsumexp(0)
        total = total + sum(below - s for b, s in scores.items() if b % num == a % num)
    return total / (len(z) * (len(views) - 1))


def slow_advsimclr(algorithm: Any, view: Tensor, other: Tensor, start: Tensor) -> Tensor:
    """Kim et al. 2020: attack in eval mode on the pair, all three through one batch norm."""

    def project(x: Tensor) -> Tensor:
        z: Tensor = algorithm.head["projector"](algorithm.encoder(x))
        return z

    training = algorithm.training
    algorithm.eval()
    adversarial = slow_attack(
        lambda x: slow_nt_xent([project(x), project(other)], algorithm.temperature), view, start
    )
    algorithm.train(training)
    together = project(torch.cat([view, other, adversarial])).chunk(3)
    return slow_nt_xent(list(together), algorithm.temperature)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_advsimclr_is_the_papers(training: bool) -> None:
    algorithm = advsimclr().double().train(training)
    slow = deepcopy(algorithm)
    views = drawn_by(algorithm)
    loss, expected = algorithm.loss(*views), slow_advsimclr(slow, *views)
    torch.testing.assert_close(loss, expected)
    weights = list(algorithm.parameters())
    gradients = torch.autograd.grad(expected, list(slow.parameters()))
    for got, wanted in zip(torch.autograd.grad(loss, weights), gradients, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-9, rtol=1e-6)
    for name, value in slow.state_dict().items():  # the attack moves no running statistics
        torch.testing.assert_close(algorithm.state_dict()[name], value)
    assert algorithm.training is training
    plain = slow_nt_xent(
        [algorithm.head["projector"](algorithm.encoder(v)) for v in views[:2]], 0.5
    )
    assert float(loss.detach()) > float(plain.detach()) + 0.05


def test_advsimclr_draws_two_views_and_a_start() -> None:
    algorithm = advsimclr()
    drawn = algorithm.draw(pictures(), VIEWS, seeded(1))
    assert len(drawn) == algorithm.num_views == 3
    for got, wanted in zip(drawn, draw_views(VIEWS, pictures(), 2, seeded(1)), strict=False):
        assert torch.equal(got, wanted)
    apart = (to_pixels(drawn[2]) - to_pixels(drawn[0])).abs()
    assert 0.9 * EPSILON < float(apart.max()) <= EPSILON + 1e-6


@pytest.mark.usefixtures("in_float64")
def test_an_adversary_without_room_is_the_view_itself() -> None:
    algorithm = advsimclr(epsilon=0.0).double().eval()
    view, other, start = drawn_by(algorithm)
    torch.testing.assert_close(start, view)
    z_a, z_b = (algorithm.head["projector"](algorithm.encoder(v)) for v in (view, other))
    expected = slow_nt_xent([z_a, z_b, z_a], algorithm.temperature)
    torch.testing.assert_close(algorithm.loss(view, other, start), expected)


# The classifier.


def advsupervised(**changes: Any) -> Any:
    values = options(num_classes=3, **changes)
    del values["hidden"], values["dim"]
    algorithm = AdvSupervised(Tiny(), **values)
    spread_norms(algorithm, 30)
    return algorithm


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_the_adversarial_classifier_is_the_papers(training: bool) -> None:
    algorithm = advsupervised().double().train(training)
    slow, labels = deepcopy(algorithm), torch.tensor([0, 2, 1, 1, 0, 2])

    def cross_entropy(view: Tensor) -> Tensor:
        rows = torch.log_softmax(slow.head["classifier"](slow.encoder(view)), 1)
        return -sum(row[label] for row, label in zip(rows, labels, strict=True)) / len(labels)

    view, other, start = drawn_by(algorithm)
    slow.eval()
    worst = slow_attack(cross_entropy, view, start)
    slow.train(training)
    leaf = view.clone().requires_grad_()
    loss = algorithm.loss(leaf, other, start, labels=labels)
    middle = worst.clone().requires_grad_()
    expected = cross_entropy(middle)
    torch.testing.assert_close(loss, expected)
    got = torch.autograd.grad(loss, [leaf, *algorithm.parameters()])
    wanted = torch.autograd.grad(expected, [middle, *slow.parameters()])
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-6)
    for name, value in slow.state_dict().items():  # the attack moves no running statistics
        torch.testing.assert_close(algorithm.state_dict()[name], value)
    assert algorithm.training is training
    assert float(loss.detach()) > float(cross_entropy(view).detach()) + 0.02


# AdvCL.


class Official:
    """pretraining_advCL.py in float64: three backbones that share all but their batch norm.

    The adversaries climb the whole loss together, and every forward pass is made anew.
    """

    def __init__(self, algorithm: Any) -> None:
        self.head, self.tau, self.weight = algorithm.head, algorithm.temperature, 0.7
        self.networks = {name: deepcopy(algorithm.encoder) for name in ("normal", "pgd", "pgd_ce")}
        for name in ("normal", "pgd_ce"):
            network = self.networks[name]
            network.conv, network.inner[0] = algorithm.encoder.conv, algorithm.encoder.inner[0]
            network.bn, network.inner[1] = algorithm.head[name]
        self.networks["pgd"] = algorithm.encoder

    def project(self, view: Tensor, name: str) -> Tensor:
        z: Tensor = self.head["projector"](self.networks[name](view))
        return z

    def loss(self, x_cl: Tensor, x_ce: Tensor, plain: list[Tensor], labels: Tensor) -> Tensor:
        views = [self.project(x_cl, "pgd"), *(self.project(v, "normal") for v in plain)]
        features = self.networks["pgd_ce"](x_ce)
        total = torch.zeros((), dtype=x_ce.dtype)
        for number, head in enumerate(self.head["classifiers"]):
            for row, label in zip(head(features), labels[:, number], strict=True):
                total = total - torch.log_softmax(row, 0)[label] / len(labels) / labels.shape[1]
        return slow_nt_xent(views, self.tau) + self.weight * total

    def __call__(
        self, a: Tensor, b: Tensor, weak: Tensor, start: Tensor, ce_start: Tensor, labels: Tensor
    ) -> Tensor:
        plain = [a, b, slow_high_frequencies(weak)]
        middle, x = to_pixels(weak), [to_pixels(start), to_pixels(ce_start)]
        for _ in range(STEPS):
            leaves = [p.clone().requires_grad_() for p in x]
            loss = self.loss(*map(to_view, leaves), plain, labels)
            for i, gradient in enumerate(torch.autograd.grad(loss, leaves)):
                moved = x[i] + STEP * EPSILON * torch.sign(gradient)
                moved = torch.min(torch.max(moved, middle - EPSILON), middle + EPSILON)
                x[i] = torch.clamp(moved, 0, 1)
        return self.loss(*map(to_view, x), plain, labels)


def slow_high_frequencies(view: Tensor) -> Tensor:
    """An image at a time, through numpy's shifted spectrum; radius 8 of 32."""
    size = view.shape[-1]
    high = np.empty(view.shape)
    for index in np.ndindex(*view.shape[:2]):
        spectrum = np.fft.fftshift(np.fft.fft2(view[index].numpy()))
        for i, j in np.ndindex(size, size):
            if math.hypot(i - size / 2, j - size / 2) < 8 * size / 32:
                spectrum[i, j] = 0
        high[index] = np.fft.ifft2(np.fft.ifftshift(spectrum)).real
    return torch.from_numpy(high).to(view.dtype)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_advcl_is_the_official_code(training: bool) -> None:
    algorithm = advcl().double().train(training)
    copy = deepcopy(algorithm)
    slow = Official(copy)
    views = drawn_by(algorithm)
    loss, expected = algorithm.loss(*views, labels=LABELS), slow(*views, LABELS)
    torch.testing.assert_close(loss, expected)
    gradients = torch.autograd.grad(expected, list(copy.parameters()))
    found = torch.autograd.grad(loss, list(algorithm.parameters()))
    for got, wanted in zip(found, gradients, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-9, rtol=1e-6)
    ours, theirs = algorithm.state_dict(), copy.state_dict()
    for name, value in theirs.items():
        # It passes the plain views at every step of the attack; here they pass once.
        if not (name.startswith(("head.normal.", "head.projector.")) and training):
            torch.testing.assert_close(ours[name], value)


def test_the_three_sets_of_batch_norm_see_their_views_alone() -> None:
    algorithm = advcl().train()
    before = {k: v.clone() for k, v in algorithm.state_dict().items()}
    algorithm.loss(*algorithm.draw(pictures(), VIEWS, seeded(1)), labels=LABELS)
    moved = {k for k, v in algorithm.state_dict().items() if not torch.equal(v, before[k])}
    ticks = {k: int(algorithm.state_dict()[k]) for k in moved if k.endswith("num_batches_tracked")}
    assert ticks == {
        "encoder.bn.num_batches_tracked": STEPS + 1,
        "encoder.inner.1.num_batches_tracked": STEPS + 1,
        "head.normal.0.num_batches_tracked": 3,
        "head.normal.1.num_batches_tracked": 3,
        "head.pgd_ce.0.num_batches_tracked": STEPS + 1,
        "head.pgd_ce.1.num_batches_tracked": STEPS + 1,
        "head.projector.1.num_batches_tracked": STEPS + 4,
    }
    means = [algorithm.state_dict()[k] for k in sorted(moved) if k.endswith("0.running_mean")]
    assert len(means) == 2
    assert not torch.equal(*means)


def test_advcl_draws_two_views_a_weak_one_and_two_starts() -> None:
    algorithm = advcl()
    drawn = algorithm.draw(pictures(), VIEWS, seeded(1))
    assert len(drawn) == algorithm.num_views == 5
    for got, wanted in zip(drawn, draw_views(VIEWS, pictures(), 2, seeded(1)), strict=False):
        assert torch.equal(got, wanted)
    weak = to_pixels(drawn[2])
    params = VIEWS.weak().draw(BATCH, SIDE, SIDE, after_two_views(seeded(1)))
    torch.testing.assert_close(drawn[2], VIEWS.weak().apply(pictures(), params))
    starts = [to_pixels(start) for start in drawn[3:]]
    assert not torch.equal(*starts)
    for start in starts:
        assert 0.9 * EPSILON < float((start - weak).abs().max()) <= EPSILON + 1e-6


def after_two_views(generator: torch.Generator) -> torch.Generator:
    draw_views(VIEWS, pictures(), 2, generator)
    return generator


@pytest.mark.parametrize("size", [8, 16, 32])
def test_high_frequencies_are_those_outside_the_disk(size: int) -> None:
    view = torch.randn(2, 3, size, size, generator=seeded(0))
    high = high_frequencies(view)
    torch.testing.assert_close(high, slow_high_frequencies(view), atol=1e-5, rtol=1e-4)


@given(st.integers(1, 20), st.integers(0, 2**31))
def test_high_frequencies_of_any_size_are_a_projection_without_the_mean(
    size: int, seed: int
) -> None:
    view = torch.randn(1, 3, size, size, generator=seeded(seed))
    high = high_frequencies(view)
    assert high.shape == view.shape
    for again in (high_frequencies(high), high_frequencies(view + 3)):
        torch.testing.assert_close(again, high, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("cycles", "stays"), [(1, False), (7, False), (8, True), (13, True)])
def test_a_wave_of_few_cycles_vanishes(cycles: int, stays: bool) -> None:
    x = torch.arange(32) * (2 * math.pi * cycles / 32)
    wave = torch.cos(x).expand(1, 3, 32, 32)
    torch.testing.assert_close(high_frequencies(wave), wave * stays, atol=1e-5, rtol=0)


def test_pseudo_labels_change_only_what_the_second_adversary_is_for() -> None:
    algorithm = advcl().eval()
    views = algorithm.draw(pictures(), VIEWS, seeded(1))
    losses = [float(algorithm.loss(*views, labels=y).detach()) for y in (LABELS, 1 - LABELS % 2)]
    assert losses[0] != losses[1]
    algorithm.ce_weight = 0.0
    assert algorithm.loss(*views, labels=LABELS) == algorithm.loss(*views, labels=LABELS * 0)


# Both.


@pytest.mark.parametrize("make", [advsimclr, advcl])
@pytest.mark.parametrize("bf16", [True, False])
def test_every_weight_learns_and_the_attack_leaves_no_gradient(make: Any, bf16: bool) -> None:
    algorithm = make().train()
    views = algorithm.draw(pictures(), VIEWS, seeded(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = algorithm.loss(*views, labels=LABELS)
    assert loss.dtype == torch.float32
    assert all(p.grad is None for p in algorithm.parameters())
    assert not any(view.requires_grad for view in views)
    loss.backward()
    assert [n for n, p in algorithm.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("make", [advsimclr, advcl])
def test_they_are_measured_without_gradient(make: Any) -> None:
    algorithm = make().eval()
    views = algorithm.draw(pictures(), VIEWS, seeded(1))
    with torch.no_grad():
        quiet = algorithm.loss(*views, labels=LABELS)
        z = algorithm.embed(views[0])
    assert not quiet.requires_grad
    torch.testing.assert_close(quiet, algorithm.loss(*views, labels=LABELS).detach())
    torch.testing.assert_close(z.norm(dim=1), torch.ones(BATCH))


@pytest.mark.parametrize("make", [advsimclr, advcl])
@pytest.mark.parametrize("training", [True, False])
def test_groups_of_batch_norm_see_their_slices_alone(make: Any, training: bool) -> None:
    losses = []
    for groups in (1, 3):
        algorithm = make(bn_groups=groups).train(training)
        views = algorithm.draw(pictures(), VIEWS, seeded(1))
        losses.append(algorithm.loss(*views, labels=LABELS).detach())
    assert torch.isclose(*losses, atol=1e-5) == (not training)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_backbone_can_have_several_sets_and_keeps_its_names(name: str) -> None:
    width = max(1, ENCODERS[name].width // 16)
    algorithm, again = (
        AdvCL(
            build_encoder(name, width, size=32),
            **options(num_classes=(2, 3), steps=1, generator=seeded(seed)),
        )
        for seed in (0, 9)
    )
    plain = build_encoder(name, width, size=32)
    assert algorithm.encoder.state_dict().keys() == plain.state_dict().keys()
    x = torch.rand(4, 3, 32, 32, generator=seeded(0))
    views = algorithm.draw(x, Views(32, MEAN, STD), seeded(1))
    algorithm.train().loss(*views, labels=LABELS[:4]).backward()
    assert all(p.grad is not None for p in algorithm.parameters())
    again.load_state_dict(algorithm.state_dict())
    with torch.no_grad():
        losses = [a.eval().loss(*views, labels=LABELS[:4]) for a in (algorithm, again)]
    assert torch.equal(*losses)


def test_features_are_what_the_official_probe_takes_first_adversarys_set() -> None:
    algorithm = advcl().eval()
    view = to_view(pictures())
    expected = F.normalize(algorithm.head["projector"](algorithm.encoder(view)), dim=1)
    torch.testing.assert_close(algorithm.embed(view), expected)
