"""Content digests, and a history as a shell pipeline."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cptools.artifacts.frame import Array, blocks
from cptools.artifacts.schema import Dataset, Entry, Input

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
    sides = {name: item for name, item in entry.inputs.items() if name != "input"}
    for name, value in entry.parameters.items():
        if name != "input" and name not in sides:
            words += _option(name, value)
    for name, item in sides.items():
        words += _side_input(name, item, entry.parameters.get(name))
    return " ".join(words)


def _option(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, list):
        return [word for item in value for word in _option(name, item)]
    if isinstance(value, dict):
        value = json.dumps(value, sort_keys=True)
    return [f"--{flag}", _quote(str(value))]


def _side_input(name: str, item: Input, file: Any) -> list[str]:
    if not item.history:  # a foreign file: all there is to say is where it was, or what it held
        return _option(name, f"sha256:{item.digest}" if file is None else file)
    pipeline = " | ".join(_commands(item.history, item.kind or name))
    return [f"--{name.replace('_', '-')} <({pipeline})"]


def _quote(text: str) -> str:
    """Quote for bash; what a terminal could take for a command to itself is written as escapes."""
    if text.isprintable():
        return shlex.quote(text)
    special = {"'": r"\'", "\\": r"\\"}
    raw = text.encode("utf-8", "surrogateescape" if _is_path_text(text) else "replace")
    return (
        "$'"
        + "".join(special.get(chr(b), chr(b)) if 32 <= b < 127 else f"\\x{b:02x}" for b in raw)
        + "'"
    )


def _is_path_text(text: str) -> bool:
    """Whether every lone surrogate stands for a byte, as Python has it in file names."""
    return all(not 0xD800 <= ord(c) <= 0xDFFF or 0xDC80 <= ord(c) <= 0xDCFF for c in text)
