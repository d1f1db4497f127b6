"""The documentation as a site: `sphinx-build -W -q man/site build/site`.

The pages under `pages/` are made here before each build: the texts of the repository, the man
pages, and a page of reference for each package, from its docstrings.
"""

import inspect
import os
import pkgutil
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

from roff import markdown  # noqa: E402

import cptools  # noqa: E402

project = "cptools"
author = "The cptools developers"
version = release = cptools.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme_options = {"description": "Data poisoning of contrastive learning", "page_width": "64em"}
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
add_module_names = False
autodoc_member_order = "bysource"
autodoc_use_type_comments = False  # annotations alone; seconds faster
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # two classes of one name, where a signature says the name alone

# The packages of the reference: a page each, and one for each package in them, with all modules
# whose names have no underscore in front.
PACKAGES = [
    "cptools.workflows",
    "cptools.reports",
    "cptools.core",
    "cptools.artifacts",
]
# Pages from texts of the repository; a link to another file is shown as its path.
TEXTS = {
    "readme": "README.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "examples": "examples/README.md",
    "results": "examples/results/README.md",
}


def setup(app: Any) -> None:
    """Make the pages before Sphinx looks for them."""
    app.connect("builder-inited", lambda app: make_pages(HERE / "pages"))
    app.connect("autodoc-process-docstring", _as_written, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", _skip)


_MARKS = re.compile(r"(``[^`]*``|:\w+:`[^`]*`)|`([^`]+)`(?=(\w)?)|[|*]")


def _as_written(app: Any, kind: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Docstrings have `code` in single backticks, as Markdown; |S| and *args are as they stand."""

    def mark(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        return f"``{match[2]}``" + "\\ " * bool(match[3]) if match[2] else f"\\{match[0]}"

    lines[:] = _MARKS.sub(mark, "\n".join(lines)).split("\n")


def _skip(app: Any, kind: str, name: str, item: Any, skip: bool, options: Any) -> bool | None:
    """Fields of a named tuple are told by its docstring."""
    return True if type(item).__name__ == "_tuplegetter" else None


def make_pages(folder: Path) -> None:
    """Write all pages, those that changed; take away those that are none any more."""
    pages = {name: _text(Path(path), folder) for name, path in TEXTS.items()}
    pages |= {path.stem: markdown(path.read_text("utf-8")) for path in ROOT.glob("man/*.1")}
    for name in PACKAGES:
        pages |= _reference(name)
    pages["cptools.api"] = _public()
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.md"):
        if path.stem not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def _text(source: Path, folder: Path) -> str:
    """A text of the repository, its links to other texts and its pictures as seen from `folder`."""

    def link(match: re.Match[str]) -> str:
        image, label, target = match.groups()
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return match[0]
        file = os.path.normpath(source.parent / path)
        if image:
            return f"![{label}]({os.path.relpath(ROOT / file, folder)})"
        for name, known in TEXTS.items():
            if file == known:
                return f"[{label}]({name}.md{'#' * bool(anchor)}{anchor})"
        return f"`{file}`" if label.strip("`") in (path, file) else f"{label} (`{file}`)"

    text = (ROOT / source).read_text("utf-8")
    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", link, text)


def _reference(name: str) -> dict[str, str]:
    """The pages of a package and of those in it, by name."""
    found = list(pkgutil.iter_modules(import_module(name).__path__, f"{name}."))
    inner = [module.name for module in found if module.ispkg and "._" not in module.name]
    modules = [name, *(m.name for m in found if not m.ispkg and "._" not in m.name)]
    options = (":members:", ":ignore-module-all:")  # what a module defines, not what it imports
    page = f"# {name}\n\n" + "\n".join(
        f"## {module}\n\n{_auto('module', module, *options)}" for module in modules
    )
    return {name: page, **{key: text for package in inner
                           for key, text in _reference(package).items()}}  # fmt: skip


def _public() -> str:
    """The reference of what `import cptools` offers."""
    names = [name for name in getattr(cptools, "__all__", []) if not name.startswith("_")]
    kinds = {name: "class" if inspect.isclass(getattr(cptools, name)) else "function"
             for name in names}  # fmt: skip
    parts = [_auto(kind, f"cptools.{name}", *[":members:"] * (kind == "class"))
             for name, kind in kinds.items()]  # fmt: skip
    return "# import cptools\n\n" + "\n".join([_auto("module", "cptools"), *parts])


def _auto(kind: str, name: str, *options: str) -> str:
    body = "".join(f"   {option}\n" for option in options)
    return f"```{{eval-rst}}\n.. auto{kind}:: {name}\n{body}```\n"
