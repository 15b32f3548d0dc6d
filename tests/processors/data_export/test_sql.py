"""A table as a source, in SQLite and in PostgreSQL."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.pool import StaticPool

from redqueue.errors import ConfigurationError, Discard, InvalidOption
from redqueue.processors.data_export import Asker, Filters, TableSource
from redqueue.testing import job_context

COLUMNS = ("id", "name", "status", "score", "active", "born", "created_at")
ASKER = Asker("sub_1", "user_1")


def define(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "leads",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sub_account_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200)),
        sa.Column("status", sa.String(20)),
        sa.Column("score", sa.Float),
        sa.Column("active", sa.Boolean),
        sa.Column("born", sa.Date),
        sa.Column("created_at", sa.DateTime(timezone=True)),
        sa.Column("secret", sa.String(20)),
    )


def lead(number: int, sub_account: str = "sub_1", **values: Any) -> dict[str, Any]:
    plain = {
        "id": number,
        "sub_account_id": sub_account,
        "name": f"Lead {number}",
        "status": "open" if number % 2 else "won",
        "score": number / 2,
        "active": number != 3,
        "born": date(2000, 1, number),
        "created_at": datetime(2026, 1, number, 12, tzinfo=UTC),
        "secret": "canary",
    }
    return plain | values


@pytest.fixture(scope="module")
def leads(database: str) -> Iterator[sa.Table]:
    """Five of one sub-account and one of another, added out of order."""
    engine, metadata = sa.create_engine(database), sa.MetaData()
    table = define(metadata)
    rows = [lead(3, name=None), lead(1), lead(5, name="100%_Ä'; DROP TABLE leads; --"), lead(2), lead(4)]
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [*rows, lead(6, "sub_2")])
    yield table
    metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture
def source(database: str, leads: sa.Table) -> TableSource:
    return TableSource(database, "leads", COLUMNS, sub_account="sub_account_id")


def ids(source: TableSource, filters: Filters, asker: Asker = ASKER) -> list[Any]:
    source.check_filters(filters)
    found = [row[0] for row in source.rows(["id"], filters, asker)]
    assert source.count(filters, asker) == len(found)
    return found


ASKED: Final[tuple[Callable[[TableSource, Filters], object], ...]] = (
    lambda source, filters: source.count(filters, ASKER),
    lambda source, filters: list(source.rows(["id"], filters, ASKER)),
)
CANARY: Final = {"name": "canary"}


# -- rows


def test_rows_come_in_the_order_of_the_primary_key(source: TableSource) -> None:
    assert ids(source, {}) == [1, 2, 3, 4, 5]
    (first, *_) = source.rows(["name", "score", "active", "born"], {}, ASKER)
    assert tuple(first) == ("Lead 1", 0.5, True, date(2000, 1, 1))
    assert source.columns == COLUMNS


def test_another_order_is_kept(database: str, leads: sa.Table) -> None:
    source = TableSource(database, "leads", ["id"], sub_account="sub_account_id", order_by=["status", "id"])
    assert ids(source, {}) == [1, 3, 5, 2, 4]


def test_a_table_that_is_declared_is_not_looked_up(database: str, leads: sa.Table) -> None:
    source = TableSource(database, leads, COLUMNS, sub_account="sub_account_id")
    assert ids(source, {"created_at": {"from": "2026-01-02", "to": "2026-01-03"}}) == [2, 3]


def test_a_view_is_a_table_without_a_key(database: str, leads: sa.Table) -> None:
    engine = sa.create_engine(database)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE VIEW open_leads AS SELECT id, name FROM leads WHERE status = 'open'"))
        source = TableSource(database, "open_leads", ["id", "name"], sub_account=None)
        assert sorted(ids(source, {"id": {"min": 2}})) == [3, 5]
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("DROP VIEW open_leads"))
        engine.dispose()


# -- whose rows


def test_nobody_sees_the_rows_of_another_sub_account(source: TableSource) -> None:
    assert ids(source, {}, Asker("sub_2")) == [6]
    assert ids(source, {"id": [1, 2, 6]}, Asker("sub_2")) == [6]
    assert ids(source, {}, Asker("sub_3' OR '1'='1")) == []


def test_without_a_sub_account_nothing_is_read(source: TableSource) -> None:
    with pytest.raises(Discard, match="doesn't say which one asks"):
        list(source.rows(["id"], {}, Asker(None)))
    with pytest.raises(Discard, match="doesn't say which one asks"):
        source.count({}, Asker(None))


def test_a_context_says_who_asks(source: TableSource) -> None:
    with job_context(sub_account_id="sub_2") as context:
        assert [tuple(row) for row in source.rows(["id"], {}, context)] == [(6,)]


def test_a_caller_that_checked_nothing_gets_no_more(source: TableSource) -> None:
    with pytest.raises(Discard, match="no column 'secret'"):
        list(source.rows(["secret"], {}, ASKER))
    with pytest.raises(Discard, match="no column 'secret'"):
        list(source.rows(["id"], {"secret": "canary"}, ASKER))


def test_whose_rows_are_has_to_be_said(database: str) -> None:
    with pytest.raises(TypeError, match="sub_account"):
        TableSource(database, "leads", ["id"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("kind", [sa.String(collation="NOCASE"), sa.CHAR(8, collation="NOCASE")])
def test_a_collation_makes_nobody_the_same_as_another(tmp_path: Path, kind: sa.String) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    engine, metadata = sa.create_engine(url), sa.MetaData()
    table = sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("owner", kind))
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"id": 1, "owner": "a"}, {"id": 2, "owner": "A"}])
        connection.execute(sa.text("CREATE VIEW v AS SELECT id, lower(owner) || '' COLLATE NOCASE AS owner FROM t"))
    engine.dispose()
    for name, asker, expected in (("t", "a", [(1, "a")]), ("t", "A", [(2, "A")]), ("v", "A", [])):
        for columns in (["id"], ["id", "owner"]):
            source = TableSource(url, name, ["id", "owner"], sub_account="owner")
            found = [tuple(row) for row in source.rows(columns, {}, Asker(asker))]
            assert found == [row[: len(columns)] for row in expected]


def test_a_sub_account_that_is_filled_up_with_blanks_is_itself(database: str) -> None:
    engine, metadata = sa.create_engine(database), sa.MetaData()
    table = sa.Table("filled", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("owner", sa.CHAR(8)))
    metadata.create_all(engine)
    try:
        with engine.begin() as connection:
            connection.execute(table.insert(), [{"id": 1, "owner": "sub_1"}, {"id": 2, "owner": "sub_2"}])
        for there in (table, "filled"):
            assert ids(TableSource(database, there, ["id"], sub_account="owner"), {}) == [1]
    finally:
        metadata.drop_all(engine)
        engine.dispose()


def test_the_id_is_compared_in_the_columns_type(database: str, leads: sa.Table) -> None:
    source = TableSource(database, "leads", ["id"], sub_account="id")
    assert ids(source, {}, Asker("6")) == [6]
    with pytest.raises(Discard, match="a whole number"):
        ids(source, {}, Asker("six"))


# -- filters


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"status": "open"}, [1, 3, 5]),
        ({"status": ["won", "lost"]}, [2, 4]),
        ({"status": {"not": "open"}}, [2, 4]),
        ({"id": {"in": [1, 5]}}, [1, 5]),
        ({"id": {"not_in": [1, 5]}}, [2, 3, 4]),
        ({"id": "2"}, [2]),
        ({"name": None}, [3]),
        ({"name": {"not": None}}, [1, 2, 4, 5]),
        ({"name": {"not": "Lead 1"}}, [2, 3, 4, 5]),
        ({"name": {"not_in": ["Lead 1", "Lead 2"]}}, [3, 4, 5]),
        ({"name": {"null": True}}, [3]),
        ({"name": {"null": False}}, [1, 2, 4, 5]),
        ({"score": {"min": 1, "max": 2}}, [2, 3, 4]),
        ({"score": {"after": 1, "before": 2}}, [3]),
        ({"score": "0.5"}, [1]),
        ({"active": False}, [3]),
        ({"born": {"from": "2000-01-02", "before": "2000-01-04"}}, [2, 3]),
        ({"born": "2000-01-05"}, [5]),
        ({"created_at": {"from": "2026-01-02", "to": "2026-01-03"}}, [2, 3]),
        ({"created_at": {"after": "2026-01-03"}}, [4, 5]),
        ({"created_at": {"from": "2026-01-03T12:00:00Z", "to": "2026-01-04T13:00:00+02:00"}}, [3]),
        ({"created_at": "2026-01-03T14:00:00+02:00"}, [3]),
        ({"name": {"contains": "EAD 1"}}, [1]),
        ({"name": {"contains": "%"}}, [5]),
        ({"name": {"contains": "_"}}, [5]),
        ({"name": {"starts_with": "lead", "ends_with": "2"}}, [2]),
        ({"name": {"contains": "'; DROP TABLE leads; --"}}, [5]),
        ({"status": "open' OR '1'='1"}, []),
        ({"status": "open", "score": {"min": 1}}, [3, 5]),
    ],
)
def test_filters(source: TableSource, filters: Filters, expected: list[int]) -> None:
    assert ids(source, filters) == expected


def test_types_of_other_columns(database: str) -> None:
    engine, metadata = sa.create_engine(database), sa.MetaData()
    color = sa.Enum("red", "green", name="color")
    table = sa.Table(
        "things",
        metadata,
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("color", color),
        sa.Column("at", sa.Time),
        sa.Column("blob", sa.LargeBinary),
    )
    metadata.create_all(engine)
    try:
        source = TableSource(database, table, ["id", "color", "at", "blob"], sub_account=None)
        one = "00000000-0000-0000-0000-000000000001"
        with engine.begin() as connection:
            row = {"id": sa.Uuid().python_type(one), "color": "red", "at": datetime(2026, 1, 1, 9).time(), "blob": b"x"}
            connection.execute(table.insert(), [row])
        for filters in ({"id": one}, {"color": ["red", "green"]}, {"at": {"from": "08:00", "to": "09:00:00"}}):
            assert len(ids(source, filters)) == 1
        for filters, reason in (
            ({"id": "1"}, "a UUID"),
            ({"color": "blue"}, "one of red, green"),
            ({"color": {"contains": "e"}}, "a column of text"),
            ({"at": "noon"}, "a time of day"),
            ({"blob": "x"}, "the type LargeBinary"),
        ):
            with pytest.raises(Discard, match=reason):
                ids(source, filters)
    finally:
        metadata.drop_all(engine)
        engine.dispose()


class Color(Enum):
    RED = "r"
    GREEN = "g"


def test_a_choice_is_filtered_by_as_the_database_has_it(database: str) -> None:
    engine, metadata = sa.create_engine(database), sa.MetaData()
    by_value = sa.Enum(Color, name="by_value", values_callable=lambda members: [one.value for one in members])
    columns: list[sa.Column[Any]] = [sa.Column("named", sa.Enum(Color, name="by_name")), sa.Column("valued", by_value)]
    table = sa.Table("choices", metadata, sa.Column("id", sa.Integer, primary_key=True), *columns)
    metadata.create_all(engine)
    try:
        with engine.begin() as connection:
            rows = [{"id": id, "named": one, "valued": one} for id, one in enumerate(Color)]
            connection.execute(table.insert(), rows)
        source = TableSource(database, table, ["id", "named", "valued"], sub_account=None)
        assert ids(source, {"valued": "g"}) == ids(source, {"named": ["GREEN"]}) == [1]
        with pytest.raises(Discard, match="one of r, g"):
            ids(source, {"valued": "GREEN"})
    finally:
        metadata.drop_all(engine)
        engine.dispose()


def test_a_value_beyond_its_columns_type_will_never_do(database: str, leads: sa.Table) -> None:
    for source in (
        TableSource(database, leads, ["id"], sub_account=None),
        TableSource(lambda: sa.create_engine(database, poolclass=sa.NullPool), leads, ["id"], sub_account=None),
    ):
        filters = {"id": 4 * 10**12 + 1}
        if database.startswith("sqlite"):
            assert ids(source, filters) == []
            continue
        for ask in ASKED:
            with pytest.raises(Discard, match=r"refused a value \(NumericValueOutOfRange\)") as refused:
                ask(source, filters)
            assert "4000000000001" not in "".join(traceback.format_exception(refused.value))


def test_a_value_that_cannot_be_bound_will_never_do() -> None:
    class Choosy(sa.String):
        cache_ok = True

        def bind_processor(self, dialect: Any) -> Any:
            def refuse(value: Any) -> Any:
                raise LookupError(f"{value!r} is none of mine")

            return refuse

    table = sa.Table("gone", sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("name", Choosy))
    with pytest.raises(Discard, match=r"\(LookupError\)") as refused:
        list(TableSource("sqlite://", table, ["id", "name"], sub_account=None).rows(["id"], CANARY, ASKER))
    assert "canary" not in "".join(traceback.format_exception(refused.value))


# -- connections


def test_rows_are_read_as_they_are_wanted_and_the_connection_is_closed(database: str, leads: sa.Table) -> None:
    opened: list[object] = []
    closed: list[object] = []
    names: list[object] = []

    def make() -> sa.Engine:
        engine = sa.create_engine(database, poolclass=sa.NullPool)
        event.listen(engine, "connect", lambda connection, record: opened.append(connection))
        event.listen(engine, "close", lambda connection, record: closed.append(connection))
        event.listen(
            engine, "after_cursor_execute", lambda conn, cursor, *rest: names.append(getattr(cursor, "name", None))
        )
        return engine

    rows = TableSource(make, leads, ["id"], sub_account="sub_account_id").rows(["id"], {}, ASKER)
    assert opened == []
    assert next(iter(rows))[0] == 1
    assert len(opened) == 1 and closed == []
    rows.close()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    assert closed == opened
    assert bool(names[-1]) is database.startswith("postgresql")  # a server-side cursor has a name


def test_an_engine_of_the_applications_stays_open() -> None:
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    metadata = sa.MetaData()
    table = define(metadata)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [lead(1)])
    source = TableSource(lambda: engine, "leads", ["id"], sub_account="sub_account_id")
    assert ids(source, {}) == ids(source, {}) == [1]
    engine.dispose()


def test_nothing_is_counted_when_that_takes_too_long(database: str) -> None:
    assert TableSource(database, "leads", ["id"], sub_account=None, counts=False).count({}, ASKER) is None


def test_it_can_be_sent_to_another_process(source: TableSource) -> None:
    assert ids(pickle.loads(pickle.dumps(source)), {}) == [1, 2, 3, 4, 5]


# -- settings


def test_a_table_or_column_that_is_missing_is_named_and_not_looked_for_again(database: str, leads: sa.Table) -> None:
    with pytest.raises(InvalidOption, match="no column nope, owner"):
        TableSource(database, leads, ["id", "nope"], sub_account="owner")
    for table, why in (("nothing", "no table or view 'nothing'"), ("leads", "no column nope, owner")):
        source = TableSource(database, table, ["id", "nope"], sub_account="owner")
        with pytest.raises(Discard, match=why):
            list(source.rows(["id"], {}, ASKER))
        with pytest.raises(Discard, match=why):
            source.count({}, ASKER)


def test_columns_are_a_list_of_names(database: str) -> None:
    for columns in ([], ["id", "id"], "id"):
        with pytest.raises(InvalidOption, match="columns"):
            TableSource(database, "leads", columns, sub_account=None)


def test_no_password_and_no_value_is_shown(tmp_path: Any) -> None:
    url = f"postgresql+psycopg://app:canary@/postgres?host={tmp_path}&password=canary"
    source = TableSource(url, "leads", ["id"], sub_account="sub_account_id")
    assert "canary" not in repr(source)
    with pytest.raises(OperationalError) as raised:
        list(source.rows(["id"], {}, ASKER))
    assert "canary" not in str(raised.value)
    with pytest.raises(ConfigurationError) as refused:
        TableSource("canary", "leads", ["id"], sub_account=None)
    assert "canary" not in str(refused.value)


def test_the_text_of_a_databases_error_has_no_values(database: str, leads: sa.Table) -> None:
    gone = sa.Table("gone", sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("name", sa.String))
    for engine in (database, lambda: sa.create_engine(database, poolclass=sa.NullPool)):
        source = TableSource(engine, gone, ["id", "name"], sub_account=None)
        for ask in ASKED:
            with pytest.raises(DBAPIError, match="gone") as raised:
                ask(source, CANARY)
            assert "canary" not in "".join(traceback.format_exception(raised.value))


def test_what_a_driver_quotes_of_the_statement_is_left_out(database: str, leads: sa.Table) -> None:
    def make() -> sa.Engine:
        engine = sa.create_engine(database, poolclass=sa.NullPool)

        def fail(*ignored: Any) -> None:
            raise ProgrammingError("SELECT", CANARY, Exception(f"no operator\nLINE 1: = {CANARY['name']}"))

        event.listen(engine, "before_cursor_execute", fail)
        return engine

    with pytest.raises(DBAPIError, match="no operator") as raised:
        list(TableSource(make, leads, ["id", "name"], sub_account=None).rows(["id"], CANARY, ASKER))
    assert "canary" not in "".join(traceback.format_exception(raised.value))
