"""The tasks that every worker knows, unless its registry has one of the name: delay, calculate_sum, process_data."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from redqueue.registry import Binding, ServiceRegistry

LONGEST_DELAY_MS: Final = 24 * 3_600_000

Operation: TypeAlias = Literal["transform", "validate", "aggregate"]
Number: TypeAlias = int | float


async def delay(ms: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_DELAY_MS)]) -> int:
    """Wait that many milliseconds, at most 24 hours, and give them back. Holds one of the worker's places meanwhile.

    Raises:
        ValueError: out of bounds.
    """
    if not 0 <= ms <= LONGEST_DELAY_MS:
        raise ValueError(f"ms must be from 0 to {LONGEST_DELAY_MS:,}")
    await asyncio.sleep(ms / 1000)
    return ms


def calculate_sum(numbers: list[Number]) -> Number:
    """The sum: of whole numbers exact, else the float nearest to the exact one. Of none it is 0.

    Raises:
        ValueError: beyond the largest float, if only on the way.
    """
    if all(isinstance(number, int) for number in numbers):
        return sum(numbers)
    try:
        return math.fsum(numbers)
    except OverflowError:
        raise ValueError("the sum is beyond the largest float") from None


def process_data(data: Any, operation: Operation) -> Any:
    """One of three operations on JSON data, of which none changes what it is given:

    * transform: the same data, its text without white space at the ends and its null members left out, at every depth.
    * validate: ``{"valid": bool, "count": n, "problems": [{"path", "problem"}]}``; an item that is null, empty or blank
      is a problem. At most 100 are listed.
    * aggregate: of an array of numbers ``{"count", "sum", "min", "max", "mean"}``; of an array of objects the same for
      every field that holds numbers. Of no numbers min, max and mean are None.

    Raises:
        ValueError: another operation, or data that the operation isn't for.
    """
    if operation not in _OPERATIONS:
        raise ValueError(f"operation must be one of {', '.join(_OPERATIONS)}")
    return _OPERATIONS[operation](data)


@functools.cache
def builtin_tasks() -> Mapping[str, Binding]:
    """The tasks of this module, bound, by name."""
    registry = ServiceRegistry()
    for function in (delay, calculate_sum, process_data):
        registry.register_task(function.__name__, function)
    registry.check()
    return registry.task_bindings()


_MOST_PROBLEMS: Final = 100


def _transformed(data: Any) -> Any:
    if isinstance(data, str):
        return data.strip()
    if isinstance(data, list):
        return [_transformed(item) for item in data]
    if isinstance(data, dict):
        return {name: _transformed(value) for name, value in data.items() if value is not None}
    return data


def _validated(data: Any) -> dict[str, Any]:
    items = _members(data)
    problems = [
        {"path": path, "problem": problem} for path, item in items if (problem := _problem_of(item)) is not None
    ]
    return {"valid": not problems, "count": len(items), "problems": problems[:_MOST_PROBLEMS]}


def _members(data: Any) -> list[tuple[str, Any]]:
    if isinstance(data, list):
        return [(f"$[{place}]", item) for place, item in enumerate(data)]
    if isinstance(data, dict):
        return [(f"$.{name}", value) for name, value in data.items()]
    return [("$", data)]


def _problem_of(item: Any) -> str | None:
    if item is None:
        return "is null"
    if isinstance(item, str):
        return None if item.strip() else "is blank"
    return "is empty" if isinstance(item, list | dict) and not item else None


def _aggregated(data: Any) -> dict[str, Any]:
    if isinstance(data, list) and all(map(_is_number, data)):
        return _summary(data)
    if isinstance(data, list) and all(isinstance(item, dict) for item in data):
        return _columns(data)
    raise ValueError("aggregate takes an array of numbers or an array of objects")


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    columns: dict[str, list[Number]] = {}
    for row in rows:
        for name, value in row.items():
            if _is_number(value):
                columns.setdefault(name, []).append(value)
    return {name: _summary(numbers) for name, numbers in columns.items()}


def _summary(numbers: list[Number]) -> dict[str, Any]:
    total, count = calculate_sum(numbers), len(numbers)
    if not count:
        return {"count": 0, "sum": 0, "min": None, "max": None, "mean": None}
    return {"count": count, "sum": total, "min": min(numbers), "max": max(numbers), "mean": total / count}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_OPERATIONS: Final[Mapping[Operation, Callable[[Any], Any]]] = {
    "transform": _transformed,
    "validate": _validated,
    "aggregate": _aggregated,
}
