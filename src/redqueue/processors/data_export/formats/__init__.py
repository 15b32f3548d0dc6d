"""A writer for each format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from redqueue.processors.data_export.formats.csv import CsvWriter
from redqueue.processors.data_export.formats.excel import ExcelWriter
from redqueue.processors.data_export.formats.jsonl import JsonLinesWriter
from redqueue.processors.data_export.formats.pdf import PdfWriter
from redqueue.processors.data_export.formats.writer import ByteSink, RowWriter

Format: TypeAlias = Literal["csv", "excel", "pdf", "json"]

WRITERS: Final[Mapping[Format, Callable[[], RowWriter]]] = MappingProxyType(
    {"csv": CsvWriter, "excel": ExcelWriter, "pdf": PdfWriter, "json": JsonLinesWriter}
)
"""What makes the writer of a format, with the settings that it has when nothing else is said."""

EXTENSIONS: Final[Mapping[Format, str]] = MappingProxyType(
    {"csv": "csv", "excel": "xlsx", "pdf": "pdf", "json": "jsonl"}
)

__all__ = [
    "EXTENSIONS",
    "WRITERS",
    "ByteSink",
    "CsvWriter",
    "ExcelWriter",
    "Format",
    "JsonLinesWriter",
    "PdfWriter",
    "RowWriter",
]
