"""Mutants of valid inputs are refused in one line, or taken and hold together; see `fuzzing`."""

import json
import struct

import pytest
from fuzz_targets import DIGEST, TARGETS, read_artifact
from fuzzing import fuzz, problem_of
from hypothesis import given
from hypothesis import strategies as st

MUTANTS = 12_000  # of all targets; CONTRIBUTING.md tells how a million are run

REFUSED = {"npz"}  # whose inputs are all refused


@pytest.mark.parametrize("name", TARGETS)
def test_mutants_are_refused_or_hold_together(name):
    share = TARGETS[name].share / sum(target.share for target in TARGETS.values())
    results = list(fuzz(name, TARGETS[name], range(round(MUTANTS * share))))
    findings = [result for result in results if not isinstance(result, bool)]
    assert not findings, f"mutant {findings[0].number} of {name}: {findings[0].problem}"
    assert any(results) != (name in REFUSED)
    assert not all(results)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
shares = st.lists(st.floats(0, 1) | st.integers(-1, 2), min_size=2, max_size=4)
names = st.sampled_from(["", "a", "cp-dataset", "limit", "input", "\x1b[2J", "é", "../x"])
sources = st.fixed_dictionaries(
    {"name": names, "options": st.dictionaries(names, json_values, max_size=2)},
    optional={"digest": st.just(DIGEST)},
)
histories = st.recursive(
    st.just([]),
    lambda inner: st.lists(
        st.fixed_dictionaries(
            {
                "tool": names,
                "version": names,
                "parameters": st.dictionaries(names, json_values, max_size=2),
                "inputs": st.dictionaries(
                    names,
                    st.fixed_dictionaries(
                        {"digest": st.just(DIGEST), "history": inner, "kind": names}
                    ),
                    max_size=2,
                ),
            }
        ),
        max_size=2,
    ),
    max_leaves=4,
)
FIELDS = {
    "dataset": {
        "name": names,
        "classes": st.lists(names, max_size=3),
        "mean": shares,
        "std": shares,
        "source": st.none() | sources,
    },
    "delta": {
        "mode": st.sampled_from(["class", "sample", "other"]),
        "epsilon": st.from_regex(r"[0-9]{1,3}(/[0-9]{1,3})?", fullmatch=True),
        "algorithm": names,
        "dataset": st.just(DIGEST),
    },
    "checkpoint": {"command": st.sampled_from(["0af", "xyz", ""])},
}
TENSORS = {
    "dataset": ("train.images", "train.labels", "test.images", "test.labels", "train.index"),
    "delta": ("delta",),
    "checkpoint": ("a", "b"),
}
SIZES = {"U8": 1, "F16": 2, "F32": 4, "I64": 8}


@st.composite
def files(draw):
    """Bytes whose header has the right keys and nearly the right values."""
    kind = draw(st.sampled_from(list(FIELDS)))
    fields = st.fixed_dictionaries(
        {name: st.one_of(value, value, value, json_values) for name, value in FIELDS[kind].items()}
    )
    header = {"format": 1, "kind": kind, **draw(fields), "history": draw(histories)}
    dims = st.sampled_from([0, 1, 2, 3, 3, 3])
    table, end = {"__metadata__": {"cptools": json.dumps(header)}}, 0
    for name in TENSORS[kind]:
        is_number = name.endswith(("labels", "index"))
        dtype = "I64" if is_number else draw(st.sampled_from(["U8", "U8", "F16", "F32"]))
        shape = [draw(dims)] if is_number else [draw(dims), 3, 1, draw(dims)]
        begin, count = end, SIZES[dtype]
        for size in shape:
            count *= size
        end += count
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(table).encode()
    payload = draw(st.binary(min_size=end, max_size=end) | st.just(bytes(end)))
    return struct.pack("<Q", len(text)) + text + payload


@given(files())
def test_structured_headers_are_refused_or_hold_together(data):
    assert problem_of(read_artifact, data)[0] == ""
