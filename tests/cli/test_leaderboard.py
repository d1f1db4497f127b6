"""`cptools row` and `cptools leaderboard`: reports compete, and what does not fit is refused."""

import json
import re

import pytest

from cptools.core.evaluation.statistics import wilson
from cptools.reports.leaderboard import attacks, defenses, read_rows


def record(correct, seed, *, poisoned, total=1000):
    """A report as cp-probe writes it, of a victim whose accuracy is chosen."""
    low, high = wilson(correct, total)
    poison = {
        "tool": "cp-perturb", "version": "0.1.0", "parameters": {"noise": True, "seed": seed},
        "inputs": {},
    }  # fmt: skip
    victim = {
        "tool": "cp-pretrain", "version": "0.1.0", "parameters": {"alg": "simclr", "seed": seed},
        "inputs": {},
    }  # fmt: skip
    return {
        "accuracy_percent": round(100 * correct / total, 2), "low_percent": round(100 * low, 2),
        "high_percent": round(100 * high, 2), "correct": correct, "total": total,
        "selected_on_test": False, "dataset": "shapes", "dataset_sha256": "0" * 64,
        "algorithm": "simclr", "architecture": "resnet10", "width": 8,
        "settings": {"method": "lbfgs"}, "history": [*([poison] if poisoned else []), victim],
    }  # fmt: skip


@pytest.fixture
def enter(tmp_path, tool):
    """Enter a report and return how the tool ended."""

    def enter_(name, hits, seed, *options, **changes):
        attack, defense, victim = name.split(".")
        path = tmp_path / f"{name}-{seed}.jsonl"
        told = record(hits, seed, poisoned=attack != "clean") | changes
        path.write_text(json.dumps(told))
        names = ["--attack", attack, "--defense", defense, "--victim", victim]
        return tool("cptools", "row", path, *names, *options)

    return enter_


@pytest.fixture
def rows(tmp_path, enter):
    path = tmp_path / "rows.jsonl"
    cells = {
        "clean.none.simclr": (900, 880), "clean.none.moco": (850, 870),
        "weak.none.simclr": (890, 880), "weak.none.moco": (500, 510),
        "strong.none.simclr": (600, 620), "strong.none.moco": (700, 705),
        "clean.mc.simclr": (860, 850), "strong.mc.simclr": (800, 810),
        "weak.mc.simclr": (820, 835),
    }  # fmt: skip
    lines = []
    for name, counts in cells.items():
        for seed, correct in enumerate(counts):
            done = enter(name, correct, seed, "--seconds", "victim=30", "--seconds", "attack=12")
            assert (done.code, done.err) == (0, "")
            lines.append(done.out)
    path.write_bytes(b"".join(lines))
    return path


def test_an_attack_counts_by_the_best_victim_a_defense_by_the_worst_attack(rows):
    read = read_rows([str(rows), str(rows)])  # a copy counts once
    assert len(read) == 18
    strong, weak = attacks(read)[1:]
    assert (strong.name, strong.worst) == ("strong", "moco")
    assert (weak.name, weak.worst) == ("weak", "simclr")
    # Paired by seed: 700 - 850 and 705 - 870, in points of a hundred.
    assert strong.effect[0] == pytest.approx(-15.75)
    assert strong.effect[1] == pytest.approx(-15.75 - 12.706 * 0.75, abs=1e-3)
    assert strong.seconds == 12
    mc, none = defenses(read)
    assert (mc.name, mc.worst, none.name, none.worst) == (
        "simclr, mc", "strong", "simclr, none", "strong",
    )  # fmt: skip
    assert mc.effect[0] == pytest.approx(-3.5)
    assert none.effect == ()


def test_tables_and_page(rows, tmp_path, tool):
    done = tool("cptools", "leaderboard", rows, "-o", tmp_path / "board.html")
    assert (done.code, done.err) == (0, "")
    lines = done.out.decode().splitlines()
    assert lines[0] == "## Attacks"
    body = [line for line in lines if line.startswith("| ")]
    assert body[3].startswith(
        "| strong | 70.2 (67.1 to 73.4) | moco of 2 | -15.8 (-25.3 to -6.2) |"
    )
    assert body[3].endswith(
        "| 61.0 (48.3 to 73.7); 2 seeds, 30 s | 70.2 (67.1 to 73.4); 2 seeds, 30 s |"
    )
    page = (tmp_path / "board.html").read_text()
    assert page.count('<table class="sorted"') == page.count('type="search"') == 2
    assert 'data-value="70.25"' in page
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    assert "<" not in re.sub(r"<[ =]", "", script)
    assert "script-src 'sha256-" in page


def test_verify_checks_rows(rows, tool):
    done = tool("cptools", "verify", rows)
    assert done.out.decode() == f"{rows}: ok 18 rows of a leaderboard\n"
    rows.write_text(rows.read_text().replace('"correct": 900', '"correct": 901', 1))
    tool("cptools", "verify", rows).refused(f"line 1 of {rows}: its accuracy or interval is not")
    rows.write_text(rows.read_text()[:-40])
    tool("cptools", "verify", rows).refused("line 1 of")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("clean.none.simclr", {"history": []}, "its history trains no victim"),
        ("clean.none.simclr", {"correct": 10**400}, "not a report of cp-probe"),
        ("clean.none.simclr", {"accuracy_percent": 99.0}, "tells no accuracy"),
        ("clean.none.simclr", {"history": [{"tool": "rm", "version": "1", "parameters": {},
                                            "inputs": {}}]}, "no valid history"),
        ("clean.none.sim\x1bclr", {}, "is no name for --victim"),
        ("clean.none.x", {"history": record(1, 0, poisoned=True)["history"]}, "an attack; name it"),
        ("cp.none.x", {"history": record(1, 0, poisoned=False)["history"]}, "enter it as clean"),
    ],
)  # fmt: skip
def test_a_report_that_is_not_what_it_is_entered_as_is_refused(enter, name, changes, message):
    enter(name, 800, 0, **changes).refused(message)


def test_another_cost_is_refused(enter):
    for cost in ("victim", "victim=x", "tea=3", "victim=-1", "victim=nan"):
        enter("clean.none.simclr", 800, 0, "--seconds", cost).refused("--seconds")


def test_two_rows_for_one_cell_are_refused(tmp_path, enter, tool):
    path = tmp_path / "both.jsonl"
    path.write_bytes(enter("clean.none.a", 800, 0).out + enter("clean.none.a", 801, 0).out)
    tool("cptools", "leaderboard", path).refused("another row for clean.none.a of seed 0")


def test_other_files_are_refused(tmp_path, tool):
    (tmp_path / "x.jsonl").write_text('{"kind": "row"}\n')
    tool("cptools", "leaderboard", tmp_path / "x.jsonl").refused("not a row; make it with")
    (tmp_path / "x.jsonl").write_text("")
    tool("cptools", "leaderboard", tmp_path / "x.jsonl").refused("there are no rows")
    tool("cptools", "leaderboard", tmp_path / "none.jsonl").refused("No such file")
