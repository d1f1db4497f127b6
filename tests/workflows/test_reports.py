"""Reports as Python has them."""

import csv
import io
import json

import pytest

import cptools as cp


@pytest.fixture(scope="module")
def probed(encoder, data):
    return cp.probe(encoder, [data, cp.load("shapes", limit=30, limit_test=10, seed=1)])


@pytest.fixture(scope="module")
def audited(data):
    return cp.audit(data)


def test_numbers(probed, audited):
    first = probed.records[0]
    assert type(probed) is cp.Report
    assert probed.accuracy == first["accuracy_percent"] == 100 * first["correct"] / first["total"]
    low, high = probed.interval
    assert 0 <= low <= probed.accuracy <= high <= 100
    assert audited.verdict in ("inconspicuous", "suspicious", "noisy", "poisoned")


def test_what_is_not_told(probed, audited):
    with pytest.raises(ValueError, match="the report has no verdict; it has accuracy_percent"):
        _ = probed.verdict
    for name in ("accuracy", "interval"):
        with pytest.raises(ValueError, match=r"the report has no .*; it has verdict, score"):
            getattr(audited, name)
    with pytest.raises(ValueError, match="it has nothing"):
        _ = cp.Report(()).accuracy


def test_a_sentence_a_record(probed, audited):
    lines = str(probed).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{probed.accuracy:.1f} % of 20 test images of shapes (95% interval")
    assert str(audited).startswith(f"{audited.verdict}: 40 images of shapes score")


def test_json(probed):
    lines = probed.to_json().splitlines()
    assert [json.loads(line) for line in lines] == list(probed.records)


def test_csv(probed):
    rows = list(csv.DictReader(io.StringIO(probed.to_csv())))
    assert len(rows) == 2
    for row, record in zip(rows, probed.records, strict=True):
        assert float(row["accuracy_percent"]) == record["accuracy_percent"]
        assert row["dataset"] == "shapes"
        assert row["settings.method"] == "lbfgs"
        assert row["best_epoch"] == ""
        assert "history" not in row
    assert rows[0]["dataset_sha256"] != rows[1]["dataset_sha256"]


def test_columns_that_one_record_has_alone():
    report = cp.Report(({"a": 1, "settings": {"x": 1}}, {"b": "p,q", "settings": {"y": [1]}}))
    assert report.to_csv() == 'a,settings.x,b\n1,1,\n,,"p,q"\n'


def test_pandas(probed, audited):
    pandas = pytest.importorskip("pandas")
    frame = probed.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["accuracy_percent"].tolist() == [r["accuracy_percent"] for r in probed.records]
    assert "history" not in frame
    assert audited.to_pandas().loc[0, "verdict"] == audited.verdict
    assert audited.to_pandas().loc[0, "class_agreement.disk":].notna().any()


def test_without_pandas(probed, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ValueError, match="pandas is not installed; pip install pandas, or use"):
        probed.to_pandas()
