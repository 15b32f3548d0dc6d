"""Exports: rows of a source as CSV, Excel, PDF or JSON lines in the storage."""

from redqueue.processors.data_export.formats import (
    CsvWriter,
    ExcelWriter,
    JsonLinesWriter,
    PdfWriter,
    RowWriter,
)
from redqueue.processors.data_export.key import export_key
from redqueue.processors.data_export.processor import DataExportProcessor
from redqueue.processors.data_export.source import AskedBy, Asker, ExportSource, Filters
from redqueue.processors.data_export.sql import TableSource

__all__ = [
    "AskedBy",
    "Asker",
    "CsvWriter",
    "DataExportProcessor",
    "ExcelWriter",
    "ExportSource",
    "Filters",
    "JsonLinesWriter",
    "PdfWriter",
    "RowWriter",
    "TableSource",
    "export_key",
]
