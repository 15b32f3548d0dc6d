"""cleanup_old_data: old rows of the tables that the application listed, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from redqueue.context import INJECTED, JobContext
from redqueue.errors import ConfigurationError, Discard, InvalidOption, MissingExtra
from redqueue.processors.database import Database, checked, column_types, engine_of
from redqueue.registry.names import quoted
from redqueue.shapes import Result

try:
    import sqlalchemy
    from sqlalchemy import (
        ColumnElement,
        Connection,
        Date,
        DateTime,
        Engine,
        Select,
        String,
        TableClause,
        cast,
        delete,
        func,
        select,
    )
    from sqlalchemy.types import TypeEngine
except ImportError as error:
    raise MissingExtra("export", "cleaning up tables") from error

MOST_DAYS: Final = 36_500
MOST_BATCH: Final = 10_000
"""Keys in one statement: PostgreSQL takes 65,535 parameters, SQLite 32,766."""

_DRY_RUN: Final = "dry_run"
_WRITTEN_DAY: Final = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*"
_Condition: TypeAlias = ColumnElement[bool]


class CleanupResult(Result, frozen=True, kw_only=True, omit_defaults=False):
    """What is gone.

    Attributes:
        table: the name that the job gave.
        cutoff: rows with a date before this one are old: a date, or a time in UTC.
        deleted: rows; of a dry run those that would be.
        batches: in how many transactions, over all runs of the job.
    """

    table: str
    cutoff: str
    deleted: int
    dry_run: bool
    batches: int


class Cleaned(msgspec.Struct, frozen=True):
    """The checkpoint: the moment from which days are counted, and what is gone."""

    now: datetime
    deleted: int = 0
    batches: int = 0


class CleanupTable:
    """A table whose old rows may be deleted; an entry of the allow-list. It holds settings, no connection.

    Args:
        database: its URL; or what makes an engine, or gives the application's, which is never disposed of.
        table: its name.
        key: a column that is unique, by whose order rows are deleted.
        date_column: how old a row is: a date, or a time; a naive one is in UTC. Rows without one stay.
        least_days: no job can delete what is younger.
        batch: rows in one transaction, up to 10,000.
    Raises:
        InvalidOption: out of bounds.
        ConfigurationError: the URL can't be read.
    """

    def __init__(
        self,
        database: Database,
        table: str,
        key: str,
        date_column: str,
        *,
        schema: str | None = None,
        least_days: int = 1,
        batch: int = 1_000,
    ) -> None:
        if not 0 <= least_days <= MOST_DAYS:
            raise InvalidOption("least_days", f"least_days is 0 to {MOST_DAYS:,}, not {least_days}")
        if not 1 <= batch <= MOST_BATCH:
            raise InvalidOption("batch", f"batch is 1 to {MOST_BATCH:,} rows, not {batch}")
        self.database: Final = checked(database)
        self.table: Final = table
        self.key: Final = key
        self.date_column: Final = date_column
        self.schema: Final = schema
        self.least_days: Final = least_days
        self.batch: Final = batch

    def __repr__(self) -> str:
        return f"CleanupTable({self.table!r}, key={self.key!r}, date_column={self.date_column!r})"


class CleanupOldData:
    """``cleanup_old_data(table_name, days_old)``, of the tables that it was made with, by name."""

    def __init__(self, tables: Mapping[str, CleanupTable]) -> None:
        self._tables = dict(tables)

    def __call__(
        self,
        table_name: Annotated[str, Meta(max_length=128)],
        days_old: Annotated[int, Meta(ge=0, le=MOST_DAYS)],
        context: JobContext = INJECTED,
    ) -> CleanupResult:
        """Delete rows that are older; a run that follows another goes on with the cutoff of the first.

        Args:
            table_name: of an entry, never a name that a database sees.
            context: the job's mapping may have ``dry_run: true``, which only counts.
        Raises:
            Discard: no such entry, or fewer days than it allows.
            ConfigurationError: the table, or a column of it, isn't there, or can't tell how old a row is.
        """
        entry = self._tables.get(table_name)
        if entry is None:
            there = ", ".join(sorted(self._tables))
            raise Discard(f"no table {quoted(table_name)} may be cleaned up; there are: {there}")
        if days_old < entry.least_days:
            raise Discard(f"{table_name}: rows younger than {entry.least_days} days stay, and the job says {days_old}")
        dry = _is_dry(context.given)
        state = _restored(context.restored)
        with engine_of(entry.database) as engine:
            old = _OldRows(engine, entry, state.now - timedelta(days=days_old))
            state = Cleaned(state.now, deleted=old.count()) if dry else _delete_all(old, state, context)
        return CleanupResult(
            table=table_name,
            cutoff=old.cutoff.isoformat(),
            deleted=state.deleted,
            dry_run=dry,
            batches=state.batches,
        )


class _OldRows:
    """Those of one table that are before the cutoff."""

    def __init__(self, engine: Engine, entry: CleanupTable, cutoff: datetime) -> None:
        types = column_types(engine, entry.table, entry.schema)
        for name in (entry.key, entry.date_column):
            if name not in types:
                raise ConfigurationError(f"{entry!r}: the table has no column {name!r}")
        self.cutoff = _in_terms_of(types[entry.date_column], cutoff, entry)
        self._engine = engine
        self._entry = entry
        self._batch = entry.batch
        columns = [sqlalchemy.column(name, types[name]) for name in {entry.key, entry.date_column}]
        self._table: TableClause = sqlalchemy.table(entry.table, *columns, schema=entry.schema)
        self._key = self._table.c[entry.key]
        dated = self._table.c[entry.date_column]
        self._is_old: list[_Condition] = [self._key.is_not(None)]
        if engine.dialect.name == "sqlite":
            self._is_old += _before_in_sqlite(dated, self.cutoff)
        else:
            self._is_old.append(dated < self.cutoff)

    def count(self) -> int:
        """How many there are."""
        with self._engine.connect() as connection:
            counted = select(func.count()).select_from(self._table).where(*self._is_old)
            return int(connection.execute(counted).scalar_one())

    def delete_after(self, last: Any) -> tuple[int, Any]:
        """Delete the next batch, in a transaction of its own.

        Args:
            last: the last key of the batch before; None: this is the first. Rows that stay though they were to be
                deleted, by a trigger say, are not tried for ever.
        Returns:
            How many are gone, and the last key; None: there are no more.
        Raises:
            ConfigurationError: keys are not what the driver makes of them, so rows can't be found by them.
        """
        after = [] if last is None else [self._key > last]
        chosen = select(self._key).where(*self._is_old, *after).order_by(self._key).limit(self._batch)
        with self._engine.begin() as connection:
            keys = list(connection.execute(chosen).scalars())
            if not keys:
                return 0, None
            if keys[-1] == last:
                raise self._unusable()
            # The date is looked at again: somebody may have touched the row since.
            gone = connection.execute(delete(self._table).where(self._key.in_(keys), *self._is_old))
            if gone.rowcount < len(keys):
                self._check_found(connection, chosen, keys)
            return gone.rowcount, keys[-1]

    def _check_found(self, connection: Connection, chosen: Select[Any], keys: Sequence[Any]) -> None:
        # Some stayed. A row that a trigger keeps, or that was touched, is no fault of its key.
        there = set(map(repr, connection.execute(chosen).scalars())).intersection(map(repr, keys))
        by_key = select(self._key).where(self._key.in_(keys), *self._is_old)
        if there.difference(map(repr, connection.execute(by_key).scalars())):
            raise self._unusable()

    def _unusable(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self._entry!r}: rows can't be found by what is read of their keys ({type(self._key.type).__name__}): "
            "take a key of whole numbers or text"
        )


def _delete_all(old: _OldRows, state: Cleaned, context: JobContext) -> Cleaned:
    context.checkpoint(state).wait()  # before anything is deleted: the cutoff is settled
    total = state.deleted + old.count()
    last = None
    while True:
        context.raise_if_cancelled()
        gone, last = old.delete_after(last)
        if last is None:
            context.progress(1, f"{state.deleted:,} rows deleted")
            return state
        state = msgspec.structs.replace(state, deleted=state.deleted + gone, batches=state.batches + 1)
        context.checkpoint(state).wait()
        context.progress(min(state.deleted / max(total, 1), 1), f"{state.deleted:,} of {total:,} rows deleted")


def _before_in_sqlite(dated: ColumnElement[Any], cutoff: datetime | date) -> list[_Condition]:
    # Its columns hold anything. As text, a time with an offset is compared without it; and julianday() takes a number
    # for a day. What isn't written as a date, or is none, stays.
    moment = cutoff.replace(tzinfo=None) if isinstance(cutoff, datetime) else cutoff  # it is in UTC
    return [
        cast(dated, String).op("GLOB", is_comparison=True)(_WRITTEN_DAY),
        func.julianday(cast(dated, String)) < func.julianday(moment.isoformat()),
    ]


def _in_terms_of(kind: TypeEngine[Any], cutoff: datetime, entry: CleanupTable) -> datetime | date:
    """The cutoff in the type of the column."""
    if isinstance(kind, DateTime):
        return cutoff if kind.timezone else cutoff.replace(tzinfo=None)
    if isinstance(kind, Date):
        return cutoff.date()
    raise ConfigurationError(
        f"{entry!r}: the date column is {type(kind).__name__}, by which no age can be told: take a date or a time"
    )


def _is_dry(given: Mapping[str, Any]) -> bool:
    """Whether only to count. A misspelt wish not to delete must not delete."""
    for name in given:
        if name != _DRY_RUN and "".join(filter(str.isalpha, name)).lower() == "dryrun":
            raise Discard(f"{quoted(name)} in the job's context: write {_DRY_RUN!r}; nothing was deleted")
    dry = given.get(_DRY_RUN, False)
    if not isinstance(dry, bool):
        raise Discard(f"{_DRY_RUN!r} in the job's context must be true or false; nothing was deleted")
    return dry


def _restored(state: Any) -> Cleaned:
    if state is None:
        return Cleaned(datetime.now(UTC))
    try:
        return msgspec.convert(state, Cleaned)
    except msgspec.ValidationError:
        raise Discard("the job's checkpoint was written by another function: add it as a new job") from None
