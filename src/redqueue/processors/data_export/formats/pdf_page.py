"""The page of a PDF's table: fonts, widths of columns, and text that is cut into lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from hashlib import sha256
from typing import Final, TypeAlias

from redqueue.errors import ConfigurationError, Discard, MissingExtra
from redqueue.processors.data_export.formats.cells import Cell, digits
from redqueue.units import shown

try:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFError, TTFont
except ImportError as error:
    raise MissingExtra("export", "exporting data") from error

Width: TypeAlias = Callable[[str], float]
"""Of a text in points."""

LEAST_WIDTH: Final = 24.0
"""Points of a column below which nobody can read it."""

_MOST_LINES: Final = 12
_MOST_TEXT: Final = 2_000
"""Of a cell; what is longer ends in an ellipsis."""


def font_name(path: str) -> str:
    """The name by which reportlab knows the TrueType font of that file, or one of its own.

    Raises:
        ConfigurationError: it isn't there, or is no TrueType font.
    """
    name = f"redqueue-{sha256(path.encode()).hexdigest()[:16]}"
    if name not in pdfmetrics.getRegisteredFontNames():
        try:
            pdfmetrics.registerFont(TTFont(name, path))
        except (OSError, TTFError) as error:
            raise ConfigurationError(f"{shown(path)} is no TrueType font that reportlab can read: {error}") from error
    return name


def width_in(font: str, size: float) -> Width:
    """Measures text in that font."""
    measure = pdfmetrics.getFont(font).stringWidth

    def width(text: str) -> float:
        return float(measure(text, size))

    return width


def text_of(value: Cell) -> str:
    """A cell as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(value, ".15g")
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    return digits(value) if isinstance(value, Decimal) else str(value)


def fair_widths(natural: Sequence[float], room: float) -> list[float]:
    """Widths that fill the room: narrow columns get what they need, and the wide ones share the rest.

    Raises:
        Discard: so many columns that none could be read.
    """
    if room / len(natural) < LEAST_WIDTH:
        most = int(room / LEAST_WIDTH)
        raise Discard(f"a PDF page has room for {most} columns, not {len(natural)}: choose some, or another format")
    needed = sum(natural)
    if needed <= room:
        return [width * room / needed for width in natural]
    widths = [0.0] * len(natural)
    left, rest = room, len(natural)
    for place in sorted(range(len(natural)), key=natural.__getitem__):
        widths[place] = min(natural[place], left / rest)
        left -= widths[place]
        rest -= 1
    return widths


def lines_of(text: str, room: float, width: Width) -> list[str]:
    """The text in lines that fit: broken at blanks, and within words that are longer than a line.

    What has no glyph, such as a control character, is a blank.
    """
    clipped = text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "\u2026"
    lines: list[str] = []
    for paragraph in clipped.splitlines() or [""]:
        plain = "".join(mark if mark.isprintable() else " " for mark in paragraph)
        lines += [plain] if width(plain) <= room else _broken(plain, room, width)
        if len(lines) > _MOST_LINES:
            return [*lines[: _MOST_LINES - 1], _ellipsis(lines[_MOST_LINES - 1], room, width)]
    return lines


def _broken(text: str, room: float, width: Width) -> list[str]:
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if width(longer) <= room:
            line = longer
            continue
        if line:
            lines.append(line)
        *full, line = _cut(word, room, width)
        lines += full
    return [*lines, line]


def _cut(word: str, room: float, width: Width) -> list[str]:
    pieces: list[str] = []
    while width(word) > room and len(word) > 1:
        most = max(1, int(len(word) * room / width(word)))
        while most > 1 and width(word[:most]) > room:
            most -= 1
        pieces.append(word[:most])
        word = word[most:]
    return [*pieces, word]


def _ellipsis(line: str, room: float, width: Width) -> str:
    while line and width(line + "\u2026") > room:
        line = line[:-1]
    return line + "\u2026"
