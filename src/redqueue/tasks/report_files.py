"""A report as a file: a table of its total, periods and groups, and in Excel and PDF a chart before all."""

from __future__ import annotations

from io import BytesIO

from redqueue.processors.data_export.formats import CsvWriter, Format, JsonLinesWriter, RowWriter
from redqueue.tasks.report_excel import excel_report
from redqueue.tasks.report_pdf import pdf_report
from redqueue.tasks.report_table import ReportTable, table_of
from redqueue.tasks.reports import Figures


def written(format: Format, figures: Figures, title: str) -> bytes:
    """The whole file; it is as small as the report's groups and periods are few."""
    table = table_of(figures)
    if format == "excel":
        return excel_report(table, title)
    if format == "pdf":
        return pdf_report(table, title)
    return _plain(CsvWriter() if format == "csv" else JsonLinesWriter(), table, title)


def _plain(writer: RowWriter, table: ReportTable, title: str) -> bytes:
    file = BytesIO()
    writer.open(file, table.columns, title=title)
    for row in table.rows:
        writer.row(row)
    writer.close()
    return file.getvalue()
