"""Filters of a job as bound SQL expressions: its text is never a part of a statement."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeAlias

from redqueue.errors import Discard, MissingExtra
from redqueue.processors.data_export.source import Filters, listed
from redqueue.processors.data_export.values import bound_value, is_day, is_text
from redqueue.registry.names import quoted

try:
    from sqlalchemy import ColumnElement, String, or_
except ImportError as error:
    raise MissingExtra("export", "exporting data") from error

Condition: TypeAlias = ColumnElement[bool]
_Compare: TypeAlias = Callable[[Any, Any], Condition]

MOST_VALUES: Final = 1_000
"""Of one list."""
MOST_TEXT: Final = 1_000
"""Characters that are looked for."""


def check_operators(filters: Filters, columns: Collection[str]) -> None:
    """Refuse filters of columns and operators that there aren't, before a database is asked.

    Raises:
        Discard: it names what there is.
    """
    for name, wanted in filters.items():
        if name not in columns:
            raise Discard(f"there is no column {quoted(name)} to filter by; there are {listed(columns)}")
        if not isinstance(wanted, Mapping):
            continue
        if not wanted:
            raise Discard(f"the filter of {quoted(name)} is empty: give a value, or an operator of {_operators()}")
        for word in wanted:
            if word not in OPERATORS:
                raise Discard(f"the filter of {quoted(name)} has no operator {quoted(word)}; there are {_operators()}")


def conditions(filters: Filters, columns: Mapping[str, ColumnElement[Any]]) -> list[Condition]:
    """One condition an operator; a row must meet all.

    Raises:
        Discard: a value that doesn't fit its column; the message has the column, and not the value.
    """
    found = []
    for name, wanted in filters.items():
        column = columns[name]
        operators = wanted if isinstance(wanted, Mapping) else {"in" if isinstance(wanted, list) else "is": wanted}
        for word, value in operators.items():
            try:
                found.append(OPERATORS[word](column, value))
            except ValueError as error:
                raise Discard(f"the filter of {quoted(name)}: {quoted(word)} takes {error}") from None
    return found


def _is(column: ColumnElement[Any], value: object) -> Condition:
    return column.is_(None) if value is None else column == bound_value(column.type, value)


def _is_not(column: ColumnElement[Any], value: object) -> Condition:
    return column.is_not(None) if value is None else column.is_distinct_from(bound_value(column.type, value))


def _in(column: ColumnElement[Any], values: object) -> Condition:
    return column.in_(_listed(column, values))


def _not_in(column: ColumnElement[Any], values: object) -> Condition:
    return or_(column.not_in(_listed(column, values)), column.is_(None))


def _null(column: ColumnElement[Any], value: object) -> Condition:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return column.is_(None) if value else column.is_not(None)


def _compared(compare: _Compare, *, whole_day: _Compare | None = None) -> _Compare:
    """Of an end: a moment's column and a day mean the whole day, as people read "until the 31st"."""

    def condition(column: ColumnElement[Any], value: object) -> Condition:
        bound = bound_value(column.type, value)
        if isinstance(bound, bool):
            raise ValueError("no truth value: there is no more and less of it")
        if whole_day is not None and isinstance(bound, datetime) and is_day(value):
            return whole_day(column, _next_day(bound))
        return compare(column, bound)

    return condition


def _next_day(day: datetime) -> datetime:
    try:
        return day + timedelta(days=1)
    except OverflowError:
        raise ValueError(f"a day before {date.max}") from None


def _looks(method: Callable[..., Condition]) -> _Compare:
    def condition(column: ColumnElement[Any], value: object) -> Condition:
        if not is_text(column.type):
            raise ValueError("a column of text, which this one isn't")
        if not isinstance(value, str) or not 1 <= len(value) <= MOST_TEXT:
            raise ValueError(f"text of 1 to {MOST_TEXT} characters")
        return method(column, bound_value(String(), value), autoescape=True)

    return condition


OPERATORS: Final[Mapping[str, _Compare]] = {
    "is": _is,
    "not": _is_not,
    "in": _in,
    "not_in": _not_in,
    "null": _null,
    "from": _compared(operator.ge),
    "min": _compared(operator.ge),
    "to": _compared(operator.le, whole_day=operator.lt),
    "max": _compared(operator.le, whole_day=operator.lt),
    "after": _compared(operator.gt, whole_day=operator.ge),
    "before": _compared(operator.lt),
    "contains": _looks(ColumnElement.icontains),
    "starts_with": _looks(ColumnElement.istartswith),
    "ends_with": _looks(ColumnElement.iendswith),
}
"""A value alone is "is", a list alone is "in". Null is "not" any value, and "not_in" any list.

The last three are for text, of either case, and take no wildcards.
"""


def _listed(column: ColumnElement[Any], values: object) -> list[Any]:
    if not isinstance(values, list) or not 1 <= len(values) <= MOST_VALUES:
        raise ValueError(f"a list of 1 to {MOST_VALUES:,} values")
    if None in values:
        raise ValueError('no null in its list: write {"null": true}')
    return [bound_value(column.type, value) for value in values]


def _operators() -> str:
    return ", ".join(OPERATORS)
