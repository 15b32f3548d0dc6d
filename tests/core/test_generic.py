from __future__ import annotations

from typing import Any

import pytest

from redqueue.core.generic import (
    function_task,
    job_options,
    method_task,
    named_task,
    over,
    parameters_of,
)
from redqueue.errors import InvalidName, InvalidOption


def f(a: int, b: int = 2, *, c: int = 3) -> None: ...
def only_by_position(a: int, /, b: int) -> None: ...


def test_a_method_and_a_task_say_what_they_are() -> None:
    method = method_task("label", "s", "m", (1, 2), {"delay": 3, "user_id": "u", "queue": "slow"})
    assert (method.queue, method.options) == ("slow", {"delay": 3})
    assert (method.data.service, method.data.method, method.data.function) == ("s", "m", None)
    assert (method.data.parameters, method.data.user_id, method.data.label) == ([1, 2], "u", "label")
    task = function_task("label", "f", {"a": 1}, {"context": {"k": "v"}})
    assert (task.queue, task.options) == ("generic-task", {})
    assert (task.data.function, task.data.service, task.data.context) == ("f", None, {"k": "v"})


def test_what_a_registry_calls_it_is_its_label() -> None:
    assert named_task(("service", "s", "m"), [], {}).data.label == "s.m"
    assert named_task(("task", "f"), [], {}).data.label == "f"


@pytest.mark.parametrize(
    ("args", "kwargs", "stored"),
    [
        ((), {}, []),
        ((1, 2), {}, [1, 2]),
        ((), {"a": 1, "c": 2}, {"a": 1, "c": 2}),
        ((1,), {"c": 5}, {"a": 1, "c": 5}),
    ],
)
def test_arguments_are_stored_in_order_or_by_name(args: Any, kwargs: Any, stored: Any) -> None:
    assert parameters_of(f, args, kwargs) == stored


def test_arguments_that_cannot_be_stored_are_refused() -> None:
    with pytest.raises(InvalidOption, match="f"):
        parameters_of(f, (1,), {"d": 1})
    with pytest.raises(InvalidOption, match="only by position"):
        parameters_of(only_by_position, (1,), {"b": 2})


@pytest.mark.parametrize("parameters", ["abc", b"abc", 7, None, {1, 2}])
def test_parameters_are_a_list_a_tuple_or_a_mapping(parameters: Any) -> None:
    with pytest.raises(InvalidOption) as raised:
        function_task("label", "f", parameters, {})
    assert raised.value.option == "parameters"


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 129, 7, None])
def test_names_are_text(name: Any) -> None:
    with pytest.raises(InvalidName):
        function_task("label", name, [], {})
    with pytest.raises(InvalidName):
        method_task("label", name, "m", [], {})
    with pytest.raises(InvalidName):
        method_task("label", "s", name, [], {})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"retrys": 1}, "retrys"),
        ({"delay": -1}, "delay"),
        ({"user_id": 7}, "user_id"),
        ({"sub_account_id": 7}, "sub_account_id"),
        ({"context": []}, "context"),
        ({"keep_completed": 5}, "keep_completed"),
    ],
)
def test_bad_options_are_told_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidOption) as raised:
        over({}, options)
    assert raised.value.option == named


def test_later_options_win_and_none_is_as_if_absent() -> None:
    assert over({"delay": 1, "retries": 2}, {"retries": 3, "user_id": None}) == {"delay": 1, "retries": 3}
    assert over({"at": "then"}, {"delay": 1}) == {"delay": 1}


def test_only_some_options_are_for_any_job() -> None:
    assert job_options({"delay": 1, "queue": "q", "context": {}, "user_id": "u"}) == {"delay": 1}


def test_a_label_is_text() -> None:
    with pytest.raises(InvalidOption, match="label"):
        function_task(7, "f", [], {})  # type: ignore[arg-type]
