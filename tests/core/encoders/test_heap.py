"""Encoders leave the heap alone: training steps as a process that a damaged heap would end."""

import subprocess
import sys

import pytest

STEPS = """
import sys, torch
from cptools.core.build import build_encoder
torch.set_num_threads(1)
torch.manual_seed(0)
for name, size, batch in [(n, *b) for n in sys.argv[1:] for b in ((16, 16), (32, 32))]:
    name, _, width = name.partition("=")
    network = build_encoder(name, int(width), size=size).to(memory_format=torch.channels_last)
    for _ in range(3):
        network(torch.randn(batch, 3, size, size, requires_grad=True)).square().sum().backward()
        junk = [torch.randn(n) for n in range(1, 3000, 37)]
    assert all(p.grad.isfinite().all() for p in network.parameters())
print("done")
"""


@pytest.mark.parametrize("names", ["resnet10=4", "resnet10=8", "resnet50=2 wideresnet28=4"])
def test_narrow_networks_train(names):
    """Before StridedPointwise, oneDNN wrote beyond its workspace at width 4 (AVX2) or 8."""
    command = [sys.executable, "-c", STEPS, *names.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_strided_pointwise_convolution_is_the_ordinary_one():
    import torch

    from cptools.core.encoders.strided import StridedPointwise

    ours = StridedPointwise(16, 24, 2)
    x = torch.randn(3, 16, 9, 7, requires_grad=True)
    wanted = torch.nn.functional.conv2d(x, ours.weight, stride=2)
    assert ours(x).shape == wanted.shape == (3, 24, 5, 4)
    assert torch.allclose(ours(x), wanted, atol=1e-6)
    (a,) = torch.autograd.grad(ours(x).square().sum(), x)
    (b,) = torch.autograd.grad(wanted.square().sum(), x)
    assert torch.allclose(a, b, atol=1e-5)
