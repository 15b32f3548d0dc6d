"""Values of filters, as JSON brings them, in the type of their column."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from redqueue.errors import MissingExtra

try:
    from sqlalchemy import Boolean as SqlBoolean
    from sqlalchemy import Date, DateTime, Enum, Float, Integer, Numeric, String, Time, Uuid
    from sqlalchemy.types import NullType, TypeEngine
except ImportError as error:
    raise MissingExtra("export", "exporting data") from error

_WHOLE: Final = re.compile(r"-?[0-9]{1,19}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
"""RFC 3339, 5.6. Python reads other forms too, 2026-W05 say, that don't tell whether a day or a week is meant."""


def bound_value(kind: TypeEngine[Any], value: object) -> Any:
    """The value to compare a column of this type with.

    Raises:
        ValueError: what it should be, as the end of a sentence.
    """
    for types, convert in _CONVERSIONS:
        if isinstance(kind, types):
            return convert(kind, value)
    raise ValueError(f"no column of the type {type(kind).__name__}: it can't be filtered by")


def is_day(value: object) -> bool:
    """Whether it is a date without a time."""
    return isinstance(value, str) and _DAY.fullmatch(value) is not None


def is_text(kind: TypeEngine[Any]) -> bool:
    """Whether values of this type are compared by a collation."""
    return isinstance(kind, String) and not isinstance(kind, Enum)


def _truth(kind: Any, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _choice(kind: Enum, value: object) -> str:
    """As the database has it, which SQLAlchemy takes for a member, too, whatever its values are made of."""
    if not isinstance(value, str) or value not in kind.enums:
        raise ValueError(f"one of {', '.join(kind.enums)}")
    return value


def _text(kind: Any, value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("text")
    return value


def _whole(kind: Any, value: object) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError("a whole number of 64 bits")
    return value


def _number(kind: Any, value: object) -> Decimal | float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a number")
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("a number") from None
    if not found.is_finite() or found.adjusted() > 300:
        raise ValueError("a finite number")
    return found if kind.asdecimal else float(found)


def _day(kind: Any, value: object) -> date:
    try:
        return date.fromisoformat(_dated(value))
    except ValueError:
        raise ValueError("a date as in 2026-01-31") from None


def _moment(kind: DateTime, value: object) -> datetime:
    """A naive time is one in UTC, and so is a column without a zone."""
    try:
        found = datetime.fromisoformat(_dated(value))
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("a time as in 2026-01-31T12:00:00Z, or a date") from None
    return found if kind.timezone else found.replace(tzinfo=None)


def _dated(value: object) -> str:
    if not isinstance(value, str) or not _DAY.match(value):
        raise ValueError
    return value


def _hour(kind: Any, value: object) -> time:
    try:
        return time.fromisoformat(_text(kind, value))
    except ValueError:
        raise ValueError("a time of day as in 12:00:00") from None


def _uuid(kind: Uuid[Any], value: object) -> UUID | str:
    try:
        found = UUID(_text(kind, value))
    except ValueError:
        raise ValueError("a UUID") from None
    return found if kind.as_uuid else str(found)


def _unknown(kind: Any, value: object) -> Any:
    """Of a column whose type nobody told, such as a view's in SQLite."""
    if not isinstance(value, str | int | float):
        raise ValueError("text, a number, or true or false")
    return value


_CONVERSIONS: Final[tuple[tuple[Any, Callable[[Any, Any], Any]], ...]] = (
    (SqlBoolean, _truth),
    (Enum, _choice),
    (String, _text),
    (Integer, _whole),
    (Float | Numeric, _number),
    (DateTime, _moment),
    (Date, _day),
    (Time, _hour),
    (Uuid, _uuid),
    (NullType, _unknown),
)
"""In this order: an Enum of SQLAlchemy's is a String, too."""
