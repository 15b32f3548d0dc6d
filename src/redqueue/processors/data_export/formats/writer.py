"""What every format's writer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class ByteSink(Protocol):
    """Where a writer puts the file: anything that takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take all of them."""
        ...


class RowWriter(Protocol):
    """Writes one file, row by row, in memory that doesn't grow with the rows.

    After `open`, it ends in `close` when all rows are written, else in `abandon`.
    """

    def open(self, file: ByteSink, columns: Sequence[str], *, title: str) -> None:
        """Begin the file.

        Args:
            columns: the names, for a header.
            title: for formats that show one.
        Raises:
            Discard: this format has no room for so many columns.
        """
        ...

    def row(self, values: Sequence[object]) -> None:
        """Write one row: as many values as there are columns.

        Raises:
            Discard: the format has no room for more rows.
        """
        ...

    def close(self) -> None:
        """Write what is left. The file itself is closed by whom it belongs to."""
        ...

    def abandon(self) -> None:
        """Free what is held, and write nothing more: half a file is of no use."""
        ...
