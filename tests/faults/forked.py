"""Run tools as processes of their own without paying for their imports each time.

A server imports torch and the tools once, and forks. What a fork does is what the entry point does
in a new process: streams that are files, pipes or closed; signals as the system has them; the exit
code of Python.
"""

import io
import multiprocessing
import os
import signal
import sys
import traceback
from pathlib import Path

from cptools.cli import _start
from cptools.workflows import checkpoints

TOOLS = (
    "dataset",
    "perturb",
    "generate",
    "pretrain",
    "probe",
    "defend",
    "select",
    "protect",
    "visualize",
)
CLOSED, GONE = "closed", "gone"  # no descriptor; a pipe whose other end is closed

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    [
        *("torch", "torchvision.transforms.v2", "scipy.optimize", "PIL.Image", "matplotlib.pyplot"),
        *("cptools.core.training", "cptools.artifacts.export", "cptools.figures.image_grid"),
        *(f"cptools.cli.{name}" for name in (*TOOLS, "cptools")),
    ]
)


def start(words, folder, *, stdin=os.devnull, stdout=os.devnull, stderr=os.devnull, every=20.0):
    """Start a tool; return the process, once signals reach the tool.

    Args:
        words: the command.
        folder: where to run it.
        stdin: a file, or CLOSED.
        stdout: a file, CLOSED or GONE.
        stderr: a file, CLOSED or GONE.
        every: seconds between checkpoints.
    """
    words, ready = [str(word) for word in words], _server.Event()
    process = _server.Process(
        target=_run, args=(words, str(folder), (stdin, stdout, stderr), every, ready)
    )
    process.start()
    assert ready.wait(100)
    return process


def run(words, folder, **options):
    """Run a tool to its end; return its exit code, negative for a signal, and what it said."""
    log = Path(folder) / "stderr"
    process = start(words, folder, **{"stderr": str(log), **options})
    process.join(100)
    assert process.exitcode is not None, words
    told = log.read_text() if log.exists() else ""
    log.unlink(missing_ok=True)
    return process.exitcode, told


def _run(words, folder, streams, every, ready):
    """The life of one process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()  # signals reach it alone
    os.chdir(folder)
    for number, stream in enumerate(streams):
        _redirect(number, stream)
    checkpoints.SAVE_EVERY = every
    sys.argv = words
    ready.set()
    os._exit(_end(_call(getattr(_start, words[0].removeprefix("cp-")))))


def _redirect(number, stream):
    name = ("stdin", "stdout", "stderr")[number]
    if stream == CLOSED:
        os.close(number)
        setattr(sys, name, None)
        return
    if stream == GONE:
        reader, descriptor = os.pipe()
        os.close(reader)
    else:
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(stream, flags, 0o666)
    os.dup2(descriptor, number)
    os.close(descriptor)
    file = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115
    setattr(sys, name, io.TextIOWrapper(file, line_buffering=number == 2))


def _call(main):
    """What `sys.exit(main())` comes to."""
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        return 1
    return 0


def _end(code):
    """The exit code after the last flush, at which Python gives up with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError):
            code = 120
    return code
