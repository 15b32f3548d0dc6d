"""The operations of process_data and their options."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.context import JobContext
from redqueue.registry import ServiceRegistry
from redqueue.tasks import operations, process_data
from redqueue.tasks.pure import register_pure
from redqueue.testing import job_context

ROWS: list[dict[str, Any]] = [
    {"name": "Ann", "age": 31, "status": "open", "tags": ["a", "b"]},
    {"name": "Bob", "age": None, "status": "done"},
    {"name": "Cyd", "age": 22.5, "status": "open", "ok": True},
    {"name": "Dee", "status": "open", "tags": []},
]


def run(operation: str, data: Any, **options: Any) -> Any:
    before = copy.deepcopy(data)
    answer = process_data(data, operation, job_context(given={"source": "upload", **options}))
    assert data == before, "it changed what it was given"
    return answer


def names(rows: list[dict[str, Any]]) -> str:
    return " ".join(row["name"] for row in rows)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"status": "open"}, "Ann Cyd Dee"),
        ({"status": "open", "age": {"gt": 22.5}}, "Ann"),
        ({"age": {"gte": 22.5, "lte": 31}}, "Ann Cyd"),
        ({"age": {"lt": "x"}}, ""),
        ({"age": {"exists": False}}, "Bob Dee"),
        ({"age": {"exists": True}}, "Ann Cyd"),
        ({"status": {"ne": "open"}}, "Bob"),
        ({"ok": {"ne": True}}, "Ann Bob Dee"),
        ({"ok": 1}, ""),
        ({"name": {"in": ["Ann", "Dee", "Zoe"]}}, "Ann Dee"),
        ({"tags": {"contains": "b"}}, "Ann"),
        ({"name": {"contains": "o"}}, "Bob"),
        ({"age": {"eq": None}}, "Bob"),
        ({"age": 31.0}, "Ann"),
        ({"tags": ["a", "b"]}, "Ann"),
    ],
)
def test_filter_keeps_what_meets_every_condition(where: Any, found: str) -> None:
    assert names(run("filter", ROWS, where=where)) == found


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        (None, "filter needs the conditions"),
        ([], "filter needs the conditions"),
        ("status", "where must be a mapping"),
        ({"age": {"like": 1}}, "not like"),
        ({"age": {}}, "not none"),
        ({"age": {"in": 5}}, "in takes an array"),
    ],
)
def test_filter_refuses_conditions_that_cannot_be(where: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        run("filter", ROWS, where=where)


def test_transform_chooses_and_renames_fields() -> None:
    rows = [{"a": " 1 ", "b": 2, "c": None}, 7]
    assert run("transform", rows, pick=["b", "a", "zz"], rename={"a": "first"}) == [{"b": 2, "first": "1"}, 7]
    assert run("transform", rows, omit="a") == [{"b": 2}, 7]
    assert run("transform", {"a": 1, "b": 2}, omit=["b"]) == {"a": 1}


def test_sort_is_stable_and_puts_nothing_last() -> None:
    assert names(run("sort", ROWS, by="age")) == "Cyd Ann Bob Dee"
    assert names(run("sort", ROWS, by="age", descending=True)) == "Ann Cyd Bob Dee"
    assert names(run("sort", ROWS, by=["status", "name"], descending=True)) == "Dee Cyd Ann Bob"
    assert run("sort", ["b", 2, None, 10, True, "a"]) == [True, 2, 10, "a", "b", None]


@given(st.lists(st.integers() | st.floats(allow_nan=False) | st.text() | st.none() | st.booleans()))
def test_whatever_is_sorted_keeps_its_items(items: list[Any]) -> None:
    answer = process_data(items, "sort")
    assert sorted(map(repr, answer)) == sorted(map(repr, items))


def test_dedupe_keeps_the_first_of_equals() -> None:
    assert run("dedupe", [1, True, 1.0, "1", [1], [True], {"a": 1}, {"a": 1}]) == [1, True, "1", [1], [True], {"a": 1}]
    assert names(run("dedupe", ROWS, by="status")) == "Ann Bob"


def test_group_counts_and_sums_up() -> None:
    assert run("group", ROWS, by="status", items=False, fields="age") == [
        {
            "key": {"status": "open"},
            "count": 3,
            "summary": {"age": {"count": 2, "sum": 53.5, "min": 22.5, "max": 31, "mean": 26.75}},
        },
        {"key": {"status": "done"}, "count": 1, "summary": {}},
    ]
    assert [names(one["items"]) for one in run("group", ROWS, by=["status"])] == ["Ann Cyd Dee", "Bob"]


def test_aggregate_looks_at_chosen_fields() -> None:
    assert list(run("aggregate", [{"a": 1, "b": 2}], fields="b")) == ["b"]


def test_validate_knows_required_fields_and_kinds() -> None:
    assert run("validate", ROWS, required=["age"], types={"age": "number", "tags": "array", "name": "number"}) == {
        "valid": False,
        "count": 4,
        "problems": [
            {"path": "$[0].name", "problem": "is no number"},
            {"path": "$[1].age", "problem": "is missing"},
            {"path": "$[1].name", "problem": "is no number"},
            {"path": "$[2].name", "problem": "is no number"},
            {"path": "$[3].age", "problem": "is missing"},
            {"path": "$[3].name", "problem": "is no number"},
        ],
    }


@pytest.mark.parametrize(
    ("operation", "data", "options", "problem"),
    [
        ("filter", [1], {"where": {"a": 1}}, "filter takes an array of objects"),
        ("sort", {"a": 1}, {}, "sort takes an array"),
        ("sort", [], {"by": [1]}, "by must be the name of a field"),
        ("sort", [], {"by": 7}, "by must be the name of a field"),
        ("dedupe", "text", {}, "dedupe takes an array"),
        ("group", ROWS, {}, "group needs the field"),
        ("group", [1], {"by": "a"}, "group takes an array of objects"),
        ("validate", ROWS, {"types": {"a": "int"}}, "types of 'a' must be one of text"),
        ("transform", ROWS, {"rename": []}, "nothing wrong"),
        ("transform", ROWS, {"rename": {"name": ["x"]}}, "rename must give text for each field"),
        ("validate", ROWS, {"types": {"name": ["text"]}}, "types must give text for each field"),
        ("sort", ROWS, {}, "sort of objects needs by"),
        ("sort", [2, {"a": 1}], {"by": []}, "sort of objects needs by"),
        ("filter", ROWS, {"where": {f"f{n}": 1 for n in range(101)}}, "where takes at most 100 names, not 101"),
        ("validate", ROWS, {"types": {f"f{n}": "text" for n in range(101)}}, "types takes at most 100 names"),
        *(
            (operation, ROWS, {name: [f"f{n}" for n in range(101)]}, f"{name} takes at most 100 names, not 101")
            for operation, name in [
                ("sort", "by"),
                ("dedupe", "by"),
                ("group", "by"),
                ("transform", "pick"),
                ("transform", "omit"),
                ("aggregate", "fields"),
                ("validate", "required"),
            ]
        ),
    ],
)
def test_what_cannot_be_done_says_why(operation: str, data: Any, options: dict[str, Any], problem: str) -> None:
    if problem == "nothing wrong":  # an empty option is none
        assert run(operation, data, **options) == run(operation, data)
        return
    with pytest.raises(ValueError, match=problem):
        run(operation, data, **options)


def test_sort_looks_at_each_field_of_an_item_once_a_pass() -> None:
    looks = 0

    class Row(dict[str, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            nonlocal looks
            looks += 1
            return super().get(key, default)

    by = [f"f{n}" for n in range(100)]
    items = [Row(dict.fromkeys(by, -n)) for n in range(50)]
    assert process_data(items, "sort", job_context(given={"by": by})) == items[::-1]
    assert looks <= 4 * len(by) * len(items)


def test_validate_stops_at_the_problems_that_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    problem_of = operations._problem_of

    def look(item: Any) -> str | None:
        looked.append(item)
        return problem_of(item)

    monkeypatch.setattr(operations, "_problem_of", look)
    required = [f"f{n}" for n in range(100)]
    result = run("validate", [{"a": 1}] * 1_000, required=required)
    assert (result["valid"], result["count"], len(result["problems"])) == (False, 1_000, 100)
    assert len(looked) == 1


def test_filter_tells_true_from_one_at_any_depth() -> None:
    rows: list[dict[str, Any]] = [{"v": [True]}, {"v": {"a": [1]}}, {"v": [1]}, {"v": {"a": [True]}}]
    assert run("filter", rows, where={"v": {"eq": [1]}}) == [{"v": [1]}]
    assert run("filter", rows, where={"v": {"in": [{"a": [True]}, [1]]}}) == rows[2:]
    assert run("filter", [{"v": [[1], [True]]}, {"v": [[1]]}], where={"v": {"contains": [True]}}) == [
        {"v": [[1], [True]]}
    ]


def test_an_application_adds_operations_of_its_own() -> None:
    registry = ServiceRegistry()
    register_pure(registry, {"count": lambda data, options: len(data) + options["more"]})
    registry.check()
    for name in ("process_data", "processData"):
        prepared = registry.task_bindings()[name].prepare(b'[[1, 2], "count"]')
        assert prepared.call(job_context(given={"more": 5})) == 7
        assert registry.task_bindings()[name].prepare(b'[[2, 1], "sort"]').call(job_context()) == [1, 2]


def test_called_as_a_function_it_needs_no_context() -> None:
    assert process_data([2, 1], "sort") == [1, 2]
    context: JobContext = job_context(given={"descending": True})
    assert process_data([1, 2], "sort", context) == [2, 1]
