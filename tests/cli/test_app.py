"""The wrapper of every tool: one line of error, the right exit code, nothing left behind.

A small tool of its own is run as a real process, because signals and pipes are what matters.
"""

import os
import signal
import subprocess
import sys
import time
from typing import Annotated, Any

import pytest
import typer

from cptools.cli import _app
from cptools.cli._options import options_of
from cptools.core.settings import Setting

TOOL = '''
import sys, time
from pathlib import Path
from typing import Annotated, Any
import typer
from cptools.artifacts.atomic import atomic_write
from cptools.artifacts.errors import ArtifactError
from cptools.cli._app import UsageError, Version, make_app, run, say, tool

app = make_app("cp-demo")

class OutOfMemoryError(RuntimeError):
    """As torch has it."""

ERRORS = {
    "artifact": lambda: ArtifactError("x is bad; make it again"),
    "usage": lambda: UsageError("no such thing; give another"),
    "value": lambda: ValueError("expected epsilon <= 1, got 2"),
    "parameter": lambda: typer.BadParameter("no."),
    "missing": lambda: open("/no/such/file"),
    "memory": MemoryError,
    "torch": lambda: OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\\n frame 1"),
    "cpu": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can\\'t allocate memory: x"),
    "runtime": lambda: RuntimeError("shapes differ\\nException raised from f\\nframe #0"),
    "long": lambda: RuntimeError("x" * 5000),
    "escape": lambda: UsageError("a\\x1b]0;b\\nc; d"),
    "bug": lambda: KeyError("x"),
    "exit": lambda: SystemExit(7),
    "typer": lambda: typer.Exit(5),
    "control": KeyboardInterrupt,
}

@tool(app)
def demo(
    error: Annotated[str, typer.Option(help="What to raise.")] = "",
    count: Annotated[int, typer.Option(help="Lines to print.")] = 0,
    wait: Annotated[str, typer.Option(help="File to write slowly.")] = "",
    version: Version = False,
) -> None:
    """Do something small."""
    for i in range(count):
        sys.stdout.write(f"line {i}\\n")
    if wait:
        with atomic_write(wait) as stream:
            stream.write(b"half")
            say("ready")
            time.sleep(30)
    if error:
        raise ERRORS[error]()

def main() -> None:
    sys.exit(run(app))

if __name__ == "__main__":
    main()
'''


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "demo.py"
    path.write_text(TOOL)
    return path


def run(demo, *arguments, env=None, **options):
    command = [sys.executable, str(demo), *arguments]
    options = {"capture_output": True, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run(command, text=True, env={**os.environ, **(env or {})}, **options)


def shell(demo, text):
    command = text.replace("cp-demo", f"{sys.executable} {demo}")
    return subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("artifact", 2, "x is bad; make it again"),
        ("usage", 2, "no such thing; give another"),
        ("value", 2, "expected epsilon <= 1, got 2"),
        ("parameter", 2, "invalid value: no; see 'cp-demo --help'"),
        ("missing", 1, "/no/such/file: No such file or directory; check the name"),
        ("memory", 1, "out of memory; use fewer or smaller images, or a smaller --batch-size"),
        ("torch", 1, "out of memory (CUDA out of memory); use a smaller --batch-size"),
        (
            "cpu",
            1,
            "out of memory ([enforce fail] DefaultCPUAllocator: can't allocate memory: x);"
            " use a smaller --batch-size",
        ),
        ("runtime", 1, "shapes differ"),
        ("long", 1, "x" * 593 + "..."),
        ("escape", 2, r"a\x1b]0;b c; d"),
        (
            "bug",
            1,
            "internal error, KeyError: 'x'; run it with CPTOOLS_DEBUG=1 and report what it prints",
        ),
    ],
)
def test_an_error_is_one_line(demo, error, code, message):
    done = run(demo, "--error", error, "--count", "2")
    assert done.returncode == code
    assert done.stderr == f"cp-demo: error: {message}\n"
    assert done.stdout == "line 0\nline 1\n"


@pytest.mark.parametrize(("error", "code"), [("exit", 7), ("typer", 5), ("control", 130)])
def test_ends_without_a_word(demo, error, code):
    done = run(demo, "--error", error)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bogus"], "no such option: --bogus"),
        (["--count", "x"], "invalid value for '--count': Input should be a valid integer"),
        (["--count"], "option '--count' requires an argument"),
        (["extra"], "got unexpected extra argument"),
    ],
)
def test_wrong_use_is_one_line(demo, arguments, message):
    done = run(demo, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"cp-demo: error: {message}")
    assert done.stderr.endswith("; see 'cp-demo --help'\n")
    assert done.stderr.count("\n") == 1


def test_traceback_only_on_demand(demo):
    for value, is_shown in (("1", True), ("0", False), ("", False)):
        done = run(demo, "--error", "runtime", env={"CPTOOLS_DEBUG": value})
        assert ("Traceback" in done.stderr) == is_shown
        assert done.stderr.endswith("cp-demo: error: shapes differ\n")


def test_version_and_help(demo):
    done = run(demo, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, "cp-demo 0.1.0\n", "")
    for flag in ("-h", "--help"):
        done = run(demo, flag)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Usage: cp-demo [OPTIONS]" in done.stdout
        assert "Do something small." in done.stdout


def test_completion_works(demo):
    env = {"_CP_DEMO_COMPLETE": "complete_bash", "COMP_WORDS": "cp-demo --co", "COMP_CWORD": "1"}
    assert run(demo, env=env).stdout.split() == ["--count"]


@pytest.mark.parametrize("arguments", ["--count 100000", "--count 1", "--help", "--version"])
def test_closed_pipe_is_silent(demo, arguments):
    # The reader is gone before anything is written.
    done = shell(demo, f"(sleep 1; cp-demo {arguments}) | true; echo ${{PIPESTATUS[0]}}")
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_head_of_the_output(demo):
    done = shell(demo, "cp-demo --count 100000 | head -c 10")
    assert (done.returncode, done.stdout, done.stderr) == (141, "line 0\nlin", "")


@pytest.mark.parametrize("arguments", ["--count 1", "--count 100000", "--help", "--version"])
def test_full_device_is_an_error(demo, arguments):
    done = shell(demo, f"cp-demo {arguments} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == (
        "cp-demo: error: No space left on device; free some space or write elsewhere\n"
    )


@pytest.mark.parametrize("redirection", ["2>&-", ">&- 2>&-", "2>/dev/full"])
def test_nobody_listens(demo, redirection):
    assert shell(demo, f"cp-demo --error usage {redirection}").returncode == 2


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signal_leaves_no_temporary_file(demo, tmp_path, number, code):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    process = subprocess.Popen(
        [sys.executable, str(demo), "--wait", str(path)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline() == "cp-demo: ready\n"
    assert len(list(tmp_path.iterdir())) == 2
    process.send_signal(number)
    assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == code
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_ignored_signal_stays_ignored(demo, tmp_path):
    process = subprocess.Popen(
        ["bash", "-c", f"trap '' HUP; exec {sys.executable} {demo} --wait {tmp_path}/a"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline() == "cp-demo: ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143


def test_import_is_light():
    code = "import sys, cptools.cli.cptools; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "typer" in loaded
    assert not loaded & {"numpy", "torch", "rich", "safetensors", "matplotlib", "PIL"}


SETTINGS = {
    "depth": Setting(int, "How deep.", 1, 9),
    "kind_of": Setting(("a", "b"), "Which."),
    "rate": Setting(float, "How fast."),
}


@pytest.fixture
def spelled_out():
    """A tool with settings, and what it was given."""
    app, seen = _app.make_app("cp-demo"), []

    @_app.tool(app, options=options_of(SETTINGS))
    def demo(
        recipe: Annotated[str, typer.Option(help="R.")] = "quick",
        seed: Annotated[int, typer.Option(help="S.")] = 0,
        **typed: Any,
    ):
        """Do something small."""
        seen.append((recipe, seed, typed))

    return app, seen


def test_settings_are_options_after_the_recipe_and_none_where_left_out(spelled_out):
    app, seen = spelled_out
    names = [parameter.name for parameter in typer.main.get_command(app).params]
    assert names[:5] == ["recipe", "depth", "kind_of", "rate", "seed"]
    assert _app.run(app, []) == 0
    assert _app.run(app, ["--seed", "4", "--depth", "9", "--kind-of", "b"]) == 0
    assert _app.run(app, ["--rate", "1e-3", "--recipe", "paper"]) == 0
    assert seen == [
        ("quick", 0, {"depth": None, "kind_of": None, "rate": None}),
        ("quick", 4, {"depth": 9, "kind_of": "b", "rate": None}),
        ("paper", 0, {"depth": None, "kind_of": None, "rate": 0.001}),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depth", "10"], "invalid value for '--depth'"),
        (["--depth", "0"], "invalid value for '--depth'"),
        (["--depth", "1.5"], "invalid value for '--depth'"),
        (["--rate", "fast"], "invalid value for '--rate'"),
        (["--kind-of", "c"], "invalid value for '--kind-of': 'c' is not one of a, b"),
    ],
)
def test_settings_are_checked_against_their_kinds(spelled_out, capsys, arguments, message):
    app, seen = spelled_out
    assert _app.run(app, arguments) == 2
    assert capsys.readouterr().err.startswith(f"cp-demo: error: {message}")
    assert seen == []


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("`jitter` 9 is too much; at most 5", "--jitter 9 is too much; at most 5"),
        ("give `mode=sample` or `batch_size`", "give --mode sample or --batch-size"),
        ("make one with `cp.pretrain`", "make one with cp-pretrain"),
        ("no `code` here: `a b`, `X`", "no --code here: `a b`, `X`"),
    ],
)
def test_errors_of_the_library_speak_in_flags(message, told):
    from cptools.cli._app import in_flags

    assert in_flags(message) == told


def test_printing_to_closed_standard_output_is_an_error(monkeypatch, capsys):
    app = _app.make_app("cp-demo")

    @_app.tool(app)
    def demo():
        """Print as the tools do."""
        if not sys.stdout.isatty():
            typer.echo("x")

    monkeypatch.setattr(sys, "stdout", None)
    assert _app.run(app, []) == 2
    assert capsys.readouterr().err == (
        "cp-demo: error: standard output is closed; give it a file or a pipe\n"
    )
