"""Every tool where a standard stream is closed, full or a pipe that nobody reads.

The short form meets each command with one fault, the long one (`-m long`) with all of them.
"""

import pytest
from forked import CLOSED, GONE, TOOLS, run

POISON = ("--rounds", "1", "--model-steps", "1", "--noise-steps", "1", "--batch-size", "16")
TRAINING = ("--epochs", "1", "--batch-size", "16")
WIDTH = ("--width", "8", "--precision", "fp32")
GENERATE = ("cp-generate", "clean", *POISON, *WIDTH)
PRETRAIN = ("cp-pretrain", "clean", *TRAINING, *WIDTH)
PROBE = ("cp-probe", "encoder", "--dataset", "clean", "--method", "knn", "--precision", "fp32")

COMMANDS = [
    *([f"cp-{name}", flag] for name in TOOLS for flag in ("--help", "--version")),
    *(["cptools", *words] for words in ([], ["--help"], ["--version"])),
    *(["cptools", name, "--help"] for name in ("history", "verify", "report", "page")),
    *(["cptools", name, "--help"] for name in ("import", "export")),
    *(["cp-dataset", "clean", *words] for words in ([], ["--info"], ["--json"])),
    *(["cp-perturb", "clean", "--noise", *words] for words in ([], ["-n"])),
    *([*GENERATE, *words] for words in ([], ["-n"], ["--delta", "-"])),
    *([*PRETRAIN, *words] for words in ([], ["-n"])),
    *([*PROBE, *words] for words in ([], ["-n"], ["--json"], ["-o", "-"])),
    *(["cp-defend", "clean", "--gray", *words] for words in ([], ["-n"])),
    *(
        ["cp-select", "clean", "--method", "random", "--fraction", "0.5", *words]
        for words in ([], ["-n"])
    ),
    ["cp-visualize", "report-0.jsonl"],
    ["cptools", "history", "poisoned"],
    ["cptools", "history", "poisoned", "--json"],
    ["cptools", "verify", "poisoned", "clean"],
    ["cptools", "report", "report-0.jsonl"],
    ["cptools", "report", "report-0.jsonl", "--csv"],
    ["cptools", "page", "results"],
    ["cptools", "import", "delta.npy", "--dataset", "clean", "--unit", "epsilon"],
]
FAILURES = [["cptools", "verify", "missing"], ["cp-dataset", "--bogus"], ["cp-probe", "missing"]]
FILES = [
    [*GENERATE, "--delta", "d", "-o"],
    [*PRETRAIN, "-o"],
    [*PROBE, "-o"],
    ["cp-dataset", "clean", "-o"],
    ["cp-visualize", "report-0.jsonl", "--format", "png", "-o"],
    ["cptools", "page", "results", "-o"],
]

CLOSED_OUTPUT = "error: standard output is closed; give it a file or a pipe\n"
FULL = "error: No space left on device; free some space or write elsewhere\n"
ALL_CLOSED = {"stdin": CLOSED, "stdout": CLOSED, "stderr": CLOSED}
LOST = [  # of standard output; exit code and message
    ({"stdout": CLOSED}, 2, CLOSED_OUTPUT),
    ({"stdout": "/dev/full"}, 1, FULL),
    ({"stdout": GONE}, 141, ""),
    (ALL_CLOSED, 2, ""),
]
UNHEARD = [{"stdin": CLOSED}, {"stderr": CLOSED}, {"stderr": "/dev/full"}, {"stderr": GONE}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    (folder / "results").mkdir()
    (folder / "results" / "a.md").write_text("| a |\n| - |\n| 1 |\n")
    for words in (
        ["cp-dataset", "shapes", "--limit", 60, "--limit-test", 10, "--size", 16, "-o", "clean"],
        [*GENERATE, "--delta", "delta", "-o", "poisoned"],
        [*PRETRAIN, "-o", "encoder"],
        [*PROBE, "-o", "report-0.jsonl"],
        ["cptools", "export", "delta", "-o", "delta.npy"],
    ):
        assert run(words, folder) == (0, "")
    return folder


def product(commands, faults, *, every=1):
    """Every command with every fault; each `every`-th command meets one in the short form."""
    return [
        pytest.param(
            command,
            fault,
            marks=() if i % (every * len(faults)) == every * j else pytest.mark.long,
            id=f"{' '.join(command[:2] + command[-1:])} {j}",
        )
        for i, command in enumerate(commands)
        for j, fault in enumerate(faults)
    ]


@pytest.mark.parametrize(("command", "fault"), product(COMMANDS, LOST))
def test_output_that_is_lost_is_no_success(folder, command, fault):
    streams, code, message = fault
    told = f"{command[0]}: {message}" if message else ""
    assert run(command, folder, **streams) == (code, told)


@pytest.mark.parametrize(("command", "fault"), product(COMMANDS[::-1], UNHEARD, every=3))
def test_other_streams_do_not_matter(folder, command, fault):
    assert run(command, folder, **fault) == (0, "")


@pytest.mark.parametrize(("command", "fault"), product(FAILURES, UNHEARD[1:]))
def test_a_failure_that_nobody_hears_of_has_its_exit_code(folder, command, fault):
    assert run(command, folder, **fault) == (2, "")


@pytest.mark.parametrize(
    ("command", "fault"),
    product(
        FILES, [{"stdin": CLOSED, "stdout": CLOSED, "stderr": CLOSED}, {"stdout": "/dev/full"}]
    ),
)
def test_a_file_is_written_whatever_the_streams(folder, command, fault):
    assert run([*command, "whole"], folder) == (0, "")
    assert run([*command, "out"], folder, **fault) == (0, "")
    assert (folder / "out").read_bytes() == (folder / "whole").read_bytes()
    for name in ("out", "whole"):
        (folder / name).unlink()
