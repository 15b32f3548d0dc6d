"""A database of the application's: settings, an engine for as long as a job needs it, errors that tell no values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from redqueue.errors import ConfigurationError, MissingExtra
from redqueue.registry.names import quoted

try:
    import sqlalchemy
    from sqlalchemy import Engine, create_engine
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, DataError, NoSuchTableError, StatementError
    from sqlalchemy.pool import NullPool
    from sqlalchemy.types import TypeEngine
except ImportError as error:
    raise MissingExtra("export", "reaching a database") from error

Database: TypeAlias = str | URL | Callable[[], Engine]
"""A URL; or what makes an engine, or gives the application's: it is never disposed of."""


def checked(database: Database) -> URL | Callable[[], Engine]:
    """It, with a URL that can be read.

    Raises:
        ConfigurationError: without the URL, which may have a password.
    """
    if not isinstance(database, str):
        return database
    try:
        return make_url(database)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "a database's URL can't be read: it is like postgresql+psycopg://user:password@host/database"
        ) from None


@contextmanager
def engine_of(database: URL | Callable[[], Engine]) -> Iterator[Engine]:
    """An engine for one job; of a URL one that keeps no connection, and puts no values into an error's text."""
    if not isinstance(database, URL):
        with _secretive():
            yield database()
        return
    engine = create_engine(database, poolclass=NullPool, hide_parameters=True)
    try:
        with _secretive():
            yield engine
    finally:
        engine.dispose()


@contextmanager
def _secretive() -> Iterator[None]:
    """An error's text is kept with the job, and must not have the values that were looked for, nor quote a row."""
    try:
        yield
    except StatementError as error:
        if error.statement is None:  # not connected
            raise
        error.hide_parameters = True
        # Of the driver's words the first line alone, as others may quote the statement, and without it as the cause.
        said = str(error.args[0]).partition("\n")[0]
        error.args = (f"({type(error.orig).__name__})" if isinstance(error, DataError) else said,)
        raise error from None


def column_types(engine: Engine, table: str, schema: str | None) -> Mapping[str, TypeEngine[Any]]:
    """Of a table, as the database tells them.

    Raises:
        ConfigurationError: there is no such table.
    """
    try:
        found = sqlalchemy.inspect(engine).get_columns(table, schema)
    except NoSuchTableError:
        raise ConfigurationError(f"the database has no table {quoted(table)}") from None
    return {column["name"]: column["type"] for column in found}
