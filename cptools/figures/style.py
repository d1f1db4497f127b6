"""The look of every figure, and how one is saved: the same numbers give the same bytes.

Figures are made with matplotlib's Figure object; pyplot and its global state are never imported.
A light background keeps a figure readable on dark pages; the colors are distinguishable
with any color vision and, by their line styles, in black and white.
"""

import functools
import io
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

# Okabe and Ito, Color universal design (2008), darkest first; their yellow is too light for lines.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)))
_MOST_PIXELS = 2**28  # a gigabyte while it is drawn
INK, FAINT, GRID, PAPER = "#1A1A1A", "#5C5C5C", "#E3E3E0", "#FFFFFF"
_FONT = "DejaVu Sans"  # comes with matplotlib: the same on every machine
FALLBACKS = (  # for letters that it lacks: Chinese, Japanese, Korean and others
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR"),
    *("Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Noto Sans", "Noto Sans Devanagari"),
    *("Noto Sans Thai", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Emoji"),
)
TEXT = 6.0  # inches: title and caption widen a figure up to here, then they are wrapped
_TITLE_LINE, _CAPTION_LINE = 0.2, 0.15  # inches: each line but the first

_STYLE: dict[str, Any] = {
    "font.size": 9,
    "text.color": INK,
    "text.usetex": False,
    "text.parse_math": False,  # a dollar in a label is a dollar
    "axes.facecolor": PAPER,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.6,
    "figure.facecolor": PAPER,
    "figure.dpi": 100,
    "savefig.facecolor": PAPER,
    "savefig.edgecolor": PAPER,
    "savefig.bbox": None,
    "svg.hashsalt": "cptools",
    "svg.fonttype": "path",
    "image.composite_image": True,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Matplotlib's defaults and the style of cptools inside, the user's settings afterwards."""
    defaults = {
        key: value
        for key, value in mpl.rcParamsDefault.items()
        if not key.startswith(("backend", "interactive", "toolbar", "webagg", "tk.", "date.epoch"))
    }
    settings: Any = {**defaults, **_STYLE, "font.family": [_FONT, *_installed(FALLBACKS)]}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        yield


@functools.cache
def _installed(families: tuple[str, ...]) -> list[str]:
    """Those of the families that this machine has."""
    names = set(fontManager.get_font_names())
    return [family for family in families if family in names]


def missing_letters(figure: Figure) -> str:
    """The letters of a figure that no font of this machine has, each once; a box stands for one."""
    missing: dict[str, None] = {}
    with figure_style():
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            letters = dict.fromkeys(text.get_text().replace("\n", ""))
            known = _letters(text.get_fontproperties()) if letters else frozenset()
            missing |= {letter: None for letter in letters if ord(letter) not in known}
    return "".join(missing)


def _letters(font: FontProperties) -> frozenset[int]:
    """Code points that the families of a font have between them."""
    paths = []
    for family in font.get_family():
        one = font.copy()
        one.set_family(family)
        paths.append(findfont(one))
    return _code_points(tuple(paths))


@functools.cache
def _code_points(paths: tuple[str, ...]) -> frozenset[int]:
    return frozenset(code for path in paths for code in get_font(path).get_charmap())


def save_figure(
    figure: Figure,
    file: BinaryIO,
    format: Literal["png", "svg"] = "png",
    *,
    dpi: float = 200,
    width: float | None = None,
) -> None:
    """Write a figure: no date, no program version, the same bytes for the same figure.

    Args:
        figure: Made by a function of this package.
        file: Open for writing in binary.
        format: `png`, or `svg` with text as outlines, so that it needs no font.
        dpi: Pixels per inch of a PNG; of the images inside an SVG.
        width: Of the figure, in inches; it is scaled as a whole. None keeps its natural size.

    Raises:
        ValueError: The format is neither of the two, or the figure would be too large.
    """
    if format not in ("png", "svg"):
        raise ValueError(f"cannot write figures as {format!r}; use png or svg")
    made, height = figure.get_size_inches()
    # Pixels are counted by cutting off: a little more than whole ones stays whole.
    scaled = dpi if width is None else (round(width * dpi) + 0.01) / made
    if made * height * scaled**2 > _MOST_PIXELS:
        raise ValueError("the figure is too large; use fewer pixels per inch or a smaller size")
    nothing = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    options: Any = {"pil_kwargs": {"dpi": (dpi, dpi)}} if format == "png" else {}
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format=format, dpi=scaled, metadata=nothing[format], **options)
    data = buffer.getvalue()
    if format == "svg" and width is not None:
        size = f'width="{72 * width:g}pt" height="{72 * width * height / made:g}pt"'
        data = re.sub(rb'width="[\d.]+pt" height="[\d.]+pt"', size.encode(), data, count=1)
    file.write(data)


def plain(text: str) -> str:
    """A text in one line, with a replacement character for each that cannot be drawn."""
    return "".join("\ufffd" if is_control(letter) else letter for letter in text)


def is_control(letter: str) -> bool:
    """Whether a character is no letter or sign, but a control character or the like."""
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in "\ufffe\uffff"


def shorten(name: str, most: int = 12) -> str:
    """A name that fits: at most so many characters."""
    name = plain(name)
    return name if len(name) <= most else name[: most - 1] + "…"


def text_room(title: str, caption: str) -> float:
    """Room that title and caption ask for, in inches; to be called inside `figure_style`."""
    wanted = text_width(plain(title), 11, bold=True), text_width(plain(caption), 8)
    return min(TEXT, max(wanted))


def title_lines(title: str, room: float) -> str:
    """A title, broken where it is wider than so many inches."""
    return _in_lines(plain(title), room, 11, bold=True)


def caption_lines(caption: str, room: float) -> str:
    """A caption, broken where it is wider than so many inches."""
    return _in_lines(plain(caption), room, 8, bold=False)


def title_height(title: str, first: float) -> float:
    """Room for what `title_lines` returned, in inches; its first line takes as much as is given."""
    return first + _TITLE_LINE * title.count("\n") if title else 0.0


def caption_height(caption: str, first: float = 0.24) -> float:
    """Room for what `caption_lines` returned, in inches, as of `title_height`."""
    return first + _CAPTION_LINE * caption.count("\n") if caption else 0.0


def draw_title(figure: Figure, left: float, title: str, *, edge: float = 0.12) -> None:
    """Draw what `title_lines` returned, in inches from the left and from the top."""
    width, height = figure.get_size_inches()
    if title:
        figure.text(
            left / width, 1 - edge / height, title,
            ha="left", va="top", fontsize=11, fontweight="bold",
        )  # fmt: skip


def draw_caption(figure: Figure, left: float, caption: str, *, edge: float = 0.1) -> None:
    """Draw what `caption_lines` returned, in inches from the left and from the bottom."""
    width, height = figure.get_size_inches()
    if caption:
        figure.text(
            left / width, edge / height, caption,
            ha="left", va="bottom", fontsize=8, color=FAINT,
        )  # fmt: skip


def _in_lines(text: str, room: float, points: float, *, bold: bool) -> str:
    """A text in lines no wider than the room: broken at spaces, a longer word anywhere."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(longer, points, bold=bold) <= room:
            lines[-1] = longer
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if lines[-1] and text_width(lines[-1] + letter, points, bold=bold) > room:
                lines.append("")
            lines[-1] += letter
    return "\n".join(lines)


def text_width(text: str, points: float, *, bold: bool = False) -> float:
    """Room for the longest line of a text, in inches; to be called inside `figure_style`.

    Letters are fitted to pixels when they are drawn, which makes them a little wider.
    """
    font = FontProperties(size=points, weight="bold" if bold else "normal")
    widths = [
        text_to_path.get_text_width_height_descent(line, font, ismath=False)[0]
        for line in text.split("\n")
    ]
    return 1.04 * float(max(widths)) / 72
