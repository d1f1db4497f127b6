"""The table of what histories may hold is that of what the tools record."""

import importlib

import pytest
import typer

from cptools.artifacts.recorded import NEVER, TOOLS
from cptools.core.defenses import DEFENSES
from cptools.core.poisons import attack_settings
from cptools.core.recipes import PROBE_SETTINGS, pretrain_settings
from cptools.core.settings import RESERVED

METHODS = {  # what methods add
    "cp-generate": {*attack_settings()},
    "cp-pretrain": {*pretrain_settings()},
    "cp-probe": {*PROBE_SETTINGS},
    "cp-defend": {
        *DEFENSES,
        *(f"{n}_{k}" for n, d in DEFENSES.items() for k in d.settings if k != d.main),
    },
}
UNRECORDED = {  # of no effect on the artifact
    *("output", "quiet", "verbose", "version", "dry_run", "json", "checkpoint", "export", "info"),
    *("install_completion", "show_completion", "probe_every", "report", "clean", "log"),
    *("recommend", "victim", "proxy_epochs", "names", "scores", "copy"),
}


def options(tool):
    """Names of the options that a tool has, and those that are flags; its INPUT is `input`."""
    module = "cptools" if tool == "cptools-import" else tool.removeprefix("cp-")
    command = typer.main.get_command(importlib.import_module(f"cptools.cli.{module}").app)
    if tool == "cptools-import":
        command = command.commands["import"]
    found = {
        max(p.opts, key=len).removeprefix("--").replace("-", "_"): getattr(p, "is_flag", False)
        for p in command.params
    }
    found = {"input" if name == "file" else name: is_flag for name, is_flag in found.items()}
    return set(found), {name for name, is_flag in found.items() if is_flag}


@pytest.mark.parametrize("tool", TOOLS)
def test_every_option_is_recorded_or_has_no_effect(tool):
    there, flags = options(tool)
    told = TOOLS[tool]
    of_methods = METHODS.get(tool, set())
    assert told.options | told.flags | {*told.sides} <= there
    assert of_methods <= there
    others = there - told.options - told.flags - {*told.sides} - of_methods
    assert others <= UNRECORDED | {"input", "delta", "audit", "dataset", "size"}
    assert told.flags == flags - UNRECORDED - {"audit"}
    if told.is_open:
        assert others <= NEVER
        assert not NEVER & (told.options | told.flags | of_methods)


@pytest.mark.parametrize("tool", ["cp-generate", "cp-pretrain", "cp-defend"])
def test_methods_of_other_packages_cannot_take_those_names(tool):
    told = TOOLS[tool]
    ours = METHODS[tool] if tool == "cp-defend" else set()
    assert NEVER | told.options | told.flags - ours | {*told.sides} <= RESERVED
