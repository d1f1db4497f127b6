"""`cptools report`: probes over seeds as a table."""

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from cptools.cli import cptools as tool
from cptools.cli._app import run

PAPER = Path(__file__).parents[2] / "examples" / "paper"


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
    (tmp_path / "copies").mkdir()
    copy = write(tmp_path / "copies" / "clean-0.jsonl", 80)
    assert run(tool.app, ["report", files[1], *files, copy]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| clean | 80.5 | 74.1 to 86.9 | 2 | 81.0 80.0 |"  # 80.5 -+ 12.706 / 2
    ]


def test_a_training_that_was_probed_on_the_way_has_its_peak_beside_the_end(tmp_path, capsys):
    for seed, curve in enumerate(([10.0, 50.0, 40.0], [20.0, 30.0, 60.0])):
        line = {
            "accuracy_percent": curve[-1], "low_percent": 30, "high_percent": 70,
            "epochs": [5, 10, 15], "accuracies_percent": curve,
        }  # fmt: skip
        (tmp_path / f"a-{seed}.jsonl").write_text(json.dumps(line) + "\n")
    assert report(*(tmp_path / f"a-{seed}.jsonl" for seed in range(2))) == 0
    head, _, row = capsys.readouterr().out.splitlines()
    assert cells(head)[3:5] == ["peak", "epoch"]
    assert (cells(row)[1], *cells(row)[3:5]) == ("50.0", "55.0", "12.5")


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


@pytest.mark.parametrize("share", ["changed", "close"])
def test_other_shares_are_told_as_such(tmp_path, capsys, share):
    files = []
    for name, values in (("whole", (20, 20)), ("sas", (30, 34))):
        for seed, value in enumerate(values):
            line = {f"{share}_percent": value, "low_percent": value - 2, "high_percent": value + 2}
            files.append(str(tmp_path / f"{name}-{seed}.jsonl"))
            (tmp_path / f"{name}-{seed}.jsonl").write_text(json.dumps(line) + "\n")
    assert run(tool.app, ["report", *files]) == 0
    head, _, whole, sas = capsys.readouterr().out.splitlines()
    assert head.startswith(f"| condition | {share} (%) | 95% interval |")
    assert (whole[:16], sas[:14]) == ("| whole | 20.0 |", "| sas | 32.0 |")
    assert run(tool.app, ["report", "--against", "whole", *files]) == 0
    assert f"| {share} (%) |" in capsys.readouterr().out
    accuracy = write(tmp_path / "clean-0.jsonl", 80)
    assert run(tool.app, ["report", *files, accuracy]) == 2
    told = f"reports of {share} and accuracy cannot be combined; give reports of one kind"
    assert told in capsys.readouterr().err


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
    message = (
        f"cptools: error: {path} contains no reports of cp-probe; write them with cp-probe -o\n"
    )
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


def report(*arguments):
    return run(tool.app, ["report", *map(str, arguments)])


def write_cells(folder, **cells):
    """Reports of a seed each; names of the files. Two underscores stand for the dot of a cell."""
    return [
        write(folder / f"{name.replace('__', '.')}-{seed}.jsonl", value)
        for name, values in cells.items()
        for seed, value in enumerate(values)
    ]


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_differences_are_paired_by_seed(tmp_path, capsys):
    files = write_cells(tmp_path, clean=(80, 70, 75), cp=(60, 52, 54), noise=(80, 72, 74))
    assert report("--against", "clean", *files[::-1]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| against clean | accuracy (%) | difference (points) | p (Holm) | pairs"
        " | seeds for 80% power |",
        "| --- | --- | --- | --- | --- | --- |",
        # 1/3 -+ 4.303 1.528 / sqrt(3); its t is 0.378
        "| noise | 75.3 (65.0 to 85.7) | 0.3 (-3.5 to 4.1) | 0.742 | 3 | 167 |",
        # t = 19.667 / (1.528 / sqrt(3)), p = 2 0.001; the only pairs vary by 1.5 points
        "| cp | 55.3 (45.0 to 65.7) | -19.7 (-23.5 to -15.9) | 0.004 | 3 | 2 |",
        "| clean | 75.0 (62.6 to 87.4) |  |  |  |  |",
    ]


def test_degradation_is_taken_within_each_seed(tmp_path, capsys):
    files = write_cells(tmp_path, clean=(80, 40), cp=(40, 30))
    assert report("--against", "clean", "--relative", *files) == 0
    head, _, _, line = capsys.readouterr().out.splitlines()
    assert cells(head)[2] == "degradation (% of clean)"
    # 50% and 25%: their mean, not 1 - 70 / 120; 12.706 standard errors
    assert cells(line)[2] == "37.5 (-121.3 to 196.3)"


def test_a_grid_compares_columns_by_what_a_row_does_to_them(tmp_path, capsys):
    grid = {
        "clean__moco": (70, 74, 72), "clean__simclr": (76, 76, 73),
        "perturbed__moco": (42, 43, 42), "perturbed__simclr": (44, 42, 41),
        "noise__moco": (70, 73, 70),
    }  # fmt: skip
    paper = tmp_path / "paper.json"
    values = {
        "clean.moco": 72.4,
        "clean.simclr": 74.8,
        "perturbed.moco": 42.3,
        "perturbed.simclr": 42.9,
    }
    paper.write_text(json.dumps(values))
    files = write_cells(tmp_path, **grid)
    assert report("--grid", "--against", "clean", "--relative", "--paper", paper, *files) == 0
    head, _, *lines, blank, agreement = capsys.readouterr().out.splitlines()
    assert cells(head) == [
        "against clean", "accuracy (%)", "paper", "degradation (% of clean)", "paper", "p (Holm)",
        "pairs", "seeds for 80% power", "seeds for the paper's",
    ]  # fmt: skip
    table = {cells(line)[0]: cells(line)[1:] for line in lines}
    assert list(table) == [
        "clean.moco", "clean.simclr", "perturbed.moco", "perturbed.simclr", "noise.moco",
        "perturbed: moco less simclr",
    ]  # fmt: skip
    assert table["clean.moco"][1:] == ["72.4", "", "", "", "", "", ""]
    # 40.00, 41.89, 41.67 and 42.11, 44.74, 43.84
    assert table["perturbed.moco"][1:4] == ["42.3", "41.2 (38.6 to 43.8)", "41.6"]
    assert table["perturbed.simclr"][1:4] == ["42.9", "43.6 (40.2 to 46.9)", "42.6"]
    # -2.105, -2.845, -2.169: mean -2.373, deviation 0.410, t -10.02, p 0.0098, a family of its own
    assert table["perturbed: moco less simclr"] == [
        "", "", "-2.4 (-3.4 to -1.4)", "-1.1", "0.010", "3", "3", "4",
    ]  # fmt: skip
    assert table["noise.moco"][1::2][:2] == ["", ""]
    assert blank == ""
    # ours 41.2 43.6 -2.4, the paper's 41.6 42.6 -1.1, which is outside, and not of their kind
    assert agreement == "Values of the paper: 3; in our interval: 2."


def test_pairs_that_intervals_tell_apart_stand_in_the_papers_order_or_against_it(tmp_path, capsys):
    # intervals of -+ 12.7: clean is apart from all but noise, cp from clean and noise
    files = write_cells(tmp_path, clean=(80, 82), noise=(70, 72), cp=(40, 42), mc=(50, 52))
    paper = tmp_path / "paper.json"
    paper.write_text('{"clean": 91.8, "noise": 50, "cp": 60, "mc": 85.6}')
    assert report("--paper", paper, *files) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "",
        "Values of the paper: 4; in our interval: 1; Spearman's rank correlation: 0.40.",
        "",
        "Pairs whose intervals do not overlap: 3; in the paper's order: 2. Against it: noise (1 of"
        " 1), cp (1 of 2).",
    ]
    paper.write_text('{"clean": 91.8, "cp": 60}')
    assert report("--paper", paper, *files) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "Pairs whose intervals do not overlap: 1; in the paper's order: 1."
    paper.write_text('{"clean": 60, "cp": 60}')
    assert report("--paper", paper, *files) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Values of the paper: 2; in our interval: 0."


def test_seeds_of_one_side_are_left_out_and_told(tmp_path, capsys):
    files = write_cells(tmp_path, clean=(80, 70, 75), cp=(60, 52, 54, 10))
    assert report("--against", "clean", *files[1:]) == 0
    captured = capsys.readouterr()
    assert cells(captured.out.splitlines()[-1])[2:5] == ["-19.5 (-38.6 to -0.4)", "0.049", "2"]
    assert captured.err == "cptools: cp against clean: 2 seeds in common; excluded: 0, 3\n"


@pytest.mark.parametrize(("first", "second", "count"), [(0, 0, "one"), (0, 1, "no")])
def test_fewer_results_than_a_paired_test_needs(tmp_path, capsys, first, second, count):
    files = [write(tmp_path / f"{n}-{s}.jsonl", 60) for n, s in (("clean", first), ("cp", second))]
    assert report("--against", "clean", *files) == 2
    assert capsys.readouterr() == (
        "",
        f"cptools: error: cp against clean: {count} seed in common, and a paired test needs two;"
        " give files NAME-SEED.jsonl of equal seeds\n",
    )


def test_columns_need_seeds_in_common_as_well(tmp_path, capsys):
    files = [
        write(tmp_path / f"{row}.{column}-{seed}.jsonl", 60)
        for row in ("clean", "cp")
        for column, seeds in (("moco", (0, 1)), ("byol", (1, 2)))
        for seed in seeds
    ]
    assert report("--grid", "--against", "clean", *files) == 2
    assert "error: cp: moco less byol: one seed in common" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "blank"], "no condition is called blank; there are clean.a, cp.a, cp.b"),
        (["--grid", "--against", "clean.a"], "no row is called clean.a; there are clean, cp"),
        (["--grid", "--against", "clean"], "cp.b has no clean.b to be compared with; give its"),
        (["--relative"], "--relative needs a baseline; add --against CONDITION"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, capsys, arguments, message):
    files = write_cells(tmp_path, clean__a=(80, 70), cp__a=(60, 52), cp__b=(60, 52))
    assert report(*arguments, *files) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"cptools: error: {message}")


def test_further_refusals(tmp_path, capsys):
    files = write_cells(tmp_path, clean=(50, 70), cp=(60, 52))
    assert report("--against", "clean", *files[:2]) == 2
    assert "nothing to compare with clean; give further reports" in capsys.readouterr().err
    zero = {"accuracy_percent": 0, "low_percent": 0, "high_percent": 1}
    (tmp_path / "clean-0.jsonl").write_text(json.dumps(zero))
    assert report("--against", "clean", "--relative", *files) == 2
    assert "a degradation needs a baseline above 0, got 0" in capsys.readouterr().err
    audits = write_audits(tmp_path, "audit", (0.5, "noisy"))
    for option in (["--against", "audit"], ["--relative"], ["--paper", audits[0]]):
        assert report(*option, *audits) == 2
        assert f"error: {option[0]} is for accuracies" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--against", "clean"]])
def test_a_seed_counts_once(tmp_path, capsys, arguments):
    first, _, *rest = write_cells(tmp_path, clean=(50, 70), cp=(60, 52))
    (tmp_path / "again").mkdir()
    again = write(tmp_path / "again" / "clean-00.jsonl", 51)
    for files in ([first, again, *rest], [write(tmp_path / "clean-1.jsonl", 3, 4), *rest]):
        assert report(*arguments, *files) == 2
        assert "clean has several accuracies of seed " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "others"),
    [("method", {"settings": {"method": "knn"}}), ("dataset", {"dataset": "cifar10"})],
)
def test_probes_of_a_condition_differ_in_nothing_but_seeds(tmp_path, capsys, what, others):
    line = {
        "accuracy_percent": 50, "low_percent": 48, "high_percent": 52,
        "settings": {"method": "lbfgs"}, "dataset": "shapes",
    }  # fmt: skip
    files = [tmp_path / "clean-0.jsonl", tmp_path / "clean-1.jsonl"]
    for file, told in zip(files, (line, line | others), strict=True):
        file.write_text(json.dumps(told))
    assert report(*files) == 2
    assert f"clean has probes of more than one {what}, " in capsys.readouterr().err


def test_a_number_that_is_part_of_a_name_is_no_seed(tmp_path, capsys):
    files = [write(tmp_path / f"resnet{depth}.jsonl", depth) for depth in (18, 50)]
    assert report(*files) == 0
    assert [cells(line)[0] for line in capsys.readouterr().out.splitlines()[2:]] == [
        "resnet18",
        "resnet50",
    ]


@pytest.mark.parametrize("name", ["0.jsonl", "-3.jsonl"])
def test_a_report_without_a_name_is_refused(tmp_path, capsys, name):
    assert report(write(tmp_path / name, 50)) == 2
    assert f"{name} has no name for its condition; rename it, e.g." in capsys.readouterr().err


def test_a_line_that_was_cut_off_is_named(tmp_path, capsys):
    path = Path(write(tmp_path / "clean-0.jsonl", 50, 60))
    path.write_text(path.read_text()[:-9])
    assert report(path) == 2
    assert f"error: line 2 of {path} is not a report of cp-probe; is it truncated?" in (
        capsys.readouterr().err
    )


def test_a_bar_in_a_name_does_not_split_its_cell(tmp_path, capsys):
    assert report(write(tmp_path / "a|b-0.jsonl", 50)) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith(r"| a\|b | 50.0 |")


def test_differences_that_do_not_vary_have_no_p_value(tmp_path, capsys):
    files = write_cells(tmp_path, clean=(70.3, 60.2), cp=(70.1, 60.0), other=(65, 50))
    assert report("--against", "clean", *files) == 0
    *_, cp, other = capsys.readouterr().out.splitlines()
    assert cells(cp)[2:] == ["-0.2 (-0.2 to -0.2)", "", "2", ""]
    # alone in its family: t of -7.75 at a standard error of 2.45 and one degree of freedom
    assert cells(other)[3] == "0.195"


def test_the_papers_values_stand_beside_ours(tmp_path, capsys):
    files = write_cells(tmp_path, clean=(80, 82), noise=(78, 80), cp=(60, 62), other=(50, 52))
    paper = tmp_path / "paper.json"
    paper.write_text('{"clean": 91.8, "noise": 90.4, "cp": 61, "absent": 1}')
    assert report("--paper", paper, *files) == 0
    lines = capsys.readouterr().out.splitlines()
    assert cells(lines[0])[2:5] == ["95% interval", "paper", "seeds"]
    assert [cells(line)[3] for line in lines[2:6]] == ["91.8", "90.4", "61.0", ""]
    assert lines[6:] == [
        "",
        # 81, 79 and 61, each -+ 12.7
        "Values of the paper: 3; in our interval: 3; Spearman's rank correlation: 1.00.",
    ]
    assert report("--paper", paper, *files[4:]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Values of the paper: 1; in our interval: 1."


def test_the_papers_values_in_a_grid(tmp_path, capsys):
    files = write_cells(tmp_path, clean__a=(80, 82), clean__b=(80, 82), cp__a=(60, 62))
    paper = tmp_path / "paper.json"
    paper.write_text('{"clean.a": 91.8}')
    assert report("--grid", "--paper", paper, *files) == 0
    assert capsys.readouterr().out.splitlines()[:4] == [
        "| | a | paper | b |",
        "| --- | --- | --- | --- |",
        "| clean | 81.0 (68.3 to 93.7) | 91.8 | 81.0 (68.3 to 93.7) |",
        "| cp | 61.0 (48.3 to 73.7) |  |  |",
    ]


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"clean": "a"}', '{"clean": 101}', '{"clean": null}']
)
def test_what_is_no_paper_is_refused(tmp_path, capsys, content):
    files = write_cells(tmp_path, clean=(80, 82))
    paper = tmp_path / "paper.json"
    assert report("--paper", paper, *files) == 2
    assert "No such file or directory; give JSON of a paper's values" in capsys.readouterr().err
    paper.write_text(content)
    assert report("--paper", paper, *files) == 2
    assert f"{paper} contains no values of a paper" in capsys.readouterr().err


def test_a_paper_of_other_conditions_is_refused(tmp_path, capsys):
    paper = tmp_path / "paper.json"
    paper.write_text('{"cp": 1}')
    assert report("--paper", paper, *write_cells(tmp_path, clean=(80, 82))) == 2
    assert f"{paper} has no values for clean; it has cp" in capsys.readouterr().err


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_every_line_as_csv(tmp_path, capsys):
    line = {
        "accuracy_percent": 50, "low_percent": 48, "high_percent": 52, "dataset": "a, b",
        "settings": {"method": "sgd", "lr": 0.5}, "best_epoch": None, "history": [{"tool": "x"}],
    }  # fmt: skip
    (tmp_path / "clean-3.jsonl").write_text(2 * (json.dumps(line) + "\n"))
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "clean-3.jsonl").write_text(2 * (json.dumps(line) + "\n"))
    files = [
        str(tmp_path / "clean-3.jsonl"), str(tmp_path / "copies" / "clean-3.jsonl"),
        write(tmp_path / "contrast-0.25.jsonl", 80),
        *write_audits(tmp_path, "audit", (0.5, "noisy")),
    ]  # fmt: skip
    assert report("--csv", *files) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines()[0] == (
        "file,condition,seed,accuracy_percent,low_percent,high_percent,dataset,settings.method,"
        "settings.lr,best_epoch,verdict,score,dataset_sha256"
    )
    assert captured.out.endswith("\n")
    assert not captured.out.endswith("\n\n")
    first, second, other, audit = rows(captured.out)
    assert first == second
    assert first["file"] == files[0]
    assert (first["condition"], first["seed"], first["dataset"]) == ("clean", "3", "a, b")
    assert (first["settings.method"], first["settings.lr"]) == ("sgd", "0.5")
    assert (first["best_epoch"], first["score"]) == ("", "")
    assert (other["condition"], other["seed"]) == ("contrast-0.25", "")
    assert (audit["condition"], audit["verdict"], audit["score"]) == ("audit", "noisy", "0.5")


@pytest.mark.parametrize(
    "option", [["--grid"], ["--against", "clean"], ["--relative"], ["--paper", "x"]]
)
def test_csv_is_no_table(tmp_path, capsys, option):
    assert report("--csv", *option, write(tmp_path / "clean-0.jsonl", 80)) == 2
    message = f"error: {option[0]} is for the table, not for --csv; leave one out\n"
    assert capsys.readouterr() == ("", f"cptools: {message}")


def test_every_line_as_parquet(tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    files = [write(tmp_path / f"clean-{seed}.jsonl", 80 + seed) for seed in (0, 1)]
    assert report("--csv", *files) == 0
    wanted = rows(capsys.readouterr().out)
    for _ in range(2):  # the second replaces the first
        assert report("--parquet", tmp_path / "x.parquet", *files) == 0
        assert capsys.readouterr() == ("", "")
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.column_names == list(wanted[0])
    told = [{n: "" if v is None else str(v) for n, v in row.items()} for row in table.to_pylist()]
    assert told == wanted
    assert str(table.schema.field("seed").type) == "int64"


def test_columns_of_parquet_have_one_kind():
    from cptools.reports.parquet import _column

    assert _column([1, None, 2]) == [1, None, 2]
    assert _column([1, 2.5]) == [1.0, 2.5]
    assert _column([2**70, 1]) == [2.0**70, 1.0]
    assert _column([1, "a\n", True]) == ["1", r"a\n", "True"]
    assert _column([True, False]) == [True, False]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--csv"], "--csv and --parquet are both given; leave one out"),
        (["--grid"], "--grid is for the table, not for --parquet; leave one out"),
    ],
)
def test_parquet_is_no_table(tmp_path, capsys, words, told):
    file = write(tmp_path / "clean-0.jsonl", 80)
    assert report("--parquet", tmp_path / "x.parquet", *words, file) == 2
    assert told in capsys.readouterr().err
    assert report("--parquet", tmp_path / "no" / "x.parquet", file) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_a_missing_pyarrow_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    file = write(tmp_path / "clean-0.jsonl", 80)
    assert report("--parquet", tmp_path / "x.parquet", file) == 2
    assert "needs pyarrow; run pip install 'cptools[parquet]'" in capsys.readouterr().err
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("clean-0.jsonl", "{}\n", "contains no reports of cp-probe;"),
        ("clean-0.jsonl", None, "No such file or directory; give reports"),
        ("0.jsonl", f'{{{ENDS}, "high_percent": 60}}\n', "has no name for its condition;"),
        ("clean-0.jsonl", f'{{{ENDS}, "high_percent": 60}}\n{{', "line 2 of"),
    ],
)
def test_what_is_no_report_gives_no_csv(tmp_path, capsys, name, content, told):
    if content is not None:
        (tmp_path / name).write_text(content)
    assert report("--csv", tmp_path / name) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
    assert captured.err.count("\n") == 1
