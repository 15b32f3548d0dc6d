"""The built-in tasks, called as functions and as jobs."""

from __future__ import annotations

import asyncio
import copy
import inspect
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.errors import InvalidArguments
from redqueue.tasks import LONGEST_DELAY_MS, calculate_sum, delay, process_data, pure_tasks
from redqueue.testing import job_context


def run(name: str, *parameters: Any, **given: Any) -> Any:
    return pure_tasks()[name].prepare(msgspec.json.encode(parameters)).call(job_context(given=given))


def test_there_are_three_and_two_of_them_also_in_camel_case() -> None:
    assert sorted(pure_tasks()) == ["calculateSum", "calculate_sum", "delay", "processData", "process_data"]
    assert pure_tasks() is pure_tasks()
    assert [name for name, binding in pure_tasks().items() if binding.is_coroutine] == ["delay"]


async def test_delay_waits_that_long(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert await delay(1500) == 1500 and await delay(LONGEST_DELAY_MS) == 86_400_000
    assert waited == [1.5, 86_400]


@pytest.mark.parametrize("ms", [-1, LONGEST_DELAY_MS + 1])
async def test_delay_is_bounded(ms: int) -> None:
    with pytest.raises(ValueError, match="ms must be from 0"):
        await delay(ms)
    with pytest.raises(InvalidArguments, match=r"delay: \$\.ms: expected `int`"):
        run("delay", ms)


@pytest.mark.parametrize("ms", [1.5, "1", True, None])
def test_delay_takes_whole_milliseconds(ms: Any) -> None:
    with pytest.raises(InvalidArguments):
        run("delay", ms)


async def test_delay_can_be_cancelled() -> None:
    coroutine = run("delay", 60_000)
    assert inspect.iscoroutine(coroutine)
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("numbers", "total"),
    [
        ([], 0),
        ([1, 2], 3),
        ([0.1] * 10, 1.0),
        ([1, 0.5], 1.5),
        ([10**19, 1], 10**19 + 1),
    ],
)
def test_sums_are_as_exact_as_their_numbers(numbers: list[int | float | str], total: float) -> None:
    for result in (calculate_sum(numbers), run("calculate_sum", numbers)):
        assert result == total and type(result) is type(total)


@given(st.lists(st.integers(-(2**53), 2**53)))
def test_whole_sums_are_exact(numbers: list[int]) -> None:
    assert calculate_sum([*numbers]) == sum(numbers)


@pytest.mark.parametrize(
    ("numbers", "total"),
    [
        (["19.99", "0.01"], "20.00"),
        (["0.1"] * 10, "1.0"),
        ([1, "-0.5"], "0.5"),
        (["9" * 40, "1"], "1" + "0" * 40),
        (["1" + "0" * 39, "0.00000000000000000001"], "1" + "0" * 39 + ".00000000000000000001"),
    ],
)
def test_decimal_text_is_summed_exactly(numbers: list[int | float | str], total: str) -> None:
    assert calculate_sum(numbers) == total == run("calculateSum", numbers)


def test_decimal_text_and_floats_have_no_exact_sum() -> None:
    with pytest.raises(ValueError, match="pass all as text"):
        calculate_sum(["0.1", 0.1])


def test_a_sum_beyond_floats_is_an_error() -> None:
    with pytest.raises(ValueError, match="beyond the largest float"):
        calculate_sum([1e308, 1e308, -1e308])
    with pytest.raises(ValueError, match="beyond the largest float"):
        calculate_sum([10**400, 0.5])


@pytest.mark.parametrize("numbers", [["x"], ["1e9"], ["NaN"], ["1" * 41], [True], [None], "12", {"a": 1}, 7])
def test_only_numbers_have_a_sum(numbers: Any) -> None:
    with pytest.raises(InvalidArguments):
        run("calculate_sum", numbers)


def test_transform_trims_text_and_leaves_nulls_out() -> None:
    data = [{"name": " Ann ", "age": None, "tags": [" a", None, {"x": None}]}, 7, True, None, " b "]
    before = copy.deepcopy(data)
    expected = [{"name": "Ann", "tags": ["a", None, {}]}, 7, True, None, "b"]
    assert process_data(data, "transform") == expected == run("process_data", data, "transform")
    assert data == before


@pytest.mark.parametrize(
    ("data", "count", "problems"),
    [
        ([1, "x", {"a": 1}, False, 0], 5, []),
        ([], 0, []),
        (
            [None, " ", [], {}],
            4,
            [("$[0]", "is null"), ("$[1]", "is blank"), ("$[2]", "is empty"), ("$[3]", "is empty")],
        ),
        ({"a": 1, "b": ""}, 2, [("$.b", "is blank")]),
        (None, 1, [("$", "is null")]),
        ("text", 1, []),
    ],
)
def test_validate_reports_what_is_missing(data: Any, count: int, problems: list[tuple[str, str]]) -> None:
    assert process_data(data, "validate") == {
        "valid": not problems,
        "count": count,
        "problems": [{"path": path, "problem": problem} for path, problem in problems],
    }


def test_validate_lists_at_most_a_hundred() -> None:
    report = process_data([None] * 1000, "validate")
    assert (report["valid"], report["count"], len(report["problems"])) == (False, 1000, 100)


def test_aggregate_sums_up_numbers() -> None:
    assert process_data([1, 2, 3], "aggregate") == {"count": 3, "sum": 6, "min": 1, "max": 3, "mean": 2.0}
    assert process_data([], "aggregate") == {"count": 0, "sum": 0, "min": None, "max": None, "mean": None}


def test_aggregate_sums_up_the_numbers_of_each_field() -> None:
    rows = [{"price": 1.5, "name": "a", "ok": True}, {"price": 2.5, "n": 1}, {}]
    assert process_data(rows, "aggregate") == {
        "price": {"count": 2, "sum": 4.0, "min": 1.5, "max": 2.5, "mean": 2.0},
        "n": {"count": 1, "sum": 1, "min": 1, "max": 1, "mean": 1.0},
    }


@pytest.mark.parametrize("data", [7, "x", None, {"a": 1}, [1, "x"], [True], [{"a": 1}, 2]])
def test_aggregate_takes_numbers_or_objects(data: Any) -> None:
    with pytest.raises(ValueError, match="aggregate takes"):
        process_data(data, "aggregate")


def test_another_operation_is_refused() -> None:
    with pytest.raises(ValueError, match="one of transform, filter, aggregate, validate, sort, dedupe, group"):
        run("process_data", [], "delete")


@given(st.lists(st.floats(-1e100, 1e100) | st.integers(-(2**53), 2**53), min_size=1))
def test_a_mean_lies_between_min_and_max(numbers: list[float]) -> None:
    summary = process_data(numbers, "aggregate")
    assert summary["min"] <= summary["max"] and math.isfinite(summary["mean"])
