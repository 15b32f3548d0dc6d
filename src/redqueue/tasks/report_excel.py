"""A report as an Excel workbook: its table, and beside it a chart of the table's own cells."""

from __future__ import annotations

from decimal import Decimal
from io import BytesIO
from typing import Any, Final

from redqueue.errors import MissingExtra
from redqueue.processors.data_export.formats.formulas import begins_formula
from redqueue.tasks.report_table import Chart, ReportTable, Value

try:
    import xlsxwriter
except ImportError as error:
    raise MissingExtra("export", "writing reports") from error

SHEET: Final = "Report"
_DIGITS: Final = 15
"""Excel keeps so many; a longer number is text, so that none is lost."""
_LARGEST: Final = 300
"""Powers of ten: it has up to 9.99E+307 ("Excel specifications and limits")."""


def excel_report(table: ReportTable, title: str) -> bytes:
    """Text stays text, whatever it looks like."""
    file = BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(file, options) as book:
        book.set_properties({"title": title})
        sheet = book.add_worksheet(SHEET)
        header, text = book.add_format({"bold": True, "quote_prefix": True}), book.add_format({"quote_prefix": True})
        sheet.freeze_panes(1, 0)
        for place, name in enumerate(table.columns):
            sheet.set_column(place, place, min(max(len(name) + 2, 12), 40))
            sheet.write_string(0, place, name, header)
        for number, row in enumerate(table.rows, 1):
            for place, value in enumerate(row):
                _put(sheet, number, place, value, text)
        if table.chart is not None:
            sheet.insert_chart(1, len(table.columns) + 1, _chart(book, table.chart, title))
    return file.getvalue()


def _put(sheet: Any, number: int, place: int, value: Value, quoting: Any) -> None:
    if isinstance(value, str):
        sheet.write_string(number, place, value, quoting if begins_formula(value) else None)
    elif value is not None and _is_kept(Decimal(value)):
        sheet.write_number(number, place, float(value))
    elif value is not None:
        sheet.write_string(number, place, format(value, "f") if isinstance(value, Decimal) else str(value))


def _is_kept(number: Decimal) -> bool:
    # Not by normalize(), which rounds to the context's 28 digits first.
    digits = "".join(map(str, number.as_tuple().digits)).strip("0")
    return len(digits) <= _DIGITS and abs(number.adjusted()) <= _LARGEST


def _chart(book: Any, chart: Chart, title: str) -> Any:
    drawn = book.add_chart({"type": "line" if chart.is_line else "column"})
    drawn.add_series(
        {
            "name": chart.name,
            "categories": [SHEET, chart.first + 1, chart.label, chart.last + 1, chart.last_label],
            "values": [SHEET, chart.first + 1, chart.value, chart.last + 1, chart.value],
        }
    )
    drawn.set_title({"name": f" {title}" if title.startswith("=") else title})  # which would be a reference
    drawn.set_legend({"position": "bottom"})
    drawn.set_size({"width": 720, "height": 400})
    return drawn
