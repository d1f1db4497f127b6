"""Markdown tables of reports: conditions, grids, audits, differences to a baseline."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from cptools.reports.records import Audited, Condition
from cptools.text import shown

if TYPE_CHECKING:
    from cptools.core.evaluation.statistics import Comparison

_log = logging.getLogger(__name__)

_Estimate = tuple[float, float, float]  # a value and the ends of its interval
_BySeed = dict[int | None, float]
_Beside = tuple[str, _Estimate, float | None]  # a name, our value, and the paper's


@dataclass(frozen=True)
class _Effect:
    """What a condition does, compared with its baseline.

    Attributes:
        by_seed: differences in points, or degradations in percent, of the seeds of both.
        paper: the same by the paper's values; None where it lacks one.
    """

    by_seed: _BySeed
    paper: float | None


@dataclass(frozen=True)
class _Line:
    """A line of a table of differences.

    Attributes:
        name: what is compared.
        accuracy: mean and interval in percent; None where two effects are compared.
        paper: the accuracy that the paper reports, in percent.
        test: None for the baseline.
        paper_effect: what the paper has for the tested effect.
    """

    name: str
    accuracy: _Estimate | None
    paper: float | None
    test: "Comparison | None" = None
    paper_effect: float | None = None


def rows(conditions: Sequence[Condition], paper: Mapping[str, float]) -> list[str]:
    """Conditions, a line each, with the paper's value where there are any.

    Of trainings that were probed on the way, the accuracy at the best epoch as well.
    """
    label = conditions[0].label
    table = [["condition", label, "95% interval", "paper", "peak", "epoch", "seeds", "each"]]
    for condition in conditions:
        mean, low, high = condition.interval()
        each = " ".join(f"{value:.1f}" for value in condition.values)
        span, seeds = f"{low:.1f} to {high:.1f}", f"{len(condition.values)}"
        value = _number(paper.get(condition.name))
        peak = [f"{number:.1f}" for number in condition.peak() or ()] or ["", ""]
        table.append([condition.name, f"{mean:.1f}", span, value, *peak, seeds, each])
    has_peaks = any(condition.peak() for condition in conditions)
    left_out = {3} if not paper else set[int]()
    left_out |= set() if has_peaks else {4, 5}
    table = [[cell for i, cell in enumerate(line) if i not in left_out] for line in table]
    return to_markdown(table) + _accuracy_agreement(conditions, paper)


def grid(conditions: Sequence[Condition], paper: Mapping[str, float]) -> list[str]:
    """Mean accuracies and intervals of conditions ROW.COLUMN, beside them the paper's values."""
    cells = {condition.cell(): condition for condition in conditions}
    columns = list(dict.fromkeys(column for _, column in cells))
    told = {condition.cell()[1] for condition in conditions if condition.name in paper}
    head = [""]
    for column in columns:
        head += [column, "paper"] if column in told else [column]
    table = [head]
    for row in dict.fromkeys(row for row, _ in cells):
        line = [row]
        for column in columns:
            condition = cells.get((row, column))
            line.append(_span(condition.interval()) if condition else "")
            if column in told:
                line.append(_number(paper.get(condition.name)) if condition else "")
        table.append(line)
    return to_markdown(table) + _accuracy_agreement(conditions, paper)


def audits(audited: Sequence[Audited]) -> list[str]:
    """Audits; the first condition is the benign one."""
    from cptools.core.evaluation.statistics import roc

    benign, *poisoned = audited
    areas = ["", *(f"{roc(benign.scores, other.scores)[2]:.3f}" for other in poisoned)]
    table = [["condition", "score (median)", "range", "datasets", "verdicts", "area under the ROC"]]
    for condition, area in zip(audited, areas, strict=True):
        table.append([condition.name, *condition.summary(), area])
    return to_markdown(table)


def differences(
    conditions: Sequence[Condition],
    baseline: str,
    paper: Mapping[str, float],
    *,
    is_grid: bool,
    is_relative: bool,
) -> list[str]:
    """Differences to a baseline, paired by seed, or degradations in percent of it.

    Of a grid, the baseline is a row, each cell is compared with that of its column, and below that
    the columns with each other: the effect in one less the effect in the other. For Holm's
    correction the effects are one family, and the lines below them another.

    Raises:
        ValueError: there is no such baseline, or nothing to compare with it; or two conditions have
            fewer than two seeds in common.
    """
    from cptools.core.evaluation.statistics import paired

    cells = {c.cell() if is_grid else (c.name, ""): c for c in conditions}
    names = list(dict.fromkeys(row for row, _ in cells))
    if baseline not in names:
        what = "row" if is_grid else "condition"
        raise ValueError(f"no {what} is called {baseline}; there are {', '.join(names)}")
    if len(names) == 1:
        raise ValueError(f"there is nothing to compare with {baseline}; give further reports")
    lines, contrasts = [], []
    for row in names:
        effects: dict[str, _Effect] = {}
        for column, condition in ((c, cell) for (r, c), cell in cells.items() if r == row):
            accuracy, told = condition.interval(), paper.get(condition.name)
            if row == baseline:
                lines.append(_Line(condition.name, accuracy, told))
                continue
            base = cells.get((baseline, column))
            if base is None:
                raise ValueError(
                    f"{condition.name} has no {baseline}.{column} to be compared with; give its"
                    " reports, or leave it out"
                )
            effect = effects[column] = _effect(base, condition, paper, is_relative=is_relative)
            test = paired(list(effect.by_seed.values()), [0.0] * len(effect.by_seed))
            lines.append(_Line(condition.name, accuracy, told, test, effect.paper))
        for first, second in combinations(effects, 2):
            name = f"{row}: {first} less {second}"
            one, other = effects[first], effects[second]
            seeds = _common(name, one.by_seed, other.by_seed)
            test = paired([one.by_seed[s] for s in seeds], [other.by_seed[s] for s in seeds])
            told = None
            if one.paper is not None and other.paper is not None:
                told = one.paper - other.paper
            contrasts.append(_Line(name, None, None, test, told))
    what = f"degradation (% of {baseline})" if is_relative else "difference (points)"
    label = conditions[0].label
    title = f"against {baseline}"
    return _difference_table(lines, contrasts, title, label, what, has_paper=bool(paper))


def _difference_table(
    lines: Sequence[_Line],
    contrasts: Sequence[_Line],
    title: str,
    label: str,
    what: str,
    *,
    has_paper: bool,
) -> list[str]:
    head = [title, label, "paper", what, "paper", "p (Holm)", "pairs"]
    table = [[*head, "seeds for 80% power", "seeds for the paper's"]]
    adjusted = iter(_adjusted(lines) + _adjusted(contrasts))
    found: list[_Beside] = []
    for line in [*lines, *contrasts]:
        cells = [line.name, _span(line.accuracy) if line.accuracy else "", _number(line.paper)]
        if line.test:
            test, told = line.test, line.paper_effect
            effect = (test.difference, test.low, test.high)
            found.append((line.name, effect, told))
            p = _chance(next(adjusted)) if _varies(test) else ""
            cells += [_span(effect), _number(told), p, f"{test.freedom + 1:.0f}"]
            cells += [_seeds(wanted, test) for wanted in (test.difference, told)]
        table.append(cells + [""] * (len(table[0]) - len(cells)))
    if not has_paper:
        table = [[*cells[:2], cells[3], *cells[5:8]] for cells in table]
    effects = len(found) - len(contrasts)
    return to_markdown(table) + (_agreement(found[:effects], found[effects:]) if has_paper else [])


def _adjusted(lines: Sequence[_Line]) -> list[float]:
    """The p values of a family of lines, by Holm's method."""
    from cptools.core.evaluation.statistics import holm

    return holm([line.test.p for line in lines if line.test and _varies(line.test)])


def _varies(test: "Comparison") -> bool:
    """Whether the seeds allow a test; equal differences, up to rounding, do not."""
    return test.deviation > 1e-6


def _effect(
    base: Condition, condition: Condition, paper: Mapping[str, float], *, is_relative: bool
) -> _Effect:
    """A condition compared with its baseline, by seed that both have."""
    before, after = base.by_seed(), condition.by_seed()
    seeds = _common(f"{condition.name} against {base.name}", before, after)
    told, base_told = paper.get(condition.name), paper.get(base.name)
    return _Effect(
        {seed: _change(before[seed], after[seed], is_relative=is_relative) for seed in seeds},
        None
        if told is None or base_told is None
        else _change(base_told, told, is_relative=is_relative),
    )


def _change(before: float, after: float, *, is_relative: bool) -> float:
    from cptools.core.evaluation.statistics import degradations

    return 100 * degradations([before], [after])[0] if is_relative else after - before


def _common(what: str, first: _BySeed, second: _BySeed) -> list[int | None]:
    """Seeds that both have; says which are left out.

    Raises:
        ValueError: there are fewer than two.
    """
    seeds = [seed for seed in first if seed in second]
    if len(seeds) < 2:
        count = "one seed" if seeds else "no seed"
        raise ValueError(
            f"{what}: {count} in common, and a paired test needs two; give files NAME-SEED.jsonl"
            " of equal seeds"
        )
    left_out = sorted(f"{seed}" for seed in first.keys() ^ second.keys())
    if left_out:
        told = ", ".join(left_out)
        _log.info("%s: %d seeds in common; excluded: %s", what, len(seeds), told)
    return seeds


def _seeds(difference: float | None, test: "Comparison") -> str:
    """Number of seeds that detects a difference with 80% power; empty if it is undefined."""
    from cptools.core.evaluation.statistics import MAX_SEEDS, seeds_needed

    if difference is None or not _varies(test):
        return ""
    needed = seeds_needed(difference, test.deviation)
    return f"over {MAX_SEEDS}" if needed is None else f"{needed}"


def _accuracy_agreement(conditions: Sequence[Condition], paper: Mapping[str, float]) -> list[str]:
    cells = [(one.name, one.interval(), paper.get(one.name)) for one in conditions]
    return _agreement(cells) if paper else []


def _agreement(cells: Sequence[_Beside], others: Sequence[_Beside] = ()) -> list[str]:
    """How our values agree with the paper's: paragraphs below the table.

    Args:
        cells: what can be ranked.
        others: what cannot, such as differences between the cells.
    """
    from cptools.core.evaluation.statistics import rank_correlation

    told = [(name, ours, value) for name, ours, value in cells if value is not None]
    values = told + [(name, ours, value) for name, ours, value in others if value is not None]
    held = sum(
        round(low, 1) <= round(value, 1) <= round(high, 1) for _, (_, low, high), value in values
    )
    text = f"Values of the paper: {len(values)}; in our interval: {held}"
    if len(told) > 2:
        correlation = rank_correlation([ours[0] for _, ours, _ in told], [v for _, _, v in told])
        text += f"; Spearman's rank correlation: {correlation:.2f}"
    return ["", f"{text}.", *_order(told)]


def _order(told: Sequence[tuple[str, _Estimate, float]]) -> list[str]:
    """Of the pairs of cells with disjoint intervals, those in the paper's order."""
    apart, against = Counter[str](), Counter[str]()
    for (one, (_, low, high), value), (other, (_, bottom, top), rival) in combinations(told, 2):
        if value == rival or (low <= top and bottom <= high):
            continue
        apart.update((one, other))
        if (low > top) != (value > rival):
            against.update((one, other))
    pairs, wrong = apart.total() // 2, against.total() // 2
    if not pairs:
        return []
    text = f"Pairs whose intervals do not overlap: {pairs}; in the paper's order: {pairs - wrong}"
    if wrong:
        cells = (f"{name} ({count} of {apart[name]})" for name, count in against.most_common())
        text += f". Against it: {shown(', '.join(cells))}"
    return ["", f"{text}."]


def to_markdown(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; the first is its head."""
    escaped = ([shown(cell).replace("|", r"\|") for cell in line] for line in table)
    head, *body = (f"| {' | '.join(line)} |" for line in escaped)
    head = head.replace("|  |", "| |", 1) if not table[0][0] else head
    return [head, "| --- " * len(table[0]) + "|", *body]


def _span(estimate: _Estimate) -> str:
    mean, low, high = (_number(value) for value in estimate)
    return f"{mean} ({low} to {high})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{round(value, 1) + 0.0:.1f}"  # no minus before a zero


def _chance(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"
