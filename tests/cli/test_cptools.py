"""`cptools` as people use it: real processes, `bash -o pipefail`."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cptools.artifacts.history import dataset_digest
from cptools.artifacts.schema import Dataset, Delta, Entry, Input
from cptools.artifacts.stream import write_artifact
from cptools.cli.cptools import TOOLS

DIGEST = "0123456789abcdef" * 4


@pytest.fixture
def dataset():
    rng = np.random.default_rng(0)
    return Dataset(
        train_images=rng.integers(0, 256, (500, 3, 32, 32), dtype=np.uint8),
        train_labels=rng.integers(0, 10, 500),
        test_images=rng.integers(0, 256, (100, 3, 32, 32), dtype=np.uint8),
        test_labels=rng.integers(0, 10, 100),
        train_index=None,
        name="random",
        classes=tuple("0123456789"),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        source=None,
        history=(
            Entry("cp-dataset", "0.1.0", {"input": "shapes", "seed": 0}),
            Entry("cp-defend", "0.1.0", {"mc": True}, {"input": Input(DIGEST)}),
        ),
    )


@pytest.fixture
def folder(tmp_path, dataset):
    write_artifact(dataset, tmp_path / "a.safetensors")
    delta = Delta(
        np.zeros((10, 3, 32, 32), np.float16), "class", "8/255", "byol", DIGEST,
        (Entry("cp-generate", "0.1.0", {"alg": "byol"}),),
    )  # fmt: skip
    write_artifact(delta, tmp_path / "d.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "short").write_bytes(data[:-1])
    (tmp_path / "text").write_text("hello, world\n")
    return tmp_path


def bash(folder, text):
    text = text.replace("cptools ", f"{sys.executable} -m cptools.cli.cptools ")
    command = ["bash", "-o", "pipefail", "-c", text]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_list(tmp_path):
    done = bash(tmp_path, "cptools ")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [*TOOLS, "cptools"]


def test_version(tmp_path):
    assert bash(tmp_path, "cptools --version").stdout == "cptools 0.1.0\n"


@pytest.mark.parametrize(
    "source", ["history a.safetensors", "history - < a.safetensors", "history < a.safetensors"]
)
def test_history(folder, source):
    done = bash(folder, f"cptools {source}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "cp-dataset shapes --seed 0 |\n  cp-defend --mc\n"


def test_history_of_a_pipe_lets_the_writer_end(folder):
    done = bash(folder, "cat a.safetensors | cptools history")
    assert (done.returncode, done.stdout.count("cp-")) == (0, 2)


def test_history_of_a_delta(folder):
    done = bash(folder, "cptools history d.safetensors")
    assert done.stdout == "cp-generate --alg byol --delta -\n"


def test_history_as_json(folder):
    done = bash(folder, "cptools history --json a.safetensors")
    first, second = json.loads(done.stdout)
    assert (first["tool"], first["parameters"]) == ("cp-dataset", {"input": "shapes", "seed": 0})
    assert second["inputs"]["input"]["digest"] == DIGEST


def test_verify(folder, dataset):
    done = bash(folder, "cat a.safetensors | cptools verify a.safetensors - d.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    line = f"ok dataset sha256:{dataset_digest(dataset)} (500+100 images 32x32, 10 classes)"
    first, second, third = done.stdout.splitlines()
    assert (first, second) == (f"a.safetensors: {line}", f"-: {line}")
    assert third.startswith("d.safetensors: ok delta sha256:")


def test_verify_goes_through_all(folder):
    done = bash(folder, "cptools verify short a.safetensors text missing d.safetensors")
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "a.safetensors",
        "d.safetensors",
    ]
    size = (folder / "a.safetensors").stat().st_size
    assert done.stderr.splitlines() == [
        f"cptools: error: short: truncated after {size - 1} of {size} bytes;"
        " did the command before the pipe fail?",
        "cptools: error: text: not an artifact of cptools, but text: 'hello, world';"
        " make one with cp-dataset",
        "cptools: error: there is no file missing; give a file or -",
    ]


def test_verify_goes_on_whatever_a_file_does(tool, folder, monkeypatch):
    from cptools.cli import cptools

    check = cptools._verdict

    def fails(file):
        if file == "a":
            raise OverflowError("a number is too large")
        return check(file)

    monkeypatch.setattr(cptools, "_verdict", fails)
    good = folder / "a.safetensors"
    done = tool("cptools", "verify", "a", good)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert done.out.decode().startswith(f"{good}: ok ")
    done = tool("cptools", "verify", "missing", "a", good)
    assert (done.code, done.err.count("\n")) == (2, 2)


@pytest.mark.parametrize(
    "words",
    [
        ("cptools", "verify", "x" * 300),
        ("cp-dataset", "x" * 300),
        ("cp-dataset", "shapes", "--limit", "20", "-o", "x" * 300),
        ("cp-probe", "x" * 300),
        ("cptools", "report", "x" * 300),
    ],
    ids=["verify", "input", "output", "encoder", "report"],
)
def test_a_name_too_long_is_bad_use(tool, words):
    tool(*words).refused("ile name too long")


def test_verify_finds_bad_contents(folder, dataset):
    data = bytearray((folder / "a.safetensors").read_bytes())
    data[data.index(b"}}") :] = data[data.index(b"}}") :].replace(
        dataset.train_labels.tobytes(),
        dataset.train_labels[::-1].tobytes()[:-8] + b"\x63" + bytes(7),
    )
    (folder / "bad").write_bytes(data)
    done = bash(folder, "cptools verify bad")
    assert done.returncode == 2
    assert "bad: damaged: the data does not fit the checksum" in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("false | cptools verify -", 2, "empty input; did the command before the pipe fail?"),
        ("head -c 3000 a.safetensors | cptools verify -", 2, "input: truncated after 3000 of"),
        ("head -c 99 /dev/urandom | cptools verify -", 2, "standard input: not an artifact"),
        ("cat a.safetensors a.safetensors | cptools verify -", 2, "more bytes follow"),
        ("cptools verify", 2, "missing argument 'files'; see 'cptools --help'"),
        ("cptools verify - -", 2, "- is given twice"),
        ("cptools verify .", 2, "cannot read .: Is a directory"),
        ("cptools history", 2, "no input; give a file"),
        ("cptools history short", 2, "short: truncated"),
        ("cptools histroy", 2, "no such command 'histroy'. Did you mean 'history'"),
        ("cptools verify a.safetensors > /dev/full", 1, "No space left on device"),
        ("cptools > /dev/full", 1, "No space left on device"),
    ],
)  # fmt: skip
def test_errors(folder, command, code, message):
    done = bash(folder, command)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("cptools: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


COPY = """
import sys
from cptools.artifacts.stream import open_artifact, write_artifact
from cptools.cli._app import make_app, run, tool
app = make_app("cp-demo")
@tool(app)
def demo() -> None:
    write_artifact(open_artifact("a.safetensors").read(), "-")
sys.exit(run(app))
"""


@pytest.mark.parametrize("option", ["", "-u"])  # unbuffered: what writes may come back short
@pytest.mark.parametrize(
    ("rest", "code", "out", "err"),
    [
        ("| head -c 10 | wc -c", 141, "10\n", ""),
        (">&-", 2, "", "cp-demo: error: standard output is closed; give it a file or a pipe\n"),
        (
            "> /dev/full",
            1,
            "",
            "cp-demo: error: No space left on device; free some space or write elsewhere\n",
        ),
        ("| cmp - a.safetensors", 0, "", ""),
    ],
)
def test_artifact_into_a_bad_pipe(folder, option, rest, code, out, err):
    (folder / "demo.py").write_text(COPY)
    done = bash(folder, f"{sys.executable} {option} demo.py {rest}")
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


def test_nothing_heavy_is_imported(folder):
    code = (
        "import sys; from cptools.cli.cptools import app; from cptools.cli._app import run;"
        "codes = [run(app, ['verify', 'a.safetensors']), run(app, ['history', 'd.safetensors'])];"
        "assert codes == [0, 0];"
        "assert not {'torch', 'torchvision', 'rich', 'PIL', 'matplotlib'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=folder, env=os.environ, check=True, stdout=subprocess.PIPE)
