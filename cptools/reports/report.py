"""Reports: what probes and audits measured, as records, sentences and tables."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cptools.artifacts.strict_json import parse_json  # noqa: TID253 - without numpy
from cptools.text import shown

if TYPE_CHECKING:
    import pandas

MAX_BYTES = 64 << 20  # of a file of reports; a line has some KiB

MOST_MARKED = 50  # percent of the images that an audit advises to leave out

Record = dict[str, Any]
"""A line of a report; keys are stable, units in their names."""


@dataclass(frozen=True)
class Report:
    """What a probe or an audit measured.

    Attributes:
        records: one a measurement, as `cp-probe --json` prints them: values with their units in
            the names, the settings, and the history of what was measured.
    """

    kind: ClassVar[str] = "report"

    records: tuple[Record, ...]

    @property
    def accuracy(self) -> float:
        """Accuracy of the first record, in percent.

        Raises:
            ValueError: it tells none.
        """
        return float(self._first("accuracy_percent"))

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 95% interval of that share, in percent, over the images.

        Raises:
            ValueError: the first record tells none.
        """
        return float(self._first("low_percent")), float(self._first("high_percent"))

    @property
    def verdict(self) -> str:
        """Of an audit, in a word.

        Raises:
            ValueError: it is none.
        """
        return str(self._first("verdict"))

    def _first(self, key: str) -> Any:
        try:
            return self.records[0][key]
        except (LookupError, TypeError):
            told = ", ".join(self.records[0]) if self.records else "nothing"
            raise ValueError(f"the report has no {key}; it has {told}") from None

    def __str__(self) -> str:
        """A sentence for each record."""
        return "\n".join(shown(sentence(record)) for record in self.records)

    def to_json(self) -> str:
        """JSON lines, the form in which reports are files."""
        return "".join(json.dumps(record) + "\n" for record in self.records)

    def to_csv(self) -> str:
        """A table with a head; see `columns`."""
        return to_csv(map(columns, self.records))

    def to_pandas(self) -> "pandas.DataFrame":
        """The same table as a data frame.

        Raises:
            ValueError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ValueError(
                "pandas is not installed; pip install pandas, or use `records`"
            ) from None
        return pandas.DataFrame([columns(record) for record in self.records])


def columns(record: Mapping[str, Any]) -> Record:
    """The numbers and words of a record, settings as `settings.NAME`; no lists, no history."""
    found: Record = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{key}": v for key, v in columns(value).items()}
        elif not isinstance(value, list | tuple):
            found[name] = value
    return found


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with a head that names every column that one of them has; a line each."""
    table = [{shown(name): _cell(value) for name, value in row.items()} for row in rows]
    names = list(dict.fromkeys(name for row in table for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return stream.getvalue()


def _cell(value: object) -> object:
    return shown(value) if isinstance(value, str) else value


def read_text(file: Path) -> str:
    """The text of a file of reports or of a paper's values.

    Raises:
        ValueError: it is not UTF-8, or longer than `MAX_BYTES`.
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{file} is larger than {MAX_BYTES >> 20} MiB; give reports of cp-probe")
    return data.decode()


def parse_report(text: str) -> Report:
    """Inverse of `Report.to_json`.

    Raises:
        ValueError: a line is no record.
    """
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = parse_json(line)
            sentence(record)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ValueError(
                f"line {number} is not a report of `cp.probe`; is it truncated?"
            ) from None
        records.append(record)
    if not records:
        raise ValueError("no report of `cp.probe`; write one with `cp.save`")
    return Report(tuple(records))


def sentence(report: Mapping[str, Any]) -> str:
    """A record for a person."""
    method = report["settings"]["method"]
    if method == "recommend":
        mark = "->" if report["recommended"] else "  "
        return (
            f"{mark} {report['defense']:<14} {report['score_percent']:5.1f} %"
            f" ({report['low_percent']:.1f} to {report['high_percent']:.1f}),"
            f" costs {report['cost_points']:5.1f} points: {report['command']}"
        )
    if method == "audit":
        return (
            f"{report['verdict']}: {report['total']} images of {report['dataset']} score"
            f" {report['score']:.2f}, where 1 raises the alarm (detail shared within classes:"
            f" {report['agreement_score']:.2f}; color of noise: {report['noise_score']:.2f});"
            f" {report['marked_percent']:.1f} % of the images marked; {_advice(report)}"
        )
    if method == "changed":
        return (
            f"{report['changed_percent']:.1f} % of {report['total']} images of {report['dataset']}"
            f" are not the clean ones ({_interval(report)})"
        )
    if method == "separability":
        return (
            f"{report['classifier']} classifier of noise alone: the class of"
            f" {report['accuracy_percent']:.1f} % of {report['total']} held-out images of"
            f" {report['dataset']} ({_interval(report)}),"
            f" {report['train_accuracy_percent']:.1f} % of the {report['train_total']} it was"
            " fitted to"
        )
    model = f"{report['algorithm']}, {report['architecture']} width {report['width']}"
    if method == "distances":
        return (
            f"cosine distance of two views of each of {report['total']} images of"
            f" {report['dataset']}: median {report['median']:.3f}, mean {report['mean']:.3f},"
            f" {report['close_percent']:.1f} % below {report['close_below']}"
            f" ({report['features']} of {model})"
        )
    note = ", the best epoch on the test images" if report["selected_on_test"] else ""
    if "peak_epoch" in report:
        note = f", best {report['peak_percent']:.1f} % after epoch {report['peak_epoch']}"
    what = "own classifier" if method == "head" else f"{method} probe"
    return (
        f"{report['accuracy_percent']:.1f} % of {report['total']} test images of"
        f" {report['dataset']} ({_interval(report)}; {what} of {model}{note})"
    )


def _advice(audit: Mapping[str, Any]) -> str:
    """What to do after an audit."""
    if audit["verdict"] in ("poisoned", "suspicious"):
        if audit["marked_percent"] < MOST_MARKED:
            return "look at these and leave them out: --scores FILE, then cp-dataset --drop FILE"
        return "too many to leave out: see cp-defend --recommend, or get the images elsewhere"
    if audit["verdict"] == "noisy":
        return "noise without a pattern, of a camera or of adversarial poison: see cp-probe(1)"
    return "nothing was found, which is no proof: cp-probe(1) says what is missed"


def _interval(report: Mapping[str, Any]) -> str:
    return f"95% interval {report['low_percent']:.1f} to {report['high_percent']:.1f}"
