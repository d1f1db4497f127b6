"""The deltas that ship: small, valid, made for the built-in shapes by the command they name."""

import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from cptools.artifacts.history import dataset_digest
from cptools.artifacts.schema import Dataset, Delta
from cptools.artifacts.stream import open_artifact
from cptools.cli._data import make_dataset
from cptools.core.poisons.budget import check_bound, poison_uint8

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
