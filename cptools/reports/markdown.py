"""Markdown for a page: tables, cell by cell, and HTML of everything else."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode


@dataclass(frozen=True)
class Text:
    """Anything but a table: a heading, a paragraph, a list, code.

    Attributes:
        text: of a heading or a paragraph, in one line, with the marks inside it.
        level: of a heading, from 1 on; 0 for all else.
        html: to be shown; headings two levels lower, below those of a page and its sections.
    """

    text: str
    level: int
    html: str


@dataclass(frozen=True)
class Table:
    """A table; all lines are as long as the head.

    Attributes:
        head: names of the columns, with the marks inside them.
        body: lines of cells, likewise.
        html: of all lines, the head first, to be shown.
    """

    head: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]
    html: tuple[tuple[str, ...], ...]

    def names(self) -> list[str]:
        """Conditions in it: ROW of each line; ROW.COLUMN if the first column has no heading."""
        if self.head[0]:
            return [row for row, *_ in self.body]
        return [f"{row}.{column}" for row, *_ in self.body for column in self.head[1:]]


Block = Text | Table


def read_markdown(text: str) -> list[Block]:
    """Split a text (CommonMark, and tables) into blocks. HTML in it is shown as it stands."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    # The page is read anywhere, so files beside the text are not there: of links, the words stay.
    for rule in ("link_open", "link_close"):
        parser.add_render_rule(rule, _nothing)
    parser.add_render_rule("image", _instead)
    return [
        _table(node, parser) if node.type == "table" else _text(node, parser)
        for node in SyntaxTreeNode(parser.parse(text)).children
    ]


def _text(node: SyntaxTreeNode, parser: MarkdownIt) -> Text:
    words = [" ".join(child.content.split()) for child in node.children if child.type == "inline"]
    level = int(node.tag[1]) if node.type == "heading" else 0
    tokens = node.to_tokens()
    if level:
        tokens[0].tag = tokens[-1].tag = f"h{min(level + 2, 6)}"
    return Text(" ".join(words), level, _html(tokens, parser).strip())


def _table(node: SyntaxTreeNode, parser: MarkdownIt) -> Table:
    lines = [
        [cell.children[0] for cell in line.children] for line in node.walk() if line.type == "tr"
    ]
    head, *body = (tuple(cell.content for cell in line) for line in lines)
    html = (tuple(_html(cell.to_tokens(), parser) for cell in line) for line in lines)
    return Table(head, tuple(body), tuple(html))


def _html(tokens: Sequence[Token], parser: MarkdownIt) -> str:
    html: str = parser.renderer.render(tokens, parser.options, {})
    return html


def _nothing(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    return ""


def _instead(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """What a picture shows, in words."""
    return escape(renderer.renderInlineAsText(tokens[at].children, options, env))
