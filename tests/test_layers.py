"""The house: who imports whom, and what is imported only when used."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cptools

ROOT = Path(cptools.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in FILES]
FORBIDDEN = {
    "core": {"cptools.artifacts", "cptools.figures", "cptools.reports", "cptools.workflows",
             "cptools.cli", "typer", "rich", "safetensors"},
    "artifacts": {"cptools.core", "cptools.figures", "cptools.reports", "cptools.workflows",
                  "cptools.cli", "typer", "rich", "torch", "torchvision"},
    "figures": {"cptools.core", "cptools.artifacts", "cptools.reports", "cptools.workflows",
                "cptools.cli", "typer", "rich", "torch", "torchvision", "safetensors"},
    "reports": {"cptools.figures", "cptools.workflows", "cptools.cli", "typer", "rich", "torch",
                "torchvision", "safetensors"},
    "workflows": {"cptools.cli", "typer", "rich", "safetensors"},
    "cli": set(),
}  # fmt: skip
HEAVY = {"torch", "torchvision", "numpy", "scipy", "matplotlib", "PIL", "safetensors"}


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that a module imports anywhere: modules, and names taken from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def within(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def package_of(path: Path) -> str:
    return ".".join(["cptools", *path.relative_to(ROOT).parent.parts])


def bad_imports(path: Path, text: str) -> list[str]:
    """What `path`, holding `text`, may not import."""
    parts = path.relative_to(ROOT).parts
    layer = parts[0] if len(parts) > 1 else "top"
    forbidden = FORBIDDEN.get(layer, {"cptools.cli", "typer", "rich", *HEAVY})
    names = imports(ast.parse(text), package_of(path))
    if layer == "cli" and parts[-1] != "_progress.py":
        forbidden = {"rich"}
    return [name for name in names if within(name, forbidden)]


def test_the_package_is_found() -> None:
    assert len(FILES) > 30
    assert {path.relative_to(ROOT).parts[0] for path in FILES} >= set(FORBIDDEN)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_layers_do_not_cross(path: Path) -> None:
    assert bad_imports(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("core/views/recipe.py", "from cptools.artifacts.schema import Dataset"),
        ("core/views/recipe.py", "from cptools import artifacts"),
        ("core/views/recipe.py", "from ... import artifacts"),
        ("core/views/recipe.py", "def f():\n    import cptools.cli._app"),
        ("core/training.py", "import rich.progress as p"),
        ("artifacts/schema.py", "from cptools.core import views"),
        ("artifacts/schema.py", "if TYPE_CHECKING:\n    from torch import Tensor"),
        ("artifacts/schema.py", "from ..core.lazy import load"),
        ("figures/style.py", "from cptools.artifacts import schema"),
        ("reports/tables.py", "from cptools.workflows.probe import probe"),
        ("workflows/probe.py", "import typer"),
        ("workflows/probe.py", "def f():\n    from cptools.cli._app import say"),
        ("cli/probe.py", "from rich.table import Table"),
        ("__init__.py", "import numpy"),
    ],
)
def test_crossings_would_be_seen(file: str, text: str) -> None:
    assert bad_imports(ROOT / file, text) != []


def test_registries_name_what_is_there() -> None:
    from cptools.core.algorithms import ALGORITHMS
    from cptools.core.defenses import DEFENSES, ON_THE_FLY
    from cptools.core.degradations import DEGRADATIONS
    from cptools.core.encoders import ENCODERS
    from cptools.core.lazy import load
    from cptools.core.poisons import ATTACKS

    entries = [e for registry in (ALGORITHMS, ENCODERS, ATTACKS) for e in registry.own.values()]
    functions = [defense.function for defense in DEFENSES.own.values()]
    functions += [degradation.function for degradation in DEGRADATIONS.values()]
    functions += [defense.learns for defense in DEFENSES.own.values() if defense.learns]
    for spec in (*(entry.build for entry in entries), *functions, *ON_THE_FLY.values()):
        module = spec.split(":")[0]
        assert module.startswith("cptools.core.")
        assert callable(load(spec))


LIGHT = [
    "cptools", "cptools.core", "cptools.core.recipes", "cptools.core.algorithms",
    "cptools.core.encoders", "cptools.core.defenses", "cptools.core.epsilon",
    "cptools.core.poisons", "cptools.core.settings", "cptools.core.presets",
    "cptools.core.plugins",
    "cptools.artifacts", "cptools.figures",
    *(f"cptools.cli.{path.stem}" for path in sorted((ROOT / "cli").glob("[!_]*.py"))),
    *(
        f"cptools.workflows.{path.stem}" for path in sorted((ROOT / "workflows").glob("[!_]*.py"))
        if path.stem != "artifacts"
    ),
    *(f"cptools.reports.{path.stem}" for path in sorted((ROOT / "reports").glob("[!_]*.py"))),
]  # fmt: skip


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")
