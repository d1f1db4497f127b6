"""Files of strangers: nothing that they name is run, and no name in them begins a line."""

import json
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cptools.artifacts.schema import Dataset, Delta, Encoder, Entry
from cptools.artifacts.stream import write_artifact
from cptools.artifacts.strict_json import dump_json
from cptools.text import shown

HOSTILE = "a\nb.safetensors: ok \x1b[31m\u202e\r\t\x85\u2028\udcff<b>"
ESCAPED = r"a\nb.safetensors: ok \x1b[31m\u202e\r\t\x85\u2028\udcff<b>"
SHAPES = Entry("cp-dataset", "0.1.0", {"input": "shapes"})
CODE = Entry("cp-pretrain", "0.1.0", {"encoder": "evil.module:function", "seed": 0})


@pytest.fixture
def delta():
    return Delta(np.zeros((2, 3, 2, 2), np.float32), "class", "8/255", HOSTILE, "0" * 64)


@pytest.fixture
def dataset():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), np.uint8)
    labels = np.arange(2)
    return Dataset(
        images, labels, images, labels, None, name=HOSTILE, classes=(HOSTILE, "b"),
        mean=(0.5,) * 3, std=(0.25,) * 3, source=None,
    )  # fmt: skip


def test_a_name_is_one_line():
    assert shown(HOSTILE) == ESCAPED
    assert shown("käse 猫 0") == "käse 猫 0"


def with_history(artifact, path, history):
    """Write a file whose history was put there by hand."""
    write_artifact(replace(artifact, algorithm="a"), path)
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    table = json.loads(data[8:end])
    header = json.loads(table["__metadata__"]["cptools"])
    table["__metadata__"]["cptools"] = dump_json(header | {"history": history})
    text = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[end:])


@pytest.mark.parametrize("command", ["history", "verify"])
@pytest.mark.parametrize(
    ("tool_name", "parameters", "message"),
    [
        ("rm", {"input": "some/folder", "recursive": True, "force": True}, "is of 'rm', which is"),
        ("tar", {"checkpoint_action": "exec=sh"}, "is of 'tar', which is no tool of cptools"),
        ("cp-dataset", {"input": "shapes", "export": "/tmp/x"}, "records no option 'export'"),
        ("cp-dataset", {"input": "shapes", "output": "/tmp/x"}, "records no option 'output'"),
    ],
)
def test_programs_are_not_printed(tool, tmp_path, delta, command, tool_name, parameters, message):
    entry = {"tool": tool_name, "version": "1", "parameters": parameters, "inputs": {}}
    with_history(delta, tmp_path / "x", [entry])
    tool("cptools", command, tmp_path / "x").refused(message)


def test_code_is_printed_as_a_comment(tool, tmp_path, delta, monkeypatch):
    monkeypatch.delenv("CPTOOLS_TRUST", raising=False)
    encoder = Encoder(
        {"backbone.a": np.zeros(1, np.float32)}, "resnet10", 8, 8, "simclr", 32, (0.5,) * 3,
        (0.25,) * 3, None, (Entry("cp-dataset", "0.1.0", {"input": "shapes"}), CODE),
    )  # fmt: skip
    write_artifact(encoder, tmp_path / "x")
    done = tool("cptools", "history", tmp_path / "x")
    note = "note: the history runs code of another package, evil.module:function; it is"
    assert done.err.startswith(f"cptools: {note} commented out")
    assert all(line.startswith(b"# ") for line in done.out.splitlines())
    ran = subprocess.run(["bash", "-eu"], input=done.out, capture_output=True, check=True)
    assert (ran.stdout, ran.stderr) == (b"", b"")
    monkeypatch.setenv("CPTOOLS_TRUST", "a:b,evil.module:function")
    done = tool("cptools", "history", tmp_path / "x")
    expected = "cp-dataset shapes |\n  cp-pretrain --encoder evil.module:function --seed 0\n"
    assert (done.out.decode(), done.err) == (expected, "")


def test_verify_cannot_be_forged(tool, tmp_path, delta):
    write_artifact(delta, tmp_path / "x")
    (line,) = tool("cptools", "verify", tmp_path / "x").out.decode().splitlines()
    assert line.isprintable()
    assert ESCAPED in line


def test_info_cannot_be_forged(dataset, monkeypatch, capsys):
    from cptools.cli.dataset import _describe

    _describe(dataset, as_json=True)
    assert capsys.readouterr().out.isascii()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    _describe(dataset, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert f"classes         {ESCAPED}, b" in lines


def report(**facts):
    return {
        "accuracy_percent": 50.0, "low_percent": 40.0, "high_percent": 60.0, "total": 2,
        "dataset": HOSTILE, "algorithm": HOSTILE, "architecture": HOSTILE, "width": 8,
        "selected_on_test": False, "settings": {"method": "knn", "seed": 0}, "history": [],
    } | facts  # fmt: skip


def test_reports_cannot_be_forged(tool, tmp_path):
    from cptools.reports.report import Report

    assert str(Report((report(), report()))).count("\n") == 1
    lines = [json.dumps(report(classifier=HOSTILE, dataset_sha256=str(k))) for k in range(2)]
    (tmp_path / "clean-0.jsonl").write_text("\n".join(lines) + "\n")
    for words in ([], ["--csv"]):
        done = tool("cptools", "report", *words, tmp_path / "clean-0.jsonl")
        rows = done.out.decode().splitlines()
        assert (done.code, len(rows)) == (0, 4 - len(words))
        assert all(row.isprintable() for row in rows)
        assert ESCAPED in rows[-1]


SETTINGS = {
    "a key that is a command": {"x; touch FILE #": 1},
    "an option that writes": {"output": "x"},
    "deep": {"method": [[1]]},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_a_page(tool, tmp_path, name):
    page(tmp_path, settings=SETTINGS[name])
    tool("cptools", "page", tmp_path).refused("clean-0.jsonl has no valid history: settings: ")


def test_pages_show_words(tool, tmp_path):
    page(tmp_path, settings={"method": "knn", "k": "$(touch x)\n</pre><script>"})
    text = tool("cptools", "page", tmp_path).out.decode()
    assert (
        r"cp-probe --method knn --k $&#x27;$(touch x)\x0a&lt;/pre&gt;&lt;script&gt;&#x27;" in text
    )
    page(tmp_path, settings={"method": "knn"}, past=[CODE])
    text = tool("cptools", "page", tmp_path).out.decode()
    assert "<pre># runs code of another package" in text
    assert "\n#   cp-probe --method knn" in text


def page(folder, *, settings, past=(SHAPES,)):
    from cptools.artifacts.provenance import history_to_json

    (folder / "t.md").write_text("| condition | x |\n| --- | --- |\n| clean | 1 |\n")
    line = report(settings=settings, history=history_to_json(past))
    (folder / "clean-0.jsonl").write_text(json.dumps(line) + "\n")


def test_figures_have_a_line_for_each_name(dataset):
    from matplotlib.text import Text

    from cptools.workflows.plot import plot

    words = [text.get_text() for text in plot(dataset).findobj(Text)]
    assert any(ESCAPED[:3] in word for word in words)
    assert not any("\x1b" in word or "\u202e" in word for word in words)


def test_pictures_are_not_taken_from_a_pipe(tool, tmp_path, dataset):
    import os

    from cptools.artifacts.schema import Source

    os.mkfifo(tmp_path / "pipe")
    source = Source(str(tmp_path / "pipe"), {}, "0" * 64)
    write_artifact(replace(dataset, source=source), tmp_path / "x")
    done = tool("cp-probe", tmp_path / "x", "--method", "changed")
    done.refused("it is neither a regular file nor a folder; or give it with --dataset")
