"""JSON lines: an object a row, in UTF-8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from redqueue.processors.data_export.formats.cells import as_json
from redqueue.processors.data_export.formats.writer import ByteSink

_FLUSHED: Final = 256 * 1024
"""Bytes that are gathered before they are written."""


class JsonLinesWriter:
    """Values keep their form: lists and mappings nest, text stays as it is, Decimal is text, NaN is null."""

    def open(self, file: ByteSink, columns: Sequence[str], *, title: str) -> None:
        """Nothing is written yet: JSON lines have no header."""
        self._file = file
        self._columns = tuple(columns)
        self._lines: list[bytes] = []
        self._gathered = 0

    def row(self, values: Sequence[object]) -> None:
        """Write one row."""
        line = as_json(dict(zip(self._columns, values, strict=True)))
        self._lines.append(line)
        self._gathered += len(line) + 1
        if self._gathered >= _FLUSHED:
            self._flush()

    def close(self) -> None:
        """Write what is gathered."""
        self._flush()

    def abandon(self) -> None:
        """Nothing is held."""

    def _flush(self) -> None:
        if self._lines:
            self._file.write(b"\n".join([*self._lines, b""]))
        self._lines = []
        self._gathered = 0
