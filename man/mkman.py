"""Make the man page of every tool: options from the program, the rest from `sections/`.

`python man/mkman.py` writes man/TOOL.1; with `--check` it writes nothing and exits with 1 if a page
is not up to date.

A file in `sections/` is a list of sections. A line in capitals at the margin is a heading; a blank
line ends a paragraph; a line indented by four spaces is shown as it stands; `- term: text` is an
entry of a list. In text, `x` is bold and *X* is a placeholder. The sections of `common.txt` follow
those of each tool; where both have one of the same name, it is one section.
"""

import argparse
import importlib
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import typer

from cptools import __version__
from cptools.cli.cptools import TOOLS
from cptools.core import recipes  # noqa: TID253 - without torch
from cptools.core.algorithms import ALGORITHMS  # noqa: TID253 - a registry, without torch
from cptools.core.poisons import ATTACKS  # noqa: TID253 - a registry, without torch

HERE = Path(__file__).resolve().parent
ORDER = (
    "DESCRIPTION", "COMMANDS", "OPTIONS", "INPUT AND OUTPUT", "EXIT STATUS", "ENVIRONMENT",
    "EXAMPLES", "LEADERBOARD", "MEMORY", "SEE ALSO",
)  # fmt: skip
LINES = {
    **TOOLS,
    "cptools": "list the tools; history, verification, import and export; reports and a page",
}
_ESCAPES = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
_TYPES = {"int": "N", "float": "X", "str": "TEXT", "list": "TEXT"}


def page(name: str) -> str:
    """The man page of a tool, as roff."""
    command = typer.main.get_command(_app(name))
    common = sections((HERE / "sections" / "common.txt").read_text("utf-8"))
    own = sections((HERE / "sections" / f"{name}.txt").read_text("utf-8"))
    texts = {title: own.get(title, []) + common.get(title, []) for title in {**own, **common}}
    texts["SEE ALSO"] = [", ".join(f"`{other}`(1)" for other in sorted(LINES) if other != name)]
    bodies = {title: "".join(map(block, blocks)) for title, blocks in texts.items()}
    bodies["OPTIONS"] = options(command)
    unknown = set(bodies) - set(ORDER)
    if unknown:
        raise ValueError(f"{name}: no section is called {', '.join(unknown)}")
    commands = getattr(command, "commands", {})
    if commands:
        bodies["COMMANDS"] = "".join(_subcommand(name, sub) for sub in commands.values())
    usages = [f"{name} {sub.name} {_usage(sub)}" for sub in commands.values()]
    return "".join(
        [
            '.\\" Made by man/mkman.py from options and man/sections; edit those.\n',
            f'.TH {name.upper()} 1 "" "cptools {__version__}" "cptools manual"\n',
            f".SH NAME\n{plain(name)} \\- {plain(LINES[name])}\n",
            ".SH SYNOPSIS\n",
            "\n.br\n".join(_synopsis(usage) for usage in [f"{name} {_usage(command)}", *usages]),
            "\n",
            *(f".SH {title}\n{bodies[title]}" for title in ORDER if title in bodies),
        ]
    )


def sections(text: str) -> dict[str, list[str]]:
    """Blocks of text by heading: paragraphs, list entries, and examples (indented)."""
    found: dict[str, list[str]] = {}
    blocks: list[str] = []
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        heading, _, rest = part.partition("\n")
        if re.fullmatch(r"[A-Z][A-Z ]+", heading):
            blocks = found.setdefault(heading, [])
            part = rest
        if part.startswith("- "):
            blocks += re.split(r"\n(?=- )", part)
        elif part:
            blocks.append(part)
    return found


def block(text: str) -> str:
    """A paragraph, an entry of a list, or an example, as roff."""
    if text.startswith("    "):
        lines = textwrap.dedent(text).splitlines()
        return ".PP\n.RS 4\n.EX\n" + "".join(f"{plain(line)}\n" for line in lines) + ".EE\n.RE\n"
    if text.startswith("- "):
        term, _, meaning = " ".join(text[2:].split()).partition(": ")
        return f".TP\n{inline(term)}\n{filled(meaning)}"
    return f".PP\n{filled(text)}"


def filled(text: str) -> str:
    """Running text, in lines that make for small differences."""
    lines = textwrap.wrap(
        " ".join(text.split()), 90, break_long_words=False, break_on_hyphens=False
    )
    return "".join(f"{inline(line)}\n" for line in _whole(lines))


def _whole(lines: list[str]) -> list[str]:
    """Join lines where a `phrase` was broken."""
    joined: list[str] = []
    for line in lines:
        if joined and joined[-1].count("`") % 2:
            joined[-1] += f" {line}"
        else:
            joined.append(line)
    return joined


def inline(text: str) -> str:
    """Escape text; `x` becomes bold and *X* italic."""
    styled = ""
    for part in re.split(r"(`[^`]*`|\*[A-Za-z]\w*\*)", text):
        if part.startswith("`"):
            styled += f"\\fB{_escape(part.strip('`'))}\\fR"
        elif part.startswith("*"):
            styled += f"\\fI{_escape(part.strip('*'))}\\fR"
        else:
            styled += _escape(part, hyphens=True)
    return f"\\&{styled}" if styled.startswith((".", "'")) else styled


def plain(text: str) -> str:
    """Escape text that is to be shown, and copied, as it stands."""
    escaped = _escape(text)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _escape(text: str, *, hyphens: bool = False) -> str:
    """Escape for roff; hyphens stay hyphens where that is wanted, except before an option."""
    if hyphens:
        text = re.sub(r"(?<![\w-])-(?=[\w-])|(?<=[^\w])-", "\0", text)
        escapes = {**_ESCAPES, "-": "-", "'": "'", "\0": r"\-"}
    else:
        escapes = _ESCAPES
    return "".join(escapes.get(c, c) for c in text)


def options(command: Any) -> str:
    """The parameters of a command, as a list in roff: arguments first."""
    return _entries(command) + ".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nShow the options and exit.\n"


def _entries(command: Any) -> str:
    parameters = sorted(command.params, key=lambda p: str(p.param_type_name))
    return "".join(_entry(command.name, p) for p in parameters)


LONGEST = 150  # characters of a list of choices that stands behind its option


def _entry(command: str, parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f".TP\n\\fI{plain(_metavar(parameter))}\\fR\n{filled(parameter.help)}"
    names = ", ".join(f"\\fB{plain(option)}\\fR" for option in parameter.opts)
    metavar = "" if _is_flag(parameter) else _metavar(parameter)
    facts = [*_facts(parameter), *_recipes(command, parameter.name)]
    if len(metavar) > LONGEST:
        facts.append(f"One of {metavar.replace('|', ', ')}.")
        metavar = "NAME"
    value = f" \\fI{plain(metavar)}\\fR" if metavar else ""
    return f".TP\n{names}{value}\n{filled(' '.join([parameter.help, *facts]))}"


def _facts(parameter: Any) -> list[str]:
    """Range, default and environment variable of an option, a sentence each."""
    low, high = parameter.min, parameter.max
    facts = []
    if low is not None and high is not None:
        facts.append(f"From {low:g} to {high:g}.")
    elif low is not None:
        facts.append(f"At least {low:g}.")
    if parameter.multiple:
        facts.append("May be repeated.")
    if parameter.default is not None and not _is_flag(parameter):
        facts.append(f"Default: {parameter.default}.")
    if parameter.envvar:
        facts.append(f"The environment variable `{parameter.envvar}` sets it too.")
    return facts


def _recipes(command: str, option: str) -> list[str]:
    """What the recipes fill in for an option, a sentence each."""
    if command not in ("cp-generate", "cp-pretrain", "cp-probe") or option == "method":
        return []
    found = {}
    for recipe in ("quick", "paper"):
        settings = _settings(command, recipe)
        values = {key: made[option] for key, made in settings.items() if option in made}
        if values:
            found[recipe] = _told(values)
    if len(found) == 2 and len(set(found.values())) == 1:
        return [f"Both recipes: {found['quick']}."]
    return [f"Recipe {recipe}: {told}." for recipe, told in found.items()]


def _settings(command: str, recipe: str) -> dict[tuple[str, str], Any]:
    """What a recipe holds, by algorithm (or method) and mode."""
    if command == "cp-probe":
        methods = recipes.PROBE_METHODS
        return {(name, ""): recipes.probe(recipe, method=name, dataset="") for name in methods}
    if command == "cp-pretrain":
        return {(alg, ""): recipes.pretrain(recipe, alg=alg, dataset="") for alg in ALGORITHMS}
    return {
        (alg, mode): attack.settings(recipe, mode)
        for alg, attack in ATTACKS.items()
        for mode in attack.modes
    }


def _told(values: dict[tuple[str, str], Any]) -> str:
    """Values by algorithm and mode, such as `40 (class), 30 (sample)`."""
    if len(set(values.values())) == 1:
        return f"{next(iter(values.values()))}"
    names = {key: " ".join(key) for key in values}
    for part in (0, 1):  # does it depend on the algorithm alone, or on the mode alone?
        simple = {key[part]: value for key, value in values.items()}
        if all(simple[key[part]] == value for key, value in values.items()):
            names = {key: key[part] for key in values}
            break
    groups: dict[Any, dict[str, None]] = {}
    for key, value in values.items():
        groups.setdefault(value, {})[names[key]] = None
    return "; ".join(f"{value} ({', '.join(keys)})" for value, keys in groups.items())


def _is_flag(parameter: Any) -> bool:
    return getattr(parameter, "is_flag", False) or parameter.name.endswith("_completion")


def _metavar(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar).strip("[].")
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    annotation = parameter.type_descriptor.annotation
    known = [kind for kind in _TYPES if re.search(rf"\b{kind}\b", str(annotation))]
    return _TYPES[known[0]]


def _usage(command: Any) -> str:
    """What follows the name in the synopsis."""
    if getattr(command, "commands", {}):
        return "[OPTIONS]"
    words = ["[OPTIONS]"]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            word = _metavar(parameter) + ("..." if parameter.nargs == -1 else "")
            words.append(word if parameter.required else f"[{word}]")
    return " ".join(words)


def _synopsis(usage: str) -> str:
    words = []
    for word in usage.split():
        bare = re.sub(r"[A-Z]+", lambda match: f"\\fI{match[0]}\\fR", plain(word))
        words.append(bare if bare != plain(word) else f"\\fB{bare}\\fR")
    return " ".join(words)


def _subcommand(name: str, command: Any) -> str:
    """A command of a program with several: its usage, its help and its options."""
    paragraphs = command.help.split("\n\n")
    return (
        f".SS {plain(f'{name} {command.name}')}\n"
        + "".join(f".PP\n{filled(paragraph)}" for paragraph in paragraphs)
        + _entries(command)
    )


def _app(name: str) -> typer.Typer:
    module = importlib.import_module(f"cptools.cli.{name.removeprefix('cp-')}")
    app: typer.Typer = module.app
    return app


def main() -> None:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 for a difference")
    check = parser.parse_args().check
    stale = []
    for name in LINES:
        path, text = HERE / f"{name}.1", page(name)
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(path.name)
            if not check:
                path.write_text(text, "utf-8")
    if check and stale:
        sys.exit(f"{', '.join(stale)} not up to date; run python man/mkman.py")


if __name__ == "__main__":
    main()
