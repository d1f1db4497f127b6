"""The table of coresets: every entry runs as it says, and costs no torch to list."""

import subprocess
import sys

import pytest
import torch

from cptools.core.coresets import CORESETS, EMBEDDINGS
from cptools.core.lazy import load


@pytest.mark.parametrize("name", CORESETS)
def test_entries_take_what_they_say(name: str) -> None:
    entry, generator = CORESETS[name], torch.Generator().manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(60, 5, generator=generator))
    labels = torch.arange(60) % 3
    inputs = [embeddings] * bool(entry.embeddings) + [labels] * bool(entry.classes) or [60]
    options = {"seed": 7} if entry.is_random else {}
    choose = load(entry.function)
    got = choose(*inputs, 0.25, **options)
    assert got.dtype == torch.int64
    assert len(got) == 15
    assert got.tolist() == sorted(set(got.tolist()))
    assert int(got[0]) >= 0
    assert int(got[-1]) < 60
    assert torch.equal(got, choose(*inputs, 0.25, **options))
    assert choose(*inputs, 1.0, **options).tolist() == list(range(60))
    if entry.is_random:
        assert not torch.equal(got, choose(*inputs, 0.25, seed=8))
    if entry.classes:
        assert labels[got].bincount().tolist() == [5, 5, 5]
        with pytest.raises(ValueError, match=r"leaves one of the 3 classes empty; take 0\.05 or"):
            choose(*inputs, 0.03, **options)
    with pytest.raises(ValueError, match=r"fraction in \(0, 1\], got 1\.5"):
        choose(*inputs, 1.5, **options)


def test_entries_are_whole() -> None:
    assert list(CORESETS) == ["sas", "sas-topk", "paper2", "random", "balanced"]
    assert {entry.embeddings for entry in CORESETS.values()} == {*EMBEDDINGS, None}
    assert {entry.classes for entry in CORESETS.values()} == {"latent", "labels", None}
    assert all(callable(load(spec)) for spec in EMBEDDINGS.values())


def test_the_table_needs_no_torch() -> None:
    code = "import sys, cptools.core.coresets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
