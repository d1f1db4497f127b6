"""`cptools report`: probes over seeds as a table."""

import json

import pytest

from cptools.cli import cptools as tool
from cptools.cli._app import run


def write(path, *accuracies):
    lines = [
        {"accuracy_percent": a, "low_percent": a - 2, "high_percent": a + 2} for a in accuracies
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_files_that_differ_by_a_number_are_seeds_of_one_condition(tmp_path, capsys):
    files = [write(tmp_path / f"contrast-0.25-clean-{seed}.jsonl", 80 + seed) for seed in range(3)]
    files.append(write(tmp_path / "poisoned.jsonl", 60))
    assert run(tool.app, ["report", *files]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        # Student's quantile for 2 degrees of freedom is 4.303, the standard deviation 1
        "| contrast-0.25-clean | 81.0 | 78.5 to 83.5 | 3 | 80.0 81.0 82.0 |",
        "| poisoned | 60.0 | 58.0 to 62.0 | 1 | 60.0 |",
    ]


def test_a_file_given_twice_is_one_seed(tmp_path, capsys):
    files = [write(tmp_path / f"clean-{seed}.jsonl", 80 + seed) for seed in range(2)]
    assert run(tool.app, ["report", files[1], *files]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| clean | 80.5 | 74.1 to 86.9 | 2 | 81.0 80.0 |"  # 80.5 -+ 12.706 / 2
    ]


ENDS = '"accuracy_percent": 50, "low_percent": 40'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "text",
        "{}\n",
        "[1]\n",
        '{"accuracy_percent": 1}\n',
        f"{{{ENDS}}}\n",
        f'{{{ENDS}, "high_percent": 49}}\n',
        f'{{{ENDS}, "high_percent": 101}}\n',
        f'{{{ENDS}, "high_percent": NaN}}\n',
        f'{{{ENDS}, "high_percent": "60"}}\n',
        f'{{{ENDS}, "high_percent": 60, "settings": 1}}\n',
        "\xff",
    ],
)
def test_what_is_no_report_is_refused(tmp_path, capsys, content):
    path = tmp_path / "a.jsonl"
    path.write_text(content, "latin-1")
    assert run(tool.app, ["report", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    message = f"cptools: error: {path} holds no reports of cp-probe; write them with cp-probe -o\n"
    assert captured.err == message


def test_a_missing_file_is_named(tmp_path, capsys):
    assert run(tool.app, ["report", str(tmp_path / "none.jsonl")]) == 2
    assert "No such file or directory; give reports of cp-probe" in capsys.readouterr().err


def test_datasets_of_one_file_are_rows_of_their_own(tool, tmp_path):
    for seed in (0, 1):
        lines = [
            {
                "accuracy_percent": 50.0 + seed + 10 * k, "low_percent": 40.0, "high_percent": 90.0,
                "dataset": "pictures", "dataset_sha256": f"{k}abcdef0",
            }
            for k in (0, 1)
        ]  # fmt: skip
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"clean-{seed}.jsonl").write_text(text)
    done = tool("cptools", "report", tmp_path / "clean-0.jsonl", tmp_path / "clean-1.jsonl")
    assert (done.code, done.err) == (0, "")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in done.out.decode().split("\n")
    ]
    assert [(row[0], row[1], row[4]) for row in rows[2:4]] == [
        ("clean on pictures 0abcde", "50.5", "50.0 51.0"),
        ("clean on pictures 1abcde", "60.5", "60.0 61.0"),
    ]


def test_a_grid_has_poisons_as_rows_and_victims_as_columns(tmp_path, capsys):
    files = [
        write(tmp_path / f"{name}-{seed}.jsonl", value + seed)
        for name, value in (("clean.simclr", 80), ("clean.moco", 70), ("cp-s.simclr", 60))
        for seed in (0, 1)
    ]
    assert run(tool.app, ["report", "--grid", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "| | simclr | moco |",
        "| --- | --- | --- |",
        "| clean | 80.5 (74.1 to 86.9) | 70.5 (64.1 to 76.9) |",  # 80.5 -+ 12.706 / 2
        "| cp-s | 60.5 (54.1 to 66.9) |  |",
    ]


def test_a_grid_needs_two_names(tmp_path, capsys):
    assert run(tool.app, ["report", "--grid", write(tmp_path / "clean-0.jsonl", 80)]) == 2
    assert "--grid needs conditions named ROW.COLUMN, not clean" in capsys.readouterr().err
