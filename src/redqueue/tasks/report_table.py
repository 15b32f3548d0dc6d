"""A report's figures as one table, and what of it a chart shows."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias

from redqueue.tasks.reports import Counted, Figures, Number

Value: TypeAlias = str | int | Decimal | None

MOST_BARS: Final = 31
"""A month of days, or the largest groups. A longer series is a line."""

_LARGEST_DRAWN: Final = 1e100
_SMALLEST_DRAWN: Final = 1e-100
"""Of the largest value: below it the steps of an axis are nothing to floats."""


class Chart(NamedTuple):
    """Which rows of the table are drawn, and what of them: the first sum, or how many they are.

    Attributes:
        first, last: places among the table's rows, the last included.
        label, last_label, value: their columns' places.
        labels, values: what stands there.
    """

    name: str
    first: int
    last: int
    label: int
    last_label: int
    value: int
    labels: Sequence[str]
    values: Sequence[float]

    @property
    def is_line(self) -> bool:
        """Whether it is too long for bars."""
        return len(self.values) > MOST_BARS


class ReportTable(NamedTuple):
    """Rows of "total", "period" or "group", under their columns, which are numbers from one place on."""

    columns: list[str]
    numbers: int
    rows: list[list[Value]]
    chart: Chart | None


def table_of(figures: Figures) -> ReportTable:
    """The total, then the periods, then the groups."""
    keys, sums = list(figures.groups[0].key) if figures.groups else [], list(figures.total.sums)
    before = ["part", *(["period"] if figures.series else []), *map(_named, keys)]
    columns = [*before, "rows", *(f"sum of {name}" for name in sums)]
    dated, none = [None] if figures.series else [], [None] * len(keys)
    rows: list[list[Value]] = [["total", *dated, *none, *_numbers(figures.total)]]
    rows += [["period", one.period, *none, *_numbers(one)] for one in figures.series]
    rows += [["group", *dated, *one.key.values(), *_numbers(one)] for one in figures.groups]
    drawn = len(figures.series) or min(len(figures.groups), MOST_BARS)
    last_label = 1 if figures.series else len(keys)
    chart = _chart(columns, len(before) + bool(sums), rows, drawn, last_label) if drawn else None
    return ReportTable(columns, len(before), rows, chart)


def _chart(
    columns: Sequence[str], value: int, rows: Sequence[Sequence[Value]], drawn: int, last_label: int
) -> Chart | None:
    """Of the first rows after the total; None where a number is beyond what a chart can have."""
    shown = rows[1 : drawn + 1]
    values = [float(row[value] or 0) for row in shown]
    largest = max(map(abs, values))
    if largest > _LARGEST_DRAWN or (largest < _SMALLEST_DRAWN and any(row[value] for row in shown)):
        return None
    labels = [" / ".join(str(part or "none") for part in row[1 : last_label + 1]) for row in shown]
    return Chart(columns[value], 1, drawn, 1, last_label, value, labels, values)


def _named(key: str) -> str:
    """A group's column under a name that no other column has."""
    return f"{key} (group)" if key in ("part", "period", "rows") or key.startswith("sum of ") else key


def _numbers(counted: Counted) -> list[Value]:
    return [counted.rows, *map(_number, counted.sums.values())]


def _number(total: Number) -> Value:
    return total if isinstance(total, int) else Decimal(total)
