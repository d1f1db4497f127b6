"""Pieces of an HTML page that needs no network. Whatever is given is escaped."""

import base64
import hashlib
import struct
from collections.abc import Callable, Iterable
from html import escape
from urllib.parse import quote

from cptools import __version__
from cptools.reports.markdown import Table
from cptools.text import shown

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1a1a1a; --faint: #5c5c5c; --rule: #d9d9d5; --page: #fff; --soft: #f5f5f2;
  --link: #0060a0; --held: #dff1e6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e6e2; --faint: #a3a3a0; --rule: #3d4044; --page: #16181b; --soft: #1f2226;
    --link: #7cc0f5; --held: #17402b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem;
  color: var(--ink); background: var(--page);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 1rem; }
h2 {
  font-size: 1.25rem; margin: 2.5rem 0 0.75rem; padding-top: 1rem;
  border-top: 1px solid var(--rule);
}
h3 { font-size: 1.05rem; margin: 1.5rem 0 0.5rem; }
h1, h2, h3, p, summary { overflow-wrap: anywhere; }
a { color: var(--link); }
.box { overflow-x: auto; margin: 0.75rem 0; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td {
  padding: 0.3rem 0.7rem; text-align: left; white-space: nowrap;
  border-bottom: 1px solid var(--rule);
}
thead th { background: var(--soft); }
th:first-child { position: sticky; left: 0; background: var(--page); font-weight: 600; }
thead th:first-child { background: var(--soft); }
td.held { background: var(--held); }
img {
  display: block; margin: 0.75rem 0; max-width: 100%; height: auto;
  background: #fff; border-radius: 4px;
}
details { margin: 0.5rem 0; }
details details { margin: 0.25rem 0 0.25rem 1rem; }
summary { cursor: pointer; color: var(--faint); }
summary b { color: var(--ink); font-weight: 600; }
pre {
  margin: 0.5rem 0; padding: 0.75rem; background: var(--soft); border-radius: 4px;
  font: 0.8rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
code { font: 0.9em ui-monospace, "DejaVu Sans Mono", monospace; }
pre code { font: inherit; }
table.sorted thead th { cursor: pointer; }
th[aria-sort="ascending"]::after { content: " \\2191"; }
th[aria-sort="descending"]::after { content: " \\2193"; }
input {
  font: inherit; color: inherit; background: var(--soft); width: 22rem; max-width: 100%;
  padding: 0.3rem 0.6rem; border: 1px solid var(--rule); border-radius: 4px;
}
.note { color: var(--faint); font-size: 0.875rem; }
@media (max-width: 30rem) {
  th, td { padding: 0.3rem 0.5rem; }
  th { white-space: normal; }
  th:first-child { min-width: 7rem; max-width: 40vw; overflow-wrap: anywhere; }
}
@media print {
  body { max-width: none; }
  .box { overflow: visible; }
}
"""


_SORTING = """
for (const table of document.querySelectorAll("table.sorted")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const key = (row, i) => {
    const cell = row.cells[i], value = cell.dataset.value;
    return value === undefined ? cell.textContent : Number(value);
  };
  heads.forEach((head, i) => {
    head.tabIndex = 0;
    const sort = () => {
      const down = head.ariaSort === "ascending";
      heads.forEach((other) => { other.ariaSort = null; });
      head.ariaSort = down ? "descending" : "ascending";
      const empty = (row) => row.cells[i].textContent === "";
      [...body.rows].sort((a, b) => {
        if (empty(a) || empty(b)) return empty(a) - empty(b);
        const x = key(a, i), y = key(b, i);
        const order = typeof x === "number" && typeof y === "number"
          ? x - y : String(x).localeCompare(String(y));
        return down ? -order : order;
      }).forEach((row) => body.append(row));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
for (const input of document.querySelectorAll("input[data-filters]")) {
  const table = document.getElementById(input.dataset.filters);
  input.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\\s+/).filter(Boolean);
    const has = (text) => words.some((word) => text.toLowerCase().includes(word));
    const all = [table.tHead.rows[0], ...table.tBodies[0].rows];
    const columns = [...all[0].cells].map((head) => has(head.textContent));
    const lines = all.map((row, i) => i > 0 && has(row.cells[0].textContent));
    const someColumns = columns.some(Boolean), someLines = lines.some(Boolean);
    all.forEach((row, i) => {
      row.hidden = i > 0 && words.length > 0 && (someLines || !someColumns) && !lines[i];
      [...row.cells].forEach((cell, k) => {
        cell.hidden = k > 4 && words.length > 0 && someColumns && !columns[k];
      });
    });
  });
}
"""


def document(title: str, body: Iterable[str], *, sorts: bool = False) -> bytes:
    """A whole page, in UTF-8; what cannot be written so becomes a question mark.

    Args:
        title: of the window, and heading.
        body: HTML.
        sorts: whether tables of `sorted_table` are in it, which bring a script; it is the only one
            that the page lets run.
    """
    policy, script = _POLICY, []
    if sorts:
        digest = base64.b64encode(hashlib.sha256(_SORTING.encode()).digest()).decode()
        policy, script = f"{policy}; script-src 'sha256-{digest}'", [f"<script>{_SORTING}</script>"]
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta name="generator" content="cptools {__version__}">',
        f"<title>{plain(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        f"<h1>{plain(title)}</h1>",
        *body,
        *script,
        "</body>",
        "</html>",
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def table(block: Table, is_held: Callable[[int, int], bool]) -> str:
    """A table in a box of its own, in which it scrolls where the page is narrower.

    Args:
        block: what to show.
        is_held: whether a cell, by the numbers of its row and column, is to be marked: a paper's
            value that our interval holds.
    """
    head, *body = block.html
    rows = []
    for i, (first, *cells) in enumerate(body):
        marked = (
            f'<td class="held">{cell} \u2713</td>' if is_held(i, k) else f"<td>{cell}</td>"
            for k, cell in enumerate(cells, start=1)
        )
        rows.append(_line(first, marked))
    return _table(head, rows, "table")


def linked_table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A table whose first column is made of links.

    Args:
        head: names of the columns.
        lines: of each, HTML of the link, then the other cells.
    """
    rows = [_line(first, (f"<td>{plain(cell)}</td>" for cell in cells)) for first, *cells in lines]
    return _table(map(plain, head), rows, "contents")


def sorted_table(
    name: str, head: Iterable[str], lines: Iterable[Iterable[tuple[str, float | None]]]
) -> str:
    """A table that is sorted by a click on a column and filtered by what is typed above it.

    Args:
        name: of the table, one of its own on the page.
        head: names of the columns.
        lines: cells: what is shown, and the number by which it is sorted, if it is one.
    """
    rows = []
    for (first, _), *cells in lines:
        told = (
            f"<td>{plain(text)}</td>"
            if value is None
            else f'<td data-value="{value:.6g}">{plain(text)}</td>'
            for text, value in cells
        )
        rows.append(_line(plain(first), told))
    table = _table(map(plain, head), rows, name)
    table = table.replace("<table>", f'<table class="sorted" id="{plain(anchor(name))}">')
    field = (
        f'<input type="search" hidden data-filters="{plain(anchor(name))}"'
        f' placeholder="lines or columns, such as simclr mc" aria-label="Filter {plain(name)}">'
    )
    return f"{field}\n{table}"


def plain(words: str) -> str:
    """Text in one line, as HTML."""
    return escape(shown(words))


def fold(summary: str, content: Iterable[str], count: str = "") -> str:
    """HTML that is folded until it is clicked.

    Args:
        summary: what can be seen, in bold.
        content: HTML.
        count: what stands beside the summary.
    """
    return "\n".join(
        [f"<details><summary><b>{plain(summary)}</b> {plain(count)}</summary>", *content,
         "</details>"]
    )  # fmt: skip


def code(lines: str) -> str:
    """Text as it stands, line by line."""
    shown_lines = "\n".join(plain(line) for line in lines.split("\n"))
    return f"<pre>{shown_lines}</pre>"


def note(words: str) -> str:
    """A remark."""
    return f'<p class="note">{plain(words)}</p>'


def link(name: str, words: str) -> str:
    """A link to the section of that name."""
    return f'<a href="#{plain(quote(anchor(name)))}">{plain(words)}</a>'


def anchor(name: str) -> str:
    """The name of a section, as a link calls it."""
    return shown("-".join(name.split()))


def picture(data: bytes, label: str) -> str:
    """A figure, embedded in the page, at its printed size.

    Args:
        data: PNG or SVG. An SVG is shown as an image, so nothing in it is executed or loaded.
        label: for those who cannot see it.

    Raises:
        ValueError: it is neither.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 24:
        kind, size = "png", _png_size(data)
    elif data.lstrip().startswith((b"<?xml", b"<svg", b"<!DOCTYPE svg")) and b"<svg" in data:
        kind, size = "svg+xml", ""
    else:
        raise ValueError("neither PNG nor SVG")
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img alt="{plain(label)}"{size} src="{source}">'


def _png_size(data: bytes) -> str:
    """Width and height of a PNG in CSS pixels, 96 an inch, where it says how large it is."""
    width, height = struct.unpack(">II", data[16:24])
    at = data.find(b"pHYs", 0, 4096)
    if at < 0 or len(data) < at + 13 or data[at + 12] != 1:  # 1: pixels a meter
        return f' width="{width}" height="{height}"'
    across, along = struct.unpack(">II", data[at + 4 : at + 12])
    if not across or not along:
        return f' width="{width}" height="{height}"'
    inch = 96 / 0.0254
    return f' width="{round(width * inch / across)}" height="{round(height * inch / along)}"'


def _table(head: Iterable[str], rows: Iterable[str], label: str) -> str:
    """A table that may be wider than the page; the keyboard reaches its box and scrolls it."""
    names = "".join(f'<th scope="col">{name}</th>' for name in head)
    lines = ["<table>", f"<thead><tr>{names}</tr></thead>", "<tbody>", *rows, "</tbody></table>"]
    box = f'<div class="box" role="region" aria-label="{plain(label)}" tabindex="0">'
    return "\n".join([box, *lines, "</div>"])


def _line(first: str, cells: Iterable[str]) -> str:
    return f'<tr><th scope="row">{first}</th>{"".join(cells)}</tr>'
