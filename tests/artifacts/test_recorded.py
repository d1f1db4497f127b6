"""Histories of strangers: what is no command of the toolkit is refused; the rest is only words."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cptools import __version__
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.history import script, shell
from cptools.artifacts.provenance import Entry, Input, check_entry, history_from_json
from cptools.artifacts.recorded import MAX_DEPTH, MAX_ITEMS, MAX_TEXT, NEVER, TOOLS

DIGEST = "0123456789abcdef" * 4
ROOT = Path(__file__).parents[2]


def command(tool="cp-dataset", inputs=None, version="1", **parameters):
    return {"tool": tool, "version": version, "parameters": parameters, "inputs": inputs or {}}


def side(*history, kind="delta"):
    return {"digest": DIGEST, "history": list(history), "kind": kind}


def nested(depth):
    """A history that many side inputs deep."""
    history = [command(input="shapes")]
    for _ in range(depth):
        history = [command("cp-pretrain", {"watch": side(*history, kind="dataset")})]
    return history


def lists(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


REFUSED = {
    "rm": (command("rm", input="some/folder", recursive=True, force=True), "'rm'.* no tool of"),
    "tar": (command("tar", checkpoint_action="exec=sh"), "'tar'"),
    "bash": (command("bash", c="id"), "'bash'"),
    "visualize": (command("cp-visualize"), "'cp-visualize'"),
    "export": (command(input="shapes", export="/tmp/x"), "cp-dataset records no option 'export'"),
    "output": (command("cp-perturb", noise=True, output="x"), "records no option 'output'"),
    "shell's": (
        command("cp-pretrain", install_completion="bash"),
        "no option 'install_completion'",
    ),
    "delta": (command("cp-generate", delta="/tmp/x"), "records no option 'delta'"),
    "a side's": (command("cp-generate", {"delta": side()}), "reads no delta as 'delta'"),
    "its kind": (command("cp-perturb", {"delta": side(kind="encoder")}), "no encoder as 'delta'"),
    "unknown": (command("cp-perturb", suit="x"), "history.0.: cp-perturb records no option 'suit'"),
    "flag": (command("cp-generate", half="--output=x"), "half of cp-generate is neither true nor"),
    "no flag": (command("cp-generate", alg=True), "alg of cp-generate has no value"),
    "flags": (command("cp-generate", alg=[True, "x"]), "alg of cp-generate is neither a number"),
    "input": (command(input=7), "input of cp-dataset is no name"),
    "no input": (command(input=""), "input of cp-dataset is no name"),
    "nul": (command(input="a\0b"), "input of cp-dataset has characters"),
    "surrogate": (command(input="\ud800"), "has characters that no command can be told"),
    "dict": (command(classes={"a": 1}), "classes of cp-dataset is neither a number nor text"),
    "deep": (command(classes=lists(600)), "is neither a number nor text"),
    "long": (command(classes="a" * (MAX_TEXT + 1)), "more than 65536 characters"),
    "many": (command(classes=["a"] * (MAX_ITEMS + 1)), "more than 1000 values"),
    "huge": (command(limit=10**400), "limit of cp-dataset is no number of 64 bits"),
    "nan": (command(fraction=float("nan")), "fraction of cp-dataset is no finite number"),
    "version": (command(version="1\nrm -rf x"), "history.0..version is not valid text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_tool_records_is_refused(name):
    told, message = REFUSED[name]
    with pytest.raises(ArtifactError, match=message) as caught:
        history_from_json([told])
    assert str(caught.value).isprintable()
    with pytest.raises(ArtifactError):  # inside a process substitution as well
        history_from_json([command("cp-perturb", {"delta": side(told)})])


@pytest.mark.parametrize("tool", [name for name, told in TOOLS.items() if told.is_open])
def test_methods_of_other_packages_add_options_but_none_that_does_something_else(tool):
    history_from_json([command(tool, period=2, red_ness=0.5, kind_of="x", several=["a", 1])])
    for name in NEVER:
        with pytest.raises(ArtifactError, match=f"records no option '{name}'"):
            history_from_json([command(tool) | {"parameters": {name: 1}}])


@pytest.mark.parametrize("name", ["x; id #", "x\n", "", "X", "-x", "a b", "$(id)", "\xe9"])
def test_names_of_options_are_words(name):
    with pytest.raises(ArtifactError, match="records no option"):
        check_entry(Entry("cp-generate", "", {name: 1}), "settings")


def test_side_inputs_of_side_inputs_end_somewhere():
    assert history_from_json(nested(MAX_DEPTH))
    assert len(shell(history_from_json(nested(MAX_DEPTH)))) > MAX_DEPTH
    for depth in (MAX_DEPTH + 1, 150):
        with pytest.raises(ArtifactError, match="the history is more than 64 deep"):
            history_from_json(nested(depth))


def test_histories_of_before_are_read():
    reports = sorted((ROOT / "examples" / "results").rglob("*.jsonl"))
    lines = [json.loads(line) for path in reports for line in path.read_text().splitlines()[:1]]
    for line in lines:
        check_entry(Entry("cp-probe", "", line["settings"]), "settings")
    tools = {e.tool for line in lines for e in history_from_json(line.get("history", []))}
    assert tools == {*TOOLS} - {"cp-probe", "cptools-import"}


# Words for bash


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    """A folder of tools that write their arguments to a file each, ended by NUL."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("cptools", *(name for name in TOOLS if name.startswith("cp-"))):
        code = (
            'for word; do case $word in /dev/fd/*) cat "$word" >/dev/null; esac; done\n'
            f'printf "%s\\0" {name} "$@" > "$(mktemp {folder}/run.XXXXXX)"\n'
        )
        (folder / name).write_text(f"#!/bin/sh\n[ {name} = cp-dataset ] || cat > /dev/null\n{code}")
        (folder / name).chmod(0o755)
    return folder


def runs(folder, text):
    """The commands that bash runs, as lists of words."""
    env = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail"], input=text.encode(errors="surrogateescape"), env=env,
        cwd=folder, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), text
    found = []
    for path in sorted(folder.glob("run.*")):
        found.append([os.fsdecode(word) for word in path.read_bytes().split(b"\0")[:-1]])
        path.unlink()
    return sorted(found)


def words(entry):
    """What a command has to be told, by what it recorded."""
    found = [entry.tool]
    if "input" in entry.parameters:
        source = entry.parameters["input"]
        found.append(f"./{source}" if source.startswith("-") else source)
    for name, value in entry.parameters.items():
        flag = f"--{name.replace('_', '-')}"
        for item in value if isinstance(value, list) else [value]:
            if name != "input" and item is not None and item is not False:
                is_hyphened = str(item).startswith("-")
                whole = [f"{flag}={item}"] if is_hyphened else [flag, str(item)]
                found += [flag] if item is True else whole
    return found


hostile = st.one_of(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12),
    st.binary(max_size=8).map(lambda b: os.fsdecode(b.replace(b"\0", b"-"))),
    st.lists(st.sampled_from(
        ["$(touch x)", "`id`", "'", '"', "\\", "\n", "-", "--output=x", "!!", "&", ";", "#",
         "\x1b[2J", "\u202e", "~", "*", "{a,b}", "$'\\x41'", " ", "\t", "\r", "é", "\udcff"]
    ), max_size=4).map("".join),
)  # fmt: skip
scalars = st.one_of(hostile, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False,
                    allow_infinity=False))  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_bash_tells_the_tools_what_was_recorded(recorder, data):
    def entry(tool):
        told = TOOLS[tool]
        named = dict.fromkeys(told.options - {"input"}, scalars)
        named |= {name: st.lists(hostile, max_size=2) for name in ("red", "_") if told.is_open}
        named |= {name: st.booleans() for name in told.flags}
        parameters = data.draw(st.fixed_dictionaries({}, optional=named))
        parameters.pop("_", None)
        if "input" in told.options:
            parameters["input"] = data.draw(hostile.filter(lambda s: s and s[:8] != "/dev/fd/"))
        return Entry(tool, __version__, parameters)

    made = (entry("cp-dataset"), entry("cp-generate"))
    tool = data.draw(st.sampled_from(["cp-defend", "cp-perturb", "cp-select", "cp-pretrain"]))
    perturb = replace(entry("cp-perturb"), inputs={"delta": Input(DIGEST, made, "delta")})
    history = (entry("cp-dataset"), perturb, entry(tool))
    for one in history:
        check_entry(one, "history")
    found = runs(recorder, script(history, "dataset"))
    delta = next(run for run in found if any(word.startswith("/dev/fd/") for word in run))
    assert delta[-2] == "--delta"
    del delta[-2:]
    last = next(run for run in found if run[-2:] == ["--delta", "-"])
    del last[-2:]
    assert found == sorted(map(words, (*history, *made)))


def test_a_flag_cannot_become_another_option(recorder):
    history = (Entry("cp-defend", __version__, {"mine": "--output=x"}),)
    assert runs(recorder, script(history)) == [["cp-defend", "--mine=--output=x"]]


@pytest.mark.parametrize(
    ("entry", "remark"),
    [
        (Entry("cp-dataset", "0.0.1", {"input": "shapes"}), "# made with cptools 0.0.1; this is "),
        (Entry("cp-dataset", __version__, {"input": "/a\nid #"}), r"# reads /a\nid #"),
        (Entry("cp-perturb", __version__, {}, {"delta": Input(DIGEST)}), "# the file for --delta "),
    ],
)
def test_what_cannot_be_vouched_for_is_said(recorder, entry, remark):
    first, *rest = script((entry,)).split("\n")
    assert first.startswith(remark)
    assert len(rest) == 1
    assert runs(recorder, script((entry,)))[0][0] == entry.tool


CODE = Entry("cp-pretrain", __version__, {"encoder": "evil.module:function", "alg": "a\nb"})


@pytest.mark.parametrize(
    "history",
    [
        (Entry("cp-dataset", __version__, {"input": "shapes"}), CODE),
        (Entry("cp-select", __version__, {}, {"encoder": Input(DIGEST, (CODE,), "encoder")}),),
    ],
)
def test_code_of_strangers_is_commented_out(recorder, history):
    lines = script(history).split("\n")
    assert all(line.startswith("# ") for line in lines)
    assert "CPTOOLS_TRUST=evil.module:function" in lines[0]
    assert runs(recorder, script(history)) == []
    assert script(history, trusted={"evil.module:function"}) == shell(history)
    timm = replace(CODE, parameters={"encoder": "timm:resnet18"})
    assert script((timm,)) == "cp-pretrain --encoder timm:resnet18"
