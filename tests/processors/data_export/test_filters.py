"""Filters that no database is asked about; test_sql.py has those that one answers."""

from __future__ import annotations

from typing import Any, Final

import pytest
import sqlalchemy as sa

from redqueue.errors import Discard
from redqueue.processors.data_export import Filters
from redqueue.processors.data_export.filters import OPERATORS, check_operators, conditions

COLUMNS: Final[dict[str, sa.ColumnElement[Any]]] = {
    "id": sa.column("id", sa.Integer),
    "name": sa.column("name", sa.String),
    "status": sa.column("status", sa.String),
    "score": sa.column("score", sa.Float),
    "active": sa.column("active", sa.Boolean),
    "born": sa.column("born", sa.Date),
    "created_at": sa.column("created_at", sa.DateTime(timezone=True)),
}


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ({"secret": "canary"}, "no column 'secret' to filter by; there are 'id', 'name', 'status'"),
        ({"sub_account_id": "sub_2"}, "no column 'sub_account_id'"),
        ({"id; DROP TABLE leads": 1}, "no column 'id; DROP TABLE leads'"),
        ({"id": {"regex": "x"}}, f"no operator 'regex'; there are {', '.join(OPERATORS)}"),
        ({"id": {}}, "'id' is empty"),
        ({"id": "canary"}, "'id': 'is' takes a whole number of 64 bits"),
        ({"id": True}, "a whole number"),
        ({"id": 2**63}, "a whole number"),
        ({"id": 1.5}, "a whole number"),
        ({"id": []}, "a list of 1 to 1,000 values"),
        ({"id": list(range(1001))}, "a list of 1 to 1,000 values"),
        ({"id": {"in": 1}}, "a list of 1 to 1,000 values"),
        ({"id": [1, None]}, "no null in its list"),
        ({"id": {"min": None}}, "a whole number"),
        ({"id": {"contains": "1"}}, "a column of text"),
        ({"name": {"contains": ""}}, "text of 1 to 1000"),
        ({"name": {"contains": "x" * 1001}}, "text of 1 to 1000"),
        ({"name": {"null": 1}}, "true or false"),
        ({"name": 7}, "'name': 'is' takes text"),
        ({"name": "a\0"}, "text"),
        ({"score": "nan"}, "a finite number"),
        ({"score": "1e999"}, "a finite number"),
        ({"score": "canary"}, "a number"),
        ({"active": 1}, "true or false"),
        ({"active": {"min": True}}, "no truth value"),
        ({"born": "2000-13-01"}, "a date as in 2026-01-31"),
        ({"created_at": "yesterday"}, "a time as in 2026-01-31T12:00:00Z"),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, "a time as in"),
        ({"created_at": {"to": "20260131"}}, "a time as in 2026-01-31T12:00:00Z, or a date"),
        ({"created_at": {"to": "2026-W05-6"}}, "a time as in"),
        ({"created_at": {"to": "2026-W05"}}, "a time as in"),
        ({"born": {"to": "20260131"}}, "a date as in"),
        ({"created_at": {"to": "9999-12-31"}}, "a day before"),
    ],
)
def test_filters_that_will_never_do(filters: Filters, reason: str) -> None:
    with pytest.raises(Discard) as refused:
        check_operators(filters, list(COLUMNS))
        conditions(filters, COLUMNS)
    assert reason in refused.value.reason
    assert "canary" not in refused.value.reason or "secret" in filters


def test_no_value_is_a_part_of_the_statement() -> None:
    hostile = "x' OR '1'='1"
    filters = {"name": {"is": hostile, "contains": hostile}, "status": [hostile], "id": 7}
    statement = sa.select(sa.literal(1)).where(*conditions(filters, COLUMNS))
    assert "OR" not in str(statement) and "7" not in str(statement)
