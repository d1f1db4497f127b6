"""How fast a dataset of CIFAR-10's size goes through a pipe, and what it costs in memory.

`python tests/benchmarks/pipe.py` writes 60,000 images of 32x32 in one process and reads and
validates them in another. It prints one line of JSON a run and exits 1 if the best run is below
500 MB/s or the reader's peak memory above twice the payload.
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np

from cptools.artifacts.schema import Dataset
from cptools.artifacts.stream import open_artifact, write_artifact

RUNS = 5
MIN_RATE = 500e6  # bytes a second
MAX_MEMORY = 2.0  # times the payload


def make() -> Dataset:
    """A dataset of the size of CIFAR-10: 50,000 and 10,000 images, random pixels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60_000, 3, 32, 32), dtype=np.uint8)
    labels = rng.integers(0, 10, 60_000)
    return Dataset(
        train_images=images[:50_000],
        train_labels=labels[:50_000],
        test_images=images[50_000:],
        test_labels=labels[50_000:],
        train_index=None,
        name="random",
        classes=tuple("0123456789"),
        mean=(0.5, 0.5, 0.5),
        std=(0.3, 0.3, 0.3),
        source=None,
    )


def receive() -> None:
    """Read standard input; print size, seconds from the header on, and peak memory as JSON."""
    reader = open_artifact("-", expect=("dataset",))
    start = time.perf_counter()
    artifact = reader.read()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    payload = sum(array.nbytes for array in artifact.arrays().values())
    row = {"payload_bytes": payload, "seconds": seconds, "peak_bytes": peak}
    sys.stdout.write(json.dumps(row) + "\n")


def main() -> int:
    """Run the pairs of processes and judge the best."""
    rates, shares = [], []
    for _ in range(RUNS):
        writer = subprocess.Popen([sys.executable, __file__, "send"], stdout=subprocess.PIPE)
        command = [sys.executable, __file__, "receive"]
        done = subprocess.run(command, stdin=writer.stdout, capture_output=True, check=True)
        if writer.stdout is not None:
            writer.stdout.close()
        if writer.wait() != 0:
            return 1
        row = json.loads(done.stdout)
        rates.append(row["payload_bytes"] / row["seconds"])
        shares.append(row["peak_bytes"] / row["payload_bytes"])
        row |= {"megabytes_per_second": rates[-1] / 1e6, "peak_per_payload": shares[-1]}
        sys.stdout.write(json.dumps({k: round(v, 3) for k, v in row.items()}) + "\n")
    return 0 if max(rates) >= MIN_RATE and max(shares) <= MAX_MEMORY else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["send"]:
        write_artifact(make(), "-")
    elif sys.argv[1:] == ["receive"]:
        receive()
    else:
        sys.exit(main())
