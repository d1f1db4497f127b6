"""A package of its own adds methods to the tools, which are run as processes."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cptools.artifacts.stream import open_artifact

PLUGIN = Path(__file__).parents[1] / "plugin"


def install(folder, groups, name="cptools-example"):
    """What `pip install --target` leaves behind of a package: its metadata."""
    info = folder / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in points.items())
             for group, points in groups.items()]  # fmt: skip
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that the example package is installed in, as its pyproject.toml says."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(PLUGIN / "cptools_example", folder / "cptools_example")
    about = tomllib.loads((PLUGIN / "pyproject.toml").read_text())
    install(folder, about["project"]["entry-points"])
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


def outside(folder, tool, *words, cwd=None, **more):
    """Run a tool as a process that finds packages in the folder too."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    module = f"cptools.cli.{tool.removeprefix('cp-')}"
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        cwd=cwd, env=environment | more, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(folder, work):
    """Run a tool that must succeed in silence; return what it wrote to -o."""

    def made_(tool, *words, o):
        done = outside(folder, tool, *words, "-o", work / o)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return open_artifact(work / o).read()

    return made_


@pytest.fixture(scope="module")
def clean(made, work):
    made("cp-dataset", "shapes", "--limit", 64, "--limit-test", 32, o="clean")
    return work / "clean"


TINY = ("--epochs", "1", "--batch-size", "32")


def history(folder, path):
    done = outside(folder, "cptools", "history", path)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_an_attack(folder, work, clean, made):
    poisoned = made("cp-generate", clean, "--alg", "stripes", "--period", 2, o="poisoned")
    step = poisoned.history[-1]
    assert (step.parameters["alg"], step.parameters["period"]) == ("stripes", 2)
    assert "cp-generate --alg stripes" in history(folder, work / "poisoned")
    refused = outside(folder, "cp-generate", clean, "--alg", "stripes", "--rounds", 2)
    assert "--rounds does not apply to --alg stripes; leave it out" in refused.stderr


def test_an_algorithm_and_an_encoder(folder, work, clean, made):
    words = (clean, "--alg", "barlow", "--encoder", "patches", *TINY)
    encoder = made("cp-pretrain", *words, "--redundancy", 0.1, o="encoder")
    assert (encoder.algorithm, encoder.architecture) == ("barlow", "patches")
    assert (encoder.width, encoder.feature_dim) == (12, 12)
    assert encoder.history[-1].parameters["redundancy"] == 0.1
    assert "--encoder patches" in history(folder, work / "encoder")
    assert encoder.tensors["backbone.position"].any()
    done = outside(folder, "cp-probe", work / "encoder", "--method", "knn", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["architecture"] == "patches"
    done = outside(folder, "cp-probe", work / "encoder", "--method", "distances", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    paper = outside(folder, "cp-pretrain", clean, "--alg", "barlow", "--recipe", "paper", "-n")
    assert json.loads(paper.stdout)["head_dim"] == 8192


def test_a_defense_before_and_during_training(folder, work, clean, made):
    defended = made("cp-defend", clean, "--median", 3, o="defended")
    assert defended.history[-1].parameters["median"] == 3
    assert "cp-defend" in history(folder, work / "defended")
    assert "--median 3" in history(folder, work / "defended")
    encoder = made("cp-pretrain", clean, "--defend", "median:3", *TINY, o="during")
    assert encoder.history[-1].parameters["defend"] == "median:3"
    even = outside(folder, "cp-defend", clean, "--median", 2, "-o", work / "no")
    assert even.returncode == 2
    assert "--median takes an odd number" in even.stderr
    assert not (work / "no").exists()


def test_help_tells_of_them_without_torch(folder):
    code = (
        "import sys; from cptools.cli import generate, pretrain, defend;"
        "print(*{'torch', 'numpy'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")
    told = outside(folder, "cp-pretrain", "--help").stdout
    assert "|barlow" in told
    assert "--redundancy" in told
    assert "|patches|" in told
    assert "|stripes" in outside(folder, "cp-generate", "--help").stdout
    assert "--median" in outside(folder, "cp-defend", "--help").stdout


NAME = "cptools_example.methods:tiny"


def test_an_encoder_of_no_entry_is_trained_if_typed_and_read_if_trusted(folder, work, clean, made):
    encoder = made("cp-pretrain", clean, "--encoder", NAME, *TINY, o="tiny")
    assert (encoder.architecture, encoder.width, encoder.feature_dim) == (NAME, 1, 6)
    printed = outside(folder, "cptools", "history", work / "tiny")
    assert f"code of another package, {NAME}; it is commented out" in printed.stderr
    assert all(line.startswith("# ") for line in printed.stdout.splitlines())
    repeated = outside(folder, "cp-pretrain", clean, "--encoder", NAME, "--width", 1, "-n")
    assert json.loads(repeated.stdout)["width"] == 1, "as a history tells it"
    refused = outside(folder, "cp-pretrain", clean, "--encoder", NAME, "--width", 8, "-n")
    assert f"--width does not apply to --encoder {NAME}; leave it out" in refused.stderr
    read = outside(folder, "cp-probe", work / "tiny", "--method", "knn")
    assert (read.returncode, read.stderr.count("\n")) == (2, 1)
    assert f"if you trust it, set the environment variable CPTOOLS_TRUST={NAME}" in read.stderr
    trust = {"CPTOOLS_TRUST": f"other:one,{NAME}"}
    trusted = outside(folder, "cp-probe", work / "tiny", "--method", "knn", **trust)
    assert (trusted.returncode, trusted.stderr) == (0, "")
    printed = outside(folder, "cptools", "history", work / "tiny", **trust)
    assert "\n  cp-pretrain --alg simclr" in printed.stdout
    assert f" --encoder {NAME} " in printed.stdout


def test_an_encoder_of_no_entry_poisons(clean, made):
    words = ("--rounds", 1, "--model-steps", 1, "--noise-steps", 1, "--batch-size", 32)
    poisoned = made("cp-generate", clean, "--encoder", NAME, *words, o="by-tiny")
    assert poisoned.history[-1].parameters["encoder"] == NAME


def test_a_broken_package_breaks_nothing_else(tmp_path, clean):
    (tmp_path / "broken.py").write_text("ENTRY = 3\nimport cptools.no_such_thing\n")
    (tmp_path / "wrong.py").write_text("ENTRY = 3\n")
    install(tmp_path, {
        "cptools.algorithms": {"later": "broken:ENTRY", "wrong": "wrong:ENTRY"},
        "cptools.defenses": {"wash": "no_such_module:ENTRY"},
    }, name="bad-package")  # fmt: skip
    works = outside(tmp_path, "cp-pretrain", clean, "-n")
    assert (works.returncode, works.stderr) == (0, "")
    for name, reason in (("later", "no_such_thing"), ("wrong", "of type int")):
        done = outside(tmp_path, "cp-pretrain", clean, "--alg", name, "-n")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert f"the algorithm {name} of bad-package cannot be used" in done.stderr
        assert reason in done.stderr
    during = outside(tmp_path, "cp-pretrain", clean, "--defend", "wash", "-n")
    assert "the defense wash of bad-package cannot be used (ModuleNotFoundError" in during.stderr


def test_a_taken_name_stays_ours_and_is_remarked(tmp_path, clean):
    (tmp_path / "wrong.py").write_text("ENTRY = 3\n")
    install(tmp_path, {"cptools.algorithms": {"simclr": "wrong:ENTRY"}}, name="bad-package")
    done = outside(tmp_path, "cp-pretrain", clean, "-n")
    assert json.loads(done.stdout)["alg"] == "simclr"
    assert done.stderr.startswith("the algorithm simclr of bad-package is left out: cptools has")
