"""A tool that fails sends the reason down its pipe, as an empty one could mean no input."""

import json
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")

_ARTIFACTS = {
    *("cp-dataset", "cp-perturb", "cp-generate", "cp-select", "cp-pretrain", "cp-defend"),
    "cptools import",
}
_REPORTS = {"cp-probe"}
_TEXTS = {
    "--info",
    "--dry-run",
    "-n",
    "--help",
    "-h",
    "--version",
}  # their text is no artifact


def send_failure(tool: str, words: Sequence[str], origin: str, reason: str) -> None:
    """Send a failure to the reader of standard output, if it is a pipe that expects an artifact.

    Args:
        tool: that failed.
        words: its arguments, right or wrong.
        origin: the tool where the failure began: this one, or one before it in the pipeline.
        reason: message, one line.
    """
    name = f"{tool} {words[0]}" if tool == "cptools" and words else tool
    origin = name if origin == tool else origin
    words = list(_single(words))
    if name not in _ARTIFACTS | _REPORTS or not _expects_output(words) or not _is_unused_pipe():
        return
    if name in _REPORTS:
        line = json.dumps({"kind": "failure", "tool": origin, "message": reason})
        data = f"{line}\n".encode()
    else:
        from cptools.artifacts.stream import failure

        data = failure(origin, reason)
    with suppress(OSError):  # the reader is gone
        os.write(sys.stdout.fileno(), data)


def _expects_output(words: Sequence[str]) -> bool:
    """Whether the arguments leave the output of the tool on standard output."""
    outputs = [*_values(words, "-o"), *_values(words, "--output")]
    elsewhere = [*outputs, *_values(words, "--export")]
    is_named = any(value in STDOUT for value in [*outputs, *_values(words, "--delta")])
    return _TEXTS.isdisjoint(words) and (is_named or not elsewhere)


def _single(words: Sequence[str]) -> Iterator[str]:
    """Words with short options apart: `-q -o x` for `-qo x`."""
    for word in words:
        if found := re.fullmatch(r"-([qvnh]+)(o.*)?", word):
            yield from (f"-{letter}" for letter in found[1])
            word = f"-{found[2]}" if found[2] else ""
        if word:
            yield word


def _values(words: Sequence[str], option: str) -> list[str]:
    """What is typed behind an option, in the next word or in the same."""
    after = [after for word, after in pairwise(words) if word == option]
    within = [word.removeprefix(option) for word in words if word.startswith(option)]
    return after + [value.removeprefix("=") for value in within if value]


def _is_unused_pipe() -> bool:
    """Whether standard output is a pipe or socket to which nothing was written."""
    from cptools.artifacts.atomic import stdout_is_begun

    with suppress(OSError, ValueError, AttributeError):  # closed, or a stream in memory
        mode = os.fstat(sys.stdout.fileno()).st_mode
        return (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and not stdout_is_begun()
    return False
