"""Common frame of the tools: one-line errors, exit codes, `--version`.

Exit codes: 0 done; 1 failed while running; 2 wrong usage or invalid input; 130 Ctrl-C; 141 closed
pipe; 128 + n for signal n. A tool is

    app = make_app("cp-probe")

    @tool(app)
    def probe(input: Input = None, version: Version = False) -> None:
        ...

    def main() -> None:
        sys.exit(run(app))
"""

import errno
import functools
import inspect
import io
import json
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import Annotated, Any, TextIO, TypeVar

import typer

from cptools import __version__
from cptools.artifacts import mapping  # noqa: TID253 - without numpy
from cptools.artifacts.errors import UpstreamError  # noqa: TID253 - without numpy
from cptools.cli._failures import send_failure
from cptools.text import shown

Command = TypeVar("Command", bound=Callable[..., None])

_program = ContextVar("program", default="cptools")
_words: ContextVar[tuple[str, ...]] = ContextVar("words", default=())  # its arguments

_HINTS = {  # remedies for an OSError; most messages are clear by themselves
    errno.ENOSPC: "free some space or write elsewhere",
    errno.EDQUOT: "free some space or write elsewhere",
    errno.EFBIG: "allow larger files (ulimit -f) or write elsewhere",
    errno.ENOMEM: "use fewer or smaller images, or allow more memory (ulimit -v)",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EACCES: "check the permissions",
    errno.ENOENT: "check the name",
    errno.ENAMETOOLONG: "give a shorter one",
}
_NO_MEMORY = re.compile("failed to map segment|cannot allocate memory", re.IGNORECASE)
_MAX_MESSAGE = 600  # characters; a traceback of C++ frames is not a message


class UsageError(ValueError):
    """Wrong usage; the message is 'problem; remedy'."""


class _Terminated(BaseException):
    """A signal asked the program to end; raised so that temporary files are removed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def make_app(name: str) -> typer.Typer:
    """A typer application for one program: plain help, `-h`, no decorated tracebacks."""
    return typer.Typer(
        name=name,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def tool(
    app: typer.Typer, command: str | None = None, *, options: Mapping[str, Any] | None = None
) -> Callable[[Command], Command]:
    """Decorator that makes a function the command of `app`, or one of its commands.

    A function with a `**settings` parameter takes there what the user typed of `options`, names to
    annotations: in the order typed, then None for each that was left out. They stand after
    `--recipe`, or after `--output` where there is no recipe.

    Whatever the function raises ends as one line on stderr and an exit code; standard output is
    flushed before the command counts as done. The function itself is returned unchanged.
    """

    def register(function: Command) -> Command:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> None:
            if options is not None:
                context = kwargs.pop("context")
                kwargs = {name: kwargs[name] for name in context.params if name in kwargs}
            quiet, verbose = (bool(kwargs.get(name)) for name in ("quiet", "verbose"))
            with _guard(str(app.info.name)), _remarks(quiet=quiet, verbose=verbose):
                _check_alone()
                function(*args, **kwargs)

        if options is not None:
            _expand(wrapped, function, options)
        app.command(command or str(app.info.name))(wrapped)
        return function

    return register


def _check_alone() -> None:
    """Refuse to be one of several processes, as torchrun starts: each would do all of the work."""
    number = os.environ.get("WORLD_SIZE", "1")
    if number.isdecimal() and int(number) > 1:
        raise UsageError(
            f"several processes cannot share the work yet (WORLD_SIZE={number}); run it once,"
            " without torchrun"
        )


def _expand(wrapped: Any, function: Any, options: Mapping[str, Any]) -> None:
    """Give `wrapped` the signature of a function with its `**settings` spelled out."""
    signature = inspect.signature(function)
    *parameters, settings = signature.parameters.values()
    names = list(signature.parameters)
    place = names.index("recipe" if "recipe" in names else "output") + 1
    parameters[place:place] = [
        inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=annotation
        )
        for name, annotation in options.items()
    ]
    order = inspect.Parameter(  # its `params` are in the order typed
        "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    wrapped.__signature__ = signature.replace(parameters=[order, *parameters])
    wrapped.__annotations__ = {"context": typer.Context, **function.__annotations__, **options}
    del wrapped.__annotations__[settings.name]


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run a program; return its exit code.

    Args:
        app: made by `make_app`.
        arguments: without the program's name; None takes `sys.argv`.
    """
    name = str(app.info.name)
    args = list(sys.argv[1:] if arguments is None else arguments)
    token = _words.set(tuple(args))
    try:
        with _guard(name):
            _check_streams()
            command = typer.main.get_command(app)
            code = command.main(args=args, prog_name=name, standalone_mode=False)
            return code if isinstance(code, int) else 0
    except typer.Exit as end:
        return end.exit_code
    finally:
        _words.reset(token)


CLOSED_OUTPUT = "standard output is closed; give it a file or a pipe"


class _ClosedOutput(io.TextIOBase):
    """Standard output where it was closed before the start: what it is given is an error."""

    closed = True

    def isatty(self) -> bool:
        return False

    def write(self, _text: str) -> int:
        raise UsageError(CLOSED_OUTPUT)

    def flush(self) -> None:
        """Nothing is waiting."""


def _check_streams() -> None:
    """Keep closed standard streams from becoming files that are opened later."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()


def say(message: str, *, quiet: bool = False) -> None:
    """Print one line on stderr, after the name of the program."""
    if not quiet and sys.stderr is not None:
        try:
            sys.stderr.write(f"{_program.get()}: {_one_line(message)}\n")
            sys.stderr.flush()
        except OSError:
            _discard(sys.stderr)


class _Remarks(logging.Handler):
    """Log messages of the library, as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        note = "note: " if record.levelno >= logging.WARNING else ""
        say(f"{note}{in_flags(record.getMessage())}")


@contextmanager
def _remarks(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Print what the library logs: notes unless `quiet`, settings too if `verbose`."""
    log, handler = logging.getLogger("cptools"), _Remarks()
    before = log.level
    log.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def end_dry_run(settings: Mapping[str, Any]) -> None:
    """Print the resolved settings on stdout and end the tool."""
    typer.echo(json.dumps(settings, indent=2, sort_keys=True))
    raise typer.Exit


def _print_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        typer.echo(f"{context.find_root().info_name} {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
]


@contextmanager
def _guard(name: str) -> Iterator[None]:
    """Turn whatever is raised inside into a message and `typer.Exit`."""
    token = _program.set(name)
    try:
        with _signals():
            here = copy_context()
            mapping.end_with(lambda error: here.run(_end, name, error))
            yield
            if sys.stdout is not None:
                sys.stdout.flush()
    except (typer.Exit, GeneratorExit):  # the latter: a signal came before the body began
        raise
    except BaseException as error:  # noqa: BLE001 - here everything ends
        code = _end(name, error)
        _end_stdout(is_lost=code > 128)
        raise typer.Exit(code) from None
    finally:
        _program.reset(token)


def _end(name: str, error: BaseException) -> int:
    """Tell the user and the reader of standard output; return the exit code."""
    code, reason = report_error(error, name)
    if isinstance(error, UpstreamError):
        send_failure(name, _words.get(), error.tool, error.reason)
    elif reason:
        send_failure(name, _words.get(), name, reason)
    return code


def report_error(error: BaseException, name: str) -> tuple[int, str]:
    """Print what went wrong, unless the user caused it.

    Returns:
        The exit code, and the message; empty if there is nobody to be told.
    """
    if _is_broken_pipe(error):
        return 141, ""
    match error:
        case KeyboardInterrupt():
            return 130, "interrupted"
        case _Terminated():
            return 128 + error.number, f"ended by {signal.Signals(error.number).name}"
        case SystemExit():
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            return code, ""
    if os.environ.get("CPTOOLS_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)
    code, message = _explain(error, name)
    message = _one_line(message)
    say(f"error: {message}")
    return code, message


def _explain(error: BaseException, name: str) -> tuple[int, str]:
    """Exit code and message of an error."""
    text = in_flags(str(error))
    match error:
        case typer.TyperException():
            message = error.format_message().rstrip(".?")
            return 2, f"{message[:1].lower()}{message[1:]}; see '{name} --help'"
        case typer.Abort():
            return 1, "aborted"
        case OSError():
            what = error.strerror or text or type(error).__name__
            where = f"{error.filename}: " if error.filename is not None else ""
            hint = _HINTS.get(error.errno or 0)
            code = 2 if error.errno == errno.ENAMETOOLONG else 1  # of a name that was given
            return code, f"{where}{what}" + (f"; {hint}" if hint else "")
        case UpstreamError():
            return 1, text
        case ValueError():
            return 2, text
        case FloatingPointError() if text:  # training diverged
            return 1, text
        case MemoryError():
            return 1, "out of memory; use fewer or smaller images, or a smaller --batch-size"
        case ImportError() if found := _NO_MEMORY.search(text):  # of a library
            return 1, f"out of memory ({found[0]}); allow more (ulimit -v)"
        case RuntimeError() if "memory" in text and ("out of" in text or "alloc" in text):
            first = text.strip().split("\n")[0].split(". ")[0]
            return 1, f"out of memory ({first}); use a smaller --batch-size"
        case RuntimeError() if text.strip():
            return 1, text.strip().split("\n")[0]
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return 1, f"internal error, {what}; run it with CPTOOLS_DEBUG=1 and report what it prints"


_PARAMETER = re.compile(r"`(cp\.)?([a-z][a-z0-9_]*)(?:=([^`]*))?`")
_TOOLS = {"load": "cp-dataset", "plot": "cp-visualize", "audit": "cp-probe --audit"}


def in_flags(message: str) -> str:
    """A message of the library with command-line options.

    What Python calls `batch_size`, `mode=sample` or `cp.pretrain`, in backticks as in docstrings,
    is --batch-size, --mode sample or cp-pretrain here.
    """

    def flag(found: re.Match[str]) -> str:
        module, name, value = found.groups()
        if module:
            return _TOOLS.get(name, f"cp-{name}")
        word = "--" + name.replace("_", "-")
        return word if value is None else f"{word} {value}"

    return _PARAMETER.sub(flag, message)


def _is_broken_pipe(error: BaseException) -> bool:
    # While it prints help, typer meets a closed pipe itself and exits with 1.
    is_exit = isinstance(error, SystemExit)
    return isinstance(error.__context__ if is_exit else error, BrokenPipeError)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    if len(line) > _MAX_MESSAGE:
        line = f"{line[:_MAX_MESSAGE]}..."
    return shown(line)


def _end_stdout(*, is_lost: bool) -> None:
    """Write what is left; if that cannot be, keep the interpreter from trying it once more."""
    with suppress(OSError, ValueError, AttributeError):
        if not is_lost:
            sys.stdout.flush()
            return
    _discard(sys.stdout)


def _discard(stream: TextIO | None) -> None:
    """Let what is left in a stream, and all that follows, go nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        os.close(nowhere)


@contextmanager
def _signals() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP unwind the stack, unless they are ignored.

    They are no `KeyboardInterrupt`, which other code may catch.
    """

    def stop(number: int, _frame: object) -> None:
        # The clean-up is not to be interrupted, but by an impatient user.
        again = signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN
        signal.signal(number, again)
        raise _Terminated(number)

    def raise_again(dropped: "sys.UnraisableHookArgs") -> None:
        # Python drops what is raised in some places, such as the callback of a weak reference.
        if isinstance(dropped.exc_value, _Terminated):
            number = dropped.exc_value.number
            signal.signal(number, stop)
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
        else:
            hook(dropped)

    hook, sys.unraisablehook = sys.unraisablehook, raise_again
    before = {}
    with suppress(ValueError):  # only the main thread may
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = handler
                signal.signal(number, stop)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
