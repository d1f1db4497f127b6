"""The pipelines of the Makefile and the README, and the deltas that ship."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from cptools.artifacts.history import dataset_digest
from cptools.artifacts.schema import Dataset, Delta
from cptools.artifacts.stream import open_artifact
from cptools.cli._app import run
from cptools.cli.cptools import TOOLS
from cptools.core.poisons.budget import check_bound, poison_uint8
from cptools.workflows.datasets import make_dataset

EXAMPLES = Path(__file__).parent.parent / "examples"
POISONS = sorted((EXAMPLES / "poisons").glob("*.safetensors"))


@pytest.fixture(scope="module")
def shapes() -> Dataset:
    return make_dataset("shapes", {"seed": 0})


def test_the_poisons_are_those_of_the_makefile() -> None:
    done = subprocess.run(
        ["make", "-C", EXAMPLES, "-Bn", "poisons"], check=True, capture_output=True, text=True
    )
    made = {line.split()[-3] for line in done.stdout.splitlines() if "cp-generate" in line}
    assert made == {f"poisons/{path.name}" for path in POISONS}


@pytest.mark.parametrize("path", POISONS, ids=lambda path: path.name.split(".")[0])
def test_a_shipped_delta_verifies(path: Path, shapes: Dataset) -> None:
    assert path.stat().st_size < 100_000
    delta = open_artifact(str(path), expect=("delta",)).read()
    assert isinstance(delta, Delta)
    assert path.name == f"{delta.algorithm}-{delta.mode}.delta.safetensors"
    assert delta.delta.dtype == np.float16
    assert delta.dataset == dataset_digest(shapes)
    assert delta.classes == shapes.classes
    assert [step.tool for step in delta.history] == ["cp-dataset", "cp-generate"]
    settings = delta.history[-1].parameters
    assert (settings["alg"], settings["precision"], settings["half"]) == (
        delta.algorithm, "fp32", True,
    )  # fmt: skip
    clean, labels = torch.from_numpy(shapes.train_images), torch.from_numpy(shapes.train_labels)
    poisoned = poison_uint8(clean, torch.from_numpy(delta.delta), labels, Fraction(8, 255))
    check_bound(clean, poisoned, Fraction(8, 255))
    moved = (poisoned.int() - clean).abs().float()
    assert float(moved.mean()) > 3  # learned noise goes to the edge of its ball
    assert float(moved.max()) == 8


SCALES = ("smoke", "cpu", "paper")
TABLES = [*(f"table{n}" for n in range(1, 9)), "ucla-table", "ucla-ablation", "coresets", "audit"]
FIGURES = ["figure1", *(f"figure{n}" for n in range(3, 10))]
STUDIES = ["completion", "worst", "survival", "sizes"]
BIN = Path(sys.executable).parent
DRY = {"cp-perturb", "cp-generate", "cp-defend", "cp-select", "cp-pretrain", "cp-probe"}


def make(*arguments: str) -> str:
    """What make prints."""
    names = ("SCALE", "SEEDS", "DATASET", "RECIPE", "OUT", "LAUNCH", "MAKEFLAGS")
    done = subprocess.run(
        ["make", "-C", EXAMPLES, *arguments],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name not in names}
        | {"PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of our tools in shell text."""
    for part in re.split(r"\n|;|\||&&|>|\bdo ", text.replace("\\\n", " ")):
        words = part.strip(" {}").split()
        if words and words[0] in (*TOOLS, "cptools"):
            yield shlex.split(" ".join(words))


@cache
def command(name: str) -> Any:
    """The command of a tool, or of `cptools NAME`."""
    program, _, name = name.partition(" ")
    module = import_module(f"cptools.cli.{program.removeprefix('cp-')}")
    main = typer.main.get_command(module.app)
    return main.commands[name] if name else main


def parse(words: list[str]) -> dict[str, object]:
    """The parameters of a command; raises where an option or its value is none."""
    end = 2 if words[0] == "cptools" else 1
    return command(" ".join(words[:end])).make_context(words[0], words[end:]).params


@pytest.mark.parametrize("scale", SCALES)
def test_the_pipelines_parse_and_no_two_make_one_file(scale: str) -> None:
    made: Counter[str] = Counter()
    tools = set()
    for words in commands(make("-n", "all", *STUDIES, f"SCALE={scale}", "SEEDS=0 1", "OUT=out")):
        given = parse(words)
        tools.add(words[0])
        made[str(given.get("output"))] += 1
        if words[0] == "cp-generate":
            made[str(given["delta"])] += 1
    assert tools == {*TOOLS, "cptools"} - {"cp-protect"}  # whose work are folders
    del made["None"]  # cptools report
    assert made["out/clean.simclr-0.encoder"] == 1  # of ten tables
    assert [path for path, times in made.items() if times > 1] == []


@pytest.mark.parametrize(
    ("target", "dataset", "paper"),
    [
        ("table1", "shapes", "table1"),
        ("table1", "cifar10", "table1"),
        ("table1", "x/cifar100", "table1-cifar100"),
        ("table1", "imagenet100-32.tar", "table1-imagenet100"),
        ("table3", "cifar100", None),  # which the paper has of CIFAR-10 alone
    ],
)
def test_a_table_stands_beside_the_papers_values_of_its_dataset(target, dataset, paper) -> None:
    lines = commands(make("-n", target, f"DATASET={dataset}", "SEEDS=0", "OUT=out"))
    told = {parse(words).get("paper") for words in lines if words[0] in ("cptools", "cp-visualize")}
    assert told == {Path(f"paper/{paper}.json") if paper else None}


@pytest.mark.parametrize(
    "targets", [["all"], ["table8", "coresets"], ["audit"], ["survival", "sizes"]]
)
def test_progress_counts_what_is_run(targets: list[str], tmp_path: Path) -> None:
    counting = tmp_path / "Makefile"
    counting.write_text("include Makefile\n$(info $(words $(STEPS)) steps)\n")
    text = make("-f", str(counting), "-n", *targets, "SEEDS=0 1", "OUT=out")
    run = [w for w in commands(text) if w[0] == "cp-pretrain" or "--audit" in w]
    assert f"\n{len(run)} steps\n" in text


@pytest.mark.parametrize("target", [*TABLES, *FIGURES, *STUDIES])
def test_a_target_ends_with_its_picture_and_a_table_its_paper(target: str) -> None:
    printed = [*commands(make("-n", target, "OUT=out", "SEEDS=0 1"))]
    drawn = [str(parse(words)["output"]) for words in printed if words[0] == "cp-visualize"]
    assert drawn
    assert all(re.fullmatch(rf"out/{target}(d|-.*)?\.png", path) for path in drawn)
    reports = [parse(words) for words in printed if words[:2] == ["cptools", "report"]]
    numbered = ("figure1", "figure4", "figure5", "figure8")
    assert bool(reports) == (target in (*TABLES, *STUDIES, *numbered))
    paper = EXAMPLES / "paper" / f"{target}.json"
    if paper.exists():
        assert str(reports[0]["paper"]) == f"paper/{target}.json"


def test_the_papers_values_are_of_cells_that_are_run() -> None:
    for paper in sorted((EXAMPLES / "paper").glob("*.json")):
        target = paper.stem.removesuffix("-cifar100").removesuffix("-imagenet100")
        cells = {
            Path(path).name.removesuffix("-0.jsonl")
            for words in commands(make("-n", target, "SCALE=paper", "OUT=out", "SEEDS=0"))
            if words[:2] == ["cptools", "report"]
            for path in words
            if path.endswith(".jsonl")
        }
        values = json.loads(paper.read_text())
        assert set(values) <= cells, paper.name
        assert all(8 < value < 94 for value in values.values()), paper.name


def test_help_names_the_targets() -> None:
    told = make("help")
    assert "make -C examples table3" in told
    named = set(re.findall(r"[a-z]+-?[a-z]*\d?", told))
    assert {*STUDIES, "table1", "table8", "figure9", "audit", "coresets", "all"} <= named
    assert {"ucla-table", "ucla-ablation"} <= named


def test_an_attack_that_is_none_is_refused() -> None:
    done = subprocess.run(
        ["make", "-C", EXAMPLES, "-n", "OUT=out", "out/cp-s-simcrl-0.dataset"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no attack is called cp-s-simcrl" in done.stderr


def test_a_scale_that_is_none_is_refused() -> None:
    done = subprocess.run(
        ["make", "-C", EXAMPLES, "-n", "table1", "SCALE=big"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "SCALE is smoke, cpu or paper, not big" in done.stderr


def test_a_launcher_starts_the_long_commands() -> None:
    targets = ("table8", "audit", "coresets")
    text = make("-n", *targets, "SCALE=paper", "SEEDS=0", "LAUNCH=srun --gres=gpu:1")
    trained = ("cp-generate", "cp-pretrain")
    long = (*trained, "cp-probe", "cp-defend", "cp-select")
    lines = [line for line in text.splitlines() if any(f"{name} " in line for name in long)]
    lines = [line for line in lines if "--method changed" not in line]
    assert len(lines) > 100
    assert {line.split("cp-")[0] for line in lines} == {"srun --gres=gpu:1 "}
    assert text.count("--checkpoint") == sum(line.split()[2] in trained for line in lines)


def test_the_commands_of_the_readme_parse() -> None:
    text = (EXAMPLES / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shell = re.sub(r"( |^)#.*|ssh box ", "", "".join(blocks), flags=re.MULTILINE)
    shell = shell.replace("$alg", "byol")
    cells = "\n".join(re.findall(r"`(cp-[^`]*)`", text)).replace("\\|", "|")
    found = [*commands(shell), *commands(cells)]
    assert len(found) > 80
    for words in found:
        parse(words)
    for line in shell.splitlines():
        if line.startswith("make ") and 'LAUNCH="ssh' not in line:
            subprocess.run(
                ["bash", "-c", f"{line.replace('examples', str(EXAMPLES), 1)} -n"],
                check=True,
                capture_output=True,
                env=os.environ | {"SCRATCH": "out"},
            )
    for target in (*TABLES, *FIGURES, *STUDIES):
        assert f"`{target}`" in text


# Table 1 of two cells, which have every kind of step that its others have.
SMALL = ("table1", "SCALE=smoke", "CELLS.table1=$(call cells,noise cp-c-simclr,simclr)")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a small table 1 leaves."""
    folder = tmp_path_factory.mktemp("examples")
    told = make(*SMALL, f"OUT={folder}")
    assert "| noise |" in told
    return folder


@pytest.mark.slow
def test_a_target_leaves_lines_a_table_and_a_picture(out: Path) -> None:
    cells = {"noise", "cp-c-simclr"}
    assert {path.name for path in out.glob("*.jsonl")} == {f"{c}.simclr-0.jsonl" for c in cells}
    for path in out.glob("*.jsonl"):
        assert json.loads(path.read_text())["total"] == 60
    table = (out / "table1.md").read_text()
    assert "paper" in table.splitlines()[0]
    assert {line.split(" | ")[0] for line in table.splitlines()[2:4]} == {f"| {c}" for c in cells}
    assert "90.4" in table  # the paper's accuracy of noisy pictures
    assert (out / "table1.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.glob("*.part"))


@pytest.mark.slow
def test_what_is_finished_is_not_run_again(out: Path) -> None:
    again = (*SMALL, f"OUT={out}")
    assert {w[0] for w in commands(make("-n", *again))} == {"cptools", "cp-visualize"}
    (out / "noise.simclr-0.jsonl").rename(out / "kept")
    missing = [w[0] for w in commands(make("-n", *again))]
    (out / "kept").rename(out / "noise.simclr-0.jsonl")
    assert Counter(missing) == Counter(["cp-probe", "cptools", "cp-visualize"])


@pytest.mark.slow
def test_the_tools_take_the_settings_of_every_cell(out: Path, tmp_path: Path) -> None:
    files = {
        "dataset": out / "cp-c-simclr-0.dataset",
        "encoder": out / "noise.simclr-0.encoder",
        "delta": out / "cp-c-simclr-0.delta",
    }
    seen = set()
    for scale in SCALES:
        for words in commands(make("-n", "all", *STUDIES, f"SCALE={scale}", "SEEDS=0", "OUT=out")):
            if words[0] not in DRY:
                continue
            written = ["-o", "--checkpoint", *["--delta"] * (words[0] == "cp-generate")]
            for n, word in enumerate(words):
                if words[n - 1] in written:
                    words[n] = str(tmp_path / words[n - 1].strip("-"))
                elif word.startswith("out/"):
                    words[n] = str(files[word.rpartition(".")[2]])
            seen.add(tuple(words))
    assert len(seen) > 100
    for name, *arguments in sorted(seen):
        app = import_module(f"cptools.cli.{name.removeprefix('cp-')}").app
        assert run(app, [*arguments, "--dry-run"]) == 0, (name, *arguments)


@pytest.mark.long
def test_every_stage_of_the_gpu_script_runs(tmp_path: Path) -> None:
    make_tiny = [sys.executable, "-m", "cptools.cli.dataset", "shapes", "--limit", "60"]
    subprocess.run([*make_tiny, "--limit-test", "40", "-o", tmp_path / "tiny"], check=True)
    (tmp_path / "plan").write_text(
        "epochs=1 class_rounds=1 sample_rounds=1 victim_seconds=1 class_seconds=1 sample_seconds=1"
    )
    done = subprocess.run(
        [EXAMPLES / "gpu.sh", tmp_path],
        env={
            **os.environ,
            "DATASET": str(tmp_path / "tiny"),
            "NETWORK": "--recipe quick",
            "MINUTES": "60",
        },
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^\| ([a-z-]+) \|", done.stdout, re.MULTILINE)
    assert len(names) == 14
    assert len(list(tmp_path.glob("*.delta.safetensors"))) == 3


def test_noise_is_spread_over_twice_its_size(tmp_path: Path) -> None:
    small = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "small.npy", small.numpy())
    large = {}
    for way in ("spline", "nearest", "tile"):
        script = [sys.executable, EXAMPLES / "spread.py", way, tmp_path / "small.npy"]
        subprocess.run([*script, tmp_path / f"{way}.npy"], check=True)
        large[way] = torch.from_numpy(np.load(tmp_path / f"{way}.npy"))
    expected = torch.nn.functional.interpolate(small, scale_factor=2, mode="nearest")
    assert torch.equal(large["nearest"], expected)
    assert torch.equal(large["tile"][..., 6:, 6:], small)
    assert large["spline"].shape == expected.shape
    means = torch.nn.functional.avg_pool2d(large["spline"], 2)
    assert float((means - small).abs().mean()) < 0.1 < float((means - small.mean()).abs().mean())
