"""Where input comes from and output goes to: files, pipes, terminals.

Standard input is only peeked at here: whoever reads `-` afterwards sees all of it.
"""

import difflib
import io
import os
import re
import select
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import typer

from cptools.cli._app import CLOSED_OUTPUT, UsageError, say
from cptools.cli._failures import STDOUT

if TYPE_CHECKING:
    from cptools.artifacts.schema import Artifact
    from cptools.reports.report import Report

BUILT_IN = "shapes"
PATIENCE = 2.0  # seconds before a silent pipe is explained

_STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


def resolve_input(
    value: str | None, *, starts_chain: bool, sources: Collection[str], quiet: bool = False
) -> str:
    """Decide what INPUT means.

    Args:
        value: what was given: a file or folder, `-`, the name of a source; None for nothing.
        starts_chain: whether the tool takes the built-in dataset where there is no input.
        sources: names that are not files (a file of such a name is `./name`).
        quiet: whether to leave out the line about a silent pipe.

    Returns:
        A path that exists, `-` for standard input that has content, or a name out of `sources`
        or the built-in `shapes`.

    Raises:
        UsageError: if there is nothing to read, or no such thing.
    """
    if value is None:
        if _has_content(quiet=quiet):
            return "-"
        if starts_chain:
            if _may_carry_data():  # rather an upstream failure than a wish: -q does not hide it
                say(f"standard input is empty; using the built-in {BUILT_IN}")
            return BUILT_IN
        if _may_carry_data():
            raise UsageError("empty input; did the command before the pipe fail?")
        raise UsageError("no input; give a file, or pipe one in (see --help)")
    if value == "-":
        if not _may_carry_data():
            raise UsageError("nothing is piped into standard input; give a file instead of -")
        if not _has_content(quiet=quiet):
            raise UsageError("empty input; did the command before the pipe fail?")
        return value
    if value in sources or (starts_chain and value == BUILT_IN) or Path(value).exists():
        return value
    if sources:
        from cptools.workflows.datasets import names_source

        if names_source(value):
            return value
    near = difflib.get_close_matches(value, [*sources, *_neighbors(value)], n=1)
    what, names = ("file or source", ", ".join(sorted(sources))) if sources else ("file", "-")
    hint = f"did you mean {near[0]}?" if near else f"give a file or {names}"
    raise UsageError(f"there is no {what} {value}; {hint}")


def check_one_stdin(**inputs: str | Sequence[str] | None) -> None:
    """Make sure that at most one input reads standard input.

    Args:
        **inputs: what `resolve_input` returned for the positional one, `input`, and the values of
            options by their names; a list for what can be given several times.
    """
    users = [
        "INPUT" if name == "input" else f"--{name.replace('_', '-')}"
        for name, values in inputs.items()
        for value in ([values] if isinstance(values, str) else values or [])
        if value in _STDIN
    ]
    if len(users) == 2 and users[0] != users[1]:
        raise UsageError(f"{' and '.join(users)} both read standard input; give one as a file")
    if len(users) > 1:
        raise UsageError(f"{users[-1]} reads standard input twice; give a file")


def check_apart(
    inputs: Iterable[str | None] = (), **outputs: str | os.PathLike[str] | None
) -> None:
    """Make sure that no two outputs are the same file, nor a checkpoint and an input.

    Another output may replace an input, which was read by then.

    Args:
        inputs: what `resolve_input` returned, and the values of options; None for nothing.
        **outputs: files by the names of their options; None for nothing.
    """
    from cptools.workflows.datasets import SOURCES

    def file(path: str | os.PathLike[str], stream: str) -> str:
        return f"/dev/{stream}" if path == "-" else str(path)

    written = [(f"--{n}", file(path, "stdout")) for n, path in outputs.items() if path is not None]
    given = [path for path in inputs if path is not None and path not in SOURCES]
    read = [("the input", file(path, "stdin")) for path in given]
    pairs = [*combinations(written, 2)]
    pairs += [(one, other) for one in written if one[0] == "--checkpoint" for other in read]
    for (first, path), (second, same) in pairs:
        if _marks(path) & _marks(same):
            raise UsageError(
                f"{first} {path} and {second} {same} are the same file; give two different ones"
            )


def _marks(path: str) -> set[object]:
    """What a file shares with no other: its real path and its inode. Devices have neither."""
    try:
        status = Path(path).stat()
    except OSError:  # not there yet
        return {os.path.realpath(path)}
    if stat.S_ISCHR(status.st_mode):
        return set()
    return {os.path.realpath(path), (status.st_dev, status.st_ino)}


def is_report(path: str) -> bool:
    """Whether the input that `resolve_input` returned starts like JSON, unlike an artifact.

    Standard input is only peeked at; another pipe, which cannot be, counts as an artifact.
    """
    if path == "-":
        stream = sys.stdin.buffer
        if isinstance(stream, io.BufferedReader):
            return stream.peek(1).startswith(b"{")
        start = stream.tell()
        head = stream.read(1)
        stream.seek(start)
        return head == b"{"
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(1) == b"{"


def is_stdout(o: str | None) -> bool:
    """Whether what `-o` or the like said is standard output."""
    return o in STDOUT


def plan_output(o: str | None, *, default_name: str) -> str:
    """Decide where the artifact goes, and make sure that it can go there, before any work.

    Args:
        o: what `-o` said.
        default_name: file to make where there is no `-o` and standard output is a terminal, such
            as `byol-class.dataset.safetensors`. It may come from an untrusted header: what
            is not a letter, digit, `_`, `-` or `.` is replaced.

    Returns:
        A path, or `-` for standard output.

    Raises:
        UsageError: if binary data would go to a terminal, or standard output is closed.
        ArtifactError: if the file cannot be written.
    """
    from cptools.artifacts.atomic import check_writable

    if o is not None and not is_stdout(o):
        check_writable(o)
        if _is_terminal(o):
            raise UsageError(f"cannot write binary data to a terminal, which {o} is; use a file")
        return o
    if sys.stdout is None or sys.stdout.closed:
        raise UsageError(CLOSED_OUTPUT)
    if not sys.stdout.isatty():
        return "-"
    if o is not None:
        raise UsageError("cannot write binary data to a terminal; use -o FILE or a pipe")
    path = _free_name(re.sub(r"[^\w.-]+", "-", default_name)[-60:].lstrip("-."))
    check_writable(path)
    return path


def deliver(artifact: "Artifact", path: str, *, o: str | None, quiet: bool = False) -> None:
    """Write an artifact to the path of `plan_output`; if that was generated, say what is where.

    Args:
        artifact: what to write.
        path: what `plan_output` returned.
        o: what `-o` said.
        quiet: whether to leave out the name.
    """
    from cptools.artifacts.stream import write_artifact

    with _named(path, o=o, quiet=quiet, told=partial(_next, artifact)) as name:
        write_artifact(artifact, name)


def _next(artifact: "Artifact", name: str) -> str:
    """What was written to a file, and what to do with it."""
    from cptools.artifacts.schema import Dataset, Encoder
    from cptools.workflows.histories import changes

    match artifact:
        case Dataset():
            done = ", ".join(dict.fromkeys(changes(artifact.history)))
            images = f"{len(artifact.train_images)} training images"
            what = f"{images} after {done}" if done else images
            return f"{name} ({what}); next: cp-pretrain {name} | cp-probe"
        case Encoder():
            what = f"{artifact.algorithm}, {artifact.architecture}"
            return f"{name} ({what}); next: cp-probe {name}"
    return name


def check_text_output(output: str | None) -> None:
    """Make sure, before any work, that a report or a list can be written to what was said."""
    from cptools.artifacts.atomic import check_writable

    if output is not None:
        check_writable(output)


def deliver_report(report: "Report", output: str | None, *, as_json: bool) -> None:
    """Write a report: JSON lines to a file or a pipe, sentences to a terminal."""
    from cptools.artifacts.atomic import atomic_write

    if output not in (None, "-"):
        with atomic_write(output) as file:
            file.write(report.to_json().encode())
    elif as_json or output == "-" or not sys.stdout.isatty():
        typer.echo(report.to_json(), nl=False)
    else:
        typer.echo(str(report))


@contextmanager
def delivery(path: str, *, o: str | None, quiet: bool = False) -> Iterator[BinaryIO]:
    """A file for other data than an artifact, e.g. a figure; arguments as for `deliver`."""
    from cptools.artifacts.atomic import atomic_write

    with _named(path, o=o, quiet=quiet) as name, atomic_write(name) as file:
        yield file


@contextmanager
def _named(
    path: str, *, o: str | None, quiet: bool, told: Callable[[str], str] = str
) -> Iterator[str]:
    """The name to write to; what is `told` of it is printed afterwards if it was generated."""
    is_ours = o is None and path != "-"
    name = _free_name(path) if is_ours else path  # it may have been taken during long work
    yield name
    if is_ours:
        say(f"wrote {told(name)}", quiet=quiet)


def _is_terminal(path: str) -> bool:
    try:
        if not stat.S_ISCHR(Path(path).stat().st_mode):
            return False
        descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:  # not there yet, or to be reported when it is written
        return False
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)


def _free_name(name: str) -> str:
    """The name itself, or with `-2`, `-3`, ... at the end of its stem if that file exists."""
    parts = name.rsplit(".", 2 if name.endswith(".safetensors") else 1)
    candidate, number = name, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = ".".join([f"{parts[0]}-{number}", *parts[1:]])
    return candidate


def _may_carry_data() -> bool:
    """Whether standard input is a pipe, a socket or a file: not a terminal, not /dev/null."""
    if sys.stdin is None:
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except io.UnsupportedOperation:  # a stream in memory
        return True
    return not stat.S_ISCHR(mode) and not stat.S_ISDIR(mode)


def _has_content(*, quiet: bool) -> bool:
    """Whether a byte can be read from standard input; waits for a pipe as long as it takes."""
    if not _may_carry_data():
        return False
    stream = sys.stdin.buffer
    if isinstance(stream, io.BufferedReader):
        if not stream.seekable() and not select.select([stream], [], [], PATIENCE)[0]:
            say(
                "waiting for the result of the command before the pipe, which may take minutes;"
                " Ctrl-C to cancel",
                quiet=quiet,
            )
        return bool(stream.peek(1))
    position = stream.tell()
    content = bool(stream.read(1))
    stream.seek(position)
    return content


def _neighbors(value: str) -> list[str]:
    """Names of the files beside a file that does not exist, as the user would write them."""
    folder = Path(value).parent
    try:
        return [str(folder / entry.name) for entry in os.scandir(folder)]
    except OSError:
        return []
