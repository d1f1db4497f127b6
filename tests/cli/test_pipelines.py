"""Pipelines of real processes: what flows, what is said, how they end."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import TINY_TRAINING, without_waiting

from cptools.artifacts.stream import open_artifact

CARD = (
    "cp-generate --alg byol --mode class --rounds 1 --model-steps 1 --noise-steps 1"
    " --batch-size 32 | cp-defend --mc"
)


def in_terminal(text, folder, environment):
    """Run under bash with a terminal for all three streams; exit code and what it shows."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", text],
        stdin=slave, stdout=slave, stderr=slave, cwd=folder,
        env={**environment, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    return process.wait(), shown


@pytest.fixture(scope="module")
def large(make, tmp_path_factory):
    """A dataset that no pipe holds: 9 MB."""
    path = tmp_path_factory.mktemp("large") / "large.safetensors"
    make("cp-dataset", "shapes", o=path)
    return path


@pytest.fixture(scope="module")
def at_the_terminal(tmp_path_factory, environment):
    """The card's pipeline, typed at a terminal: exit code, what is shown, the folder."""
    folder = tmp_path_factory.mktemp("terminal")
    return *in_terminal(CARD, folder, environment), folder


def test_card_at_a_terminal(at_the_terminal):
    code, shown, folder = at_the_terminal
    assert code == 0
    lines = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode().splitlines()
    name = "byol-class-mc.dataset.safetensors"
    told = (
        f"{name} (1000 training images after poison, defense); next: cp-pretrain {name} | cp-probe"
    )
    assert lines[-1].strip() == f"cp-defend: wrote {told}"
    assert b"poisoning (byol, class-wise)" in shown
    assert b"__metadata__" not in shown
    assert b"Traceback" not in shown
    assert [path.name for path in folder.iterdir()] == ["byol-class-mc.dataset.safetensors"]
    made = open_artifact(folder / "byol-class-mc.dataset.safetensors").read()
    assert [step.tool for step in made.history] == ["cp-dataset", "cp-generate", "cp-defend"]


def test_card_without_a_terminal(at_the_terminal, bash, tmp_path):
    """As `ssh -n` or cron runs it: standard input is /dev/null, output a pipe."""
    done = bash(CARD, tmp_path)
    assert (done.returncode, without_waiting(done.stderr)) == (0, "")
    assert not list(tmp_path.iterdir())
    expected = (at_the_terminal[2] / "byol-class-mc.dataset.safetensors").read_bytes()
    assert done.stdout == expected


MAKEFILE = f"""
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
out.safetensors: ; {CARD} -o $@
bad.safetensors: ; cp-dataset nowhere | cp-defend --mc -o $@
piped.safetensors: ; cp-dataset nowhere | cp-defend --mc > $@
"""


def test_card_inside_make(at_the_terminal, bash, tmp_path):
    (tmp_path / "Makefile").write_text(MAKEFILE)
    done = bash("make --silent out.safetensors", tmp_path)
    assert (done.returncode, done.stdout, without_waiting(done.stderr)) == (0, b"", "")
    expected = (at_the_terminal[2] / "byol-class-mc.dataset.safetensors").read_bytes()
    assert (tmp_path / "out.safetensors").read_bytes() == expected


@pytest.mark.parametrize("target", ["bad", "piped"])
def test_failure_inside_make_leaves_no_target(bash, tmp_path, target):
    (tmp_path / "Makefile").write_text(MAKEFILE)
    done = bash(f"make --silent {target}.safetensors", tmp_path)
    assert done.returncode == 2
    assert b"cp-dataset: error: there is no file or source nowhere;" in done.stderr
    assert b"Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


def test_a_chain_ends_in_a_report(bash, files):
    done = bash(
        f"cat poisoned.safetensors | cp-pretrain {' '.join(TINY_TRAINING)} | cp-probe", files
    )
    assert (done.returncode, without_waiting(done.stderr)) == (0, "")
    report = json.loads(done.stdout)
    assert (report["total"], report["dataset"]) == (32, "shapes")
    assert [step["tool"] for step in report["history"]] == [
        "cp-dataset", "cp-generate", "cp-pretrain",
    ]  # fmt: skip


def test_a_chain_against_supervised_learning(bash, files):
    attack = "--rounds 2 --model-steps 1 --noise-steps 2 --pgd-steps 2"
    done = bash(
        f"cat clean.safetensors | cp-generate --alg unlearnable --mode sample {attack}"
        f" | cp-pretrain --alg supervised {' '.join(TINY_TRAINING)} | cp-probe",
        files,
    )
    assert (done.returncode, without_waiting(done.stderr)) == (0, "")
    report = json.loads(done.stdout)
    assert [step["tool"] for step in report["history"]] == [
        "cp-dataset", "cp-generate", "cp-pretrain",
    ]  # fmt: skip
    assert [step["parameters"]["alg"] for step in report["history"][1:]] == [
        "unlearnable", "supervised",
    ]  # fmt: skip


def test_report_at_a_terminal_is_a_sentence(environment, files):
    code, shown = in_terminal("cp-probe -q encoder.safetensors", files, environment)
    assert code == 0
    assert re.fullmatch(
        r"[\d.]+ % of 32 test images of shapes \(95% interval [\d.]+ to [\d.]+;"
        r" lbfgs probe of simclr, resnet10 width 8\)\r\n",
        shown.decode(),
    )


def test_picture_at_a_terminal_is_a_file(environment, files, tmp_path):
    text = f"cat {files}/poisoned.safetensors | cp-visualize --dpi 50"
    code, shown = in_terminal(text, tmp_path, environment)
    assert (code, shown) == (0, b"cp-visualize: wrote simclr-class.png\r\n")
    assert [path.name for path in tmp_path.iterdir()] == ["simclr-class.png"]


@pytest.mark.parametrize("tool", ["cp-defend --mc", "cp-probe", "cp-visualize", "cptools history"])
def test_no_input_at_a_terminal_is_said_at_once(environment, tmp_path, tool):
    code, shown = in_terminal(tool, tmp_path, environment)
    assert code == 2
    assert b": error: no input; give a file, or pipe one in (see --help)" in shown


@pytest.mark.parametrize(
    "stage", ["cp-defend --mc", "cp-probe", "cp-visualize", "cp-perturb --noise -"]
)
@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("false", "empty input; did the command before the pipe fail?"),
        ("head -c 5000 {right}", "standard input: truncated after 5000 of"),
        ("head -c 20 {right}", "standard input: truncated after 20 of"),
        ("head -c 100 /dev/urandom", "standard input: "),
        ("echo hello", "not an artifact of cptools, but text: 'hello'; make one with"),
        ("cat {delta} {delta}", "standard input: "),
        ("cat {checkpoint}", "is of kind checkpoint; give one of kind"),
    ],
)  # fmt: skip
def test_bad_input(bash, files, large, make, before, message, stage):
    saved = files / "saved.checkpoint"
    if not saved.exists():
        clean = files / "clean.safetensors"
        make("cp-pretrain", clean, *TINY_TRAINING, "--checkpoint", saved, o=files / "trained")
    right = files / "encoder.safetensors" if "probe" in stage else large
    before = before.format(right=right, delta=files / "delta.safetensors", checkpoint=saved)
    done = bash(f"({before}) 2>/dev/null | {stage}", files)
    is_sent = b"failure" in done.stdout  # not where a picture is expected
    assert (done.returncode, is_sent) == (2, stage != "cp-visualize")
    told = done.stderr.decode()
    assert message in told
    assert told.startswith(f"{stage.split()[0]}: error: ")
    assert told.count("\n") == 1


def test_wrong_kind_ends_the_command_before_the_pipe_silently(bash, large, tmp_path):
    command = "cp-generate shapes --init - -o x"
    done = bash(f"cp-dataset {large} | {command}; echo ${{PIPESTATUS[@]}}", tmp_path)
    assert done.stdout == b"141 2\n"
    assert done.stderr == (
        b"cp-generate: error: standard input: is of kind dataset; give one of kind delta\n"
    )
    assert not list(tmp_path.iterdir())


def test_every_failure_of_a_pipeline_is_one_line(bash, tmp_path):
    done = bash("cp-dataset nowhere | cp-defend --mc | cp-probe", tmp_path)
    assert (done.returncode, b"failure" in done.stdout) == (1, True)
    lines = sorted(done.stderr.decode().splitlines())
    assert [line.split(": ")[0] for line in lines] == ["cp-dataset", "cp-defend", "cp-probe"]
    assert all("error: " in line for line in lines)


@pytest.mark.parametrize("tool", ["cp-dataset", "cp-perturb --noise", "cp-defend --mc"])
def test_closed_pipe(bash, large, tmp_path, tool):
    done = bash(f"{tool} {large} | head -c 10 | wc -c", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (141, b"10\n", b"")


@pytest.mark.parametrize(
    "command",
    [
        "cp-dataset clean.safetensors",
        "cp-dataset clean.safetensors --json",
        "cp-dataset clean.safetensors -o /dev/full",
        "cp-visualize encoder.safetensors -o /dev/full",
        "cp-visualize encoder.safetensors",
        "cp-probe encoder.safetensors",
        "cp-probe encoder.safetensors --dry-run",
    ],
)
def test_full_device(bash, files, command):
    done = bash(f"{command} > /dev/full", files)
    assert (done.returncode, done.stdout) == (1, b"")
    name = command.split()[0]
    assert done.stderr.decode() == (
        f"{name}: error: No space left on device; free some space or write elsewhere\n"
    )


def test_nothing_is_written_to_dev_null_but_it_works(bash, files, tmp_path):
    done = bash(f"cp-dataset {files}/clean.safetensors > /dev/null", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    done = bash(f"cp-dataset {files}/clean.safetensors -o /dev/null", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("redirection", "told"),
    [
        ("< /dev/null", b""),
        ("<&-", b""),
        ("< empty", b"cp-dataset: standard input is empty; using the built-in shapes\n"),
    ],
)
def test_a_chain_starts_without_input(bash, files, tmp_path, redirection, told):
    (tmp_path / "empty").touch()
    done = bash(f"cp-dataset --limit 64 --limit-test 32 {redirection}", tmp_path)
    assert (done.returncode, done.stderr) == (0, told)
    assert done.stdout == (files / "clean.safetensors").read_bytes()


def test_closed_standard_output(bash, files):
    done = bash("cp-dataset clean.safetensors >&-", files)
    assert done.returncode == 2
    message = b"cp-dataset: error: standard output is closed; give it a file or a pipe\n"
    assert done.stderr == message


def start(text, folder, environment):
    """A pipeline in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", text], cwd=folder, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def test_control_c_ends_a_pipeline(environment, files, tmp_path):
    text = (
        f"cp-generate {files}/clean.safetensors --rounds 1000 --delta delta --checkpoint saved"
        " | cp-defend --mc -o out"
    )
    process = start(text, tmp_path, environment)
    while not (tmp_path / "saved").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, without_waiting(err)) == (130, b"", "")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_control_c_while_torch_is_imported(environment, files, tmp_path):
    command = ["cp-defend", "--mc", files / "clean.safetensors", "-o", tmp_path / "out"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == b""
    assert process.returncode == 130
    assert not list(tmp_path.iterdir())


def test_control_c_while_waiting(environment, tmp_path):
    process = subprocess.Popen(
        ["cp-defend", "--mc"], env=environment, cwd=tmp_path,
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    line = process.stderr.readline()
    assert line.startswith(b"cp-defend: waiting for the result of the command before the pipe")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == b""
    assert process.returncode == 130


def test_failed_write_leaves_the_old_file(bash, files, tmp_path):
    (tmp_path / "out").write_bytes(b"old")
    done = bash(f"ulimit -f 100; cp-dataset {files}/clean.safetensors -o out", tmp_path)
    assert done.returncode == 1
    assert b"File too large; allow larger files (ulimit -f) or write elsewhere" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert (tmp_path / "out").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_output_may_be_the_input(bash, files, tmp_path):
    done = bash(f"cp {files}/clean.safetensors a && cp-dataset a --limit 20 -o a", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "a").read_bytes() == (files / "few.safetensors").read_bytes()
