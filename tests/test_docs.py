"""Documentation that cannot drift: man pages, help of every option, answers without torch."""

import re
import resource
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import typer

from cptools.cli.cptools import TOOLS

ROOT = Path(__file__).parents[1]
MAN = ROOT / "man"
NAMES = [*TOOLS, "cptools"]
HEAVY = ("torch", "torchvision", "numpy", "scipy", "rich", "safetensors", "matplotlib", "PIL")


def command(name):
    return typer.main.get_command(import_module(f"cptools.cli.{name.removeprefix('cp-')}").app)


def commands(name):
    """The command of a tool, and its subcommands."""
    main = command(name)
    return [main, *getattr(main, "commands", {}).values()]


def mkman(folder, *arguments):
    return subprocess.run(
        [sys.executable, folder / "mkman.py", *arguments], capture_output=True, text=True
    )


def test_man_pages_are_up_to_date():
    done = mkman(MAN, "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stale_man_page_is_noticed_and_made_again(tmp_path):
    folder = Path(shutil.copytree(MAN, tmp_path / "man"))
    (folder / "cp-probe.1").write_text("old")
    (folder / "cp-defend.1").unlink()
    done = mkman(folder, "--check")
    assert done.returncode == 1
    assert done.stderr.startswith("cp-probe.1, cp-defend.1 not up to date;")
    assert (folder / "cp-probe.1").read_text() == "old"
    assert mkman(folder).returncode == 0
    assert (folder / "cp-probe.1").read_bytes() == (MAN / "cp-probe.1").read_bytes()
    assert mkman(folder, "--check").returncode == 0


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff")
@pytest.mark.parametrize("name", NAMES)
def test_man_page_is_clean(name):
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", MAN / f"{name}.1"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_man_page_is_complete(name):
    text = (MAN / f"{name}.1").read_text()
    headings = re.findall(r"^\.SH (.*)$", text, re.MULTILINE)
    assert [h for h in headings if h not in ("COMMANDS", "LEADERBOARD")] == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "INPUT AND OUTPUT", "EXIT STATUS",
        "ENVIRONMENT", "EXAMPLES", "MEMORY", "SEE ALSO",
    ]  # fmt: skip
    for sub in commands(name):
        for parameter in sub.params:
            if parameter.param_type_name == "option":
                shown = parameter.opts[-1].replace("-", r"\-")
                assert f"\\fB{shown}\\fR" in text


def test_unconfirmed_default_is_called_so():
    text = " ".join((MAN / "cp-defend.1").read_text().replace("\\", "").split())
    assert "fBmc-keepfR, 0.5, is unconfirmed" in text.replace("--", "")


@pytest.mark.parametrize("name", NAMES)
def test_examples_use_options_that_exist(name):
    text = (MAN / f"{name}.1").read_text().replace("\\-", "-").replace("\\(aq", "'")
    seen = 0
    for example in re.findall(r"^\.EX\n(.*?)^\.EE$", text, re.MULTILINE | re.DOTALL):
        for stage in re.split(r"[|\n]", example.replace("|\n", "|")):
            words = shlex.split(stage)
            if words and words[0] in NAMES:
                known = {o for sub in commands(words[0]) for p in sub.params for o in p.opts}
                assert {w for w in words[1:] if w.startswith("-") and w != "-"} <= known
                seen += 1
    assert seen


def test_packaged_pages_and_scripts():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["project"]["scripts"]) == set(NAMES)
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {f"man/{name}.1": f"share/man/man1/{name}.1" for name in NAMES}
    assert {path.name for path in MAN.glob("*.1")} == {f"{name}.1" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_help(name):
    for sub in commands(name):
        assert sub.help
        assert sub.help.splitlines()[0].endswith(".")
        for parameter in sub.params:
            assert parameter.help, f"{name} {parameter.name}"
            assert parameter.help.endswith((".", "].")), f"{name} {parameter.name}"


def used_time():
    """Processor time in seconds of all children so far; tests beside this one do not change it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("flag", ["-h", "--help", "--version"])
@pytest.mark.parametrize("name", NAMES)
def test_answers_at_once(name, flag):
    script = Path(sys.executable).with_name(name)
    times = []
    for _ in range(5):  # a busy machine is slow now and then
        start = used_time()
        done = subprocess.run([script, flag], capture_output=True, text=True)
        times.append(used_time() - start)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{name} " if flag == "--version" else f"Usage: {name} ")
        if times[-1] < 0.4:
            break
    assert min(times) < 0.4


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_answers_without_anything_heavy(flag):
    code = (
        "import sys; from importlib import import_module; from cptools.cli._app import run;"
        f"codes = [run(import_module('cptools.cli.' + n.removeprefix('cp-')).app, ['{flag}'])"
        f" for n in {NAMES}];"
        "assert not any(codes), codes;"
        f"found = set({HEAVY}) & set(sys.modules); assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_tables_of_the_readmes_are_those_that_the_examples_wrote():
    root = Path(__file__).parents[1]
    results = root / "examples" / "results"
    measured = re.compile(r"^\| [a-z][a-z0-9.+-]* \|.*\d\.\d")
    tables = sorted(results.glob("*/*.md"))
    assert len(tables) >= 3
    written = {line for table in tables for line in table.read_text("utf-8").splitlines()}
    readmes = [root / "README.md", results / "README.md"]
    told = [line for file in readmes for line in file.read_text("utf-8").splitlines()]
    rows = [line for line in told if measured.match(line)]
    assert len(rows) > 20
    assert [row for row in rows if row not in written] == []
