"""The man pages as Markdown: of roff, what man/mkman.py writes, and nothing else."""

import re

_CHARACTERS = {"\\e": "\\", "\\-": "-", "\\(aq": "'", "\\(ga": "`", "\\(ha": "^", "\\(ti": "~",
               "\\&": ""}  # fmt: skip
_FONT = re.compile(r"\\f([BI])(.*?)\\fR(\(1\))?")


def markdown(roff: str) -> str:
    """A page as MyST Markdown, its name as the title.

    Raises:
        ValueError: a request that mkman.py does not write.
    """
    parts: list[str] = []
    lines = iter(roff.splitlines())
    for line in lines:
        request, _, rest = line.partition(" ")
        if request == ".TH":
            parts.append(f"# {rest.split()[0].lower()}")
        elif request == ".SH" and rest == "SYNOPSIS":
            parts += ["## Synopsis", "```text", ""]
        elif request == ".SH":
            _close(parts)
            parts += [f"## {rest.capitalize()}", ""]
        elif request == ".SS":
            parts += [f"### {_plain(rest)}", ""]
        elif request == ".TP":
            parts += [_inline(next(lines)), ": "]
        elif request == ".EX":
            parts += ["```sh", ""]
        elif request == ".EE":
            _close(parts)
        elif request == ".PP":
            parts.append("")
        elif request in ('.\\"', ".RS", ".RE", ".br"):
            continue
        elif line.startswith("."):
            raise ValueError(f"no Markdown for {line!r}")
        elif _is_open(parts):
            parts[-1] += f"{_plain(line)}\n"
        else:
            parts[-1] += f"{_inline(line)}\n"
    text = "\n\n".join(part.strip("\n") for part in parts if part.strip("\n"))
    return text.replace("\n\n: ", "\n: ") + "\n"


def _is_open(parts: list[str]) -> bool:
    """Whether what comes next stands in a block that is shown as it is."""
    return len(parts) > 1 and parts[-2].startswith("```")


def _close(parts: list[str]) -> None:
    if _is_open(parts):
        body = parts.pop()
        parts[-1] += f"\n{body}```"
        parts.append("")


def _plain(text: str) -> str:
    """What a terminal would show."""
    text = re.sub(r"\\f[BIR]", "", text)
    return re.sub(r"\\(\(..|.)", lambda match: _CHARACTERS[match[0]], text)


def _inline(text: str) -> str:
    """Running text: bold is code, or a link to another page; italic stays."""
    found, end = "", 0
    for match in _FONT.finditer(text):
        found += _escape(_plain(text[end : match.start()]))
        shown = _plain(match[2])
        if match[3]:
            found += f"[{shown}]({shown}.md)"
        elif match[1] == "B":
            fence = "``" if "`" in shown else "`"
            found += f"{fence}{shown}{fence}"
        else:
            found += f"*{_escape(shown)}*"
        end = match.end()
    return found + _escape(_plain(text[end:]))


def _escape(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#$~{}])", r"\\\1", text)
