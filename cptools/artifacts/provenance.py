"""Where an artifact came from: its clean source, and each command that made it, as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.fields import Fields
from cptools.artifacts.recorded import MAX_DEPTH, check_command


@dataclass(frozen=True)
class Source:
    """Where the clean dataset can be had again.

    Attributes:
        name: `shapes`, a torchvision name such as `cifar10`, or an absolute path.
        options: what is needed to make the clean dataset again (limit, classes, size, seed, ...);
            JSON scalars and lists only.
        digest: content digest of the clean dataset (`history.dataset_digest`).
    """

    name: str
    options: dict[str, Any]
    digest: str


@dataclass(frozen=True)
class Input:
    """One input of a command.

    Attributes:
        digest: content digest of the artifact, or SHA-256 of a foreign file.
        history: how a side input was made. Empty for the main input, whose history comes
            before this entry in the same list, and for foreign files.
        kind: `dataset`, `delta` or `encoder`; empty for a foreign file.
    """

    digest: str
    history: tuple["Entry", ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class Entry:
    """One command of a history.

    Attributes:
        tool: name of the program, such as `cp-generate`.
        version: version of cptools that ran.
        parameters: every resolved parameter, the seed among them; JSON values only.
        inputs: what the command read, by name: `input` for the main one, else the option's name.
    """

    tool: str
    version: str
    parameters: dict[str, Any]
    inputs: dict[str, Input] = field(default_factory=dict)


def source_to_json(source: Source | None) -> dict[str, Any] | None:
    """The JSON form of a source."""
    if source is None:
        return None
    return {"name": source.name, "options": source.options, "digest": source.digest}


def source_from_json(value: object) -> Source | None:
    """Inverse of `source_to_json`; raises `ArtifactError`."""
    if value is None:
        return None
    fields = Fields(value, "source", ("name", "options", "digest"))
    return Source(fields.text("name"), fields.mapping("options"), fields.digest("digest"))


def history_to_json(history: Sequence[Entry]) -> list[dict[str, Any]]:
    """The JSON form of a history, oldest first."""
    return [
        {
            "tool": entry.tool,
            "version": entry.version,
            "parameters": entry.parameters,
            "inputs": {
                name: {
                    "digest": item.digest,
                    "history": history_to_json(item.history),
                    "kind": item.kind,
                }
                for name, item in entry.inputs.items()
            },
        }
        for entry in history
    ]


def history_from_json(
    values: Sequence[object], where: str = "history", depth: int = 0
) -> tuple[Entry, ...]:
    """Inverse of `history_to_json`; raises `ArtifactError` for what no tool of cptools records."""
    if depth > MAX_DEPTH:
        raise ArtifactError(f"the history is more than {MAX_DEPTH} deep; make the file again")
    return tuple(_entry(value, f"{where}[{i}]", depth) for i, value in enumerate(values))


def _entry(value: object, where: str, depth: int) -> Entry:
    fields = Fields(value, where, ("tool", "version", "parameters", "inputs"))
    entry = Entry(
        tool=fields.text("tool", r"[a-z][a-z0-9-]*"),
        version=fields.text("version", r"[0-9A-Za-z.+-]{0,64}"),
        parameters=fields.mapping("parameters"),
        inputs={
            name: _input(item, f"{where}.inputs.{name}", depth + 1)
            for name, item in fields.mapping("inputs").items()
        },
    )
    check_entry(entry, where)
    return entry


def check_entry(entry: Entry, where: str) -> None:
    """Refuse a command that no tool of cptools records; see `recorded.check_command`."""
    kinds = {name: item.kind for name, item in entry.inputs.items()}
    check_command(entry.tool, entry.parameters, kinds, where)


def _input(value: object, where: str, depth: int) -> Input:
    fields = Fields(value, where, ("digest", "history", "kind"))
    history = history_from_json(fields.items("history"), f"{where}.history", depth)
    return Input(fields.digest("digest"), history, fields.text("kind", "(dataset|delta|encoder)?"))
