"""Content digests, and a history as a shell pipeline."""

import hashlib
import json
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cptools import __version__
from cptools.artifacts.frame import Array, blocks
from cptools.artifacts.recorded import SOURCES, is_typable
from cptools.artifacts.schema import Dataset, Entry, Input
from cptools.text import shown
from cptools.trust import TRUST

_SUBCOMMAND = "cptools-"  # `cptools import` is the tool `cptools-import`


def digest(tensors: Mapping[str, Array]) -> str:
    """SHA-256 in hexadecimal over the tensors: sorted names, dtypes, shapes and bytes.

    It says what an artifact contains, however it was made: the header is not part of it.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        total.update(json.dumps([name, array.dtype.name, list(array.shape)]).encode() + b"\n")
        for block in blocks(array):
            total.update(block.data)
    return total.hexdigest()


def dataset_digest(dataset: Dataset) -> str:
    """The digest of a dataset's tensors."""
    return digest(dataset.arrays())


def script(history: Sequence[Entry], kind: str = "", trusted: Collection[str] = ()) -> str:
    """A history for a person who may run it: the pipeline, and before it what it takes on trust.

    Whatever the pipeline names that could be anything is said in a comment. Where it would run code
    that nobody vouches for, all of it is a comment, so that to paste it does nothing.

    Args:
        history: oldest command first.
        kind: of the artifact; see `shell`.
        trusted: code outside cptools that may be run, such as "package.module:function".

    Returns:
        Lines for bash, without a newline at their end; empty for no history.
    """
    entries = list(_walk(history))
    pipeline, code = shell(history, kind), unvouched(history, trusted)
    versions = (entry.version for entry in entries if entry.version != __version__)
    told = [
        f"made with cptools {version}; this is {__version__}" for version in versions if version
    ]
    told += [f"reads {entry.parameters['input']}" for entry in entries if _reads_path(entry)]
    told += [
        f"the file for --{name.replace('_', '-')} is known by its SHA-256 alone; fill in its name"
        for entry in entries
        for name, item in entry.inputs.items()
        if name != "input" and not item.history
    ]
    told += [
        f"runs code of another package, {name}, so all is a comment; if you trust it, set"
        f" {TRUST}={name}"
        for name in code
    ]
    if code:
        pipeline = "\n".join(f"# {line}" for line in pipeline.splitlines())
    lines = [*(f"# {shown(line)}" for line in dict.fromkeys(told)), pipeline]
    return "\n".join(filter(None, lines))


def unvouched(history: Sequence[Entry], trusted: Collection[str] = ()) -> list[str]:
    """Code outside cptools that a history would run and nobody vouches for, by name."""
    named = (str(entry.parameters.get("encoder", "")) for entry in _walk(history))
    code = (name for name in named if ":" in name and not name.startswith("timm:"))
    return [name for name in dict.fromkeys(code) if name not in trusted]


def _walk(history: Sequence[Entry]) -> Iterator[Entry]:
    """Every command, those that made side inputs included."""
    for entry in history:
        for item in entry.inputs.values():
            yield from _walk(item.history)
        yield entry


def _reads_path(entry: Entry) -> bool:
    return entry.parameters.get("input", SOURCES[0]) not in SOURCES


def shell(history: Sequence[Entry], kind: str = "") -> str:
    """Write a history as a pipeline for bash that makes the artifact again.

    Args:
        history: oldest command first.
        kind: of the artifact; a `delta` is the side output of the last command, `--delta -`,
            unless that is `cptools import`, which makes nothing else.

    Returns:
        The pipeline, a line a command, without a newline at its end; empty for no history.
    """
    return " |\n  ".join(_commands(history, kind))


def _commands(history: Sequence[Entry], kind: str) -> list[str]:
    commands = [_command(entry, first=i == 0) for i, entry in enumerate(history)]
    if kind == "delta" and commands and not history[-1].tool.startswith(_SUBCOMMAND):
        commands[-1] += " --delta -"
    return commands


def _command(entry: Entry, *, first: bool) -> str:
    words = [entry.tool.replace(_SUBCOMMAND, "cptools ")]
    source = entry.parameters.get("input")
    if first and source is not None:  # the others read the pipe
        words.append(_quote(f"./{source}" if str(source).startswith("-") else str(source)))
    for name, value in entry.parameters.items():
        if name != "input" and name not in entry.inputs:
            words += _option(name, value)
    for name, item in entry.inputs.items():
        if name != "input":
            words += _side_input(name, item)
    return " ".join(words)


def _option(name: str, value: Any) -> list[str]:
    if value is None or value is False:
        return []
    if isinstance(value, list):
        return [word for item in value for word in _option(name, item)]
    flag = _quote(f"--{name.replace('_', '-')}")
    if value is True:
        return [flag]
    text = str(value)
    # What begins with a hyphen, given to an option that takes no value, would be another option.
    return [f"{flag}={_quote(text)}"] if text.startswith("-") else [flag, _quote(text)]


def _side_input(name: str, item: Input) -> list[str]:
    if not item.history:  # a foreign file: all there is to say is what it held
        return _option(name, f"sha256:{item.digest}")
    pipeline = " | ".join(_commands(item.history, item.kind or name))
    return [f"--{name.replace('_', '-')} <({pipeline})"]


def _quote(text: str) -> str:
    """Quote for bash; what a terminal could take for a command to itself is written as escapes."""
    if text.isprintable():
        return shlex.quote(text)
    special = {"'": r"\'", "\\": r"\\"}
    raw = text.encode("utf-8", "surrogateescape" if is_typable(text) else "replace")
    return (
        "$'"
        + "".join(special.get(chr(b), chr(b)) if 32 <= b < 127 else f"\\x{b:02x}" for b in raw)
        + "'"
    )
