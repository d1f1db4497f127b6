"""Reports of `cp-probe`: read, and grouped into conditions, whose probes differ by their seeds."""

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from cptools.cli._app import UsageError


@dataclass(frozen=True)
class Probe:
    """A line of a report.

    Attributes:
        accuracy: in percent, as are `low` and `high`.
        low: lower end of its interval over the test images.
        high: upper end.
        classifier: of noise alone; empty for an encoder's report.
        method: of the probe; empty where the report does not say.
        dataset: name of the dataset; empty where the report does not say.
        digest: of the dataset.
    """

    accuracy: float
    low: float
    high: float
    classifier: str
    method: str
    dataset: str
    digest: str


@dataclass(frozen=True)
class Condition:
    """Probes of the same, over seeds.

    Attributes:
        name: what a table or picture calls it.
        probes: one a seed.
    """

    name: str
    probes: tuple[Probe, ...]

    @property
    def values(self) -> list[float]:
        """The accuracies, in percent."""
        return [probe.accuracy for probe in self.probes]

    def interval(self) -> tuple[float, float, float]:
        """Mean accuracy and the ends of its 95% interval, in percent.

        Student's over the seeds; of a single probe its own, over the test images.
        """
        from cptools.core.evaluation.statistics import mean_interval

        low, high = self.probes[0].low, self.probes[0].high
        if len(self.probes) > 1:
            low, high = mean_interval(self.values)
        return fmean(self.values), max(low, 0), min(high, 100)

    def cell(self) -> tuple[str, str]:
        """Row and column of a condition that is named ROW.COLUMN.

        Raises:
            UsageError: it is not.
        """
        row, dot, column = self.name.rpartition(".")
        if not dot:
            raise UsageError(
                f"--grid needs conditions named ROW.COLUMN, not {self.name}; name files"
                " poison.victim-0.jsonl, or leave --grid out"
            )
        return row, column


def is_report(path: str) -> bool:
    """Whether what `resolve_input` returned begins as JSON does, and no artifact.

    Standard input is only peeked at; another pipe, which cannot be, counts as an artifact.
    """
    if path == "-":
        stream = sys.stdin.buffer
        if isinstance(stream, io.BufferedReader):
            return stream.peek(1).startswith(b"{")
        start = stream.tell()
        head = stream.read(1)
        stream.seek(start)
        return head == b"{"
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(1) == b"{"


def read_conditions(files: Sequence[str]) -> list[Condition]:
    """Read reports and group them, in the order in which conditions first appear.

    Files whose names are alike but for a number at the end (clean-0.jsonl, clean-1.jsonl) are
    seeds of one condition. Datasets and classifiers that one file tells apart are conditions of
    their own. A file that is given twice counts once.

    Raises:
        UsageError: a file holds no accuracies, or has no name.
    """
    found: dict[str, list[Probe]] = {}
    for file in dict.fromkeys(files):
        probes = _read(file)
        several = len({probe.digest for probe in probes}) > 1
        for probe in probes:
            words = [Path(file).stem.rstrip("0123456789").rstrip("-")]
            words += [probe.classifier] if probe.classifier else []
            words += ["on", probe.dataset, probe.digest[:6]] if several else []
            found.setdefault(" ".join(words), []).append(probe)
    return [Condition(name, tuple(probes)) for name, probes in found.items()]


def _read(file: str) -> list[Probe]:
    """The reports in a file of JSON lines."""
    if file == "-":
        raise UsageError("reports are told apart by the names of their files; give files")
    try:
        lines = [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()]
        if any(isinstance(line, dict) and "close_percent" in line for line in lines):
            raise UsageError(f"{file} holds distances, not accuracies; probe by another --method")
        probes = [_probe(line) for line in lines]
        if probes and all(0 <= p.low <= p.accuracy <= p.high <= 100 for p in probes):
            return probes
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; give reports of cp-probe") from None
    raise UsageError(f"{file} holds no reports of cp-probe; write them with cp-probe -o")


def _probe(line: dict[str, Any]) -> Probe:
    return Probe(
        accuracy=line["accuracy_percent"],
        low=line["low_percent"],
        high=line["high_percent"],
        classifier=str(line.get("classifier", "")),
        method=str(line.get("settings", {}).get("method", "")),
        dataset=str(line.get("dataset", "")),
        digest=str(line.get("dataset_sha256", "")),
    )
