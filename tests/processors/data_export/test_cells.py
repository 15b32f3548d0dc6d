"""Values on their way into a cell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

import msgspec
import pytest

from redqueue.processors.data_export import CsvWriter
from redqueue.processors.data_export.formats.cells import cell

from .conftest import written


class Level(IntEnum):
    HIGH = 3


class Name(StrEnum):
    ADA = "=ada"


class Text(str):
    def __str__(self) -> str:
        return self


class Moment(datetime):
    pass


class Point(msgspec.Struct):
    x: int


@dataclass
class Pair:
    a: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Level.HIGH, 3),
        (Name.ADA, "=ada"),
        (Text("=1"), "=1"),
        (Moment(2026, 1, 2), datetime(2026, 1, 2)),
        (float("-inf"), None),
        (Decimal("sNaN"), None),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (timedelta(hours=1), "1:00:00"),
        (bytearray(b"ab"), "YWI="),
        (memoryview(b"ab"), "YWI="),
        ({"a": float("nan")}, '{"a":null}'),
        ((1, "x"), '[1,"x"]'),
        ({1}, "[1]"),
        (Point(1), '{"x":1}'),
        (Pair(2), '{"a":2}'),
        ("a\udfff", "a?"),
    ],
)
def test_a_value_becomes_a_cell(value: object, expected: object) -> None:
    found: Any = cell(value)
    assert found == expected
    assert type(found) is type(expected)


def test_no_subclass_of_text_slips_by_as_a_formula() -> None:
    data = written(CsvWriter(), ["a", "b"], [(Text("=1"), Name.ADA)])
    assert data.splitlines()[1] == b'"\'=1","\'=ada"'
