"""Named random streams."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cptools.core.random import on_device, stream

parts = st.one_of(st.integers(0, 10**9), st.text("abcxyz", min_size=1, max_size=8))
paths = st.lists(parts, max_size=3)


def first(seed: int, *path: str | int) -> int:
    return int(torch.randint(2**62, (), generator=stream(seed, *path)))


@given(st.integers(0, 2**63), paths)
def test_a_stream_is_its_name(seed: int, path: list[str | int]) -> None:
    assert first(seed, *path) == first(seed, *path)
    assert first(seed, *path) != first(seed + 1, *path)
    assert first(seed, *path) != first(seed, *path, 0)


def test_streams_are_apart() -> None:
    names = [
        (s, n, e) for s in range(10) for n in ("views", "shuffle", "weights") for e in range(10)
    ]
    assert len({first(*name) for name in names}) == len(names)


def test_streams_leave_the_global_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    torch.rand(3, generator=stream(0, "views", 1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_streams_are_the_same_in_every_process() -> None:
    # Also a promise to old checkpoints and recorded runs: these numbers must not change.
    code = (
        "import torch; from cptools.core.random import on_device, stream;"
        "print(stream(0, 'views', 1).initial_seed(), stream(12, 'a').initial_seed())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = [stream(0, "views", 1).initial_seed(), stream(12, "a").initial_seed()]
    assert [int(n) for n in done.stdout.split()] == here
    assert here == [6590465715705828734, 8658014946490918697]


def test_on_the_cpu_a_generator_stays_itself() -> None:
    generator = stream(0, "noise")
    assert on_device(generator, torch.device("cpu")) is generator


@pytest.mark.gpu
def test_a_gpu_draws_by_the_generator() -> None:
    cuda = torch.device("cuda", 0)

    def draw(seed: int, times: int) -> torch.Tensor:
        generator = stream(seed, "noise")
        for _ in range(times):
            drawn = torch.rand(9, generator=on_device(generator, cuda), device=cuda)
        return drawn

    assert torch.equal(draw(0, 1), draw(0, 1))
    assert not torch.equal(draw(0, 1), draw(1, 1))
    assert not torch.equal(draw(0, 1), draw(0, 2))
