"""Files, pipes and terminals, with real ones: a pty stands for the terminal."""

import io
import os
import pty
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.schema import Dataset, Entry
from cptools.cli import _progress, _streams
from cptools.cli._app import UsageError

CODE = """
import sys
from cptools.cli._app import make_app, run, tool
from cptools.cli._streams import plan_output, resolve_input
app = make_app("cp-demo")
@tool(app)
def demo(value: str = None, starts: bool = True, rest: bool = False) -> None:
    path = resolve_input(value, starts_chain=starts, sources=("cifar10",))
    sys.stdout.write(path + (":" + sys.stdin.buffer.read().decode() if path == "-" else ""))
sys.exit(run(app))
"""


def run(arguments=(), **options):
    command = [sys.executable, "-c", CODE, *arguments]
    return subprocess.run(command, capture_output=True, **options)


@pytest.fixture
def terminal():
    master, slave = pty.openpty()
    yield slave
    os.close(master)
    os.close(slave)


@pytest.fixture
def sources(terminal, tmp_path):
    """What standard input may be, by name; each with what to pass to `subprocess.run`."""
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_bytes(b"content")
    with (tmp_path / "empty").open("rb") as empty, (tmp_path / "full").open("rb") as full:
        yield {
            "terminal": {"stdin": terminal},
            "null": {"stdin": subprocess.DEVNULL},
            "empty pipe": {"input": b""},
            "empty file": {"stdin": empty},
            "pipe": {"input": b"content"},
            "file": {"stdin": full},
        }


@pytest.mark.parametrize("name", ["terminal", "null", "empty pipe", "empty file"])
def test_a_chain_starts_with_the_built_in_dataset(sources, name):
    done = run(**sources[name])
    assert (done.returncode, done.stdout) == (0, b"shapes")
    assert (b"standard input is empty; using the built-in shapes" in done.stderr) == (
        name in ("empty pipe", "empty file")
    )


@pytest.mark.parametrize("name", ["pipe", "file"])
@pytest.mark.parametrize("arguments", [[], ["--no-starts"], ["--value", "-"]])
def test_content_is_taken_and_none_of_it_lost(sources, name, arguments):
    done = run(arguments, **sources[name])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"-:content", b"")


def test_much_content_is_not_lost():
    content = bytes(range(97, 123)) * 100_000
    assert run(input=content).stdout == b"-:" + content


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("terminal", ["--no-starts"], "no input; give a file, or pipe one in (see --help)"),
        ("null", ["--no-starts"], "no input; give a file, or pipe one in (see --help)"),
        ("empty pipe", ["--no-starts"], "empty input; did the command before the pipe fail?"),
        ("empty file", ["--no-starts"], "empty input; did the command before the pipe fail?"),
        ("empty pipe", ["--value", "-"], "empty input; did the command before the pipe fail?"),
        ("empty file", ["--value", "-"], "empty input; did the command before the pipe fail?"),
        (
            "terminal",
            ["--value", "-"],
            "nothing is piped into standard input; give a file instead of -",
        ),
        (
            "null",
            ["--value", "-"],
            "nothing is piped into standard input; give a file instead of -",
        ),
    ],
)
def test_nothing_to_read_is_an_error(sources, name, arguments, message):
    done = run(arguments, **sources[name])
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"cp-demo: error: {message}\n"


def test_closed_standard_input():
    command = f"{sys.executable} -c '{CODE}' <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"shapes", b"")


def test_silent_pipe_is_explained_and_waited_for():
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    line = process.stderr.readline()
    assert line == (
        b"cp-demo: waiting for the result of the command before the pipe, which may take minutes;"
        b" Ctrl-C to cancel\n"
    )
    time.sleep(0.2)
    assert process.poll() is None
    assert process.communicate(b"late", timeout=20) == (b"-:late", b"")


def test_pipe_that_answers_in_time_is_not_explained():
    command = f"(sleep 0.5; echo -n soon) | {sys.executable} -c '{CODE}'"
    done = subprocess.run(["bash", "-c", command], capture_output=True)
    assert (done.stdout, done.stderr) == (b"-:soon", b"")


def resolve(value, **options):
    return _streams.resolve_input(
        value, **{"starts_chain": True, "sources": ("cifar10", "shapes"), **options}
    )


def test_names_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "byol.dataset.safetensors").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "cifar10").touch()
    for value in ("byol.dataset.safetensors", "folder", "cifar10", "./cifar10", "shapes"):
        assert resolve(value) == value


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        ("cifr10", {}, "there is no file or source cifr10; did you mean cifar10?"),
        ("xyz", {}, "there is no file or source xyz; give a file or cifar10, shapes"),
        ("byol.safetensors", {}, "did you mean byol.dataset.safetensors?"),
        ("no/where", {}, "give a file or cifar10, shapes"),
        ("xyz", {"sources": (), "starts_chain": False}, "there is no file xyz; give a file or -"),
        ("shapes", {"sources": (), "starts_chain": False}, "there is no file shapes;"),
    ],
)
def test_missing_input_is_named(tmp_path, monkeypatch, value, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "byol.dataset.safetensors").touch()
    with pytest.raises(UsageError) as caught:
        resolve(value, **options)
    assert message in str(caught.value)


def test_one_reader_of_standard_input():
    _streams.check_one_stdin(input="-", delta="a", other=None)
    with pytest.raises(UsageError, match=r"INPUT and --test-set both read standard input; give"):
        _streams.check_one_stdin(input="-", test_set="/dev/stdin", delta=None)


class Terminal(io.StringIO):
    def isatty(self):
        return True


NAME = "byol-class.dataset.safetensors"


def test_terminal_by_name_is_refused(terminal):
    with pytest.raises(UsageError, match="binary data to a terminal"):
        _streams.plan_output(os.ttyname(terminal), default_name=NAME)


@pytest.mark.parametrize("o", ["a.safetensors", "/dev/null"])
@pytest.mark.parametrize("stdout", [Terminal, io.StringIO])
def test_output_option_wins(tmp_path, monkeypatch, stdout, o):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", stdout())
    assert _streams.plan_output(o, default_name=NAME) == o
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("o", [None, "-"])
def test_output_goes_into_a_pipe(monkeypatch, o):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert _streams.plan_output(o, default_name=NAME) == "-"


def test_output_never_goes_to_a_terminal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", Terminal())
    for o in ("-", "/dev/stdout"):
        with pytest.raises(UsageError, match="binary data to a terminal; use -o FILE or a pipe"):
            _streams.plan_output(o, default_name=NAME)
    for expected in (NAME, *(f"byol-class-{i}.dataset.safetensors" for i in (2, 3))):
        assert _streams.plan_output(None, default_name=NAME) == expected
        (tmp_path / expected).touch()
    (tmp_path / "a.png").symlink_to("nowhere")
    assert _streams.plan_output(None, default_name="a.png") == "a-2.png"


def test_closed_standard_output(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(UsageError, match="closed"):
        _streams.plan_output(None, default_name=NAME)


def test_output_that_cannot_be_is_refused_early(tmp_path):
    with pytest.raises(ArtifactError, match="there is no folder"):
        _streams.plan_output(str(tmp_path / "missing" / "a"), default_name=NAME)


DELIVER = """
import sys
import numpy as np
from cptools.artifacts.schema import Checkpoint
from cptools.cli._app import make_app, run, tool
from cptools.cli._progress import track
from cptools.cli._streams import deliver, plan_output
app = make_app("cp-demo")
@tool(app)
def demo(o: str = None, quiet: bool = False) -> None:
    path = plan_output(o, default_name="a.checkpoint.safetensors")
    for _ in track(range(20), total=20, describe="loss {}".format, label="training", quiet=quiet):
        pass
    deliver(Checkpoint({"a": np.zeros(3)}, "ab"), path, o=o, quiet=quiet)
sys.exit(run(app))
"""


def in_terminal(folder, *arguments):
    """Run with a terminal for all three streams; return exit code and what it shows."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", DELIVER, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=folder,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    return process.wait(), shown.decode()


def test_typed_at_a_terminal(tmp_path):
    code, shown = in_terminal(tmp_path)
    assert code == 0
    assert shown.rstrip().endswith("cp-demo: wrote a.checkpoint.safetensors")
    assert "training" in shown
    assert "20/20" in shown
    assert "loss 19" in shown
    assert "__metadata__" not in shown
    code, shown = in_terminal(tmp_path, "--quiet")
    assert (code, shown) == (0, "")
    names = {"a.checkpoint.safetensors", "a-2.checkpoint.safetensors"}
    assert {p.name for p in tmp_path.iterdir()} == names


@pytest.mark.parametrize("o", ["-", "/dev/stdout", "/dev/tty", "/dev/fd/1"])
def test_binary_at_a_terminal_is_refused(tmp_path, o):
    code, shown = in_terminal(tmp_path, "--o", o, "--quiet")
    assert code in (1, 2)
    assert "cp-demo: error: " in shown
    assert shown.count("\n") == 1
    assert "__metadata__" not in shown
    assert not list(tmp_path.iterdir())


def test_no_bar_off_a_terminal(tmp_path):
    done = subprocess.run([sys.executable, "-c", DELIVER], capture_output=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"cptools" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quiet", [False, True])
def test_a_log_has_a_line_now_and_then(capsys, monkeypatch, quiet):
    monkeypatch.setattr(_progress, "EVERY", 0.1)
    before = threading.active_count()

    def slow():
        yield 4.0
        yield 2.0
        time.sleep(0.35)  # nothing comes, and is said
        yield 1.0

    words = {"total": 3, "describe": "loss {}".format, "label": "training", "quiet": quiet}
    assert [*_progress.track(slow(), **words)] == [4, 2, 1]
    lines = capsys.readouterr().err.splitlines()
    assert (len(lines) >= 2) != quiet
    for line in lines:
        assert re.fullmatch(
            "cptools: training: 2 of 3 after 0:00:00, about 0:00:00 left; loss 2.0", line
        )
    assert threading.active_count() == before


def test_a_line_says_how_long_it_takes():
    assert _progress._line("training", 3, 12, 90, "loss 4.1") == (
        "training: 3 of 12 after 0:01:30, about 0:04:30 left; loss 4.1"
    )
    assert _progress._line("audit", 0, None, 30.2, "") == "audit: 0 after 0:00:30"


def test_what_was_written_and_what_is_next(capsys, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", Terminal())
    images, labels = np.arange(96, dtype=np.uint8).reshape(2, 3, 4, 4), np.arange(2)
    statistics = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    history = [
        Entry("cp-dataset", "0", {"input": "shapes"}),
        Entry("cp-generate", "0", {"alg": "byol", "mode": "class", "epsilon": "8/255"}),
        Entry("cp-defend", "0", {"mc": True}),
    ]
    for number, done in ((1, ""), (3, " after poison, defense")):
        made = Dataset(
            *(images, labels, images, labels, None), name="x", classes=("a", "b"), **statistics,
            source=None, history=tuple(history[:number]),
        )  # fmt: skip
        name = f"{number}.dataset.safetensors"
        _streams.deliver(made, _streams.plan_output(None, default_name=name), o=None)
        assert capsys.readouterr().err == (
            f"cptools: wrote {name} (2 training images{done});"
            f" next: cp-pretrain {name} | cp-probe\n"
        )


def test_rich_is_not_imported_off_a_terminal():
    code = (
        "import sys; from cptools.cli._progress import track;"
        "assert list(track(iter('ab'), total=None, describe=str)) == ['a', 'b'];"
        "assert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.PIPE)


@pytest.fixture
def links(tmp_path, monkeypatch):
    """A file by several names, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "folder").symlink_to(".")
    (tmp_path / "dangling").symlink_to("new")
    os.link("a", "hard")
    return tmp_path


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *(("a", other) for other in ("a", "./a", "link", "hard", "folder/a", "folder/link")),
        *(("new", other) for other in ("new", "folder/new", "dangling")),
    ],
)
def test_one_file_by_two_names_is_refused(links, first, second):
    with pytest.raises(UsageError, match="are the same file; give two different ones"):
        _streams.check_apart(output="b", delta=links / first, checkpoint=second)
    with pytest.raises(UsageError, match="and the input"):
        _streams.check_apart(["c", second], output="b", checkpoint=first)
    _streams.check_apart([second], output=first)  # read by then, and replaced


def test_different_files_and_devices_are_not(links):
    _streams.check_apart(["a", "-", None], output="a", delta="new", checkpoint="c", export=None)
    _streams.check_apart([], output="/dev/null", delta="/dev/null")
    _streams.check_apart(["shapes"], output="-", checkpoint="shapes")  # the source, not the file


def test_a_file_that_a_stream_was_redirected_to_is_one_too(tmp_path):
    code = (
        "import sys; from cptools.cli._streams import check_apart;"
        " check_apart(['-'], **dict([word.split('=') for word in sys.argv[1:]]))"
    )

    def check(*words):
        with (tmp_path / "in").open("w+b") as source, (tmp_path / "out").open("wb") as out:
            return subprocess.run(
                [sys.executable, "-c", code, *words],
                stdin=source, stdout=out, stderr=subprocess.PIPE, cwd=tmp_path, text=True,
            ).stderr  # fmt: skip

    assert "--output /dev/stdout and --delta ./out are" in check("output=-", "delta=./out")
    assert "--checkpoint in and the input /dev/stdin are" in check("checkpoint=in")
    assert check("output=-", "delta=in", "checkpoint=c") == ""
