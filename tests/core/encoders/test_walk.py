"""Gradients of all encoders over sizes and batches, both precisions: as they are in float64.

In processes of their own, which a fault in oneDNN may end. What is freed holds NaN, so that a
gradient that is not written is seen.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from cptools.core.build import build_encoder
from cptools.core.encoders import ENCODERS
from cptools.core.encoders.heads import initialize
from cptools.core.encoders.strided import Strided3x3, StridedPointwise, replace_strided

WIDTHS = {
    "resnet10": 8, "resnet18": 4, "resnet50": 2, "wideresnet28": 4, "mobilenetv2": 8,
    "vgg19": 3, "densenet121": 4, "convnext-tiny": 4, "vit-tiny": 6, "vit-small": 6,
}  # fmt: skip
MOST = 1 << 17  # pixels of a batch

WALK = """
import sys
from test_walk import problems
for case in sys.argv[1:]:
    name, size, batch = case.split(":")
    for problem in problems(name, int(size), int(batch)):
        print(case, problem)
"""


def gradients(network: nn.Module, x: Tensor, *, bf16: bool = False) -> list[Tensor]:
    network.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_()
    for length in range(8, 4000, 61):
        torch.full((length,), torch.nan)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        features = network(x)
    features.float().square().mean().backward()
    assert x.grad is not None
    return [x.grad, *(p.grad for p in network.parameters() if p.grad is not None)]


def difference(found: list[Tensor], wanted: list[Tensor]) -> float:
    ours, theirs = (torch.cat([g.double().flatten() for g in part]) for part in (found, wanted))
    return float((ours - theirs).norm() / theirs.norm())


def problems(name: str, size: int, batch: int) -> Iterator[str]:
    """What is wrong with an encoder's gradients; with statistics of a batch they are chaotic."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    network = build_encoder(name, WIDTHS[name], size=size)
    initialize(network, generator)
    x = torch.randn(batch, 3, size, size, generator=generator)
    network = network.to(memory_format=torch.channels_last).eval()
    wanted = [g.clone() for g in gradients(network.double(), x.double())]
    network.float()
    for bf16, most in ((False, 1e-4), (True, 0.5)):
        off = difference(gradients(network, x, bf16=bf16), wanted)
        if not off < most:
            yield f"{'bf16' if bf16 else 'fp32'}: off by {off:.2g}"
    if batch == 1 or name.startswith("vit"):
        return
    network.train()
    once, again = (gradients(network, x, bf16=True) for _ in range(2))
    if not all(g.isfinite().all() for g in once):
        yield "not finite"
    if not all(map(torch.equal, once, again)):
        yield "not the same twice"


def walk(cases: list[str]) -> None:
    command = [sys.executable, "-c", WALK, *cases]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=__file__.rpartition("/")[0], check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_are_walked():
    assert WIDTHS.keys() == ENCODERS.keys()


def test_small_maps_and_the_sizes_of_the_default():
    walk([*(f"{name}:8:4" for name in WIDTHS), "resnet10:96:4", "resnet10:224:1"])


@pytest.mark.long
@pytest.mark.parametrize("name", WIDTHS)
def test_sizes_and_batches(name):
    sizes, batches = (8, 15, 32, 64, 96, 144, 256), (1, 4, 64)
    walk([f"{name}:{s}:{b}" for s in sizes for b in batches if s * s * b <= MOST])


@pytest.mark.parametrize("name", WIDTHS)
def test_no_convolution_of_a_stride_is_left_to_chance(name):
    """On maps of one pixel it would meet padding but for the middle of its kernel."""
    network = build_encoder(name, WIDTHS[name], size=8).eval()
    met = []

    def note(layer: nn.Conv2d, inputs: tuple[Tensor, ...]) -> None:
        if layer.stride != (1, 1) and inputs[0].shape[-2:] == (1, 1):
            met.append(type(layer))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(note)
            is_pointwise = layer.kernel_size == (1, 1)
            assert not (is_pointwise and layer.stride != (1, 1))
    network(torch.zeros(1, 3, 8, 8))
    assert set(met) <= {Strided3x3}
    assert met or name != "resnet10"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (5, 4), (8, 8)])
@pytest.mark.parametrize(("channels", "groups", "bias"), [((4, 6), 1, False), ((6, 6), 6, True)])
@pytest.mark.parametrize(("kernel", "kind"), [(3, Strided3x3), (1, StridedPointwise)])
def test_a_stand_in_is_the_ordinary_one(height, width, channels, groups, bias, kernel, kind):
    torch.manual_seed(0)
    theirs = nn.Conv2d(*channels, kernel, 2, kernel // 2, groups=groups, bias=bias).double()
    ours = nn.Sequential(nn.Conv2d(*channels, kernel, 2, kernel // 2, groups=groups, bias=bias))
    ours.double().load_state_dict({f"0.{k}": v for k, v in theirs.state_dict().items()})
    before = list(ours.parameters())
    replace_strided(ours)
    assert all(a is b for a, b in zip(ours.parameters(), before, strict=True))
    assert type(ours[0]) is (nn.Conv2d if groups > 1 and kernel == 1 else kind)
    x = torch.randn(2, channels[0], height, width, dtype=torch.double)
    torch.testing.assert_close(ours(x), theirs(x))
    for a, b in zip(gradients(ours, x), gradients(theirs, x), strict=True):
        torch.testing.assert_close(a, b)
