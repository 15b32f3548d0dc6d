"""A report as a PDF: a chart, and its table with the header on every page. Text is drawn, never parsed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from io import BytesIO
from typing import Any, Final

from redqueue.errors import MissingExtra
from redqueue.processors.data_export.formats.pdf_page import fair_widths, font_name, lines_of, width_in
from redqueue.tasks.report_table import Chart, ReportTable, Value

try:
    from reportlab.graphics.charts.barcharts import VerticalBarChart
    from reportlab.graphics.charts.linecharts import HorizontalLineChart
    from reportlab.graphics.shapes import Drawing, String
    from reportlab.lib import colors
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import LongTable, SimpleDocTemplate, Spacer, TableStyle
except ImportError as error:
    raise MissingExtra("export", "writing reports") from error

_SIZE: Final = 8.0
_MARGIN: Final = 36.0
_PADDING: Final = 3.0
_ROOM: Final = A4[0] - 2 * _MARGIN - 12
_HEIGHT: Final = 250
_MOST_LABELS: Final = 12
_LONGEST_LABEL: Final = 14
_BLUE: Final = colors.HexColor(0x2F6DB5)


def pdf_report(table: ReportTable, title: str) -> bytes:
    """Upright A4, with as much of a cell's text as twelve lines hold."""
    font, bold = font_name("Vera.ttf"), font_name("VeraBd.ttf")
    file = BytesIO()
    document = SimpleDocTemplate(
        file, pagesize=A4, title=title, leftMargin=_MARGIN, rightMargin=_MARGIN, topMargin=_MARGIN, bottomMargin=_MARGIN
    )
    parts: list[Any] = [_title(title, bold)]
    if table.chart is not None:
        parts += [_drawing(table.chart, font), Spacer(1, 12)]
    document.build([*parts, _table(table, font, bold)])
    return file.getvalue()


def _title(title: str, bold: str) -> Any:
    drawing = Drawing(_ROOM, 28)
    line = lines_of(title, _ROOM, width_in(bold, 13))[0]
    drawing.add(String(0, 12, line, fontName=bold, fontSize=13))
    return drawing


def _drawing(chart: Chart, font: str) -> Any:
    drawn: Any = HorizontalLineChart() if chart.is_line else VerticalBarChart()
    drawn.x, drawn.y, drawn.width, drawn.height = 55, 50, _ROOM - 65, _HEIGHT - 80
    drawn.data = [tuple(chart.values)]
    drawn.categoryAxis.categoryNames = _sparse(chart.labels)
    drawn.categoryAxis.labels.angle, drawn.categoryAxis.labels.boxAnchor = 35, "ne"
    drawn.categoryAxis.visibleTicks = False
    least, most = min(chart.values), max(chart.values)
    drawn.valueAxis.valueMin, drawn.valueAxis.valueMax = min(least, 0), most if most > 0 or least < 0 else 1
    drawn.valueAxis.labelTextFormat = "{:,g}".format
    for axis in (drawn.categoryAxis, drawn.valueAxis):
        axis.labels.fontName, axis.labels.fontSize = font, 7
    if chart.is_line:
        drawn.lines[0].strokeColor = _BLUE
    else:
        drawn.bars[0].fillColor, drawn.bars[0].strokeColor = _BLUE, None
    drawing = Drawing(_ROOM, _HEIGHT)
    drawing.add(drawn)
    drawing.add(String(0, _HEIGHT - 14, lines_of(chart.name, _ROOM, width_in(font, 9))[0], fontName=font, fontSize=9))
    return drawing


def _sparse(labels: Sequence[str]) -> list[str]:
    """Labels that stand far enough from each other; the others are left empty."""
    every = -(-len(labels) // _MOST_LABELS) if len(labels) > 31 else 1
    return [_short(label) if place % every == 0 else "" for place, label in enumerate(labels)]


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}\u2026"


def _table(table: ReportTable, font: str, bold: str) -> Any:
    texts = [table.columns, *([_text(value) for value in row] for row in table.rows)]
    measure = width_in(bold, _SIZE)
    natural = [
        max(measure(row[place][:100]) for row in texts) + 2 * _PADDING + 1 for place in range(len(table.columns))
    ]
    widths = fair_widths(natural, _ROOM)
    cells = [
        ["\n".join(lines_of(text, width - 2 * _PADDING, measure)) for text, width in zip(row, widths, strict=True)]
        for row in texts
    ]
    style: list[Any] = [
        ("FONT", (0, 0), (-1, 0), bold, _SIZE, _SIZE * 1.25),
        ("FONT", (0, 1), (-1, -1), font, _SIZE, _SIZE * 1.25),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
        ("LINEBELOW", (0, 1), (-1, -1), 0.2, colors.grey),
        ("ALIGN", (table.numbers, 0), (-1, -1), "RIGHT"),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        *(
            (side, (0, 0), (-1, -1), _PADDING)
            for side in ("LEFTPADDING", "RIGHTPADDING", "TOPPADDING", "BOTTOMPADDING")
        ),
    ]
    return LongTable(cells, colWidths=widths, repeatRows=1, style=TableStyle(style))


def _text(value: Value) -> str:
    if value is None:
        return ""
    return format(value, ",f") if isinstance(value, Decimal) else f"{value:,}" if isinstance(value, int) else value
