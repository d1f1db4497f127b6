"""A leaderboard of attacks, defenses and victims, made of rows that anybody can add.

A row is a report of a linear probe with the names under which it competes and what it cost, one
JSON line. An attack scores the highest accuracy that any victim reaches without a defense: its
worst-case unlearnability (Wang, Zhu and Gao, NeurIPS 2024), low is good. A defense scores the
lowest accuracy over attacks, high is good; what it costs on clean data stands beside it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from cptools.artifacts.strict_json import parse_json  # noqa: TID253 - without numpy
from cptools.reports.records import Condition, Probe, read_probe
from cptools.reports.report import read_text

CLEAN, NONE = "clean", "none"  # the attack that is none, and the defense
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_-]{0,59}")
_POISONERS = ("cp-generate", "cp-perturb")
_STAGES = ("attack", "defense", "victim")


@dataclass(frozen=True)
class Row:
    """An entry.

    Attributes:
        attack: its name; `clean` for none.
        defense: its name; `none` for none.
        victim: its name.
        seed: of attack and victim.
        seconds: what the attack, the defense and the victim took, as far as it is known.
        report: the record of cp-probe, with its history.
    """

    attack: str
    defense: str
    victim: str
    seed: int
    seconds: Mapping[str, float]
    report: Mapping[str, Any]

    @property
    def probe(self) -> Probe:
        """The accuracy that the report tells."""
        return read_probe(self.report, self.seed)

    def to_json(self) -> dict[str, Any]:
        """As a line of a file holds it."""
        return {"kind": "row", **asdict(self)}


def make_row(
    report: Mapping[str, Any],
    *,
    attack: str,
    victim: str,
    defense: str = NONE,
    seed: int,
    seconds: Mapping[str, float],
) -> Row:
    """Enter a report, if it is what it is entered as.

    Args:
        report: a record of cp-probe: the accuracy of an encoder, with the encoder's history.
        attack: name; `clean` for images without poison.
        victim: name.
        defense: name; `none` for none.
        seed: that the victim was trained with.
        seconds: by `attack`, `defense` and `victim`, what each took.

    Raises:
        ValueError: a name or number is none, the report tells no accuracy of an encoder, its
            numbers do not agree with each other, or its history with the names.
    """
    for what, name in (("attack", attack), ("defense", defense), ("victim", victim)):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is no name for `{what}`; use letters, digits and - _ +, at most 60"
            )
    if type(seed) is not int or seed < 0:
        raise ValueError(f"{seed!r} is no `seed`; give an integer from 0 on")
    for stage, value in seconds.items():
        is_number = type(value) in (int, float) and math.isfinite(value) and value >= 0
        if stage not in _STAGES or not is_number:
            raise ValueError(
                f"`seconds={stage}={value}` is no cost; give seconds of attack, defense or victim"
            )
    row = Row(attack, defense, victim, seed, dict(seconds), report)
    _check_report(row)
    return row


def read_rows(files: Iterable[str]) -> list[Row]:
    """Read rows, one a JSON line; what is given twice counts once.

    Raises:
        ValueError: a line is no row, or two disagree.
    """
    found: dict[tuple[str, str, str, int], Row] = {}
    for file in files:
        for row in read_file(file):
            key = (row.attack, row.defense, row.victim, row.seed)
            if found.setdefault(key, row) != row:
                raise ValueError(
                    f"{file} has another row for {'.'.join(key[:3])} of seed {row.seed}; give one"
                )
    if not found:
        raise ValueError("there are no rows; make them with cptools row")
    return list(found.values())


def read_file(file: str) -> list[Row]:
    """Read the rows in a file.

    Raises:
        ValueError: it cannot be read, or a line is no row; it says which.
    """
    try:
        lines = read_text(Path(file)).splitlines()
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}; give rows of cptools row") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file} is no text; give rows of cptools row") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_row(parse_json(line)))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            told = error if type(error) is ValueError else "not a row; make it with cptools row"
            raise ValueError(f"line {number} of {file}: {told}") from None
    return rows


def _row(told: Any) -> Row:
    if told.pop("kind") != "row" or not isinstance(told["report"], dict):
        raise TypeError
    return make_row(**told)


def _check_report(row: Row) -> None:
    """Raise `ValueError` unless the report agrees with itself and with its names."""
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.provenance import Entry, history_from_json
    from cptools.core.evaluation.statistics import wilson

    report = row.report
    try:
        probe, correct, total = row.probe, report["correct"], report["total"]
        ends = [round(100 * end, 2) for end in wilson(correct, total)]
        entries = history_from_json(report["history"])
    except ArtifactError as error:
        raise ValueError(f"the report has no valid history: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("it tells no accuracy of an encoder; give a report of cp-probe") from None
    stated = [probe.accuracy, probe.low, probe.high]
    implied = [100 * correct / total, *ends]
    if any(abs(one - other) > 0.011 for one, other in zip(stated, implied, strict=True)):
        raise ValueError(
            f"its accuracy or interval is not that of {correct} of {total}; probe again"
        )

    def walk(history: Sequence[Entry]) -> Iterable[Entry]:
        for entry in history:
            yield entry
            for item in entry.inputs.values():
                yield from walk(item.history)

    trained = [entry for entry in entries if entry.tool == "cp-pretrain"]
    if not trained:
        raise ValueError("its history trains no victim; give a report on an encoder")
    seed = trained[-1].parameters.get("seed")
    if seed != row.seed:
        raise ValueError(f"its victim was trained with seed {seed}, not {row.seed}; enter it so")
    is_poisoned = any(entry.tool in _POISONERS for entry in walk(entries))
    if is_poisoned == (row.attack == CLEAN):
        what = "an attack; name it" if is_poisoned else f"no attack; enter it as {CLEAN}"
        raise ValueError(f"its history, entered as {row.attack}, has {what}")


@dataclass(frozen=True)
class Cell:
    """Rows of one attack, defense and victim.

    Attributes:
        condition: their accuracies, over seeds.
        seconds: mean of what they cost, by stage.
    """

    condition: Condition
    seconds: Mapping[str, float]


Key = tuple[str, str, str]  # attack, defense, victim


@dataclass(frozen=True)
class Standing:
    """A line of the leaderboard.

    Attributes:
        name: of the attack, or of the victim and its defense.
        cells: by victim, or by attack.
        worst: which of them decides; None where there is none.
        effect: of that one against its baseline, paired by seed, in points: mean and interval, or
            the difference alone where there are fewer than two seeds.
        seconds: cost of the attack, or of the defense.
    """

    name: str
    cells: Mapping[str, Cell]
    worst: str | None
    effect: tuple[float, ...]
    seconds: float | None


def attacks(rows: Sequence[Row]) -> list[Standing]:
    """Attacks on victims without a defense, the lowest of the highest accuracies first."""
    board = {key: cell for key, cell in _cells(rows).items() if key[1] == NONE}
    found = []
    for attack in dict.fromkeys(key[0] for key in board):
        cells = {victim: cell for (a, _, victim), cell in board.items() if a == attack}
        worst = max(cells, key=lambda victim: _mean(cells[victim]))
        effect = _effect(board.get((CLEAN, NONE, worst)), cells[worst]) if attack != CLEAN else ()
        found.append(Standing(attack, cells, worst, effect, _cost(cells.values(), "attack")))
    return sorted(found, key=lambda one: (one.name != CLEAN, _score(one)))


def defenses(rows: Sequence[Row]) -> list[Standing]:
    """Defenses, of each victim that has one, the highest of the lowest accuracies first.

    The effect is that on clean images: what the defense costs.
    """
    board = _cells(rows)
    found = []
    for victim in dict.fromkeys(key[2] for key in board if key[1] != NONE):
        standings = []
        for defense in dict.fromkeys(key[1] for key in board if key[2] == victim):
            cells = {a: cell for (a, d, v), cell in board.items() if (d, v) == (defense, victim)}
            poisoned = [attack for attack in cells if attack != CLEAN]
            worst = min(poisoned, key=lambda attack: _mean(cells[attack]), default=None)
            clean = [board.get((CLEAN, d, victim)) for d in (NONE, defense)]
            effect = _effect(*clean) if defense != NONE else ()
            cost = _cost(cells.values(), "defense")
            standings.append(Standing(f"{victim}, {defense}", cells, worst, effect, cost))
        found += sorted(standings, key=_score, reverse=True)
    return found


def _cells(rows: Sequence[Row]) -> dict[Key, Cell]:
    grouped: dict[Key, list[Row]] = {}
    for row in rows:
        grouped.setdefault((row.attack, row.defense, row.victim), []).append(row)
    return {
        key: Cell(
            Condition(".".join(key), tuple(row.probe for row in some)),
            {
                stage: fmean(known)
                for stage in _STAGES
                if (known := [row.seconds[stage] for row in some if stage in row.seconds])
            },
        )
        for key, some in grouped.items()
    }


def _mean(cell: Cell) -> float:
    return cell.condition.interval()[0]


def _score(one: Standing) -> float:
    return _mean(one.cells[one.worst]) if one.worst is not None else math.nan


def _cost(cells: Iterable[Cell], stage: str) -> float | None:
    known = [cell.seconds[stage] for cell in cells if stage in cell.seconds]
    return fmean(known) if known else None


def _effect(before: Cell | None, after: Cell | None) -> tuple[float, ...]:
    """Difference in points, paired by seed, with its interval where two seeds are in common."""
    from cptools.core.evaluation.statistics import paired

    if before is None or after is None:
        return ()
    first, second = before.condition.by_seed(), after.condition.by_seed()
    seeds = [seed for seed in second if seed in first]
    if not seeds:
        return ()
    pairs = [second[s] for s in seeds], [first[s] for s in seeds]
    if len(seeds) == 1:
        return (pairs[0][0] - pairs[1][0],)
    test = paired(*pairs)
    return (test.difference, test.low, test.high)


Line = list[tuple[str, float | None]]
"""Cells of a table: what is shown, and the number by which it is sorted."""


def attack_table(rows: Sequence[Row]) -> tuple[list[str], list[Line]]:
    """Head and lines of the table of attacks."""
    found = attacks(rows)
    victims = list(dict.fromkeys(victim for one in found for victim in one.cells))
    head = ["attack", "worst case", "of", "against clean", "seconds", *victims]
    return head, [_line(one, victims) for one in found]


def defense_table(rows: Sequence[Row]) -> tuple[list[str], list[Line]]:
    """Head and lines of the table of defenses; no lines where there are none."""
    found = defenses(rows)
    columns = list(dict.fromkeys(attack for one in found for attack in one.cells))
    head = ["victim, defense", "worst case", "of", "cost on clean", "seconds", *columns]
    return head, [_line(one, columns) for one in found]


def _line(one: Standing, columns: Sequence[str]) -> Line:
    worst = one.cells[one.worst] if one.worst is not None else None
    rivals = len(one.cells) - (CLEAN in one.cells)
    return [
        (one.name, None),
        _span(worst.condition.interval()) if worst else ("", None),
        (f"{one.worst} of {rivals}" if worst else "", None),
        _span(one.effect, sign="+"),
        ("", None) if one.seconds is None else (f"{one.seconds:.0f}", one.seconds),
        *(_shown(one.cells.get(column)) for column in columns),
    ]


def _shown(cell: Cell | None) -> tuple[str, float | None]:
    """Accuracy and interval, seeds, and the seconds of the victim."""
    if cell is None:
        return "", None
    text, value = _span(cell.condition.interval())
    seeds = len(cell.condition.values)
    cost = f", {cell.seconds['victim']:.0f} s" if "victim" in cell.seconds else ""
    return f"{text}; {seeds} {'seed' if seeds == 1 else 'seeds'}{cost}", value


def _span(estimate: Sequence[float], *, sign: str = "") -> tuple[str, float | None]:
    if not estimate:
        return "", None
    mean, *ends = (f"{round(value, 1) + 0.0:{sign}.1f}" for value in estimate)
    return mean + (f" ({ends[0]} to {ends[1]})" if ends else ""), estimate[0]


_RULES = {
    "Attacks": "An attack scores the highest accuracy (%) that any victim reaches without a"
    " defense: low is a strong attack. Against clean: that victim's difference to clean images, in"
    " points, paired by seed.",
    "Defenses": "A defense scores the lowest accuracy (%) over attacks: high is a strong defense."
    " Cost on clean: its difference to the victim without a defense, both on clean images.",
}


def _tables(rows: Sequence[Row]) -> list[tuple[str, list[str], list[Line]]]:
    tables = zip(_RULES, (attack_table(rows), defense_table(rows)), strict=True)
    return [(name, head, lines) for name, (head, lines) in tables if lines]


def markdown(rows: Sequence[Row]) -> str:
    """The tables as Markdown."""
    from cptools.reports.tables import to_markdown

    parts = []
    for name, head, lines in _tables(rows):
        table = to_markdown([head, *([text for text, _ in line] for line in lines)])
        parts += [f"## {name}", "", f"{_RULES[name]} Intervals: Student's, 95%.", "", *table, ""]
    return "\n".join(parts).rstrip()


def page(rows: Sequence[Row], title: str = "Leaderboard") -> bytes:
    """The tables as one HTML page, to be sorted and filtered."""
    from cptools.reports import html

    body = []
    for name, head, lines in _tables(rows):
        body += [
            f"<h2>{html.plain(name)}</h2>",
            html.note(f"{_RULES[name]} Intervals: Student's, 95%. Click a column to sort by it."),
            html.sorted_table(name, head, lines),
        ]
    return html.document(title, body, sorts=True)
