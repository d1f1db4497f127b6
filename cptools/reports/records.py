"""Reports of `cp-probe`: read, and grouped into conditions, whose lines differ by their seeds."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple

from cptools.artifacts.errors import UpstreamError  # noqa: TID253 - without numpy
from cptools.artifacts.strict_json import parse_json  # noqa: TID253 - without numpy
from cptools.reports.report import columns, read_text
from cptools.text import shown

if TYPE_CHECKING:
    from cptools.reports.report import Report

_SEEDED = re.compile(r"(?:(?P<name>.*)-)?(?P<seed>\d+)", re.DOTALL)
_SHARES = ("accuracy", "changed", "close")


@dataclass(frozen=True)
class Probe:
    """A record of an accuracy, or another fraction of images.

    Attributes:
        accuracy: in percent, as are `low` and `high`.
        low: lower end of its interval over the images.
        high: upper end.
        classifier: of noise alone; empty for an encoder's report.
        method: of the probe; empty where the report does not say.
        dataset: name of the dataset; empty where the report does not say.
        digest: of the dataset.
        seed: the number at the end of the file's name; None where there is none.
        share: `accuracy`; or what counts, `changed` images of a dataset, or those of which an
            encoder holds two views `close`.
        curve: of a training that was probed on the way, accuracy in percent by epoch, in order.
    """

    accuracy: float
    low: float
    high: float
    classifier: str
    method: str
    dataset: str
    digest: str
    seed: int | None
    share: str = "accuracy"
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Finding:
    """A line of an audit.

    Attributes:
        score: at least 0; alarm is raised from 1 on.
        verdict: in a word.
        dataset: its name; empty where the line does not say.
        digest: of the dataset.
    """

    score: float
    verdict: str
    dataset: str
    digest: str


@dataclass(frozen=True)
class Condition:
    """Probes of the same, over seeds.

    Attributes:
        name: label in tables and figures.
        probes: one a seed.
    """

    name: str
    probes: tuple[Probe, ...]

    @property
    def label(self) -> str:
        """What the values are."""
        return f"{self.probes[0].share} (%)"

    @property
    def values(self) -> list[float]:
        """The accuracies, in percent."""
        return [probe.accuracy for probe in self.probes]

    def by_seed(self) -> dict[int | None, float]:
        """The accuracies, in percent, by seed.

        Raises:
            ValueError: a seed has two.
        """
        seeds = Counter(probe.seed for probe in self.probes)
        twice = [seed for seed, count in seeds.items() if count > 1]
        if twice:
            raise ValueError(
                f"{self.name} has several accuracies of seed {twice[0]}; give one, or files of"
                " other names"
            )
        return {probe.seed: probe.accuracy for probe in self.probes}

    def interval(self) -> tuple[float, float, float]:
        """Mean accuracy and the ends of its 95% interval, in percent.

        Student's over the seeds; of a single probe its own, over the test images.
        """
        from cptools.core.evaluation.statistics import mean_interval

        low, high = self.probes[0].low, self.probes[0].high
        if len(self.probes) > 1:
            low, high = mean_interval(self.values)
        return fmean(self.values), max(low, 0), min(high, 100)

    def peak(self) -> tuple[float, float] | None:
        """Accuracy at the best epoch, in percent, and that epoch: means over the seeds.

        None where the training was not probed on the way.
        """
        if not all(probe.curve for probe in self.probes):
            return None
        peaks = [max(probe.curve, key=lambda point: point[1]) for probe in self.probes]
        return fmean(accuracy for _, accuracy in peaks), fmean(epoch for epoch, _ in peaks)

    def curve(self) -> tuple[list[int], list[float]]:
        """Epochs, and the mean accuracy over the seeds after each, in percent.

        Raises:
            ValueError: the seeds were probed after different epochs.
        """
        epochs = {tuple(epoch for epoch, _ in probe.curve) for probe in self.probes}
        if len(epochs) > 1:
            raise ValueError(
                f"{self.name} has seeds that were probed after different epochs; give files of"
                " other names"
            )
        columns = zip(*(probe.curve for probe in self.probes), strict=True)
        means = [fmean(accuracy for _, accuracy in points) for points in columns]
        return [*epochs.pop()], means

    def cell(self) -> tuple[str, str]:
        """Row and column of a condition that is named ROW.COLUMN.

        Raises:
            ValueError: it is not.
        """
        row, dot, column = self.name.rpartition(".")
        if not dot:
            raise ValueError(
                f"`grid` needs conditions named ROW.COLUMN, not {self.name}; name files"
                " poison.victim-0.jsonl, or leave `grid` out"
            )
        return row, column


@dataclass(frozen=True)
class Audited:
    """Audits of datasets that were made alike.

    Attributes:
        name: label in tables and figures.
        findings: one a dataset.
    """

    name: str
    findings: tuple[Finding, ...]

    @property
    def scores(self) -> list[float]:
        """One a dataset."""
        return [finding.score for finding in self.findings]

    def summary(self) -> tuple[str, str, str, str]:
        """Median and range of the scores, number of datasets, and verdicts, most frequent first."""
        verdicts = Counter(finding.verdict for finding in self.findings).most_common()
        return (
            f"{median(self.scores):.2f}",
            f"{min(self.scores):.2f} to {max(self.scores):.2f}",
            f"{len(self.scores)}",
            ", ".join(f"{count} {verdict}" for verdict, count in verdicts),
        )


def read_conditions(files: Sequence[str]) -> tuple[list[Condition], list[Audited]]:
    """Read reports and group them, in the order in which conditions first appear.

    Files whose names are alike but for a hyphen and a number at the end (clean-0.jsonl,
    clean-1.jsonl) are seeds of one condition. Datasets and classifiers that one file tells apart
    are conditions of their own. What is given twice counts once: a file, or a copy of it.

    Returns:
        Accuracies, or audits: one of the two is empty.

    Raises:
        ValueError: a file holds neither, or has no name; there are both; or a condition has two
            of one seed, or probes that do not compare.
    """
    return _group(
        [(source.condition, [line for _, line in source.lines]) for source in _sources(files)]
    )


def read_rows(files: Sequence[str]) -> list[dict[str, Any]]:
    """Read reports as rows of a table in long form, one a record.

    Returns:
        Of each: the file, the condition and the seed that its name tells, and the record's
        `columns`. What is given twice counts once.

    Raises:
        ValueError: a file holds no reports, or has no name.
    """
    return [
        {
            "file": source.file, "condition": source.condition, "seed": source.seed,
            **columns(record),
        }
        for source in _sources(files)
        for record, _ in source.lines
    ]  # fmt: skip


class _Source(NamedTuple):
    """A file of reports: what its name tells, and its records, each read as well."""

    file: str
    condition: str
    seed: int | None
    lines: list[tuple[dict[str, Any], Probe | Finding]]


def _sources(files: Sequence[str]) -> Iterator[_Source]:
    """The files, without copies of those before."""
    seen = set()
    for file in files:
        text = _text(file)
        if (Path(file).name, text) in seen:
            continue
        seen.add((Path(file).name, text))
        name, seed = _split(file)
        lines = _read(file, text, seed)
        if not name:
            raise ValueError(f"{file} has no name for its condition; rename it, e.g. clean-0.jsonl")
        yield _Source(file, name, seed, lines)


def conditions_of(
    reports: "Mapping[str, Report | Sequence[Report]]",
) -> tuple[list[Condition], list[Audited]]:
    """Group reports by the names of their conditions; several of a name are seeds 0, 1, ... of it.

    Returns:
        Accuracies, or audits: one of the two is empty.

    Raises:
        ValueError: one tells neither, there are both, or probes of a name do not compare.
    """
    named: list[tuple[str, list[Probe | Finding]]] = []
    for name, given in reports.items():
        several = given if isinstance(given, Sequence) else [given]
        for seed, report in enumerate(several):
            try:
                lines = [_line(record, seed) for record in report.records]
            except (ValueError, LookupError, TypeError, AttributeError):
                raise ValueError(
                    f"{name} is neither a report of accuracies nor an audit; give the"
                    " result of `cp.probe` or `cp.audit`"
                ) from None
            named.append((name, lines))
    if not named:
        raise ValueError("no reports; give some")
    return _group(named)


def _group(
    named: "Iterable[tuple[str, list[Probe | Finding]]]",
) -> tuple[list[Condition], list[Audited]]:
    probes: dict[str, list[Probe]] = {}
    findings: dict[str, list[Finding]] = {}
    for name, lines in named:
        several = len({line.digest for line in lines}) > 1
        for line in lines:
            words = [name]
            on = ["on", line.dataset, line.digest[:6]] if several else []
            if isinstance(line, Finding):
                findings.setdefault(" ".join([*words, *on]), []).append(line)
            else:
                words += [line.classifier] if line.classifier else []
                probes.setdefault(" ".join([*words, *on]), []).append(line)
    if probes and findings:
        raise ValueError(
            f"{next(iter(findings))} was audited, {next(iter(probes))} is an accuracy; give one or"
            " the other"
        )
    shares = dict.fromkeys(line.share for lines in probes.values() for line in lines)
    if len(shares) > 1:
        raise ValueError(
            f"reports of {' and '.join(shares)} cannot be combined; give reports of one kind"
        )
    conditions = [Condition(name, tuple(lines)) for name, lines in probes.items()]
    for condition in conditions:
        _check_alike(condition)
    return (
        conditions,
        [Audited(name, tuple(lines)) for name, lines in findings.items()],
    )


def _check_alike(condition: Condition) -> None:
    """Raise `ValueError` unless the probes of a condition differ in nothing but their seeds."""
    for what in ("method", "dataset"):
        found = dict.fromkeys(getattr(probe, what) for probe in condition.probes)
        if len(found) > 1 and not condition.probes[0].classifier:
            raise ValueError(
                f"{condition.name} has probes of more than one {what}, {' and '.join(found)}, which"
                " are not comparable; give files of other names"
            )
    if any(probe.seed is not None for probe in condition.probes):
        condition.by_seed()


def read_paper(file: Path, names: Collection[str]) -> dict[str, float]:
    """Read what a paper reports: JSON, an object of conditions and accuracies in percent.

    Returns:
        The accuracies of those conditions that are among `names`.

    Raises:
        ValueError: the file holds no such object, or none of the names.
    """
    try:
        values = parse_json(read_text(file))
        paper = {name: float(_number(value)) for name, value in values.items()}
        if not all(0 <= value <= 100 for value in paper.values()):
            raise ValueError("no accuracy")
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}; give JSON of a paper's values") from None
    except (ValueError, TypeError, AttributeError):
        raise ValueError(
            f"{file} contains no values of a paper; expected JSON such as"
            ' {"clean.simclr": 91.8}, in percent'
        ) from None
    if not paper.keys() & set(names):
        told = " ".join(", ".join([*paper][:6]).split()) or "nothing"
        raise ValueError(f"{file} has no values for {', '.join(names)}; it has {told}")
    return {name: value for name, value in paper.items() if name in names}


def _text(file: str) -> str:
    if file == "-":
        raise ValueError("reports are named by their files; give files")
    try:
        return read_text(Path(file))
    except UnicodeDecodeError:
        return ""  # no report
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}; give reports of cp-probe") from None


def _read(file: str, text: str, seed: int | None) -> list[tuple[dict[str, Any], Probe | Finding]]:
    """The reports in a file of JSON lines, as they stand and read."""
    reports: list[tuple[dict[str, Any], Probe | Finding]] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            told = parse_json(line)
            if told.get("kind") == "failure":
                raise UpstreamError(str(told["tool"]), str(told["message"]))
            reports.append((told, _line(told, seed)))
        except UpstreamError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError):
            if not reports:
                break
            raise ValueError(
                f"line {number} of {file} is not a report of cp-probe; is it truncated?"
            ) from None
    if not reports:
        raise ValueError(f"{file} contains no reports of cp-probe; write them with cp-probe -o")
    return reports


def _split(file: str) -> tuple[str, int | None]:
    """What a file's name says: a condition, and the seed behind it, if there is one."""
    stem = Path(file).stem
    seeded = _SEEDED.fullmatch(stem)
    return (seeded["name"] or "", int(seeded["seed"])) if seeded else (stem, None)


def _line(told: dict[str, Any], seed: int | None) -> Probe | Finding:
    return _finding(told) if "verdict" in told else read_probe(told, seed)


def read_probe(line: Mapping[str, Any], seed: int | None) -> Probe:
    """A record of an accuracy, or another fraction of images.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is none.
    """
    share = next((name for name in _SHARES if f"{name}_percent" in line), "accuracy")
    probe = Probe(
        accuracy=_number(line[f"{share}_percent"]),
        low=_number(line["low_percent"]),
        high=_number(line["high_percent"]),
        classifier=shown(line.get("classifier", "")),
        method=shown(line.get("settings", {}).get("method", "")),
        dataset=shown(line.get("dataset", "")),
        digest=str(line.get("dataset_sha256", "")),
        seed=seed,
        share=share,
        curve=_curve(line),
    )
    if not 0 <= probe.low <= probe.accuracy <= probe.high <= 100:
        raise ValueError("no accuracy")
    return probe


def _curve(line: Mapping[str, Any]) -> tuple[tuple[int, float], ...]:
    """Accuracy by epoch, where a line tells it."""
    epochs, accuracies = line.get("epochs", []), line.get("accuracies_percent", [])
    curve = tuple(
        (int(_number(epoch)), _number(accuracy))
        for epoch, accuracy in zip(epochs, accuracies, strict=True)
    )
    if not all(0 <= accuracy <= 100 for _, accuracy in curve):
        raise ValueError("no accuracy")
    return curve


def _finding(line: dict[str, Any]) -> Finding:
    score = _number(line["score"])
    if not 0 <= score < math.inf:
        raise ValueError("no score")
    return Finding(
        score=score,
        verdict=shown(line["verdict"]),
        dataset=shown(line.get("dataset", "")),
        digest=str(line.get("dataset_sha256", "")),
    )


def _number(value: object) -> float:
    """A number as it stands; of bool and text that passes for one a TypeError."""
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return value  # type: ignore[return-value]
