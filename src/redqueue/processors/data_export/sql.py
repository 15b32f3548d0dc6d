"""A database's table as a source, by SQLAlchemy Core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, cast

from redqueue.errors import Discard, InvalidOption, MissingExtra
from redqueue.processors.data_export.filters import check_operators, conditions
from redqueue.processors.data_export.source import AskedBy, ExportSource, Filters, chosen_columns
from redqueue.processors.data_export.values import bound_value, is_text
from redqueue.processors.database import Database, checked, engine_of

try:
    import sqlalchemy
    from sqlalchemy import (
        CHAR,
        ColumnElement,
        Connection,
        CursorResult,
        FromClause,
        Select,
        Table,
        func,
        select,
    )
    from sqlalchemy.exc import DataError, DBAPIError, NoSuchTableError, StatementError
    from sqlalchemy.types import NullType
except ImportError as error:
    raise MissingExtra("export", "exporting data") from error

Columns: TypeAlias = Mapping[str, ColumnElement[Any]]

FETCHED: Final = 2_000
"""Rows that are fetched in one round trip and held at a time."""


class TableSource(ExportSource):
    """Rows of a table or view: those columns that are listed, of the sub-account that asks, by its primary key's order.

    It holds settings only: a connection is opened for each export, and closed after it. Rows come through a server-side
    cursor, all of one statement, so of one moment.

    Args:
        engine: the database's URL; or what makes an engine, or gives the application's: it is never disposed of. Only a
            URL, or a function at module level, can be sent to a child process.
        table: its name, whose columns' types are read from the database at each export; or a `sqlalchemy.Table`.
        columns: those that may leave the application, and that jobs can filter by.
        sub_account: the column that says whose a row is, of which a job sees its own sub-account's alone. None, which
            has to be said: rows are nobody's, and every job may see all.
        schema: of a table given by name.
        order_by: columns; None: the primary key's, if there is one.
        counts: count the rows before the export, for its progress; a large table takes a while.
    Raises:
        ConfigurationError: the URL can't be read.
        InvalidOption: columns that the given `Table` hasn't, or none.
    """

    def __init__(
        self,
        engine: Database,
        table: str | Table,
        columns: Sequence[str],
        *,
        sub_account: str | None,
        schema: str | None = None,
        order_by: Sequence[str] | None = None,
        counts: bool = True,
    ) -> None:
        self._database = checked(engine)
        self._table = table
        self.columns: Sequence[str] = _checked(columns)
        self._sub_account = sub_account
        self._schema = schema
        self._order_by = order_by
        self._counts = counts
        if isinstance(table, Table):
            self._check_there(table.columns.keys())

    def check_filters(self, filters: Filters) -> None:
        """Refuse columns and operators that there aren't; values are looked at when their columns' types are known."""
        check_operators(filters, self.columns)

    def rows(self, columns: Sequence[str], filters: Filters, asker: AskedBy) -> Iterator[Sequence[object]]:
        """The rows, as they come."""
        columns = chosen_columns(self.columns, columns)
        with self._connected() as connection:
            table, order = self._read(connection)
            owner = self._owner_as_text(table)
            wanted = [table[name] for name in columns] + ([] if owner is None else [owner])
            statement = self._narrowed(select(*wanted), table, filters, asker)
            statement = statement.order_by(*(table[name] for name in order))
            with _executed(connection, statement.execution_options(yield_per=FETCHED)) as result:
                if owner is None:
                    yield from result
                else:
                    yield from (row[:-1] for row in result if _is_same(owner, row[-1], asker.sub_account_id))

    def count(self, filters: Filters, asker: AskedBy) -> int | None:
        """By ``COUNT(*)``; None when it shall not count."""
        if not self._counts:
            return None
        with self._connected() as connection:
            table, _ = self._read(connection)
            counted = select(func.count()).select_from(next(iter(table.values())).table)
            return int(_executed(connection, self._narrowed(counted, table, filters, asker)).scalar_one())

    def __repr__(self) -> str:
        name = self._table.name if isinstance(self._table, Table) else self._table
        return f"TableSource({name!r}, columns={list(self.columns)}, sub_account={self._sub_account!r})"

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with engine_of(self._database) as engine, engine.connect() as connection:
            yield connection

    def _read(self, connection: Connection) -> tuple[Columns, Sequence[str]]:
        """The columns that are needed, and those to order by.

        Raises:
            Discard: the table or a column isn't there: no attempt finds it before somebody mends the settings.
        """
        if isinstance(self._table, Table):
            columns: Columns = dict(self._table.columns)
            key = [column.key for column in self._table.primary_key.columns]
        else:
            columns, key = _reflected(connection, self._table, self._schema)
            try:
                self._check_there(columns)
            except InvalidOption as error:
                raise Discard(str(error)) from error
        return columns, key if self._order_by is None else self._order_by

    def _narrowed(self, statement: Select[Any], table: Columns, filters: Filters, asker: AskedBy) -> Select[Any]:
        """By the filters, and to the sub-account that asks."""
        check_operators(filters, self.columns)
        statement = statement.where(*conditions(filters, table))
        if self._sub_account is None:
            return statement
        column = table[self._sub_account]
        if asker.sub_account_id is None:
            raise Discard("these rows are a sub-account's, and the job doesn't say which one asks")
        try:
            return statement.where(column == bound_value(column.type, asker.sub_account_id))
        except ValueError as error:
            raise Discard(f"the sub-account's id is compared with a column that takes {error}") from None

    def _owner_as_text(self, table: Columns) -> ColumnElement[Any] | None:
        """The sub-account's column where it may be text: by its collation a database may take "a" for "A"."""
        column = None if self._sub_account is None else table[self._sub_account]
        return column if column is not None and (is_text(column.type) or isinstance(column.type, NullType)) else None

    def _check_there(self, names: Sequence[str] | Columns) -> None:
        needed = [*self.columns, *(self._order_by or ())]
        if self._sub_account is not None:
            needed.append(self._sub_account)
        if missing := [name for name in needed if name not in names]:
            raise InvalidOption("columns", f"{self!r}: the table has no column {', '.join(missing)}")


def _checked(columns: Sequence[str]) -> tuple[str, ...]:
    if isinstance(columns, str) or not columns or len(set(columns)) < len(columns):
        raise InvalidOption("columns", "columns is a list of at least one name, none of them twice")
    return tuple(columns)


def _is_same(column: ColumnElement[Any], found: object, asked: str | None) -> bool:
    if not isinstance(found, str) or asked is None:
        return True  # no text, so the database compared it exactly
    if isinstance(column.type, CHAR):  # filled up with blanks
        return found.rstrip(" ") == asked.rstrip(" ")
    return found == asked


def _executed(connection: Connection, statement: Select[Any]) -> CursorResult[Any]:
    """Its result.

    Raises:
        Discard: a value that a column can't be compared with, as one beyond its type: trying again changes nothing.
    """
    try:
        return cast("CursorResult[Any]", connection.execute(statement))
    except DataError as error:
        kind = type(error.orig).__name__
    except DBAPIError:
        raise
    except StatementError as error:  # while a value was bound
        kind = type(error.orig).__name__
    raise Discard(
        f"the database refused a value ({kind}), which isn't shown here: one of the filters or the sub-account's id, "
        "that its column's type can't hold, or one that a view makes"
    )


def _reflected(connection: Connection, name: str, schema: str | None) -> tuple[Columns, list[str]]:
    """By hand: `autoload_with` would also read indexes and foreign keys, and warn of those with other columns.

    Raises:
        Discard: there is no such table.
    """
    inspector = sqlalchemy.inspect(connection)
    try:
        found = inspector.get_columns(name, schema)
        key = inspector.get_pk_constraint(name, schema)["constrained_columns"]
    except NoSuchTableError:
        raise Discard(f"the database has no table or view {name!r}") from None
    typed = [sqlalchemy.column(column["name"], column["type"]) for column in found]
    table: FromClause = sqlalchemy.table(name, *typed, schema=schema)
    return dict(table.columns), list(key)
