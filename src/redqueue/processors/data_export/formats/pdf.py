"""PDF: one long table, drawn page by page."""

from __future__ import annotations

import decimal
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from redqueue.errors import Discard, InvalidOption, MissingExtra
from redqueue.processors.data_export.formats.cells import Cell, cell, digits
from redqueue.processors.data_export.formats.pdf_page import fair_widths, font_name, lines_of, text_of, width_in
from redqueue.processors.data_export.formats.writer import ByteSink

try:
    from reportlab.lib.pagesizes import A4, landscape
    from reportlab.pdfgen.canvas import Canvas
except ImportError as error:
    raise MissingExtra("export", "exporting data") from error

_MARGIN: Final = 36.0
_PADDING: Final = 3.0
_SAMPLE: Final = 100
"""Rows by which the widths of columns are told."""

_PAGES: Final = "pages"
_EXACT: Final = decimal.Context(prec=60, traps=[])
_OWN_FONT: Final = "Vera.ttf"
_OWN_BOLD: Final = "VeraBd.ttf"


class PdfWriter:
    """A table with its header on every page, page numbers, and totals at its end. Text is drawn, never parsed.

    It is for people: a page is upright when the columns fit, else across, and text is broken into lines, at most 12 a
    cell. Nothing is laid out for writing that runs from right to left or joins its letters.

    Args:
        font: path of a TrueType font; None: Bitstream Vera, which comes with reportlab and has Latin letters only: what
            a font lacks is an empty box.
        size: of the letters, 4 to 24 points.
        page: width and height of the upright page, in points.
        most_rows: a PDF is held in memory until its end, about 1 KiB a row. More rows are refused.
        totals: columns whose sum stands at the end; None: those with fractions in them (float and Decimal): whole
            numbers are often ids.
    """

    def __init__(
        self,
        *,
        font: str | None = None,
        size: float = 8,
        page: tuple[float, float] = A4,
        most_rows: int = 20_000,
        totals: Collection[str] | None = None,
    ) -> None:
        if not 4 <= size <= 24:
            raise InvalidOption("size", f"size is 4 to 24 points, not {size}")
        self._files = (font or _OWN_FONT, font or _OWN_BOLD)
        self._size = size
        self._leading = size * 1.25
        self._page = page
        self._most_rows = most_rows
        self._totals = totals

    def open(self, file: ByteSink, columns: Sequence[str], *, title: str) -> None:
        """Nothing is drawn yet: the first rows tell the widths."""
        self._font, self._bold = map(font_name, self._files)
        self._width = width_in(self._font, self._size)
        self._bold_width = width_in(self._bold, self._size)
        across = max(self._page) - 2 * _MARGIN
        fair_widths([1.0] * len(columns), across)  # so many columns are refused before the first row is read
        sink: Any = _Sink(file)
        self._canvas: Any = Canvas(sink, pagesize=self._page)
        self._canvas.setTitle(title)
        self._title = title
        self._columns = [text_of(cell(str(name))) for name in columns]
        self._sums = [_Sum(Decimal(0), False, True) for _ in columns]
        self._sample: list[list[Cell]] | None = []
        self._rows = 0
        self._pages = 0

    def row(self, values: Sequence[object]) -> None:
        """Draw one row."""
        self._rows += 1
        if self._rows > self._most_rows:
            raise Discard(f"a PDF has at most {self._most_rows} rows: filter them, or take csv")
        cells = [cell(value) for value in values]
        self._sums = [total.plus(value) for total, value in zip(self._sums, cells, strict=True)]
        if self._sample is None:
            self._draw(cells)
        else:
            self._sample.append(cells)
            if len(self._sample) == _SAMPLE:
                self._begin(self._sample)

    def close(self) -> None:
        """Draw the totals; all bytes are written here."""
        if self._sample is not None:
            self._begin(self._sample)
        self._draw_totals()
        self._canvas.showPage()
        self._canvas.beginForm(_PAGES)
        self._canvas.setFont(self._font, self._size)
        self._canvas.drawString(0, 0, str(self._pages))
        self._canvas.endForm()
        self._canvas.save()

    def abandon(self) -> None:
        """Nothing is held but memory."""

    # -- the layout

    def _begin(self, sample: list[list[Cell]]) -> None:
        """Settle the layout by these rows, and draw them."""
        self._sample = None
        natural = [self._bold_width(name) for name in self._columns]
        for cells in sample:
            for place, value in enumerate(cells):
                lines = text_of(value)[:_SAMPLE].splitlines() or [""]
                natural[place] = max(natural[place], *map(self._width, lines))
        natural = [width + 2 * _PADDING + 0.1 for width in natural]
        if sum(natural) > self._page[0] - 2 * _MARGIN:
            self._canvas.setPageSize(self._page if self._page[0] > self._page[1] else landscape(self._page))
        page_width, self._height = self._canvas._pagesize
        self._widths = fair_widths(natural, page_width - 2 * _MARGIN)
        self._lefts = [_MARGIN + sum(self._widths[:place]) for place in range(len(natural))]
        self._right = page_width - _MARGIN
        self._begin_page()
        for cells in sample:
            self._draw(cells)

    def _begin_page(self) -> None:
        if self._pages:
            self._canvas.showPage()
        self._pages += 1
        self._canvas.setFont(self._font, self._size)
        self._canvas.drawString(_MARGIN, self._height - _MARGIN + _PADDING, lines_of(self._title, 400, self._width)[0])
        words = f"Page {self._pages} of "
        self._canvas.drawString(_MARGIN, _MARGIN - self._leading, words)
        self._canvas.saveState()
        self._canvas.translate(_MARGIN + self._width(words), _MARGIN - self._leading)
        self._canvas.doForm(_PAGES)
        self._canvas.restoreState()
        self._top = self._height - _MARGIN - _PADDING
        self._canvas.setFont(self._bold, self._size)
        names = enumerate(self._columns)
        self._draw_lines([(lines_of(name, self._room(place), self._bold_width), False) for place, name in names])
        self._rule(0.8)
        self._canvas.setFont(self._font, self._size)

    def _room(self, place: int) -> float:
        return self._widths[place] - 2 * _PADDING

    def _lines(self, texts: Iterable[str]) -> list[list[str]]:
        return [lines_of(text, self._room(place), self._width) for place, text in enumerate(texts)]

    def _draw(self, cells: Sequence[Cell]) -> None:
        self._draw_row(list(zip(self._lines(map(text_of, cells)), map(_is_number, cells), strict=True)))
        self._rule(0.2)

    def _draw_row(self, cells: list[tuple[list[str], bool]]) -> None:
        height = max(len(lines) for lines, _ in cells) * self._leading + _PADDING
        if self._top - height < _MARGIN:
            self._begin_page()
        self._draw_lines(cells)

    def _draw_lines(self, cells: list[tuple[list[str], bool]]) -> None:
        for place, (lines, to_the_right) in enumerate(cells):
            left = self._lefts[place]
            for number, line in enumerate(lines, 1):
                height = self._top - number * self._leading
                if to_the_right:
                    self._canvas.drawRightString(left + self._widths[place] - _PADDING, height, line)
                else:
                    self._canvas.drawString(left + _PADDING, height, line)
        self._top -= max(len(lines) for lines, _ in cells) * self._leading + _PADDING

    def _rule(self, thickness: float) -> None:
        self._canvas.setLineWidth(thickness)
        self._canvas.line(_MARGIN, self._top, self._right, self._top)

    def _draw_totals(self) -> None:
        sums = [self._sum(place) for place in range(len(self._columns))]
        if any(sums):
            self._draw_row([(lines, True) for lines in self._lines(sums)])
        if self._top - 2 * self._leading < _MARGIN:
            self._begin_page()
        words = f"{self._rows:,} {'row' if self._rows == 1 else 'rows'}"
        self._canvas.drawString(_MARGIN + _PADDING, self._top - 1.5 * self._leading, words)

    def _sum(self, place: int) -> str:
        total = self._sums[place]
        wanted = total.has_fractions if self._totals is None else self._columns[place] in self._totals
        return digits(total.value) if wanted and total.all_numbers and self._rows else ""


class _Sum(NamedTuple):
    """Of one column, exact."""

    value: Decimal
    has_fractions: bool
    all_numbers: bool

    def plus(self, value: Cell) -> _Sum:
        if value is None or not self.all_numbers:
            return self
        if not _is_number(value):
            return self._replace(all_numbers=False)
        assert isinstance(value, int | float | Decimal)
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return _Sum(_EXACT.add(self.value, number), self.has_fractions or not isinstance(value, int), True)


class _Sink:
    """What reportlab takes for a file."""

    def __init__(self, file: ByteSink) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data)


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
