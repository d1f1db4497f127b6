"""The front door: the README's Python runs, and its links, citations and hooks are true."""

import re
import tomllib
from pathlib import Path

import matplotlib
import pytest
import yaml

import cptools

ROOT = Path(__file__).parents[1]
TEXTS = ["README.md", "CONTRIBUTING.md", "examples/README.md", "examples/results/README.md"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def read(name):
    return (ROOT / name).read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", read("README.md"), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    exec(compile(blocks("python")[0], "README.md", "exec"), names)
    *probes, verdict = capsys.readouterr().out.splitlines()
    assert len(probes) == 2
    assert all(re.search(r"\d", line) for line in probes)
    assert verdict.isalpha()
    assert names["delta"].mode == "class"
    assert (tmp_path / "poison.png").read_bytes().startswith(b"\x89PNG")
    again = cptools.load("poisoned.safetensors")
    assert len(again.train) == len(names["poisoned"].train) == 200
    assert {path.name for path in tmp_path.iterdir()} == {"poison.png", "poisoned.safetensors"}


def test_the_python_of_the_readme_is_short():
    assert len([line for line in blocks("python")[0].splitlines() if line]) <= 10


def test_the_readme_has_the_lines_that_ci_runs():
    lines = re.findall(r"^python3 -m venv .*$", read("README.md"), re.MULTILINE)
    assert len(lines) == 2
    assert lines[0].endswith("examples/quick.sh")
    assert [line for line in lines if re.search("/pytest", line)] == lines[1:]
    assert lines[1].endswith("/sphinx-build -W -q man/site build/site")


def anchors(text):
    """The anchors of the headings, by GitHub's rule."""
    found = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)\s]+)\)", read(name))
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        if "://" in link:
            assert link.startswith("https://")
            continue
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), link


def test_the_papers_are_cited_alike():
    cff = yaml.safe_load(read("CITATION.cff"))
    assert cff["cff-version"] == "1.2.0"
    assert {"message", "title", "type"} <= set(cff)
    assert cff["authors"] == [{"name": "The cptools developers"}] == PROJECT["authors"]
    assert cff["version"] == cptools.__version__
    assert cff["license"] == PROJECT["license"]
    *papers, own = blocks("bibtex")
    assert f"{{{cptools.__version__}}}" in own
    assert cff["title"] in own
    assert len(papers) == len(cff["references"]) == 2
    for entry, paper in zip(papers, cff["references"], strict=True):
        assert f"{{{paper['title']}}}" in entry
        authors = " and ".join(f"{a['given-names']} {a['family-names']}" for a in paper["authors"])
        assert f"{{{authors}}}" in entry
        assert f"{{{paper['year']}}}" in entry
        assert paper.get("url", "") in entry
    assert set(PROJECT["urls"].values()) <= set(re.findall(r"https://[^)\s]+", read("README.md")))


def test_hooks_and_forms_are_well_formed():
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    tools = {need for hook in hooks for need in hook.get("additional_dependencies", [])}
    assert tools
    assert tools <= set(PROJECT["optional-dependencies"]["dev"])
    forms = ROOT / ".github" / "ISSUE_TEMPLATE"
    assert yaml.safe_load((forms / "config.yml").read_text("utf-8"))["blank_issues_enabled"] is True
    for form in sorted(forms.glob("*.yml")):
        told = yaml.safe_load(form.read_text("utf-8"))
        if form.name != "config.yml":
            assert {"name", "description", "body"} <= set(told)
            ids = [field["id"] for field in told["body"] if field["type"] != "markdown"]
            assert len(set(ids)) == len(ids) > 2
            assert all(field["attributes"] for field in told["body"])


def test_every_dependency_has_its_license_told():
    extras = PROJECT["optional-dependencies"]
    optional = [need for name in ("timm", "parquet", "hf", "tensorboard") for need in extras[name]]
    needs = [*PROJECT["dependencies"], *(need for need in optional if "cptools" not in need)]
    told = re.findall(
        r"^\| ([\w-]+)(?: \(optional\))? \| [A-Z]", read("CONTRIBUTING.md"), re.MULTILINE
    )
    assert {re.match(r"[\w-]+", need)[0] for need in needs} == set(told)
