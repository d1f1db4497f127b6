"""`cp.recommend`: the records, who is recommended, what is tried for whom, what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

import cptools as cp
from cptools.core.evaluation.probe import ProbeResult
from cptools.workflows import recommend as module
from cptools.workflows.recommend import CANDIDATES, is_better


@pytest.fixture(scope="module")
def data():
    return cp.load("shapes", limit=80, limit_test=10)


def test_a_sweep(data, monkeypatch):
    few = {name: CANDIDATES[name] for name in ("none", "early-stopping", "gray", "ueraser")}
    monkeypatch.setattr(module, "CANDIDATES", few)
    report = cp.recommend(data, "supervised", trusted=data, epochs=1)
    scores = [record["score_percent"] for record in report.records]
    assert scores == sorted(scores, reverse=True)
    assert {record["defense"] for record in report.records} == few.keys()
    assert sum(record["recommended"] for record in report.records) == 1
    told = {record["defense"]: record for record in report.records}
    assert told["none"]["cost_points"] == 0
    assert told["gray"]["command"] == "cp-defend --gray | cp-pretrain --alg supervised"
    assert {record["total"] for record in report.records} == {24}
    assert len(str(report).splitlines()) == len(scores)


@pytest.fixture
def scored(monkeypatch):
    """Scores in place of training, by candidate; the clean ones are 10 points above."""

    def set_scores(**scores):
        def sweep(parts, clean_parts, alg, candidates, *_):
            for name in candidates:
                right = scores.get(name.replace("-", "_"), 50)
                yield module._Found(
                    name, ProbeResult.of(right, 100), ProbeResult.of(right + 10, 100)
                )

        monkeypatch.setattr(module, "_sweep", sweep)

    return set_scores


def test_the_best_is_recommended_where_it_stands_out(data, scored):
    def chosen():
        return [r["defense"] for r in cp.recommend(data).records if r["recommended"]]

    scored(no_crop=80, gray=70)
    assert chosen() == ["no-crop"]
    scored(no_crop=60, gray=55)
    assert chosen() == ["none"], "10 points are within two standard errors of 100 images each"
    scored(none=90)
    assert chosen() == ["none"]


def test_what_is_tried_fits_the_victim(data, scored):
    scored()

    def tried(alg):
        return {record["defense"] for record in cp.recommend(data, alg).records}

    assert tried("simclr") == set(CANDIDATES) - {"ueraser"}
    assert "temperature" not in tried("byol")
    assert {"advsimclr", "vespr", "ueraser"}.isdisjoint(tried("moco"))


def test_two_standard_errors():
    half = SimpleNamespace(accuracy=0.5, total=400)
    assert is_better(SimpleNamespace(accuracy=0.58, total=400), half)
    assert not is_better(SimpleNamespace(accuracy=0.56, total=400), half)


def test_what_cannot_be_is_refused(data):
    with pytest.raises(ValueError, match="`epochs` 0 is no whole number"):
        cp.recommend(data, epochs=0)
    with pytest.raises(ValueError, match="did you mean"):
        cp.recommend(data, "simcl")
    one = replace(data, classes=("a",), train_labels=data.train_labels * 0)
    with pytest.raises(ValueError, match="has only one class"):
        cp.recommend(replace(one, test_labels=data.test_labels * 0))
