"""A large input is used as it lies on the disk: what happens when it is cut short meanwhile."""

import os
import subprocess
import sys

import pytest

from cptools.artifacts.stream import write_artifact
from cptools.workflows.datasets import make_dataset

# The tool itself, but it maps files of any size, and the file is cut short once it is mapped: at
# once, or while a thread of the tool uses it.
CUT = """
import os, sys, threading
import cptools.artifacts.stream as stream
from cptools.artifacts.mapping import map_file
from cptools.cli import perturb

def map_and_cut(file, *rest):
    mapped = map_file(file, *rest)
    os.truncate(file.name, 4096)
    {use}
    return mapped

stream.MAPPED_FROM, stream.map_file = 0, map_and_cut
perturb.main()
"""
USES = {
    "later": "",
    "in a thread": "(t := threading.Thread(target=bytes, args=(mapped,))).start(); t.join()",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_one_line_and_nothing_written(tmp_path, use):
    path, output = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_artifact(make_dataset("shapes", {"limit": 100, "limit_test": 20, "seed": 0}), path)
    done = subprocess.run(
        [sys.executable, "-c", CUT.format(use=use), path, "--noise", "-o", output],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1, f"cp-perturb: error: {path} changed while it was in use; run the command again\n"
    )  # fmt: skip
    assert not output.exists()
