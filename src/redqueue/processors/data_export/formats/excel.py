"""Excel workbooks by XlsxWriter, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import Any, Final

from redqueue.errors import MissingExtra
from redqueue.processors.data_export.formats.cells import Cell, cell, digits, moment
from redqueue.processors.data_export.formats.formulas import begins_formula
from redqueue.processors.data_export.formats.writer import ByteSink

try:
    import xlsxwriter
except ImportError as error:
    raise MissingExtra("export", "exporting data") from error

MOST_ROWS: Final = 1_048_576
"""Of a sheet, the header included ("Excel specifications and limits")."""

_MOST_TEXT: Final = 32_767
"""UTF-16 units in a cell, by the same page; longer text is cut."""

_EXACT: Final = 10**15
"""Excel keeps 15 digits of a number; a longer one is text, so that none is lost."""

_FIRST_DAY: Final = date(1900, 3, 1)
"""Excel takes 1900 for a leap year, so days before this one would be off by one; they are text."""

_OPTIONS: Final[dict[str, Any]] = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}


class ExcelWriter:
    """Text stays text, whatever it looks like: no cell is ever a formula or a link.

    Text that looks like a formula also carries Excel's own mark for text (`quotePrefix`), so that it doesn't become one
    when somebody edits the cell. Rows that a sheet has no room for go to further sheets. Aware times are in UTC.

    It needs room for the uncompressed rows in the temporary folder of the machine.

    Args:
        most_rows: of a sheet, the header included; at most Excel's own 1,048,576.
    """

    def __init__(self, *, most_rows: int = MOST_ROWS) -> None:
        self._most_rows = max(2, min(most_rows, MOST_ROWS))

    def open(self, file: ByteSink, columns: Sequence[str], *, title: str) -> None:
        """Begin the first sheet."""
        self._folder = TemporaryDirectory(prefix="redqueue-export-")
        sink: Any = _Sink(file)
        self._book = xlsxwriter.Workbook(sink, {**_OPTIONS, "tmpdir": self._folder.name})
        self._book.use_zip64()
        self._book.set_properties({"title": title})
        self._columns = [str(name) for name in columns]
        self._header = self._book.add_format({"bold": True, "quote_prefix": True})
        self._text = self._book.add_format({"quote_prefix": True})
        self._formats = {
            datetime: self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            date: self._book.add_format({"num_format": "yyyy-mm-dd"}),
            time: self._book.add_format({"num_format": "hh:mm:ss"}),
        }
        self._sheets = 0
        self._begin_sheet()

    def row(self, values: Sequence[object]) -> None:
        """Write one row."""
        if self._next == self._most_rows:
            self._begin_sheet()
        for place, value in enumerate(values):
            self._put(place, cell(value))
        self._next += 1

    def close(self) -> None:
        """Put the workbook together; all bytes are written here."""
        try:
            self._book.close()
        finally:
            self._folder.cleanup()

    def abandon(self) -> None:
        """Remove the sheets from the temporary folder."""
        for sheet in self._book.worksheets():
            if handle := getattr(sheet, "row_data_fh", None):
                handle.close()
        self._book.fileclosed = 1  # or it would warn of not being closed
        self._folder.cleanup()

    def _begin_sheet(self) -> None:
        self._sheets += 1
        self._sheet = self._book.add_worksheet("Rows" if self._sheets == 1 else f"Rows {self._sheets}")
        self._sheet.freeze_panes(1, 0)
        for place, name in enumerate(self._columns):
            self._sheet.set_column(place, place, min(max(len(name) + 2, 12), 40))
            self._sheet.write_string(0, place, _fitting(name), self._header)
        self._next = 1

    def _put(self, place: int, value: Cell) -> None:
        if isinstance(value, str):
            text = _fitting(value)
            self._sheet.write_string(self._next, place, text, self._text if begins_formula(text) else None)
        elif isinstance(value, bool):
            self._sheet.write_boolean(self._next, place, value)
        elif isinstance(value, int | float | Decimal):
            self._put_number(place, value)
        elif value is not None:
            self._put_time(place, value)

    def _put_number(self, place: int, value: float | Decimal) -> None:
        if isinstance(value, float) or _is_exact(value):
            self._sheet.write_number(self._next, place, float(value))
        else:
            self._sheet.write_string(self._next, place, digits(value) if isinstance(value, Decimal) else str(value))

    def _put_time(self, place: int, value: datetime | date | time) -> None:
        known: Any = value
        with suppress(OverflowError):  # at the ends of the calendar there is no such time in UTC
            known = moment(value) if isinstance(value, datetime) else value
        if _has_number(known):
            self._sheet.write_datetime(self._next, place, known, self._formats[type(known)])
        else:
            self._sheet.write_string(self._next, place, known.isoformat())


class _Sink:
    """What `zipfile` needs of a file that it can't seek in."""

    def __init__(self, file: ByteSink) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        self._file.write(bytes(data))
        return len(data)

    def flush(self) -> None:
        """The file decides itself when it goes on to a disk."""


def _fitting(text: str) -> str:
    if len(text) * 2 <= _MOST_TEXT:
        return text
    return text.encode("utf-16-le")[: 2 * _MOST_TEXT].decode("utf-16-le", "ignore")


def _has_number(value: datetime | date | time) -> bool:
    """Whether Excel has a number for it, and the right one."""
    if isinstance(value, time | datetime) and value.tzinfo is not None:
        return False
    if isinstance(value, time):
        return True
    return (value.date() if isinstance(value, datetime) else value) >= _FIRST_DAY


def _is_exact(value: int | Decimal) -> bool:
    if isinstance(value, int):
        return -_EXACT < value < _EXACT
    return not value or (len(value.as_tuple().digits) <= 15 and -15 <= value.adjusted() < 15)
