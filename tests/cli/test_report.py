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


def write_audits(folder, name, *findings):
    """An audit a dataset; names of the files."""
    paths = []
    for seed, (score, verdict) in enumerate(findings):
        paths.append(str(folder / f"{name}-{seed}.jsonl"))
        line = {"verdict": verdict, "score": score, "dataset": "a", "dataset_sha256": f"{seed}"}
        (folder / f"{name}-{seed}.jsonl").write_text(json.dumps(line) + "\n")
    return paths


def test_audits_are_compared_with_the_first_condition(tmp_path, capsys):
    quiet, loud = "inconspicuous", "poisoned"
    files = [
        *write_audits(tmp_path, "clean", (0.5, quiet), (0.0, quiet), (1.25, "suspicious")),
        *write_audits(tmp_path, "cp-c", (170, loud), (2, loud)),
        *write_audits(tmp_path, "cp-s", (0.4, quiet), (0.5, quiet), (2.0, loud), (1.0, loud)),
    ]
    assert run(tool.app, ["report", *files, files[-1]]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| condition | score (median) | range | datasets | verdicts | area under the ROC |",
        "| --- | --- | --- | --- | --- | --- |",
        "| clean | 0.50 | 0.00 to 1.25 | 3 | 2 inconspicuous, 1 suspicious |  |",
        "| cp-c | 86.00 | 2.00 to 170.00 | 2 | 2 poisoned | 1.000 |",
        # of 12 pairs, 1 + 1.5 + 3 + 2 are in order
        "| cp-s | 0.75 | 0.40 to 2.00 | 4 | 2 inconspicuous, 2 poisoned | 0.625 |",
    ]


def test_audits_of_one_file_are_rows_of_their_own(tmp_path, capsys):
    first, second = write_audits(tmp_path, "clean", (0.5, "noisy"), (0.25, "noisy"))
    both = tmp_path / "both.jsonl"
    both.write_text("".join((tmp_path / path).read_text() for path in (first, second)))
    assert run(tool.app, ["report", str(both)]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| both on a 0 | 0.50 | 0.50 to 0.50 | 1 | 1 noisy |  |",
        "| both on a 1 | 0.25 | 0.25 to 0.25 | 1 | 1 noisy | 0.000 |",
    ]


def test_audits_and_accuracies_do_not_mix(tmp_path, capsys):
    audits = write_audits(tmp_path, "clean", (0.5, "noisy"))
    accuracy = write(tmp_path / "poisoned-0.jsonl", 60)
    for files in ([*audits, accuracy], [accuracy, *audits]):
        assert run(tool.app, ["report", *files]) == 2
        assert capsys.readouterr() == (
            "",
            "cptools: error: clean was audited, poisoned is an accuracy; give one or the other\n",
        )
    assert run(tool.app, ["report", "--grid", *audits]) == 2
    message = "cptools: error: --grid is for accuracies; leave it out\n"
    assert capsys.readouterr() == ("", message)


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
        '{"verdict": "noisy"}\n',
        '{"verdict": "noisy", "score": -1}\n',
        '{"verdict": "noisy", "score": NaN}\n',
        '{"verdict": "noisy", "score": Infinity}\n',
        '{"verdict": "noisy", "score": "1"}\n',
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
