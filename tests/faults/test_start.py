"""The first and the last moments of a program, which no tool can guard: real processes."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

# What the script of an installed tool does; a signal arrives where typer is imported.
EARLY = """
import os, re, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.{signal})

sys.meta_path.insert(0, Finder())
from cptools.cli._start import dataset
sys.argv[1:] = ["--version"]
sys.exit(dataset())
"""
LATE = """
import atexit, os, signal, sys
from cptools.cli._start import dataset
atexit.register(os.kill, os.getpid(), signal.{signal})
sys.argv[1:] = ["--version"]
sys.exit(dataset())
"""


# Where Python drops what is raised: the signal comes while a weak reference is called back.
DROPPED = """
import os, signal, sys, time, weakref
from cptools.cli._app import make_app, run, tool

app = make_app("cp-demo")

class Thing:
    pass

def call_back(_):
    os.kill(os.getpid(), signal.{signal})
    time.sleep(0)

@tool(app)
def demo() -> None:
    thing = Thing()
    reference = weakref.ref(thing, call_back)
    del thing
    time.sleep(20)

sys.exit(run(app, []))
"""


def python(program, *, limit="", trap=""):
    """Run a program of Python under a shell's limits and ignored signals."""
    text = f'{limit or ":"}; {trap or ":"}; exec "$0" -c "$1"'
    return subprocess.run(
        ["bash", "-c", text, sys.executable, program],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=100,
    )  # fmt: skip


@pytest.mark.parametrize("program", [EARLY, LATE], ids=["early", "late"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_it_without_a_word(program, name):
    done = python(program.format(signal=name))
    assert (done.returncode, done.stderr) == (-signal.Signals[name], "")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_python_drops_comes_again(name):
    done = python(DROPPED.format(signal=name))
    assert (done.returncode, done.stderr) == (128 + signal.Signals[name], "")


def test_an_ignored_signal_stays_ignored():
    done = python(EARLY.format(signal="SIGINT"), trap="trap '' INT")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("cp-dataset ")


@pytest.mark.parametrize(
    ("tool", "kib", "arguments"),
    [
        ("dataset", 60_000, ["shapes"]),  # too little for numpy
        ("generate", 2_000_000, ["shapes", "--rounds", "1"]),  # and for torch
    ],
)
def test_too_little_memory_is_one_line(tmp_path, tool, kib, arguments):
    program = (
        f"import re, sys; from cptools.cli._start import {tool};"
        f" sys.argv[1:] = {[*arguments, '-o', str(tmp_path / 'out')]}; sys.exit({tool}())"
    )
    done = python(program, limit=f"ulimit -v {kib}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"cp-{tool}: error: out of memory")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", ["MemoryError()", "ImportError('x.so: failed to map segment')"])
def test_too_little_memory_for_the_tool_itself_is_one_line(error):
    kill = "os.kill(os.getpid(), signal.{signal})"
    done = python(EARLY.replace(kill, f"raise {error}"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cp-dataset: error: out of memory; allow more (ulimit -v)\n"


def test_every_program_has_an_entry_point():
    from cptools.cli import _start
    from cptools.cli.cptools import TOOLS

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"].keys() == {"cptools", *TOOLS}
    for name, place in project["scripts"].items():
        module, _, function = place.partition(":")
        assert module == "cptools.cli._start"
        assert getattr(_start, function).args == (function, name)
