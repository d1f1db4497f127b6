"""A run that is killed at any moment carries on to the bytes of a whole one, and leaves nothing.

The long form kills 200 runs; `pytest tests/faults/test_kills.py -m long -s` prints what it did.
"""

import os
import random
import signal
import time
from collections import Counter

import pytest
from forked import run, start

from cptools.artifacts.stream import open_artifact

POISON = ("--rounds", "6", "--model-steps", "1", "--noise-steps", "1", "--batch-size", "16")
TRAINING = ("--epochs", "6", "--batch-size", "16")
SMALL = ("--width", "8", "--precision", "fp32")
WORKS = {
    "class": ["cp-generate", "clean", *POISON, *SMALL, "--delta", "delta"],
    "sample": ["cp-generate", "clean", "--mode", "sample", *POISON, *SMALL, "--delta", "delta"],
    "pretrain": ["cp-pretrain", "clean", *TRAINING, *SMALL],
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
KEPT = {"clean", "saved", "log"}


@pytest.fixture
def folder(tmp_path):
    words = ["cp-dataset", "shapes", "--limit", "60", "--limit-test", "10", "--size", "16"]
    assert run([*words, "-o", "clean"], tmp_path) == (0, "")
    return tmp_path


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in KEPT}


def kill_and_resume(words, folder, signals, seed):
    """Kill runs at random moments, a signal each; return how many, by signal and progress."""
    began = time.monotonic()
    words = [*words, "-o", "out"]
    assert run(words, folder) == (0, "")
    whole, duration = files(folder), time.monotonic() - began
    words += ["--checkpoint", "saved"]
    rng, counts, left = random.Random(seed), Counter(), list(signals)
    while left:
        for name in (*whole, "saved"):
            (folder / name).unlink(missing_ok=True)
        is_done = False
        while not is_done:
            number = left[0] if left else None
            before = files(folder).keys()
            process = start(words, folder, stderr=str(folder / "log"), every=0.0)
            if number is not None:
                process.join(rng.uniform(0, duration))
                if process.exitcode is None:
                    os.kill(process.pid, number)
            process.join(100)
            told = (folder / "log").read_text()
            assert told.count("\n") <= 1
            assert not told or "resuming from saved: " in told
            is_done = process.exitcode == 0
            if not is_done:
                assert process.exitcode in (-number, 128 + number), told
                left.pop(0)
                check_after_kill(folder, whole, number, before)
                counts[number.name, progress(told, folder)] += 1
        assert files(folder) == whole
    return counts


def check_after_kill(folder, whole, number, before):
    """What is there is whole, and only SIGKILL may leave a temporary file, until the next save."""
    found = files(folder)
    for name in whole.keys() & found.keys():
        assert found[name] == whole[name]
    others = found.keys() - whole.keys() - before
    assert all(name.startswith(".cptools-") for name in others)
    assert not others or number == signal.SIGKILL
    if (folder / "saved").exists():
        open_artifact(folder / "saved", expect=("checkpoint",)).read()


def progress(told, folder):
    if "resuming" in told:
        return "after " + told.split(": ")[2].strip()
    return "at the start, saved" if (folder / "saved").exists() else "before a checkpoint"


@pytest.mark.parametrize("work", ["class", "pretrain"])
def test_a_killed_run_carries_on_to_the_same_bytes(folder, work):
    counts = kill_and_resume(WORKS[work], folder, random.Random(work).sample(SIGNALS, 2), seed=work)
    assert counts.total() == 2


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("work", WORKS)
def test_200_killed_runs_carry_on_to_the_same_bytes(folder, work, capsys):
    counts = kill_and_resume(WORKS[work], folder, [*SIGNALS * 17], seed=work)
    with capsys.disabled():
        print(f"\n{work}: {counts.total()} kills, all resumed to the same bytes")  # noqa: T201
        for (name, where), number in sorted(counts.items()):
            print(f"  {name:8} {where:24} {number}")  # noqa: T201
    assert counts.total() == 68
