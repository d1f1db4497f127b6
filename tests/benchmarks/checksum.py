"""What checking an artifact costs: `python tests/benchmarks/checksum.py [MEGABYTES]`.

Prints the time of reading and checking over that of reading alone, from a file in the page cache
and from a pipe, for the checksum and for SHA-256: medians of interleaved pairs.
"""

import hashlib
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from cptools.artifacts import checksum
from cptools.artifacts.schema import Dataset
from cptools.artifacts.stream import open_artifact, write_artifact

ROUNDS = 11


class Unchecked:
    """In place of a hash: takes no time, and fits whatever is read."""

    def update(self, data: object) -> None:
        """Nothing."""

    def hexdigest(self) -> Any:
        """What equals everything."""
        return mock.ANY


class Sha256(Unchecked):
    """The other hash, which fits whatever is read as well."""

    def __init__(self) -> None:
        self.update = hashlib.sha256().update  # type: ignore[method-assign]


def make(megabytes: int) -> Dataset:
    """A dataset of random images."""
    n = megabytes * 1_000_000 // (3 * 32 * 32)
    images = np.random.default_rng(0).integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    labels = np.zeros(n, np.int64)
    return Dataset(
        images, labels, images[:0], labels[:0], None, "random", ("a",),
        (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), None,
    )  # fmt: skip


def from_file(path: Path) -> float:
    """Seconds of reading a file."""
    start = time.perf_counter()
    open_artifact(path).read()
    return time.perf_counter() - start


def from_pipe(path: Path) -> float:
    """Seconds of reading a pipe that another thread fills from the file."""
    fifo = path.with_name("fifo")
    if not fifo.exists():
        os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(path.read_bytes()))
    writer.start()
    seconds = from_file(fifo)
    writer.join()
    return seconds


def ratio(measure: Callable[[Path], float], path: Path, with_hash: Callable[..., Any]) -> float:
    """The time with a hash over the time without."""
    pairs = []
    for _ in range(ROUNDS):
        with mock.patch.object(checksum, "begin", with_hash):
            checked = measure(path)
        with mock.patch.object(checksum, "begin", return_value=Unchecked()):
            pairs.append(checked / measure(path))
    return statistics.median(pairs)


def main() -> None:
    """Print the four ratios."""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 184  # CIFAR-10
    hashes = {"XXH3": checksum.begin, "SHA-256": lambda *_: Sha256()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        write_artifact(make(megabytes), path)
        for measure in (from_file, from_pipe):
            for name, with_hash in hashes.items():
                found = ratio(measure, path, with_hash)
                sys.stdout.write(f"{measure.__name__} {name}: {found:.2f}\n")


if __name__ == "__main__":
    main()
