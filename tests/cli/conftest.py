"""Tools in this process and as real ones, and small artifacts that they made."""

import contextlib
import importlib
import io
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from cptools.artifacts.stream import open_artifact
from cptools.cli._app import run

TINY_POISON = ("--rounds", "1", "--model-steps", "1", "--noise-steps", "1", "--batch-size", "32")
TINY_TRAINING = ("--epochs", "1", "--batch-size", "32")


@dataclass(frozen=True)
class Done:
    """How a tool ended."""

    code: int
    out: bytes
    err: str

    def refused(self, message: str) -> None:
        """Assert that it was bad use or bad input, said in one line that holds `message`."""
        assert message in self.err
        assert (self.code, self.out, self.err.count("\n")) == (2, b"", 1)
        assert ": error: " in self.err
        assert ";" in self.err


def without_waiting(stderr):
    """What was said, but for the line that a slow command before the pipe brings about."""
    lines = stderr.decode().splitlines(keepends=True)
    return "".join(line for line in lines if "waiting for the result of the command" not in line)


def _tool(name, *arguments, stdin=None):
    """Run a tool in this process; standard input is bytes, or None for /dev/null."""
    module = importlib.import_module(f"cptools.cli.{name.removeprefix('cp-')}")
    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with contextlib.ExitStack() as stack:
        if stdin is None:
            source = stack.enter_context(Path(os.devnull).open())
        else:
            source = io.TextIOWrapper(io.BytesIO(stdin))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        old, sys.stdin = sys.stdin, source
        try:
            code = run(module.app, [str(word) for word in arguments])
        finally:
            sys.stdin = old
        out.flush()
    return Done(code, out.buffer.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def tool():
    return _tool


@pytest.fixture(scope="session")
def make():
    """Run a tool that must succeed in silence; return what it wrote to `-o`."""

    def make_(name, *arguments, o):
        done = _tool(name, *arguments, "-o", o)
        assert (done.code, done.out) == (0, b"")
        assert not done.err or done.err.startswith(f"{name}: note: ")
        return open_artifact(o).read()

    return make_


@pytest.fixture(scope="session")
def environment():
    """Of real processes: the tools of this interpreter first, one thread each."""
    scripts = str(Path(sys.executable).parent)
    removed = ("CPTOOLS_DEVICE", "CPTOOLS_DEBUG")
    kept = {name: value for name, value in os.environ.items() if name not in removed}
    return {**kept, "PATH": f"{scripts}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def bash(environment):
    """Run a pipeline of real processes."""

    def bash_(text, folder, **options):
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, **options}
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=folder,
            env=environment,
            timeout=120,
            **options,
        )

    return bash_


@pytest.fixture(scope="session")
def same_again(bash):
    """Assert that the history of an artifact, printed and run by bash, gives its bytes."""

    def same_again_(path):
        done = bash(f"cptools history {path} | bash | cmp - {path}", path.parent)
        assert (done.returncode, done.stdout, without_waiting(done.stderr)) == (0, b"", "")

    return same_again_


@pytest.fixture(scope="session")
def same_again_here():
    """As `same_again`, in this process: for histories without a side input."""

    def same_again_here_(path):
        printed = _tool("cptools", "history", path).out.decode()
        data = None
        for stage in printed.split("|\n"):
            name, *arguments = shlex.split(stage)
            done = _tool(name, *arguments, stdin=data)
            assert (done.code, done.err) == (0, "")
            data = done.out
        assert data == path.read_bytes()

    return same_again_here_


@pytest.fixture(scope="session")
def files(tmp_path_factory, make):
    """A folder of small artifacts: clean, its class-wise poison and delta, an encoder."""
    folder = tmp_path_factory.mktemp("artifacts")
    clean = folder / "clean.safetensors"
    make("cp-dataset", "shapes", "--limit", 64, "--limit-test", 32, o=clean)
    make(
        "cp-generate", clean, *TINY_POISON, "--delta", folder / "delta.safetensors",
        o=folder / "poisoned.safetensors",
    )  # fmt: skip
    make("cp-dataset", clean, "--limit", 20, o=folder / "few.safetensors")
    make("cp-dataset", "shapes", "--limit", 20, "--size", 16, o=folder / "small.safetensors")
    make(
        "cp-pretrain", folder / "poisoned.safetensors", *TINY_TRAINING,
        o=folder / "encoder.safetensors",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of images in two classes: 12 to train on and 4 to test on, each."""
    import numpy as np
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, num in (("train", 12), ("test", 4)):
        for name in "ab":
            (folder / split / name).mkdir(parents=True)
            for i in range(num):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


@pytest.fixture
def interrupt_and_carry_on(make, environment, tmp_path):
    """Ctrl-C a real process at its first checkpoint, run it again: the bytes of a whole run."""

    def check(*words, total):
        make(*words, o=tmp_path / "whole")
        command = [*words, "--checkpoint", tmp_path / "saved", "-o", tmp_path / "resumed"]
        options = {"env": environment, "stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, **options)
        while not (tmp_path / "saved").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == b""
        assert process.returncode == 130
        assert {path.name for path in tmp_path.iterdir()} == {"whole", "saved"}
        done = _tool(*command)
        told = f"{words[0]}: resuming from {tmp_path}/saved: 1 of {total} done\n"
        assert (done.code, done.err) == (0, told)
        assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()

    return check
