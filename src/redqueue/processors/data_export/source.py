"""Where exported rows come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from redqueue.errors import Discard
from redqueue.registry.names import quoted

Filters: TypeAlias = Mapping[str, Any]
"""By column: a value, or a mapping of operators to values, as the source defines them."""


class AskedBy(Protocol):
    """Who asked for rows. A `JobContext` is one."""

    @property
    def sub_account_id(self) -> str | None:
        """None: not said."""
        ...

    @property
    def user_id(self) -> str | None:
        """None: not said."""
        ...


class Asker(msgspec.Struct, frozen=True):
    """Who asked, as the job's data says."""

    sub_account_id: str | None
    user_id: str | None = None


class ExportSource(Protocol):
    """Rows that may leave the application.

    Derive from it, with `columns` and a generator method `rows`: `check_filters` and `count` are then as they are here.

    Attributes:
        columns: all that it has, in order. A job takes some of them, or all.
    """

    columns: Sequence[str]

    @abstractmethod
    def rows(self, columns: Sequence[str], filters: Filters, asker: AskedBy) -> Iterable[Sequence[object]]:
        """The values of those columns, row by row and lazily; closed (`Generator.close`) when it is left.

        It must not give more than what `asker` may see: nobody else restricts the rows.

        Args:
            columns: at least one, each of `columns` and none twice.
            filters: `check_filters` let them pass.
        Raises:
            Discard: these filters will never do.
        """
        ...

    def check_filters(self, filters: Filters) -> None:
        """Refuse what `rows` would not apply: a filter that is ignored exports too much.

        Raises:
            Discard: for any filter at all, unless a source says otherwise.
        """
        if filters:
            raise Discard(f"{type(self).__name__} takes no filters, and the job has {listed(filters)}")

    def count(self, filters: Filters, asker: AskedBy) -> int | None:
        """How many rows there will be, for progress; None: it can't be told cheaply."""
        return None


def chosen_columns(columns: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """The columns to export: those wanted, in that order; None: all.

    Raises:
        Discard: one that there isn't, or twice the same.
    """
    if wanted is None:
        return list(columns)
    there = set(columns)
    if unknown := [name for name in wanted if name not in there]:
        raise Discard(f"there is no column {listed(unknown)}; there are {listed(columns)}")
    if len(set(wanted)) < len(wanted):
        raise Discard("a column is wanted twice: name each once")
    return list(wanted)


def listed(names: Iterable[str], most: int = 40) -> str:
    """Names as an error tells them."""
    every = [quoted(name) for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
