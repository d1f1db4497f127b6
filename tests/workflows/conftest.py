"""Small artifacts as Python makes them, and the tools run in this process on the same input."""

import importlib
from types import SimpleNamespace

import pytest

import cptools as cp
from cptools.cli._app import run

POISON = {
    "rounds": 1, "model_steps": 1, "noise_steps": 1, "batch_size": 16, "width": 4, "head_dim": 8,
    "head_hidden": 8,
}  # fmt: skip
TRAINING = {"epochs": 1, "batch_size": 16, "width": 4, "head_dim": 8, "head_hidden": 8}


@pytest.fixture(scope="session")
def tool(tmp_path_factory):
    """Run a tool on artifacts and words; settings become options; the bytes that it wrote."""
    folder = tmp_path_factory.mktemp("tools")

    def file_of(thing):
        if not hasattr(thing, "kind"):
            return str(thing)
        path = folder / f"{id(thing)}.safetensors"
        cp.save(thing, path)
        return str(path)

    def tool_(name, *words, **settings):
        module = importlib.import_module(f"cptools.cli.{name.removeprefix('cp-')}")
        for option, value in settings.items():
            words = (*words, f"--{option.replace('_', '-')}", value)
        out = folder / "out"
        out.unlink(missing_ok=True)
        assert run(module.app, [*map(file_of, words), "-q", "-o", str(out)]) == 0
        return out.read_bytes()

    return tool_


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The bytes that `cp.save` writes."""
    path = tmp_path_factory.mktemp("saved") / "thing"

    def saved_(thing):
        cp.save(thing, path)
        return path.read_bytes()

    return saved_


@pytest.fixture(scope="session")
def data():
    return cp.load("shapes", limit=40, limit_test=20)


@pytest.fixture(scope="session")
def small():
    return cp.load("shapes", limit=20, limit_test=10, size=16)


@pytest.fixture(scope="session")
def poisoned(data):
    return cp.generate(data, **POISON)


@pytest.fixture(scope="session")
def encoder(poisoned):
    return cp.pretrain(poisoned.dataset, **TRAINING)


@pytest.fixture(scope="session")
def tiny():
    """Settings with which everything ends soon."""
    return SimpleNamespace(poison=POISON, training=TRAINING)
