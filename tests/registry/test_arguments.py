"""A job's parameters become a call that its signature allows, or nothing is called."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import pydantic
import pytest

from redqueue.context import INJECTED, JobContext
from redqueue.errors import InvalidArguments, RegistrationError
from redqueue.registry import Prepared, ServiceRegistry

if TYPE_CHECKING:
    from somewhere import Elsewhere  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

CONTEXT: JobContext = JobContext.__new__(JobContext)
SHARED: list[int] = [1]


class Search(msgspec.Struct):
    q: str
    limit: int = 10


class Model(pydantic.BaseModel):
    q: str


def ordinary(search: Search, user_id: str, limit: int = 5) -> Any:
    return search, user_id, limit


def only_position(a: int, /, b: int = 2) -> Any:
    return a, b


def only_name(a: int, *, b: int, c: int = 3) -> Any:
    return a, b, c


def mixed(a: int, /, *, b: int) -> Any:
    return a, b


def nothing() -> Any:
    return ()


def untyped(a, b=None):  # type: ignore[no-untyped-def]
    return a, b


def shared(numbers: list[int] = SHARED) -> Any:
    return numbers


def context_last(a: int, context: JobContext = INJECTED) -> Any:
    return a, context


def context_first(context: JobContext, a: int, b: int = 2) -> Any:
    return context, a, b


def context_by_name(a: int, *, context: JobContext | None = None) -> Any:
    return a, context


def context_between(a: int, context: Annotated[JobContext, "the run"] = INJECTED, b: int = 2, *, c: int = 3) -> Any:
    return a, context, b, c


def mangled(__a: int, b: Literal["x"] = "x") -> Any:  # noqa: PYI063
    return __a, b


def modelled(model: Model, models: list[Model] | None = None) -> Any:
    return model, models


def prepare(function: Callable[..., Any], parameters: str) -> Prepared:
    registry = ServiceRegistry()
    registry.register_task("task", function)
    registry.check()
    return registry.task_bindings()["task"].prepare(parameters.encode())


@pytest.mark.parametrize(
    ("function", "parameters", "result"),
    [
        (ordinary, '[{"q": "x"}, "u"]', (Search("x"), "u", 5)),
        (ordinary, ' [ {"q": "x", "limit": 1}, "u", 7]', (Search("x", 1), "u", 7)),
        (ordinary, '{"user_id": "u", "search": {"q": "x"}}', (Search("x"), "u", 5)),
        (only_position, "[1]", (1, 2)),
        (only_position, '{"a": 1, "b": 3}', (1, 3)),
        (only_name, '{"a": 1, "b": 2}', (1, 2, 3)),
        (only_name, '{"c": 1, "b": 2, "a": 3}', (3, 2, 1)),
        (mixed, '{"a": 1, "b": 2}', (1, 2)),
        (nothing, "[]", ()),
        (nothing, "{}", ()),
        (untyped, '[{"any": [1]}]', ({"any": [1]}, None)),
        (untyped, '{"a": 1, "b": "x"}', (1, "x")),
        (context_last, "[1]", (1, CONTEXT)),
        (context_last, '{"a": 1}', (1, CONTEXT)),
        (context_first, "[1]", (CONTEXT, 1, 2)),
        (context_first, '{"b": 3, "a": 1}', (CONTEXT, 1, 3)),
        (context_by_name, "[1]", (1, CONTEXT)),
        (context_by_name, '{"a": 1}', (1, CONTEXT)),
        (context_between, "[1, 5]", (1, CONTEXT, 5, 3)),
        (context_between, '{"a": 1, "c": 7}', (1, CONTEXT, 2, 7)),
        (mangled, '{"__a": 1}', (1, "x")),
        (mangled, '[1, "x"]', (1, "x")),
        (modelled, '[{"q": "x"}, [{"q": "y"}]]', (Model(q="x"), [Model(q="y")])),
        (functools.partial(ordinary, Search("p")), '["u"]', (Search("p"), "u", 5)),
        (functools.partial(only_name, b=7), "[1]", (1, 7, 3)),
    ],
)
def test_parameters_become_the_call(function: Callable[..., Any], parameters: str, result: Any) -> None:
    assert prepare(function, parameters).call(CONTEXT) == result


@pytest.mark.parametrize(
    ("function", "parameters", "problem"),
    [
        (ordinary, "[]", "missing argument 'search'"),
        (ordinary, '[{"q": "x"}]', "missing argument 'user_id'"),
        (ordinary, '{"search": {"q": "x"}}', "$: missing field 'user_id'"),
        (ordinary, '[{"q": "x"}, "u", 1, 2]', "takes at most 3 arguments by position (search, user_id, limit), got 4"),
        (ordinary, '[{"q": "x"}, "u", null]', "$.limit: expected `int`, got `null`"),
        (ordinary, '[{"q": "x"}, 7]', "$.user_id: expected `str`, got `int`"),
        (ordinary, '[{"q": 7}, "u"]', "$.search.q: expected `str`, got `int`"),
        (ordinary, '{"search": {"q": 7}, "user_id": "u"}', "$.search.q: expected `str`, got `int`"),
        (ordinary, '[{"q": "x", "z": 1}, "u"]', "$.search: unknown field 'z'"),
        (ordinary, '{"search": {"q": "x", "z": 1}, "user_id": "u"}', "$.search: unknown field 'z'"),
        (ordinary, '{"search": {"q": "x"}, "user_id": "u", "admin": true}', "$: unknown field 'admin'"),
        (ordinary, '{"search": {"q": "x"}, "user_id": "u", "self": 1}', "$: unknown field 'self'"),
        (modelled, '[{"q": "x", "z": 1}]', "$.model.z: extra inputs are not permitted"),
        (modelled, '{"model": {"q": "x"}, "models": [{"q": 1}]}', "$.models[0].q: input should be a valid string"),
        (nothing, "[1]", "takes at most 0 arguments by position (), got 1"),
        (nothing, '{"a": 1}', "$: unknown field 'a'"),
        (only_name, "[1]", "missing argument 'b', which can be given only by name"),
        (only_name, "[1, 2]", "missing argument 'b'"),
        (mixed, "[1]", "missing argument 'b'"),
        (context_last, "[1, {}]", "takes at most 1 arguments by position (a), got 2"),
        (context_last, '{"a": 1, "context": {}}', "$: unknown field 'context'"),
        (context_first, '{"a": 1, "context": null}', "$: unknown field 'context'"),
        (context_by_name, '{"a": 1, "context": {}}', "$: unknown field 'context'"),
        (mangled, '{"p0": 1}', "$: unknown field 'p0'"),
        (mangled, '[1, "y"]', "$.b: none of the values allowed"),
        (ordinary, '"abc"', "$: parameters are an array, or an object by name"),
        (ordinary, "7", "$: parameters are an array"),
        (ordinary, "null", "$: parameters are an array"),
        (ordinary, "", "$: parameters are an array"),
        (ordinary, "[", "$: not JSON"),
        (ordinary, "[1", "$: not JSON"),
        (ordinary, "{", "$: not JSON"),
        (untyped, "[" + "[" * 70, "$: nested deeper than 64"),
        (untyped, "[" + "1" * 30 + "]", "$: an integer of more than 20 digits"),
    ],
)
def test_what_the_signature_does_not_allow_is_refused(
    function: Callable[..., Any], parameters: str, problem: str
) -> None:
    """X05: no extra, missing or badly typed argument."""
    with pytest.raises(InvalidArguments) as caught:
        prepare(function, parameters)
    assert str(caught.value).startswith(f"task: {problem}")


def test_a_default_is_pythons_own() -> None:
    assert prepare(shared, "[]").call(CONTEXT) is SHARED
    assert prepare(shared, "{}").call(CONTEXT) is SHARED
    assert prepare(shared, "[[2]]").call(CONTEXT) == [2]


def test_of_keys_given_twice_the_last_is_checked_like_any() -> None:
    """X05: the last one counts."""
    assert prepare(only_position, '{"a": "x", "a": 1}'.replace('"x"', "2")).call(CONTEXT) == (1, 2)
    with pytest.raises(InvalidArguments):
        prepare(only_position, '{"a": 1, "a": "x"}')


def check(function: Any, *, processor: bool = False) -> None:
    registry = ServiceRegistry()
    if processor:
        registry.register_processor("p", function)
    else:
        registry.register_task("t", function)
    registry.check()


def names_elsewhere(first: int, second: Elsewhere) -> None: ...


def names_nothing(data: dict[str, Nowhere]) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


def not_a_type(data: Any) -> None: ...


not_a_type.__annotations__["data"] = "list[int"


@pytest.mark.parametrize(
    ("function", "parameter", "name"),
    [(names_elsewhere, "second", "Elsewhere"), (names_nothing, "data", "Nowhere"), (not_a_type, "data", "")],
)
def test_an_annotation_that_is_not_there_at_run_time_names_function_and_parameter(
    function: Any, parameter: str, name: str
) -> None:
    with pytest.raises(RegistrationError) as caught:
        check(function)
    message = str(caught.value)
    assert f".{function.__name__}: the annotation of '{parameter}' can't be resolved" in message
    assert name in message and "import what it names at run time, not only under TYPE_CHECKING" in message


class Refers(msgspec.Struct):
    other: Nowhere  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


def refers(data: Refers) -> None: ...


def foreign(data: int, lock: Callable[[], int]) -> None: ...


@pytest.mark.parametrize("function", [refers, foreign])
def test_a_type_that_cannot_be_decoded_is_refused_when_the_worker_starts(function: Any) -> None:
    with pytest.raises(RegistrationError, match=r"t: .*(Nowhere|Callable)"):
        check(function)


def injects(a: int, client: Search = INJECTED) -> None: ...


def injects_anything(a: int, client=INJECTED) -> None: ...  # type: ignore[no-untyped-def]


def twice(data: int, context: JobContext, again: JobContext = INJECTED) -> None: ...


@pytest.mark.parametrize("processor", [False, True])
@pytest.mark.parametrize(
    ("function", "why"),
    [
        (injects, "nothing yields .*Search for 'client'"),
        (injects_anything, "annotate 'client'"),
        (twice, "takes the context twice"),
    ],
)
def test_only_the_context_is_injected(function: Any, why: str, processor: bool) -> None:
    """X05: a job can't set what the worker injects."""
    with pytest.raises(RegistrationError, match=why):
        check(function, processor=processor)


def just_data(data: int) -> Any:
    return (data,)


def data_and_second(data, second):  # type: ignore[no-untyped-def]
    return data, second


def data_and_any(data: int, second: Any) -> Any:
    return data, second


def data_and_named(data: int, *, context: JobContext) -> Any:
    return data, context


def data_default_context(data: int, extra: int = 3, context: JobContext = INJECTED) -> Any:
    return data, extra, context


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (just_data, (7,)),
        (data_and_second, (7, CONTEXT)),
        (data_and_any, (7, CONTEXT)),
        (data_and_named, (7, CONTEXT)),
        (context_last, (7, CONTEXT)),
    ],
)
def test_a_processor_gets_data_and_context(function: Any, result: Any) -> None:
    registry = ServiceRegistry()
    registry.register_processor("p", function)
    registry.check()
    assert registry.processor_binding("p").prepare(b"7").call(CONTEXT) == result


def no_data() -> None: ...


def data_by_name(*, data: int) -> None: ...


def needs_more(data: int, context: JobContext, more: int) -> None: ...


def second_is_no_context(data: int, second: int) -> None: ...


@pytest.mark.parametrize("function", [no_data, data_by_name])
def test_a_processor_takes_data(function: Any) -> None:
    with pytest.raises(RegistrationError, match="takes no data"):
        ServiceRegistry().register_processor("p", function)


def third_by_position(data: int, second: int = 2, context: JobContext = INJECTED, /) -> None: ...


@pytest.mark.parametrize(
    ("function", "name"), [(needs_more, "more"), (second_is_no_context, "second"), (third_by_position, "second")]
)
def test_a_processor_that_needs_more_is_refused(function: Any, name: str) -> None:
    with pytest.raises(RegistrationError, match=f"nothing fills '{name}'"):
        check(function, processor=True)


def test_a_processors_other_defaults_stay() -> None:
    registry = ServiceRegistry()
    registry.register_processor("p", data_default_context)
    registry.check()
    assert registry.processor_binding("p").prepare(b"7").call(CONTEXT) == (7, 3, CONTEXT)


def test_modules_may_refer_to_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rq_first.py").write_text(
        "from __future__ import annotations\n"
        "import msgspec, rq_second\n"
        "class First(msgspec.Struct): second: 'rq_second.Second | None' = None\n"
        "def first(data: rq_second.Second, more: Later) -> None: return data, more\n"
        "class Later(msgspec.Struct): x: int = 1\n"
    )
    (tmp_path / "rq_second.py").write_text(
        "from __future__ import annotations\n"
        "import msgspec, rq_first\n"
        "class Second(msgspec.Struct): first: rq_first.First | None = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import rq_first  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

    prepared = prepare(rq_first.first, '[{"first": {"second": {}}}, {"x": 2}]')
    data, later = prepared.args
    assert isinstance(data.first.second, sys.modules["rq_second"].Second) and later.x == 2
    with pytest.raises(InvalidArguments, match=r"\$\.data\.first\.second: unknown field 'z'"):
        prepare(rq_first.first, '[{"first": {"second": {"z": 1}}}, {"x": 2}]')


def test_a_wrapped_function_keeps_its_signature() -> None:
    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    assert prepare(around(ordinary), '[{"q": "x"}, "u"]').call(CONTEXT) == (Search("x"), "u", 5)
