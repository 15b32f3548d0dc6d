"""What a report tells of a source's rows: counts and exact sums, in all, by group and over time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final, Literal, TypeAlias

import msgspec

from redqueue.errors import Discard, InvalidOption
from redqueue.processors.data_export.formats.cells import cell
from redqueue.processors.data_export.formats.pdf_page import text_of
from redqueue.registry.names import escaped, quoted
from redqueue.shapes import Result

Step: TypeAlias = Literal["day", "month"]
Number: TypeAlias = int | str
"""Whole numbers below 2**53, which every reader of JSON has exactly, as they are; all others as decimal text."""

MOST_GROUPS: Final = 1_000
MOST_PERIODS: Final = 4_000
"""Of a series: eleven years by day."""
MOST_COLUMNS: Final = 10
LONGEST_VALUE: Final = 100
"""Characters of a group's value."""

_EXACT: Final = Context(prec=700, traps=[Inexact])
"""Wide enough for any two floats."""
_WIDEST: Final = 330
_LARGEST: Final = 10**_WIDEST
_EVERYWHERE_EXACT: Final = 2**53


class ReportPlan(msgspec.Struct, frozen=True):
    """What a report tells of a source.

    Attributes:
        source: its name; None: the only one that there is.
        date_column: when a row was, for the series; None: "created_at". Times are taken in UTC.
        every: the step of the series; None: no series.
        group_by: columns by whose values rows are grouped, up to 10.
        sums: columns whose numbers are added up, up to 10.
    """

    source: str | None = None
    date_column: str | None = None
    every: Step | None = None
    group_by: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.every not in (None, "day", "month"):
            raise InvalidOption("every", f"every is 'day', 'month' or None, not {self.every!r}")


class Counted(Result, frozen=True, kw_only=True, omit_defaults=False):
    """Of some rows: how many they are, and the sums of their columns."""

    rows: int
    sums: dict[str, Number]


class Group(Counted, frozen=True, kw_only=True, omit_defaults=False):
    """The rows with these values."""

    key: dict[str, str | None]


class Period(Counted, frozen=True, kw_only=True, omit_defaults=False):
    """The rows of a day or month, as in "2026-01-31" or "2026-01"."""

    period: str


class Figures(msgspec.Struct, frozen=True):
    """All that a report tells."""

    total: Counted
    undated: int
    series: list[Period]
    groups: list[Group]


class Sums:
    """Counts rows and adds up their numbers."""

    __slots__ = ("_columns", "_rows", "_totals")

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._rows = 0
        self._totals: list[int | Decimal] = [0] * len(columns)

    def add(self, numbers: Sequence[int | Decimal]) -> None:
        """One row."""
        self._rows += 1
        for place, number in enumerate(numbers):
            total = self._totals[place]
            if isinstance(total, int) and isinstance(number, int):
                self._totals[place] = total + number
            else:
                self._totals[place] = _plus(self._columns[place], total, number)

    def counted(self) -> Counted:
        """So far."""
        return Counted(rows=self._rows, sums=self.sums())

    @property
    def rows(self) -> int:
        """How many."""
        return self._rows

    def sums(self) -> dict[str, Number]:
        """By column."""
        totals = zip(self._columns, self._totals, strict=True)
        return {name: _told(total) for name, total in totals}


class Tally:
    """A report in the making: its memory grows with groups and periods, which are bounded, and not with rows."""

    def __init__(self, plan: ReportPlan, date_column: str | None) -> None:
        self._plan = plan
        self._date_column = date_column
        self._total = Sums(plan.sums)
        self._undated = 0
        self._series: dict[date, Sums] = {}
        self._groups: dict[tuple[str | None, ...], Sums] = {}

    @property
    def columns(self) -> list[str]:
        """Those that it reads, each once."""
        dated = [] if self._date_column is None else [self._date_column]
        return list(dict.fromkeys([*dated, *self._plan.group_by, *self._plan.sums]))

    def add(self, row: Mapping[str, object]) -> None:
        """One row, by column.

        Raises:
            Discard: too many groups or periods, or a value that is no date or no number.
        """
        numbers = [_number(name, row[name]) for name in self._plan.sums]
        self._total.add(numbers)
        if self._plan.group_by:
            key = tuple(_shown(row[name]) for name in self._plan.group_by)
            self._of(self._groups, key, MOST_GROUPS, "groups").add(numbers)
        if self._date_column is not None:
            day = _day(self._date_column, row[self._date_column])
            if day is None:
                self._undated += 1
            else:
                self._of(self._series, self._begin(day), MOST_PERIODS, "periods").add(numbers)

    def figures(self) -> Figures:
        """Periods in their order, those between without rows too; the largest group first."""
        series = [Period(period=self._named(begin), rows=sums.rows, sums=sums.sums()) for begin, sums in self._filled()]
        by_size = sorted(self._groups.items(), key=lambda item: -item[1].rows)
        groups = [
            Group(key=dict(zip(self._plan.group_by, key, strict=True)), rows=sums.rows, sums=sums.sums())
            for key, sums in by_size
        ]
        return Figures(self._total.counted(), self._undated, series, groups)

    def _of(self, known: dict[Any, Sums], key: object, most: int, what: str) -> Sums:
        if (sums := known.get(key)) is None:
            if len(known) == most:
                raise Discard(f"the report has more than {most:,} {what}: filter its rows, or take other columns")
            sums = known[key] = Sums(self._plan.sums)
        return sums

    def _begin(self, day: date) -> date:
        return day if self._plan.every == "day" else day.replace(day=1)

    def _named(self, begin: date) -> str:
        return begin.isoformat() if self._plan.every == "day" else begin.isoformat()[:7]

    def _filled(self) -> Iterator[tuple[date, Sums]]:
        if not self._series:
            return
        first, last = min(self._series), max(self._series)
        step = (last - first).days if self._plan.every == "day" else _months(first, last)
        if step >= MOST_PERIODS:
            raise Discard(f"the report's dates, {first} to {last}, are more than {MOST_PERIODS:,} periods: filter them")
        begin = first
        while True:
            yield begin, self._series.get(begin) or Sums(self._plan.sums)
            if begin == last:
                return
            begin = begin + timedelta(days=1) if self._plan.every == "day" else _next_month(begin)


def check_plan(plan: ReportPlan, columns: Sequence[str]) -> str | None:
    """The column by which the series goes; None: there is no series.

    Raises:
        Discard: a column that the source hasn't, or too many.
    """
    date_column = None if plan.every is None else plan.date_column or "created_at"
    wanted: Iterable[str] = (*plan.group_by, *plan.sums, *([] if date_column is None else [date_column]))
    for name in wanted:
        if name not in columns:
            there = ", ".join(quoted(each) for each in list(columns)[:40])
            raise Discard(f"the source has no column {quoted(name)} for a report; there are {there}")
    for what, names in (("group_by", plan.group_by), ("sums", plan.sums)):
        if len(names) > MOST_COLUMNS or len(set(names)) < len(names):
            raise Discard(f"{what} names at most {MOST_COLUMNS} columns, and each once")
    return date_column


def _number(name: str, value: object) -> int | Decimal:
    """Of an empty cell 0, as it adds nothing. A float is the decimal number that it is written as."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Discard(f"the column {quoted(name)} has something else than numbers: it can't be summed up")
    if isinstance(value, int) and abs(value) < _LARGEST:
        return value
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not number.is_finite() or abs(number.adjusted()) > _WIDEST:  # huge exponents take huge memory
        raise Discard(f"the column {quoted(name)} has a number that can't be summed up: not finite, or too wide")
    return number


def _plus(name: str, total: int | Decimal, number: int | Decimal) -> Decimal:
    try:
        return _EXACT.add(Decimal(total), Decimal(number))
    except (Inexact, InvalidOperation):
        raise Discard(f"the column {quoted(name)} has no exact sum of {_EXACT.prec} digits") from None


def _told(total: int | Decimal) -> Number:
    if isinstance(total, int):
        return total if abs(total) < _EVERYWHERE_EXACT else str(total)
    return format(total, "f")


def _day(name: str, value: object) -> date | None:
    """Of a time, its day in UTC."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(found, datetime):
            return (found if found.tzinfo is None else found.astimezone(UTC)).date()
        if isinstance(found, date):
            return found
    except (ValueError, OverflowError):
        pass
    raise Discard(f"the column {quoted(name)} has something else than dates and times: it makes no series")


def _shown(value: object) -> str | None:
    return None if value is None else escaped(text_of(cell(value)), LONGEST_VALUE)


def _months(first: date, last: date) -> int:
    return (last.year - first.year) * 12 + last.month - first.month


def _next_month(begin: date) -> date:
    return date(begin.year + begin.month // 12, begin.month % 12 + 1, 1)
