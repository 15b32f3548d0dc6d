"""The tasks that every worker knows, unless its registry has one of the name: delay, calculate_sum, process_data."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from decimal import Decimal, localcontext
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from redqueue.context import INJECTED, JobContext
from redqueue.registry import Binding, ServiceRegistry
from redqueue.tasks.operations import OPERATIONS, Operation, exact_sum

LONGEST_DELAY_MS: Final = 24 * 3_600_000

Number: TypeAlias = int | float
DecimalText: TypeAlias = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[+-]?[0-9]{1,40}(\.[0-9]{1,20})?$")]
_WIDEST: Final = 80
"""Digits that hold the sum of a billion such numbers."""


async def delay(ms: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_DELAY_MS)]) -> int:
    """Wait that many milliseconds, at most 24 hours, and give them back. Holds one of the worker's places meanwhile.

    Raises:
        ValueError: out of bounds.
    """
    if not 0 <= ms <= LONGEST_DELAY_MS:
        raise ValueError(f"ms must be from 0 to {LONGEST_DELAY_MS:,}")
    await asyncio.sleep(ms / 1000)
    return ms


def calculate_sum(numbers: list[Number | DecimalText]) -> Number | str:
    """The sum: of whole numbers exact, with floats the float nearest to the exact one. Of none it is 0.

    Decimal numbers as text, ``["19.99", "0.01"]``, are summed exactly and answered as text; whole numbers may be among
    them, floats may not: they are binary, and rarely the decimal number that they are written as.

    Raises:
        ValueError: beyond the largest float, if only on the way; or text and floats together.
    """
    if not any(isinstance(number, str) for number in numbers):
        return exact_sum(numbers)  # type: ignore[no-any-return]
    if any(isinstance(number, float) for number in numbers):
        raise ValueError("decimal text and floats have no exact sum: pass all as text")
    with localcontext() as context:
        context.prec = _WIDEST
        return format(sum((Decimal(number) for number in numbers), Decimal(0)), "f")


class ProcessData:
    """``process_data(data, operation)``, with the operations that it was made with."""

    def __init__(self, operations: Mapping[str, Operation] = MappingProxyType({})) -> None:
        self._operations = {**OPERATIONS, **operations}

    def __call__(self, data: Any, operation: str, context: JobContext = INJECTED) -> Any:
        """An operation on JSON data, which doesn't change what it is given. Its options are the job's ``context=``.

        Raises:
            ValueError: another operation, data that the operation isn't for, or options that can't be.
        """
        perform = self._operations.get(operation)
        if perform is None:
            raise ValueError(f"operation must be one of {', '.join(self._operations)}")
        return perform(data, context.given if context is not INJECTED else {})


def process_data(data: Any, operation: str, context: JobContext = INJECTED) -> Any:
    """One of seven operations on JSON data: transform, filter, aggregate, validate, sort, dedupe, group.

    None changes what it is given. Options are the job's mapping, ``execute_task(..., context={"by": "name"})``; what is
    in it beside them is passed over.

    Raises:
        ValueError: another operation, data that the operation isn't for, or options that can't be.
    """
    return _PROCESS_DATA(data, operation, context)


_PROCESS_DATA: Final = ProcessData()


def register_pure(registry: ServiceRegistry, operations: Mapping[str, Operation] = MappingProxyType({})) -> None:
    """Register the three, those of two words also in camelCase. What they refuse fails their job at once.

    Args:
        operations: more of them for `process_data`.
    """
    process = ProcessData(operations) if operations else process_data
    for name, function in (
        ("delay", delay),
        ("calculate_sum", calculate_sum),
        ("calculateSum", calculate_sum),
        ("process_data", process),
        ("processData", process),
    ):
        registry.register_task(name, function, give_up_on=(ValueError,))


@functools.cache
def pure_tasks() -> Mapping[str, Binding]:
    """The tasks of this module, bound, by name."""
    registry = ServiceRegistry()
    register_pure(registry)
    registry.check()
    return registry.task_bindings()
