"""cleanup_old_data deletes what is old, of the tables that were listed, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Date,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    select,
)

from redqueue.errors import ConfigurationError, Discard, InvalidOption, JobCancelled
from redqueue.tasks.cleanup import CleanupOldData, CleanupTable
from redqueue.testing import job_context

from .conftest import Tasks

NOW = datetime.now(UTC)
METADATA = MetaData()
LOGS = Table(
    "logs",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", DateTime),
    Column("seen", DateTime(timezone=True)),
    Column("day", Date),
    Column("text", String(40)),
)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """The rows are 0 to 99 days old, and one has no dates."""
    engine = create_engine(database)
    METADATA.create_all(engine)
    rows: list[dict[str, Any]] = [{"id": 1000, "at": None, "seen": None, "day": None, "text": None}]
    for age in range(100):
        then = NOW - timedelta(days=age, minutes=1)
        naive = then.replace(tzinfo=None)
        rows.append({"id": age, "at": naive, "seen": then, "day": then.date(), "text": then.isoformat()})
    with engine.begin() as connection:
        connection.execute(LOGS.insert(), rows)
    yield engine
    METADATA.drop_all(engine)
    engine.dispose()


def ids(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(select(LOGS.c.id).order_by(LOGS.c.id)).scalars())


def table(database: str, column: str = "at", **options: Any) -> CleanupTable:
    return CleanupTable(database, "logs", "id", column, **options)


@pytest.mark.parametrize("column", ["at", "seen", "day"])
@pytest.mark.parametrize("name", ["cleanup_old_data", "cleanupOldData"])
def test_rows_that_are_old_are_gone_in_batches(
    tasks: Tasks, engine: Engine, database: str, column: str, name: str
) -> None:
    parts = {"tables": {"old logs": table(database, column, batch=30)}}
    job_id = tasks.add(name, "old logs", 30)
    status = tasks.run(parts, job_id)
    assert status.status == "completed", status.error
    result = status.result
    deleted = result["deleted"]
    assert deleted == 70 if column != "day" else deleted in (69, 70), "which day a minute ago was depends on the hour"
    assert ids(engine) == [*range(100 - deleted), 1000]
    assert result == {
        "table": "old logs",
        "cutoff": result["cutoff"],
        "deleted": deleted,
        "dryRun": False,
        "batches": 3,
    }
    assert status.progress == 1
    cutoff = datetime.fromisoformat(result["cutoff"]).replace(tzinfo=UTC)
    assert abs(cutoff - (NOW - timedelta(days=30))) < timedelta(days=2)


def test_a_dry_run_counts_and_deletes_nothing(tasks: Tasks, engine: Engine, database: str) -> None:
    result = tasks.result(
        {"tables": {"logs": table(database)}}, "cleanupOldData", "logs", 30, context={"dry_run": True}
    )
    assert (result["deleted"], result["dryRun"], result["batches"]) == (70, True, 0)
    assert len(ids(engine)) == 101


@pytest.mark.parametrize(
    "given",
    [
        {"dryRun": True},
        {"dry-run": True},
        {"dry run": True},
        {" dry_run": True},
        {"Dry.Run!": True},
        {"dry_run": "yes"},
        {"dry_run": 1},
    ],
)
def test_a_misspelt_dry_run_deletes_nothing(engine: Engine, database: str, given: dict[str, Any]) -> None:
    with pytest.raises(Discard, match="nothing was deleted"):
        CleanupOldData({"logs": table(database)})("logs", 30, job_context(given=given))
    assert len(ids(engine)) == 101


@pytest.mark.parametrize("name", ["users", "logs; drop table logs", "public.logs", "LOGS", ""])
def test_no_table_but_those_listed(tasks: Tasks, engine: Engine, database: str, name: str) -> None:
    error = tasks.error({"tables": {"logs": table(database)}}, "cleanup_old_data", name, 30)
    assert "there are: logs" in error
    assert len(ids(engine)) == 101


@pytest.mark.parametrize("days", [-1, 1.5, "30", 36_501, None, True])
def test_days_are_whole_and_bounded(tasks: Tasks, days: Any) -> None:
    error = tasks.error({"tables": {"logs": table("sqlite://")}}, "cleanup_old_data", "logs", days)
    assert error.startswith("InvalidArguments")


def test_what_is_younger_than_an_entry_allows_stays(engine: Engine, database: str) -> None:
    clean = CleanupOldData({"logs": table(database, least_days=90)})
    with pytest.raises(Discard, match="younger than 90 days stay"):
        clean("logs", 89, job_context())
    assert clean("logs", 90, job_context()).deleted == 10


def test_a_run_that_follows_another_keeps_its_cutoff_and_its_count(engine: Engine, database: str) -> None:
    clean = CleanupOldData({"logs": table(database, batch=10)})
    first = job_context()
    stops: Any = StopsAfter(first, 3)
    with pytest.raises(JobCancelled):
        clean("logs", 30, stops)
    assert first.checkpoints[0]["deleted"] == 0, "the cutoff is settled before anything is deleted"
    assert first.checkpoints[-1]["deleted"] == 20 and len(ids(engine)) == 81
    later = {**first.checkpoints[-1], "now": (NOW + timedelta(days=5)).isoformat()}
    result = clean("logs", 30, job_context(restored=later))
    assert (result.deleted, result.batches) == (75, 8)
    assert datetime.fromisoformat(result.cutoff).date() == (NOW - timedelta(days=25)).date()


class StopsAfter:
    """A context that is cancelled when it was asked so often."""

    def __init__(self, context: Any, asked: int) -> None:
        self._context = context
        self._left = asked

    def raise_if_cancelled(self) -> None:
        self._left -= 1
        if not self._left:
            self._context.cancelled = True
        self._context.raise_if_cancelled()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def test_a_job_that_fails_in_the_middle_goes_on_in_its_retry(
    tasks: Tasks, engine: Engine, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redqueue.tasks import cleanup

    delete_after, calls = cleanup._OldRows.delete_after, []

    def failing(self: Any, last: Any) -> tuple[int, Any]:
        calls.append(self.cutoff)
        if len(calls) == 3:
            raise ConnectionError("the database is gone")
        return delete_after(self, last)

    monkeypatch.setattr(cleanup._OldRows, "delete_after", failing)
    result = tasks.result({"tables": {"logs": table(database, batch=10)}}, "cleanup_old_data", "logs", 30, retries=1)
    assert (result["deleted"], result["batches"]) == (70, 7)
    assert len(calls) == 3 + 6 and len(set(calls)) == 1, "the retry has the cutoff of the first attempt"
    assert ids(engine) == [*range(30), 1000]


def test_a_row_that_was_touched_meanwhile_stays(engine: Engine, database: str) -> None:
    """Between the look for old rows and their deletion another connection touches one."""
    touched: list[str] = []

    def touch(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("DELETE") and not touched:
            touched.append(statement)
            connection.exec_driver_sql(f"UPDATE logs SET at = '{NOW:%Y-%m-%d %H:%M:%S.%f}' WHERE id = 99")

    own = create_engine(database)
    event.listen(own, "before_cursor_execute", touch)
    entry = CleanupTable(lambda: own, "logs", "id", "at")
    assert CleanupOldData({"logs": entry})("logs", 30, job_context()).deleted == 69
    assert touched and ids(engine) == [*range(30), 99, 1000]
    own.dispose()


@pytest.mark.parametrize("column", ["text", "id"])
def test_a_column_that_is_no_date_is_refused_clearly(tasks: Tasks, engine: Engine, database: str, column: str) -> None:
    error = tasks.error({"tables": {"logs": table(database, column)}}, "cleanup_old_data", "logs", 30)
    assert error.startswith("ConfigurationError") and "by which no age can be told" in error
    assert len(ids(engine)) == 101


def test_tables_and_columns_that_are_not_there_are_named(engine: Engine, database: str) -> None:
    with pytest.raises(ConfigurationError, match="no table 'nowhere'"):
        CleanupOldData({"x": CleanupTable(database, "nowhere", "id", "at")})("x", 30, job_context())
    with pytest.raises(ConfigurationError, match="no column 'key'"):
        CleanupOldData({"x": CleanupTable(database, "logs", "key", "at")})("x", 30, job_context())


def test_what_sqlite_holds_that_is_no_date_stays(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE logs (id INTEGER PRIMARY KEY, at DATETIME)")
        connection.exec_driver_sql(
            "INSERT INTO logs VALUES (1, 1735689600), (2, ''), (3, 'today'), (4, '2001-01-01 00:00:00'), (5, 17.5)"
        )
    assert CleanupOldData({"logs": table(url)})("logs", 30, job_context()).deleted == 1
    with engine.connect() as connection:
        assert list(connection.exec_driver_sql("SELECT id FROM logs ORDER BY id").scalars()) == [1, 2, 3, 5]
    engine.dispose()


def test_times_in_sqlite_count_with_their_offset_and_must_be_times(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    cutoff = datetime.now(UTC) - timedelta(days=30)
    # The first two are an hour younger, whatever their text looks like; the next two an hour older.
    young, old = cutoff + timedelta(hours=1), cutoff - timedelta(hours=1)
    west, east = timezone(timedelta(hours=-12)), timezone(timedelta(hours=14))
    written = [
        young.astimezone(west).isoformat(" "),
        young.replace(tzinfo=None).isoformat(),
        old.astimezone(east).isoformat(" "),
        f"{old:%Y-%m-%dT%H:%M:%SZ}",
        "2020-13-45",
        "2020-01-01 or so",
        "2020-01-01",
    ]
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE logs (id INTEGER PRIMARY KEY, at DATETIME)")
        connection.exec_driver_sql("INSERT INTO logs VALUES (?, ?)", list(enumerate(written)))
    assert CleanupOldData({"logs": table(url)})("logs", 30, job_context()).deleted == 3
    with engine.connect() as connection:
        assert list(connection.exec_driver_sql("SELECT id FROM logs ORDER BY id").scalars()) == [0, 1, 4, 5]
    engine.dispose()


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("DECIMAL(10, 2)", ["0.123", "0.126"]),
        ("DATETIME", ["2020-01-01T00:00:00", "2020-01-02T00:00:00"]),
        ("DATETIME", ["2020-01-01 00:00:00.000000", "2020-01-02T00:00:00"]),
    ],
)
@pytest.mark.parametrize("batch", [1, 10])
def test_keys_by_which_no_row_is_found_are_refused(tmp_path: Any, kind: str, keys: list[str], batch: int) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE logs (id {kind} PRIMARY KEY, at DATETIME)")
        connection.exec_driver_sql("INSERT INTO logs VALUES (?, '2001-01-01')", [(key,) for key in keys])
    engine.dispose()
    with pytest.raises(ConfigurationError, match="take a key of whole numbers or text"):
        CleanupOldData({"logs": table(url, batch=batch)})("logs", 30, job_context())


def test_rows_that_can_not_be_deleted_are_not_tried_for_ever(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE logs (id INTEGER PRIMARY KEY, at DATETIME)")
        connection.exec_driver_sql("INSERT INTO logs VALUES (1, '2001-01-01'), (2, '2001-01-01'), (3, '2001-01-01')")
        connection.exec_driver_sql("CREATE TRIGGER t BEFORE DELETE ON logs BEGIN SELECT RAISE(IGNORE); END")
    result = CleanupOldData({"logs": table(url, batch=1)})("logs", 30, job_context())
    assert result.batches == 3
    engine.dispose()


def test_rows_without_a_key_stay_and_stop_nothing(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE logs (id TEXT, at DATETIME)")
        for key in ("NULL", "'a'", "'a'", "'b'"):
            connection.exec_driver_sql(f"INSERT INTO logs VALUES ({key}, '2001-01-01')")
    assert CleanupOldData({"logs": table(url, batch=1)})("logs", 30, job_context()).deleted == 3
    with engine.connect() as connection:
        assert list(connection.exec_driver_sql("SELECT id FROM logs").scalars()) == [None]
    engine.dispose()


def test_a_databases_error_quotes_no_row(tasks: Tasks, engine: Engine, database: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE children (log INTEGER REFERENCES logs (id))")
        connection.exec_driver_sql("INSERT INTO children VALUES (77)")
    own = create_engine(database)
    if own.dialect.name == "sqlite":
        event.listen(own, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys = ON"))
    job_id = tasks.add("cleanup_old_data", "logs", 30, retries=0)
    status = tasks.run({"tables": {"logs": CleanupTable(lambda: own, "logs", "id", "at")}}, job_id)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE children")
    own.dispose()
    assert status.status == "failed" and "foreign key" in str(status.error).lower()
    assert "77" not in str(status.error) and "DETAIL" not in repr(status)
    assert len(ids(engine)) == 101


def test_an_applications_engine_is_used_and_not_disposed_of(engine: Engine) -> None:
    clean = CleanupOldData({"logs": CleanupTable(lambda: engine, "logs", "id", "day", batch=7)})
    cutoff = date.fromisoformat(clean("logs", 30, job_context()).cutoff)
    with engine.connect() as connection:
        assert connection.execute(select(func.min(LOGS.c.day))).scalar_one() >= cutoff


def test_the_password_is_nowhere(tasks: Tasks, caplog: pytest.LogCaptureFixture, unused_tcp_port: int) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"postgresql+psycopg://app:canary@127.0.0.1:{unused_tcp_port}/app?connect_timeout=5"
    entry = CleanupTable(url, "logs", "id", "at")
    job_id = tasks.add("cleanup_old_data", "logs", 30, retries=0)
    status = tasks.run({"tables": {"logs": entry}}, job_id)
    assert status.status == "failed" and "OperationalError" in str(status.error)
    with pytest.raises(ConfigurationError) as refused:
        CleanupTable("postgresql+psycopg//app:canary@host", "logs", "id", "at")
    for text in (repr(entry), str(status), repr(status), caplog.text, str(refused.value)):
        assert "canary" not in text


@pytest.mark.parametrize("options", [{"batch": 0}, {"batch": 10_001}, {"least_days": -1}])
def test_bounds_are_checked_at_registration(options: Any) -> None:
    with pytest.raises(InvalidOption, match=next(iter(options))):
        table("sqlite://", **options)
