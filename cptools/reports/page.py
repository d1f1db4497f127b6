"""A folder of results as one HTML page: tables, figures, agreement with a paper, histories."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from cptools.artifacts.strict_json import parse_json  # noqa: TID253 - without numpy
from cptools.reports import html
from cptools.reports.markdown import Block, Table, Text, read_markdown
from cptools.reports.records import Audited, Condition, read_conditions
from cptools.reports.report import read_text

FIRST = "README"  # stands above the others, without a heading of its own

_PICTURES = (".svg", ".png")  # the first that is there is shown
_SEEDED = re.compile(r"-?\d*$")  # what names of one condition's files may differ in
_SPAN = re.compile(r"(-?[\d.]+) to (-?[\d.]+)\)?$")
_AGREEMENT = re.compile(
    r"Values of the paper: (\d+); in our interval: (\d+)"
    r"(?:; Spearman's rank correlation: ([-.\da-z]+))?\.$"
)
_ORDER = re.compile(r"Pairs whose intervals do not overlap: (\d+); in the paper's order: (\d+)\.")
_Told = Condition | Audited


@dataclass(frozen=True)
class Cell:
    """Reports that a table sums up.

    Attributes:
        name: of the condition.
        values: one a report, as text.
        pipelines: what made them; of those that differ in their seeds alone, the first, and the
            names of all files that it stands for.
    """

    name: str
    values: tuple[str, ...]
    pipelines: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Section:
    """What there is under one name.

    Attributes:
        name: of the files, without suffix.
        blocks: of the text.
        picture: as HTML; empty if there is none.
        cells: reports that the tables name, by their names.
    """

    name: str
    blocks: tuple[Block, ...]
    picture: str
    cells: Mapping[str, Cell]

    @property
    def title(self) -> str:
        """Its heading: the text's own, or made of the name."""
        first = self.blocks[0] if self.blocks else None
        if isinstance(first, Text) and first.level:
            return first.text
        known = re.fullmatch(r"(table|figure)(\d+[a-z]?)(?:[-_.](.+))?", self.name)
        if not known:
            return self.name
        kind, number, rest = known.groups()
        return f"{kind.capitalize()} {number}" + (f": {rest}" if rest else "")

    def agreements(self) -> Iterator[tuple[str, str, str, str]]:
        """Of each table: values of the paper, those in our interval, rank correlation, order."""
        texts = [block.text if isinstance(block, Text) else "" for block in self.blocks]
        for text, after in pairwise([*texts, ""]):
            if found := _AGREEMENT.match(text):
                told, held, correlation = found.groups("")
                order = _ORDER.match(after)
                yield told, held, correlation, f"{order[2]} of {order[1]}" if order else ""


def read_results(folder: Path) -> list[Section]:
    """Read a folder: NAME.md, NAME.svg or NAME.png, and the reports that its tables name.

    A report is looked for by its name in the folder NAME and below, then in the folder itself, then
    in the others below it. Names are in their natural order, README first.

    Raises:
        ValueError: it is no folder, or holds neither tables nor pictures, or a file is not what its
            suffix says.
        ArtifactError: a report has no valid history.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give one with tables (.md) and figures (.png)")
    suffixes = (".md", *_PICTURES)
    names = {
        path.name.removesuffix(path.suffix)
        for path in folder.iterdir()
        if path.suffix in suffixes and path.is_file() and not path.name.startswith(".")
    }
    if not names:
        raise ValueError(f"{folder} contains no tables (.md) or figures (.png, .svg); make some")
    found = (path.relative_to(folder) for path in folder.rglob("*.jsonl") if path.is_file())
    reports = sorted(found, key=lambda path: [_natural(part) for part in path.parts])
    return [
        _section(folder, name, reports)
        for name in sorted(names, key=lambda name: (name != FIRST, _natural(name)))
    ]


def build_page(sections: Sequence[Section], title: str) -> bytes:
    """The page: contents with agreement, then a section a name, with what made it to be opened."""
    body = list(_contents([section for section in sections if section.name != FIRST]))
    for section in sections:
        is_first = section.name == FIRST
        blocks = section.blocks
        if blocks and isinstance(blocks[0], Text) and blocks[0].level:
            blocks = blocks[1:]  # it is the heading
        content = [
            "" if is_first else f"<h2>{html.plain(section.title)}</h2>",
            section.picture,
            *map(_shown, blocks),
            *_histories(section.cells),
        ]
        lines = "\n".join(line for line in content if line)
        whole = f'<section id="{html.plain(html.anchor(section.name))}">\n{lines}\n</section>'
        body = [whole, *body] if is_first else [*body, whole]
    return html.document(title, body)


def _shown(block: Block) -> str:
    return block.html if isinstance(block, Text) else html.table(block, partial(_is_held, block))


def _contents(sections: Sequence[Section]) -> Iterator[str]:
    """Links to the sections, beside them how each table agrees with the paper."""
    if not any(True for section in sections for _ in section.agreements()):
        if len(sections) > 1:
            links = " · ".join(html.link(section.name, section.title) for section in sections)
            yield f"<nav><p>{links}</p></nav>"
        return
    lines = [
        (html.link(section.name, section.title), *figures)
        for section in sections
        for figures in [*section.agreements()] or [("", "", "", "")]
    ]
    head = ("", "values of the paper", "in our 95% interval", "rank correlation", "pairs in order")
    yield f"<nav>{html.linked_table(head, lines)}</nav>"
    yield html.note(
        "Rank correlation is Spearman's, of our values with the paper's. Pairs in order: of cells"
        " whose intervals do not overlap, those pairs that stand as in the paper. A value of the"
        " paper that our interval holds is marked \u2713."
    )


def _is_held(table: Table, row: int, column: int) -> bool:
    """Whether a cell is a paper's value that the interval in the cell before it holds.

    Of a table that is no grid, the last column of such values counts: those of differences, where
    there are accuracies beside them. So as many cells are marked as the report has counted.
    """
    line = table.body[row]
    shown = _SPAN.search(line[column - 1])
    is_last = "paper" not in table.head[column + 1 :]
    if table.head[column] != "paper" or not shown or (table.head[0] and not is_last):
        return False
    try:
        return float(shown[1]) <= float(line[column]) <= float(shown[2])
    except ValueError:
        return False


def _histories(cells: Mapping[str, Cell]) -> Iterator[str]:
    """How everything was made, closed; inside, a condition each."""
    if not cells:
        return
    inside = []
    for cell in cells.values():
        content = []
        for pipeline, files in cell.pipelines.items():
            if len(files) > 1:
                content.append(html.note(f"{', '.join(files)}: alike but for seeds. The first:"))
            else:
                content.append(html.note(f"{files[0]}:"))
            content.append(html.code(pipeline))
        inside.append(html.fold(cell.name, content, ", ".join(cell.values)))
    count = f"({len(cells)} {'condition' if len(cells) == 1 else 'conditions'})"
    yield html.fold("How it was made", inside, count)


def _section(folder: Path, name: str, reports: Sequence[Path]) -> Section:
    text = folder / f"{name}.md"
    blocks = tuple(read_markdown(_text(text))) if text.is_file() else ()
    picture = ""
    for file in (folder / f"{name}{suffix}" for suffix in _PICTURES):
        if file.is_file():
            try:
                picture = html.picture(file.read_bytes(), name)
            except ValueError as error:
                raise ValueError(f"{file} is {error}; draw it with `cp.plot`") from None
            break
    wanted = [cell for block in blocks if isinstance(block, Table) for cell in block.names()]
    nearest = [
        [path for path in reports if path.parts[0] == name],
        [path for path in reports if len(path.parts) == 1],
        reports,
    ]
    return Section(name, blocks, picture, _cells(dict.fromkeys(wanted), folder, nearest))


def _cells(
    wanted: Mapping[str, None], folder: Path, nearest: Sequence[Sequence[Path]]
) -> dict[str, Cell]:
    """The reports of each name, out of the first of several lists of files that has any."""
    found: dict[str, Cell] = {}
    for files in nearest:
        missing = {name for name in wanted if name not in found}
        made = [
            (*_read(folder / file, missing), file) for file in files if _may_tell(file, missing)
        ]
        for name in (name for name in wanted if name in missing):
            of_name = [
                (told[name], pipeline, file) for told, pipeline, file in made if name in told
            ]
            if of_name:
                found[name] = _cell(name, of_name)
    return {name: found[name] for name in wanted if name in found}


def _may_tell(file: Path, names: set[str]) -> bool:
    """Whether a file may hold a condition of that name: its own, or that and more words."""
    stem = _SEEDED.sub("", file.stem)
    return any(name == stem or name.startswith(f"{stem} ") for name in names)


def _read(file: Path, names: set[str]) -> tuple[dict[str, _Told], str]:
    """The record of each name in a file, and the pipeline that made it."""
    from cptools.artifacts.errors import ArtifactError

    conditions, audits = read_conditions([str(file)])
    found: list[_Told] = [*conditions, *audits]
    told = {one.name: one for one in found if one.name in names}
    lines = [parse_json(line) for line in read_text(file).splitlines()]
    try:
        pipelines = dict.fromkeys(_pipeline(line) for line in lines)
    except ArtifactError as error:
        raise ValueError(f"{file} has no valid history: {error}") from None
    return told, "\n\n".join(filter(None, pipelines))


def _pipeline(line: Mapping[str, Any]) -> str:
    """The commands that made a report, the probe with its settings the last one."""
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.history import script
    from cptools.artifacts.provenance import Entry, check_entry, history_from_json

    past, settings = line.get("history", []), line.get("settings", {})
    if not isinstance(past, list) or not isinstance(settings, dict):
        raise ArtifactError("it is not a list of commands; probe again")
    if not past:
        return ""
    probe = Entry("cp-probe", "", settings)
    check_entry(probe, "settings")
    return script([*history_from_json(past), probe])


def _cell(name: str, told: Sequence[tuple[_Told, str, Path]]) -> Cell:
    """Records of one condition in several files."""
    values, pipelines = [], dict[str, tuple[str, tuple[str, ...]]]()
    for one, pipeline, file in told:
        values += [
            f"{value:.1f}" for value in (one.values if isinstance(one, Condition) else one.scores)
        ]
        if pipeline:
            alike = re.sub(r"--seed \d+", "--seed", pipeline)
            first, files = pipelines.get(alike, (pipeline, ()))
            pipelines[alike] = (first, (*files, file.as_posix()))
    return Cell(name, tuple(values), dict(pipelines.values()))


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text; write it with cptools report") from None


def _natural(name: str) -> list[tuple[str, int]]:
    """A key by which table2 stands before table10."""
    return [(word, int(digits or 0)) for word, digits in re.findall(r"(\D*)(\d*)", name)]
