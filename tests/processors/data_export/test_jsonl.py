"""JSON lines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from redqueue.processors.data_export import JsonLinesWriter

from .conftest import written


class Color(Enum):
    RED = "red"


class Odd:
    def __str__(self) -> str:
        return "odd"


def line(value: object) -> Any:
    (only,) = written(JsonLinesWriter(), ["x"], [(value,)]).splitlines()
    return json.loads(only)["x"]


def test_an_object_a_row() -> None:
    data = written(JsonLinesWriter(), ["id", "name"], [(1, "=1\n"), (2, None)])
    assert data == b'{"id":1,"name":"=1\\n"}\n{"id":2,"name":null}\n'
    assert written(JsonLinesWriter(), ["id"], []) == b""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (Decimal("1.10"), "1.10"),
        (Decimal("0E-8"), "0.00000000"),
        (Decimal("NaN"), None),
        (Decimal("-Infinity"), None),
        ([Decimal("sNaN"), {"a": (Decimal("1E+2"), Decimal("1.5"))}], [None, {"a": ["100", "1.5"]}]),
        (float("nan"), None),
        ({"a": [1, float("inf"), {"b": b"ab"}]}, {"a": [1, None, {"b": "YWI="}]}),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Color.RED, "red"),
        (2**70, 2**70),
        ("a\ud800", "a?"),
        ({"deep": ["a\ud800", 2**70, Color.RED, Decimal(1)]}, {"deep": ["a?", 2**70, "red", "1"]}),
        ({(1, 2): "x"}, {"(1, 2)": "x"}),
        (Odd(), "odd"),
        ([Odd(), memoryview(b"ab")], ["odd", "YWI="]),
    ],
)
def test_values_keep_their_form(value: object, expected: object) -> None:
    assert line(value) == expected


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        written(JsonLinesWriter(), ["x", "y"], [(1,)])
