"""Progress: silence in a script, a bar where one is wanted, or one's own."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

import cptools as cp

CALLS = ["generate", "pretrain", "defend", "perturb", "probe", "audit", "separability"]


@pytest.fixture
def call(data, poisoned, encoder, tiny):
    calls = {
        "generate": lambda **given: cp.generate(data, **tiny.poison, **given),
        "pretrain": lambda **given: cp.pretrain(data, **tiny.training, **given),
        "defend": lambda **given: cp.defend(data, "gray,jpeg:50", **given),
        "perturb": lambda **given: cp.perturb(data, kind="fog", **given),
        "probe": lambda **given: cp.probe(encoder, method="sgd", epochs=2, batch_size=16, **given),
        "audit": lambda **given: cp.audit(data, **given),
        "separability": lambda **given: cp.probe(poisoned.dataset, iterations=2, **given),
    }
    return lambda what, **given: calls[what](**given)


@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("progress", [None, False])
def test_a_script_is_silent(call, what, progress, capfd):
    call(what, progress=progress)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("what", CALLS)
def test_a_bar(call, what, capfd):
    call(what, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "it/s" in err or "s/it" in err or "?it" in err


@pytest.mark.parametrize("what", CALLS)
def test_ones_own(call, what, capfd):
    seen = []

    def mine(items, *, total, describe, label):
        seen.append([total, label, 0])
        for item in items:
            seen[-1][2] += 1
            assert isinstance(describe(item), str)
            yield item

    call(what, progress=mine)
    assert seen
    assert all(count == total for total, _, count in seen)
    assert all(label for _, label, _ in seen)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "draws"),
    [("ZMQInteractiveShell", True), ("TerminalInteractiveShell", False), ("NoneType", False)],
)
def test_a_notebook_has_a_bar(call, name, draws, monkeypatch, capfd):
    shell = None if name == "NoneType" else type(name, (), {})()
    module = ModuleType("IPython")
    module.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", module)
    call("audit")
    assert bool(capfd.readouterr().err) is draws


def test_a_bar_ends_with_the_work(data, monkeypatch):
    import tqdm.auto

    bars = []

    class Bar(tqdm.std.tqdm):
        def __init__(self, *args, **given):
            super().__init__(*args, **given)
            bars.append(self)

        def close(self):
            bars[-1].closed = SimpleNamespace(n=self.n, total=self.total)
            super().close()

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    cp.defend(data, "gray", progress=True)
    assert [(bar.closed.n, bar.closed.total) for bar in bars] == [(1, 1)]
