"""A mutation fuzzer: seeded, so that each mutant can be made again from its number.

`python tests/fuzz/fuzzing.py --mutants 1000000` runs all targets for long; see `--help`. What a
target does with a mutant is in `fuzz_targets`: it returns, or raises a `ValueError` of one line.
"""

import argparse
import copy
import json
import random
import re
import resource
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cptools.artifacts import checksum
from cptools.artifacts.frame import decode_header
from cptools.artifacts.strict_json import load_json

SECONDS = 2.0  # CPU time that one input may take
MIB = 100  # by which reading may raise the process's peak memory

_BYTES = [b"\0", b"\xff", b"{", b"[", b'"', b"\n", b"PK", b"\x80", b"-", b"9" * 20]
_SIZES = [0, 1, 2, 7, 2**7, 2**15, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
_NUMBERS = [
    *(
        "0",
        "-1",
        "1",
        "2",
        "-0",
        "-0.0",
        "0.5",
        "1.0",
        "1e-400",
        "1e308",
        "1e309",
        "1E+2",
        "00",
        "1.",
    ),
    *("255", "256", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551616", "1" + "0" * 400, "-1" + "0" * 5000, "NaN", "-Infinity", "1e999"),
]
_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e300, 2**31, 2**53, 2**63, 2**64, 10**30),
    *(
        "",
        "a",
        "\0",
        "\n",
        "\x1b[2J",
        "\ud800",
        "\U0001f600",
        "x" * 300,
        "../x",
        "-x",
        "8/255",
        "1/0",
    ),
    *("shapes", "class", "dataset", "F32", "I64", "train.images", "0" * 64, "f" * 64),
    *([], {}, [[]], [{}], {"": 0}, {"a": {"b": [1]}}, [0, 0], [1, 2, 3], [0.5, 0.5, 0.5]),
]


class Finding(NamedTuple):
    """A mutant that was not refused or taken as it should be."""

    target: str
    number: int
    problem: str
    data: bytes


# Mutations of bytes


def change_bytes(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Flip, replace, insert, delete, repeat, cut, or splice with another seed."""
    place = rng.randrange(len(data) + 1)
    end = min(len(data), place + rng.choice((1, 1, 2, 4, 8, 16, 64, 512)))
    match rng.randrange(9):
        case 0 if data:
            place %= len(data)
            flipped = data[place] ^ (1 << rng.randrange(8))
            return data[:place] + bytes([flipped]) + data[place + 1 :]
        case 1:
            return data[:place] + rng.randbytes(end - place) + data[end:]
        case 2:
            return data[:place] + rng.choice(_BYTES) + data[place:]
        case 3:
            return data[:place] + data[end:]
        case 4:
            return data[:end] + data[place:end] * rng.choice((1, 2, 30)) + data[end:]
        case 5:
            return data[:place]
        case 6:
            other = rng.choice(others)
            return data[:place] + other[rng.randrange(len(other) + 1) :]
        case 7:
            form = rng.choice(("<H", "<I", "<Q", ">H", ">I", ">Q"))
            size = struct.calcsize(form)
            number = (rng.choice(_SIZES) + rng.randrange(-1, 2)) % (1 << 8 * size)
            return data[:place] + struct.pack(form, number) + data[place + size :]
    return data[:place] + bytes(end - place) + data[end:]


def few(change: Callable[[bytes, random.Random, Sequence[bytes]], bytes]) -> Any:
    """The same change one to four times."""

    def repeated(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            data = change(data, rng, others)
        return data

    return repeated


# Mutations of JSON


def change_json(value: Any, rng: random.Random) -> Any:
    """Change one value, key or list somewhere in a JSON value, in place where it can be."""
    places = list(_places(value))
    if not places:
        return copy.deepcopy(rng.choice(_VALUES))
    holder, key = rng.choice(places)
    match rng.randrange(8):
        case 0 | 1 | 2:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
        case 3:
            del holder[key]
        case 4:
            other, place = rng.choice(places)
            holder[key] = copy.deepcopy(other[place])
        case 5:
            if isinstance(holder, dict):
                other, place = rng.choice(places)
                name = place if isinstance(place, str) else rng.choice(("", "a", "-", "__x", "é"))
                holder[name] = holder.pop(key)
            else:
                holder.insert(key, copy.deepcopy(holder[key]))
        case 6 if isinstance(holder[key], int | float):
            holder[key] += rng.choice((-1, 1, -8, 8, 0.5, 2**32))
        case 7 if isinstance(holder[key], str):
            text = holder[key]
            place = rng.randrange(len(text) + 1)
            holder[key] = text[:place] + rng.choice(("", "0", "\n", "é", "/")) + text[place + 1 :]
        case _:
            deep: Any = holder[key]
            for _ in range(rng.choice((1, 2, 50, 150, 700))):
                deep = rng.choice(([deep], {"a": deep}))
            holder[key] = deep
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every list or object with each of its indices or keys."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict | list):
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            for key in keys:
                yield holder, key
                waiting.append(holder[key])


def change_numbers(text: str, rng: random.Random) -> str:
    """Write another number in place of one, also such as no parser gives."""
    numbers = list(re.finditer(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", text))
    if not numbers:
        return text
    found = rng.choice(numbers)
    return text[: found.start()] + rng.choice(_NUMBERS) + text[found.end() :]


def json_text(value: Any, rng: random.Random) -> str:
    """Its text, at times with other numbers, a key twice, spaces, or raw characters."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.7)
    match rng.randrange(8):
        case 0 | 1:
            return change_numbers(text, rng)
        case 2:
            return text.replace(", ", rng.choice((",", " , ", ",,")), rng.choice((1, -1)))
        case 3 if text.startswith("{") and len(text) > 2:
            return text[:-1] + ", " + text[1:]
        case 4:
            place = rng.randrange(len(text) + 1)
            return text[:place] + rng.choice('[]{},:"\\ 0\n') + text[place:]
    return text


def change_line(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change a line of JSON, or bytes."""
    lines = data.splitlines() or [b""]
    number = rng.randrange(len(lines))
    try:
        value = change_json(json.loads(lines[number]), rng)
        lines[number] = json_text(value, rng).encode("utf-8", "surrogatepass")
    except (ValueError, OverflowError, RecursionError):
        return change_bytes(data, rng, others)
    if rng.random() < 0.1:
        lines.append(rng.choice(lines))
    return b"\n".join(lines) + b"\n"


def change_artifact(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change the table of tensors, the header of cptools, or bytes; the length fits most times."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        table, payload = json.loads(data[8 : 8 + length]), data[8 + length :]
        match rng.randrange(4):
            case 0:
                table = change_json(table, rng)
            case 1 | 2:
                inner = change_json(json.loads(table["__metadata__"]["cptools"]), rng)
                table["__metadata__"]["cptools"] = json_text(inner, rng)
            case _:
                data = change_bytes(data, rng, others)
                return with_checksum(data) if rng.random() < 0.8 else data
        text = json_text(table, rng) if rng.random() < 0.2 else json.dumps(table)
    except (ValueError, TypeError, LookupError, OverflowError, struct.error, RecursionError):
        return change_bytes(data, rng, others)
    header = text.encode("utf-8", "surrogatepass")
    return with_checksum(struct.pack("<Q", len(header)) + header + payload)


def with_checksum(data: bytes) -> bytes:
    """An artifact whose checksum fits, if its header can be read as far as that."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        specs, metadata = decode_header(data[8 : 8 + length])
        fields = load_json(metadata["cptools"])
        if checksum.KEY not in fields:
            return data
        total = checksum.begin(specs, fields)
        total.update(data[8 + length :])
        right = total.hexdigest().encode()
        return (
            data[:8]
            + data[8 : 8 + length].replace(fields[checksum.KEY].encode(), right)
            + (data[8 + length :])
        )
    except (ValueError, TypeError, LookupError, AttributeError, struct.error):
        return data


# Running


class Target(NamedTuple):
    """What is fuzzed.

    Attributes:
        seeds: makes valid inputs.
        read: reads one, and raises AssertionError where it took what does not hold together.
        change: makes a mutant of a seed.
        share: of the mutants of a run of all targets.
    """

    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes], object]
    change: Callable[[bytes, random.Random, Sequence[bytes]], bytes]
    share: float


def mutant(target: Target, seeds: Sequence[bytes], name: str, number: int) -> bytes:
    """A mutant by its number."""
    rng = random.Random(f"{name}/{number}")
    return few(target.change)(rng.choice(seeds), rng, seeds)


def problem_of(read: Callable[[bytes], object], data: bytes) -> tuple[str, bool]:
    """What is wrong with how an input was read, empty for nothing; and whether it was taken."""
    before, start = _peak(), time.process_time()
    problem, is_taken = "", False
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, 5 * SECONDS)
    try:
        read(data)
        is_taken = True
    except ValueError as error:
        text = str(error)
        if not text or len(text.splitlines()) != 1:
            problem = f"a message of {len(text.splitlines())} lines: {text[:200]!r}"
        elif type(error).__module__ == "builtins" and type(error) is not ValueError:
            problem = f"{type(error).__name__}: {text[:200]}"
        elif " object at 0x" in text or len(text) > 2000:
            problem = f"a message that tells nobody anything: {text[:200]!r}"
    except AssertionError as error:
        problem = f"it was taken, but {str(error)[:300]}"
    except (Exception, _Hang) as error:  # noqa: BLE001 - that is what is looked for
        problem = f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if (seconds := time.process_time() - start) > SECONDS:
        problem += f" took {seconds:.1f} s"
    if (grown := (_peak() - before) >> 10) > MIB:
        problem += f" took {grown} MiB"
    return problem, is_taken


class _Hang(BaseException):
    """An input takes so long that it is given up."""


def _stop(*_: object) -> None:
    raise _Hang


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fuzz(name: str, target: Target, numbers: range) -> Iterator[Finding | bool]:
    """Read mutants; yields whether each was taken, or what was found."""
    warnings.simplefilter("error")  # a user would see them
    seeds = target.seeds()
    for seed in seeds:  # also loads what is imported late
        if problem := problem_of(target.read, seed)[0]:
            yield Finding(name, -1, problem, seed)
    for number in numbers:
        data = mutant(target, seeds, name, number)
        problem, is_taken = problem_of(target.read, data)
        yield Finding(name, number, problem, data) if problem else is_taken


def main(arguments: Sequence[str] | None = None) -> int:
    """Run targets and print a line for each; findings are kept as files."""
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--mutants", type=int, default=100_000, help="in all (default: 100000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--keep", type=Path, help="folder for the inputs found")
    args = parser.parse_args(arguments)
    names = args.targets or list(TARGETS)
    whole = sum(TARGETS[name].share for name in names)
    bad = 0
    for name in names:
        count = round(args.mutants * TARGETS[name].share / whole)
        taken, kinds = 0, dict[str, int]()
        start = time.process_time()
        for result in fuzz(name, TARGETS[name], range(args.first, args.first + count)):
            if isinstance(result, bool):
                taken += result
                continue
            kind = re.sub(r"\d+", "N", result.problem)[:60]
            kinds[kind] = kinds.get(kind, 0) + 1
            if kinds[kind] <= 3:
                print(f"{name} {result.number}: {result.problem}", flush=True)  # noqa: T201
                if args.keep:
                    args.keep.mkdir(exist_ok=True)
                    (args.keep / f"{name}-{result.number}").write_bytes(result.data)
        found = sum(kinds.values())
        bad += found
        seconds = time.process_time() - start
        print(  # noqa: T201
            f"{name}: {count} mutants, {taken} taken, {found} findings, {seconds:.0f} s of CPU,"
            f" peak {_peak() >> 10} MiB",
            flush=True,
        )
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
