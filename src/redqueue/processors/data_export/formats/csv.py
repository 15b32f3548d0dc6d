"""CSV as RFC 4180 describes it, in UTF-8, that no spreadsheet takes for a program."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from types import NoneType
from typing import Any, Final, TypeAlias

from redqueue.processors.data_export.formats.cells import cell, digits
from redqueue.processors.data_export.formats.formulas import begins_formula
from redqueue.processors.data_export.formats.writer import ByteSink

_Write: TypeAlias = Callable[[Any], Any]

_FLUSHED: Final = 256 * 1024
"""Characters that are gathered before they are written."""


class CsvWriter:
    r"""Rows end with CR LF, text is in quotes, and numbers are not.

    Text that a spreadsheet would take for a formula gets an apostrophe in front: `neutral`. So does a telephone number
    that begins with +; where text must stay as it is, export to JSON or Excel.

    Args:
        bom: begin with a byte order mark, by which Excel knows that the file is UTF-8. Other readers may take it for a
            part of the first column's name.
    """

    def __init__(self, *, bom: bool = False) -> None:
        self._bom = bom

    def open(self, file: ByteSink, columns: Sequence[str], *, title: str) -> None:
        """Begin with the header."""
        self._file = file
        self._lines = _Lines()
        self._gathered = 0
        self._rows = csv.writer(self._lines, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
        if self._bom:
            self._file.write(b"\xef\xbb\xbf")
        self.row(columns)

    def row(self, values: Sequence[object]) -> None:
        """Write one row."""
        self._gathered += self._rows.writerow([_WRITTEN[type(value)](value) for value in values])
        if self._gathered >= _FLUSHED:
            self._flush()

    def close(self) -> None:
        """Write what is gathered."""
        self._flush()

    def abandon(self) -> None:
        """Nothing is held."""

    def _flush(self) -> None:
        self._file.write("".join(self._lines).encode(errors="replace"))
        self._lines.clear()
        self._gathered = 0


class _Lines(list[str]):
    """What the csv module writes to."""

    def write(self, line: str) -> int:
        self.append(line)
        return len(line)


def neutral(text: str) -> str:
    """The text, after an apostrophe where a spreadsheet would take it for a formula."""
    return "'" + text if begins_formula(text) else text


class _Number:
    """What the csv module takes for a number, and writes as it is said."""

    def __init__(self, said: str) -> None:
        self._said = said

    def __str__(self) -> str:
        return self._said

    def __float__(self) -> float:
        return float(self._said)


def _unusual(value: Any) -> Any:
    plain = cell(value)
    return _WRITTEN[type(plain)](plain)


def _itself(value: Any) -> Any:
    return value


def _iso(value: Any) -> Any:
    return value.isoformat()


class _ByClass(dict[type, _Write]):
    """By the exact class: a chain of `isinstance` would take longer than all else."""

    def __missing__(self, kind: type) -> _Write:
        return _unusual


_WRITTEN: Final = _ByClass(
    {
        str: neutral,
        NoneType: lambda value: "",
        bool: lambda value: "true" if value else "false",
        int: _itself,
        float: lambda value: value if math.isfinite(value) else "",
        Decimal: lambda value: _Number(digits(value)) if value.is_finite() else "",
        datetime: _iso,
        date: _iso,
        time: _iso,
    }
)
