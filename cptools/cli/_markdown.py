"""Markdown as the tools write it: headings, paragraphs, tables and fenced code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Text:
    """A heading or a paragraph.

    Attributes:
        text: without its marks, in one line.
        level: of a heading, from 1 on; 0 for a paragraph.
    """

    text: str
    level: int = 0


@dataclass(frozen=True)
class Table:
    """A table; all lines are as long as the head.

    Attributes:
        head: names of the columns.
        body: lines of cells.
    """

    head: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]

    def names(self) -> list[str]:
        """What it tells of: ROW of each line; ROW.COLUMN where the first column has no name."""
        if self.head[0]:
            return [row for row, *_ in self.body]
        return [f"{row}.{column}" for row, *_ in self.body for column in self.head[1:]]


@dataclass(frozen=True)
class Code:
    """Fenced code.

    Attributes:
        lines: as they stand between the fences.
    """

    lines: str


Block = Text | Table | Code
_FENCED = re.compile(r"^```[^`\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)


def read_markdown(text: str) -> list[Block]:
    """Split a text into blocks. What is of another kind counts as a paragraph."""
    blocks: list[Block] = []
    for n, part in enumerate(_FENCED.split(text)):
        blocks += [Code(part.rstrip("\n"))] if n % 2 else _unfenced(part)
    return blocks


def _unfenced(text: str) -> list[Block]:
    return [
        block
        for kind, lines in groupby(map(str.strip, text.splitlines()), _kind)
        if kind != "blank"
        for block in _blocks(kind, list(lines))
    ]


def _kind(line: str) -> str:
    if re.match("#{1,6} ", line):
        return "heading"
    return "table" if line.startswith("|") else "text" if line else "blank"


def _blocks(kind: str, lines: list[str]) -> Iterator[Block]:
    if kind == "heading":
        for line in lines:
            marks, _, title = line.partition(" ")
            yield Text(title.strip(), len(marks))
    elif kind == "table" and len(lines) > 1 and re.fullmatch(r"[|\s:-]+", lines[1]):
        head, _, *body = map(_cells, lines)
        blank = [""] * len(head)
        yield Table(tuple(head), tuple(tuple([*line, *blank][: len(head)]) for line in body))
    else:
        yield Text(" ".join(lines))


def _cells(line: str) -> list[str]:
    """The cells of a line; a bar in a cell is written with a backslash."""
    inside = re.sub(r"(?<!\\)\|$", "", line.removeprefix("|"))
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", inside)]
