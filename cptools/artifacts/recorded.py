"""What the commands of a history may be: the tools, and the options that they record.

A file may come from a stranger, and its history is printed as a pipeline to be run again. So no
other program is in it, and no option that writes, names a file or changes what a tool does at all.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from cptools.artifacts.errors import ArtifactError
from cptools.text import shown

SOURCES = ("shapes", "cifar10", "cifar100", "stl10")
"""Datasets by name; any other is a path, or on the hub."""

HUB = "hf:"
"""Before the name of a dataset on the hub of Hugging Face."""

MAX_TEXT = 1 << 16  # characters of a value; bash takes words of twice that
MAX_ITEMS = 1000  # of a list
MAX_DEPTH = 64  # side inputs of side inputs


class Tool(NamedTuple):
    """What a tool records.

    Attributes:
        options: their names, besides flags.
        flags: options without a value.
        sides: inputs other than the main one, and their kinds.
        is_open: whether methods of other packages may add options; none of `NEVER`.
    """

    options: frozenset[str]
    flags: frozenset[str] = frozenset()
    sides: Mapping[str, str] = {}
    is_open: bool = False


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOOLS = {
    "cp-dataset": Tool(
        _names("input limit fraction limit_test classes size holdout contrast columns seed"),
        sides={"drop": "", "keep": ""},
    ),
    "cp-perturb": Tool(
        _names("suite kind severity frame split mode epsilon fraction seed"),
        _names("mix layer noise"),
        {"delta": "delta"},
    ),
    "cp-generate": Tool(
        _names("alg mode clusters epsilon recipe seed device precision"),
        _names("half"),
        {"init": "delta", "encoder_init": "encoder", "labels_from": "encoder"},
        is_open=True,
    ),
    "cp-pretrain": Tool(
        _names("alg recipe seed device precision defend defend_at"),
        sides={"watch": "dataset", "labels_from": "encoder", "init": "encoder"},
        is_open=True,
    ),
    "cp-defend": Tool(
        _names("seed device"), _names("mc gray ueraser"), {"trusted": "dataset"}, is_open=True
    ),
    "cp-select": Tool(
        _names("method fraction classes num_views seed device precision"),
        _names("labels"),
        {"encoder": "encoder"},
    ),
    "cp-probe": Tool(_names("method recipe seed device precision"), is_open=True),  # in reports
    "cptools-import": Tool(
        _names("input key epsilon unit mode algorithm"), sides={"dataset": "dataset"}
    ),
}
"""The tools that record what they did, by the names that histories have."""

NEVER = _names(
    "input output delta init encoder_init watch labels_from dataset export checkpoint log info json"
    " audit dry_run quiet verbose version help install_completion show_completion context"
    " probe_every report clean recommend victim proxy_epochs scores size"
)
"""Options of these tools that are not recorded, so no method may have one of that name."""


def check_command(
    tool: str, parameters: Mapping[str, Any], inputs: Mapping[str, str], where: str
) -> None:
    """Refuse a command that the toolkit does not record.

    Args:
        tool: name of the program.
        parameters: its options.
        inputs: kinds of what it read, by name.
        where: how messages name the place, such as `history[2]`.

    Raises:
        ArtifactError: it is another program, or has an option that this tool does not record, or a
            value that no option has.
    """
    if tool not in TOOLS:
        _refuse(f"{where} is of {tool[:40]!r}, which is no tool of cptools")
    told = TOOLS[tool]
    for name, kind in inputs.items():
        if name != "input" and (name not in told.sides or kind not in ("", told.sides[name])):
            _refuse(f"{where}: {tool} reads no {kind or 'file'} as {name[:40]!r}")
    for name, value in parameters.items():
        is_known = name in told.options or name in told.flags
        may_be = told.is_open and name not in NEVER and re.fullmatch("[a-z][a-z0-9_]*", name)
        if not (is_known or may_be):
            _refuse(f"{where}: {tool} records no option {name[:40]!r}")
        problem = _problem(value)
        if is_known or tool != "cp-defend":  # where methods of other packages may be flags
            is_flag = name in told.flags
            if value is not None and is_flag != isinstance(value, bool):
                problem = "is neither true nor false" if is_flag else "has no value"
        if name == "input" and not (isinstance(value, str) and value):
            problem = "is no name of a dataset"
        if problem:
            _refuse(f"{where}: {name} of {tool} {problem}")


def _problem(value: object) -> str:
    """What is wrong with a value; empty for nothing. Scalars, and lists of them, can be typed."""
    items = value if isinstance(value, list) else [value]
    if len(items) > MAX_ITEMS:
        return f"has more than {MAX_ITEMS} values"
    for item in items:
        if isinstance(item, str):
            if len(item) > MAX_TEXT:
                return f"has more than {MAX_TEXT} characters"
            if not is_typable(item):
                return "has characters that no command can be told"
        elif isinstance(item, float):
            if not math.isfinite(item):
                return "is no finite number"
        elif isinstance(item, int) and not (isinstance(item, bool) and item is not value):
            if not -(2**63) <= item < 2**63:
                return "is no number of 64 bits"
        elif item is not None:
            return "is neither a number nor text nor a list of these"
    return ""


def is_typable(text: str) -> bool:
    """Whether a word can be an argument: no NUL, and surrogates only as Python has bytes."""
    return not any(c == "\0" or "\ud800" <= c < "\udc80" or "\udcff" < c <= "\udfff" for c in text)


def _refuse(problem: str) -> NoReturn:
    raise ArtifactError(f"{shown(problem)}; make the file again, or update cptools")
