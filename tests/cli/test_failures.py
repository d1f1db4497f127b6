"""A failure travels down the pipe: every stage behind it stops, and says where and why."""

import contextlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys

import pytest

from cptools.artifacts.errors import ArtifactError, UpstreamError
from cptools.artifacts.stream import failure, open_artifact
from cptools.cli._app import run

READERS = {
    "cp-dataset": ["-"],
    "cp-perturb": ["--noise"],
    "cp-generate": [],
    "cp-defend": ["--mc"],
    "cp-select": ["--method", "random", "--fraction", "0.5"],
    "cp-pretrain": [],
    "cp-probe": [],
    "cp-visualize": [],
    "cptools history": [],
    "cptools verify": ["-"],
}
NOSUCH = "there is no file or source nosuch; "


@pytest.fixture
def piped():
    """Run a tool in this process with a pipe as standard output; its exit code and bytes."""

    def piped_(name, *arguments, stdin=b""):
        module = importlib.import_module(f"cptools.cli.{name.removeprefix('cp-')}")
        reader, writer = os.pipe()
        old, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin))
        out, err = os.fdopen(writer, "w"), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run(module.app, [str(word) for word in arguments])
        finally:
            sys.stdin = old
            with contextlib.suppress(OSError):
                out.close()
        with os.fdopen(reader, "rb") as file:
            return code, file.read(), err.getvalue()

    return piped_


def sent(data, tmp_path):
    """What a failure says."""
    path = tmp_path / "sent"
    path.write_bytes(data)
    with pytest.raises(UpstreamError) as caught:
        open_artifact(path)
    return caught.value.tool, caught.value.reason


@pytest.mark.parametrize("name", READERS)
def test_every_reader_stops_and_says_who_failed(tool, name):
    words = name.split()
    done = tool(
        words[0],
        *words[1:],
        *READERS[name],
        stdin=failure("cp-generate", "the noise is not finite; x"),
    )
    told = f"{words[0]}: error: cp-generate failed: the noise is not finite; x\n"
    assert (done.code, done.out, done.err) == (1, b"", told)


@pytest.mark.parametrize(
    "words",
    [
        ["cp-dataset", "nosuch"],
        ["cp-dataset", "nosuch", "-o", "-"],
        ["cp-perturb", "nosuch", "--noise", "--delta", "x"],
        ["cp-generate", "nosuch"],
        ["cp-generate", "nosuch", "-o", "x", "--delta", "-"],
        ["cp-generate", "nosuch", "--output=/dev/stdout"],
        ["cp-generate", "nosuch", "-qo-"],
        ["cp-select", "nosuch", "--fraction", "0.5"],
        ["cp-pretrain", "nosuch"],
    ],
    ids=" ".join,
)
def test_a_tool_that_fails_sends_why(piped, tmp_path, words):
    code, data, err = piped(*words)
    name, reason = sent(data, tmp_path)
    assert code == 2
    assert err == f"{name}: error: {reason}\n"
    assert name == words[0]


@pytest.mark.parametrize("words", [["cp-dataset", "--nosuch"], ["cp-pretrain", "--epochs", "x"]])
def test_wrong_usage_is_sent_too(piped, tmp_path, words):
    code, data, err = piped(*words)
    assert (code, sent(data, tmp_path)) == (2, (words[0], err.partition("error: ")[2].strip()))


@pytest.mark.parametrize(
    "words",
    [
        ["cp-dataset", "nosuch", "-o", "x"],
        ["cp-dataset", "nosuch", "-ox"],
        ["cp-dataset", "nosuch", "-qo", "x"],
        ["cp-pretrain", "nosuch", "-qn"],
        ["cp-dataset", "nosuch", "--output=x"],
        ["cp-dataset", "nosuch", "--export", "x"],
        ["cp-dataset", "nosuch", "--info"],
        ["cp-generate", "--alg", "nosuch", "--dry-run"],
        ["cp-generate", "--alg", "nosuch", "-n"],
        ["cp-visualize", "nosuch"],
        ["cptools", "history", "nosuch"],
        ["cptools", "report", "nosuch"],
    ],
    ids=" ".join,
)
def test_nothing_is_sent_where_no_artifact_is_expected(piped, words):
    code, data, err = piped(*words)
    assert (code, data) == (2, b"")
    assert ": error: " in err


def test_the_first_failure_travels_on(piped, tmp_path):
    start = failure("cp-dataset", "the disk is full; free some space")
    code, data, err = piped("cp-perturb", "--noise", stdin=start)
    assert (code, data) == (1, start)
    assert err == "cp-perturb: error: cp-dataset failed: the disk is full; free some space\n"


def test_a_failed_probe_sends_a_line_that_reports_stop_at(piped, tool, tmp_path):
    code, data, err = piped("cp-probe", "nosuch")
    assert code == 2
    told = json.loads(data)
    assert (told["kind"], told["tool"]) == ("failure", "cp-probe")
    assert err == f"cp-probe: error: {told['message']}\n"
    path = tmp_path / "clean-0.jsonl"
    path.write_bytes(data)
    done = tool("cptools", "report", path)
    assert (done.code, done.out) == (1, b"")
    assert done.err == f"cptools: error: cp-probe failed: {told['message']}\n"


@pytest.mark.parametrize("length", range(0, 600, 7))
def test_a_failure_is_ascii(tmp_path, length):
    data = failure("cp-probe", "x" * length + "\u00e9")
    assert data.isascii()
    assert sent(data, tmp_path) == ("cp-probe", "x" * length + "\u00e9")


def test_a_failure_is_no_artifact(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(failure("cp-probe", "\x1b[31mred; \n\x00"))
    with pytest.raises(UpstreamError):
        open_artifact(path)
    path.write_bytes(failure("rm -rf /", "x"))
    with pytest.raises(ArtifactError, match=r"header\.tool is not valid"):
        open_artifact(path)


def test_a_pipeline_of_processes_stops(bash, tmp_path):
    done = bash("cp-dataset nosuch | cp-perturb --noise | cp-defend --mc -o y", tmp_path)
    assert done.returncode == 1
    lines = sorted(done.stderr.decode().splitlines())
    assert [line.partition(NOSUCH)[0] for line in lines] == [
        "cp-dataset: error: ",
        "cp-defend: error: cp-dataset failed: ",
        "cp-perturb: error: cp-dataset failed: ",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quiet", ["", "-q"])
def test_an_empty_pipe_keeps_its_meaning(bash, tmp_path, quiet):
    done = bash(f"true | cp-dataset {quiet} --limit 20 --limit-test 10 -o y", tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"standard input is empty; using the built-in shapes" in done.stderr
    assert (tmp_path / "y").exists()


def test_a_subcommand_is_named_in_full(piped, tmp_path):
    _, data, _ = piped("cptools", "import", "nosuch")
    assert sent(data, tmp_path)[0] == "cptools import"


def test_a_stopped_tool_sends_that_it_was(environment, tmp_path):
    held, writer = os.pipe()  # a pipe that stays silent keeps the tool waiting
    command = ["cp-perturb", "--noise"]
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, stdin=held, **options)
    try:
        for line in process.stderr:
            if b"waiting for the result" in line:
                break
        process.send_signal(signal.SIGTERM)
        data = process.stdout.read()
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
        os.close(held)
        os.close(writer)
    assert sent(data, tmp_path) == ("cp-perturb", "ended by SIGTERM")
