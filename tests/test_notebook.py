"""The notebook of the examples: its cells run in order and end with what the text says."""

import json
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook.ipynb"


def cells(kind):
    book = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    return [cell for cell in book["cells"] if cell["cell_type"] == kind]


def test_nothing_that_ran_is_stored():
    assert len(cells("code")) > 7
    for cell in cells("code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    names = [cell["id"] for kind in ("code", "markdown") for cell in cells(kind)]
    assert len(set(names)) == len(names)


@pytest.mark.slow
def test_the_cells_run_in_order(tmp_path, monkeypatch, capsys):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for cell in cells("code"):
        text = "".join(cell["source"])
        exec(compile(text, f"cell {cell['id']}", "exec"), names)
    assert names["TINY"] is True
    assert (len(names["data"].train), len(names["data"].test)) == (200, 100)
    assert names["data"].train[0][0].dtype == torch.float32
    assert 0 < names["largest"] <= 8
    assert set(names["reports"]) == {"clean", "noise", "poisoned", "defended"}
    for report in names["reports"].values():
        assert 0 < report.accuracy <= 100
        assert report.records
    assert names["features"].shape == (8, names["encoder"].feature_dim)
    assert bool(names["features"].isfinite().all())
    verdicts = {name: audit.verdict for name, audit in names["audits"].items()}
    assert set(verdicts) == {"clean", "noise", "poisoned"}
    assert verdicts["clean"] == "inconspicuous"
    assert isinstance(names["figure"], Figure)
    assert isinstance(names["comparison"], Figure)
    assert names["same"] is True
    assert {path.name for path in tmp_path.iterdir()} == {
        "poisoned.safetensors", "delta.safetensors", "report.jsonl", "poison.png",
    }  # fmt: skip
    printed = capsys.readouterr()
    assert "255 gray levels" in printed.out
    assert printed.err == ""  # progress is silent outside of a notebook
