"""What other packages add to the registries, and what they cannot break."""

import logging
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cptools.core import defenses, plugins, poisons
from cptools.core.algorithms import ALGORITHMS, Algorithm
from cptools.core.algorithms import _check as check_algorithm
from cptools.core.defenses import Defense
from cptools.core.encoders import Encoder
from cptools.core.encoders import _check as check_encoder
from cptools.core.plugins import Registry
from cptools.core.poisons import Attack
from cptools.core.settings import Setting

Install = Callable[..., "Registry[Encoder]"]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Install:
    """A registry of encoders with one of its own, where others have entry points."""

    def install(*points: tuple[str, str], **modules: object) -> Registry[Encoder]:
        for name, entry in modules.items():
            module = ModuleType(name)
            vars(module)["ENTRY"] = entry
            monkeypatch.setitem(sys.modules, name, module)
        found = EntryPoints(EntryPoint(n, v, "cptools.encoders") for n, v in points)
        monkeypatch.setattr(plugins, "_entry_points", lambda: found)
        return Registry(
            "encoder", Encoder, {"ours": Encoder("a:b")}, group="cptools.encoders",
            check=check_encoder,
        )  # fmt: skip

    return install


def test_entries_of_others_follow_ours(registry: Install) -> None:
    theirs = Encoder("c:d", width=3)
    found = registry(("theirs", "plugged:ENTRY"), plugged=theirs)
    assert list(found) == ["ours", "theirs"]
    assert (len(found), found["theirs"], found.find("theirs")) == (2, theirs, theirs)
    assert "theirs" not in found.own


def test_nothing_is_imported_before_a_look(registry: Install) -> None:
    found = registry(("theirs", "no_such_module:ENTRY"))
    assert found.own["ours"].build == "a:b"
    assert found.broken == {}
    assert list(found) == ["ours"]
    assert "theirs" in found.broken


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (3, r"plugged:ENTRY is no cptools.core.encoders.Encoder but of type int"),
        (Encoder("not a spec"), "names 'not a spec', not \"module:name\""),
        (Encoder("a:b", width=0), "its width is 0"),
        (Encoder("a:b", width=True), "its width is True"),
    ],
)
def test_what_cannot_be_used_says_why_when_it_is_used(
    registry: Install, caplog: pytest.LogCaptureFixture, entry: object, reason: str
) -> None:
    found = registry(("theirs", "plugged:ENTRY"), plugged=entry)
    with caplog.at_level(logging.INFO, "cptools"):
        assert list(found) == ["ours"]
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    with pytest.raises(ValueError, match=r"^the encoder theirs of .*; update or remove") as caught:
        found.find("theirs")
    assert reason in str(caught.value)
    assert record.getMessage() == str(caught.value)


@pytest.mark.parametrize("name", ["Theirs", "a b", "-x", "lab-net", "a:b"])
def test_names_that_cannot_be_typed(registry: Install, name: str) -> None:
    found = registry((name, "plugged:ENTRY"), plugged=Encoder("a:b"))
    assert list(found) == ["ours"]
    assert name in found.broken


def test_a_taken_name_stays_ours(registry: Install, caplog: pytest.LogCaptureFixture) -> None:
    found = registry(("ours", "plugged:ENTRY"), plugged=Encoder("c:d"))
    assert found["ours"].build == "a:b"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "the encoder ours of plugged:ENTRY is left out" in record.getMessage()


def test_a_name_that_two_packages_add_is_neithers(registry: Install) -> None:
    entry = Encoder("c:d")
    found = registry(("it", "one:ENTRY"), ("it", "two:ENTRY"), one=entry, two=entry)
    with pytest.raises(ValueError, match="several packages add one"):
        found.find("it")


def test_a_module_may_look_up_what_it_builds_on_while_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Install
) -> None:
    """Also where the user imports it first, and the registry meets it half made."""
    (tmp_path / "half_made.py").write_text(
        "from cptools.core.encoders import Encoder\nimport registry_of_the_test as r\n"
        "ENTRY = r.ENTRY['ours']._replace(width=5)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = registry(("theirs", "half_made:ENTRY"))
    module: Any = ModuleType("registry_of_the_test")
    module.ENTRY = found
    monkeypatch.setitem(sys.modules, "registry_of_the_test", module)
    import half_made  # type: ignore[import-not-found]

    assert found["theirs"] == half_made.ENTRY
    assert found.broken == {}
    del sys.modules["half_made"]


QUICK: Any = {"lr": 0.1, "loss_scale": 1.0}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (Algorithm("a:b", {**QUICK, "my": 1}, QUICK), "my is no setting; add it"),
        (Algorithm("a:b", {"lr": 1}, QUICK), None),
        (Algorithm("a:b", {"lr": "fast"}, QUICK), "lr: 'fast' is not a number"),  # type: ignore[typeddict-item]
        (Algorithm("a:b", {"epochs": 0}, QUICK), "epochs: 0 is not a whole number"),
        (
            Algorithm("a:b", QUICK, QUICK, own_settings={"lr": Setting(float, "")}),
            "its setting lr has a name that is taken",
        ),
        (
            Algorithm("a:b", QUICK, QUICK, own_settings={"seed": Setting(int, "")}),
            "its setting seed has a name that is taken",
        ),
        (
            Algorithm("a:b", QUICK, QUICK, own_settings={"my-own": Setting(int, "")}),
            "its setting my-own has a name that is taken or is no name",
        ),
    ],
)
def test_settings_of_an_algorithm_from_outside(entry: Algorithm, reason: str | None) -> None:
    if reason is None:
        check_algorithm("theirs", entry)
        return
    with pytest.raises(ValueError, match=reason):
        check_algorithm("theirs", entry)


@pytest.mark.parametrize(
    "entry",
    [
        Attack("a:b", {}, {}),
        Attack("a:b", {"class": {}}, {"sample": {}}),
        Attack("a:b", {"pixel": {}}, {"pixel": {}}),
        Attack("a:b", {"class": {"rms": 1.0}}, {"class": {}}),
        Attack("a:b", {"class": {}}, {"class": {}}, {"rms": Setting(int, "Another rms.")}),
    ],
)
def test_attacks_from_outside_that_cannot_work(entry: Attack) -> None:
    with pytest.raises(ValueError, match=r"^it|^rms"):
        poisons._check("theirs", entry)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("seed", Defense("a:b", "")),
        ("theirs", Defense("a:b", "", main="side")),
        ("theirs", Defense("a:b", "", {"n": Setting(int, "", 1)}, {"n": 0})),
        ("theirs", Defense("a:b", "", {"no-way": Setting(int, "")})),
    ],
)
def test_defenses_from_outside_that_cannot_work(name: str, entry: Defense) -> None:
    with pytest.raises(ValueError, match=r"option|setting|default|number"):
        defenses._check(name, entry)


def test_names_are_looked_up_as_in_any_mapping() -> None:
    assert "simclr" in ALGORITHMS
    assert "simclrr" not in ALGORITHMS
    with pytest.raises(KeyError):
        ALGORITHMS["simclrr"]
    assert ALGORITHMS.keys() & {"simclr", "x"} == {"simclr"}
