"""Data is decoded into its annotation strictly, and a refusal names the path and never the value."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import subprocess
import sys
import threading
import time
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, NewType, NotRequired, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict

from redqueue.errors import InvalidArguments, RegistrationError
from redqueue.registry.decoding import decoder_of, refuse_bombs
from redqueue.registry.unknown_fields import check_of
from redqueue.shapes import FileOperation, JobData

SECRET = "s3cr3t"
WHOLE = st.integers(-(2**63), 2**63 - 1)
T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    x: int
    inner: Strict | None = None


class Lax(msgspec.Struct):
    x: int
    inner: Lax | None = None
    many: list[Lax] = []


class Sms(JobData[Any]):
    job_type: ClassVar[str] = "sms"
    phone_numbers: list[str]


@dataclasses.dataclass
class Data:
    x: int
    inner: Data | None = None


@attrs.define
class Attrs:
    x: int
    inner: Data | None = None


class Typed(TypedDict):
    x: int
    inner: NotRequired[Data]


class Pair(NamedTuple):
    x: int
    data: Data


class Model(pydantic.BaseModel):
    x: int
    inner: Model | None = None
    at: datetime | None = None
    color: Color | None = None


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    x: int


class Cat(msgspec.Struct, tag="cat"):
    x: int


class Dog(msgspec.Struct, tag="dog"):
    y: int


class Row(msgspec.Struct, array_like=True):
    x: int
    data: Data | None = None


class CatRow(msgspec.Struct, array_like=True, tag="cat"):
    x: int


class DogRow(msgspec.Struct, array_like=True, tag="dog"):
    y: int
    data: Data


class ColorRow(msgspec.Struct, array_like=True, tag="color"):
    x: int
    color: Color


@dataclasses.dataclass
class Colored:
    way: Literal["n", "s"]
    byName: dict[str, dict[Color, int]] | None = None
    pair: tuple[int, Color] | None = None


class Holder(msgspec.Struct, forbid_unknown_fields=True):
    data: Data
    model: Model | None = None


class Box(msgspec.Struct, Generic[T]):
    item: T


class Contact(msgspec.Struct, forbid_unknown_fields=True):
    phone: str


class Campaign(msgspec.Struct, forbid_unknown_fields=True):
    contacts: list[Contact]


Number = NewType("Number", int)

GOOD: list[tuple[Any, str, Any]] = [
    (Any, '{"a": [1, null]}', {"a": [1, None]}),
    (None, "null", None),
    (int, "7", 7),
    (float, "7", 7.0),
    (str, '"x"', "x"),
    (bool, "true", True),
    (bytes, '"aGk="', b"hi"),
    (object, "[1]", [1]),
    (Number, "7", 7),
    (datetime, '"2030-01-01T00:00:00Z"', datetime.fromisoformat("2030-01-01T00:00:00Z")),
    (date, '"2030-01-01"', date(2030, 1, 1)),
    (timedelta, '"PT1S"', timedelta(seconds=1)),
    (Decimal, '"1.10"', Decimal("1.10")),
    (UUID, '"12345678123456781234567812345678"', UUID("12345678123456781234567812345678")),
    (Color, '"red"', Color.RED),
    (Literal["a", "b"], '"a"', "a"),
    (Annotated[int, msgspec.Meta(ge=1)], "1", 1),
    (int | str, '"x"', "x"),
    (int | None, "null", None),
    (list[int], "[1]", [1]),
    (tuple[int, str], '[1, "x"]', (1, "x")),
    (set[int], "[1, 1]", {1}),
    (dict[str, list[Data]], '{"k": [{"x": 1}]}', {"k": [Data(1)]}),
    (Strict, '{"x": 1, "inner": {"x": 2}}', Strict(1, Strict(2))),
    (Lax, '{"x": 1, "inner": {"x": 2}, "many": [{"x": 3}]}', Lax(1, Lax(2), [Lax(3)])),
    (Sms, '{"phoneNumbers": ["1"]}', Sms(phone_numbers=["1"])),
    (Data, '{"x": 1, "inner": {"x": 2}}', Data(1, Data(2))),
    (Attrs, '{"x": 1, "inner": {"x": 2}}', Attrs(1, Data(2))),
    (Typed, '{"x": 1, "inner": {"x": 2}}', {"x": 1, "inner": Data(2)}),
    (Pair, '[1, {"x": 2}]', Pair(1, Data(2))),
    (Model, '{"x": 1, "inner": {"x": 2}}', Model(x=1, inner=Model(x=2))),
    (Model, '{"x": 1, "color": "red"}', Model(x=1, color=Color.RED)),
    (list[Model | None], '[{"x": 1}, null]', [Model(x=1), None]),
    (Cat | Dog | None, '{"type": "dog", "y": 1}', Dog(1)),
    (Cat, '{"x": 1}', Cat(1)),
    (Row, '[1, {"x": 2}]', Row(1, Data(2))),
    (CatRow | DogRow, '["dog", 1, {"x": 2}]', DogRow(1, Data(2))),
    (Holder, '{"data": {"x": 1}, "model": {"x": 2}}', Holder(Data(1), Model(x=2))),
    (Box[Data], '{"item": {"x": 1}}', Box(Data(1))),
    (Annotated[Data, msgspec.Meta(extra={"a": 1})], '{"x": 1}', Data(1)),
]

UNKNOWN: list[tuple[Any, str, str]] = [
    (Strict, '{"x": 1, "z": 2}', "$: unknown field 'z'"),
    (Strict, '{"x": 1, "inner": {"x": 1, "z": 2}}', "$.inner: unknown field 'z'"),
    (Sms, '{"phoneNumbers": [], "z": 1}', "$: unknown field 'z'"),
    (Sms, '{"phone_numberz": []}', "$: unknown field 'phone_numberz'"),
    (Lax, '{"x": 1, "z": 2}', "$: unknown field 'z'"),
    (Lax, '{"x": 1, "many": [{"x": 1}, {"x": 1, "inner": {"x": 1, "z": 2}}]}', "$.many[1].inner: unknown field 'z'"),
    (Data, '{"x": 1, "inner": {"x": 1, "z": 2}}', "$.inner: unknown field 'z'"),
    (Attrs, '{"x": 1, "inner": {"x": 1, "z": 2}}', "$.inner: unknown field 'z'"),
    (Attrs, '{"x": 1, "z": 1}', "$: unknown field 'z'"),
    (Typed, '{"x": 1, "z": 2}', "$: unknown field 'z'"),
    (Typed, '{"x": 1, "inner": {"x": 1, "z": 2}}', "$.inner: unknown field 'z'"),
    (Pair, '[1, {"x": 2, "z": 2}]', "$[1]: unknown field 'z'"),
    (Model, '{"x": 1, "z": 2}', "$.z: extra inputs are not permitted"),
    (Model, '{"x": 1, "inner": {"x": 1, "z": 2}}', "$.inner.z: extra inputs are not permitted"),
    (list[Model], '[{"x": 1}, {"x": 1, "z": 2}]', "$[1].z: extra inputs are not permitted"),
    (Open, '{"x": 1, "z": 2}', "$.z: extra inputs are not permitted"),
    (dict[str, Data], '{"k": {"x": 1, "z": 2}}', "$[...]: unknown field 'z'"),
    (tuple[int, Data], '[1, {"x": 1, "z": 2}]', "$[1]: unknown field 'z'"),
    (tuple[Data, ...], '[{"x": 1, "z": 2}]', "$[0]: unknown field 'z'"),
    (Data | list[Data] | None, '[{"x": 1, "z": 2}]', "$[0]: unknown field 'z'"),
    (Cat | Dog, '{"type": "dog", "y": 1, "x": 2}', "$: unknown field 'x'"),
    (Cat | Dog, '{"type": "cat", "x": 1, "y": 2}', "$: unknown field 'y'"),
    (Row, "[1, null, 3]", "$: expected at most 2 items"),
    (Row, '[1, {"x": 1, "z": 2}]', "$[1]: unknown field 'z'"),
    (CatRow | DogRow, '["dog", 1, {"x": 1, "z": 2}]', "$[2]: unknown field 'z'"),
    (CatRow | DogRow, '["cat", 1, 2]', "$: expected at most 2 items"),
    (Holder, '{"data": {"x": 1, "z": 2}}', "$.data: unknown field 'z'"),
    (Holder, '{"data": {"x": 1}, "model": {"x": 2, "z": 3}}', "$.model.z: extra inputs are not permitted"),
    (Box[Data], '{"item": {"x": 1, "z": 2}}', "$.item: unknown field 'z'"),
]

WRONG: list[tuple[Any, str, str]] = [
    (Campaign, '{"contacts": [{"phone": "1"}, {"phone": 7}]}', "$.contacts[1].phone: expected `str`, got `int`"),
    (Campaign, '{"contacts": [{}]}', "$.contacts[0]: missing field 'phone'"),
    (int, f'"{SECRET}"', "$: expected `int`, got `str`"),
    (int, '"1"', "$: expected `int`, got `str`"),
    (bool, "1", "$: expected `bool`, got `int`"),
    (int, "1.0", "$: expected `int`, got `float`"),
    (Color, f'"{SECRET}"', "$: none of the values allowed: 'red'"),
    (Literal["a"], f'"{SECRET}"', "$: none of the values allowed: 'a'"),
    (Literal[1, "a"] | None, "733733", "$: none of the values allowed: 1, 'a'"),
    (Cat | Dog, f'{{"type": "{SECRET}"}}', "$.type: none of the values allowed: 'cat', 'dog'"),
    (datetime, f'"{SECRET}"', "$: invalid RFC3339 encoded datetime"),
    (UUID, f'"{SECRET}"', "$: invalid UUID"),
    (Decimal, f'"{SECRET}"', "$: invalid decimal string"),
    (bytes, f'"{SECRET}!"', "$: invalid base64 encoded string"),
    (dict[int, int], f'{{"{SECRET}": 1}}', "a key of $: expected `int`, got `str`"),
    (dict[Color, int], f'{{"{SECRET}": 1}}', "a key of $: none of the values allowed: 'red'"),
    (Annotated[str, msgspec.Meta(max_length=3)], f'"{SECRET}"', "$: expected `str` of length <= 3"),
    (Model, f'{{"x": "{SECRET}"}}', "$.x: input should be a valid integer"),
    (list[Model], f'[{{"x": 1, "inner": {{"x": "{SECRET}"}}}}]', "$[0].inner.x: input should be a valid integer"),
    (Model, '{"x": true}', "$.x: input should be a valid integer"),
    (Model, f'{{"x": 1, "at": "{SECRET}"}}', "$.at: refused as datetime_parsing"),
    (Model, "[]", "$: input should be an object"),
    (int, "1e999", "$: number out of range"),
    (Any, "NaN", "$: not JSON: "),
    (Any, "", "$: not JSON: "),
    (Any, "{", "$: not JSON: "),
    (Any, "1 2", "$: not JSON: "),
]


OPERATIONS = "'resize', 'thumbnail', 'crop', 'convert', 'strip', 'orient', 'unpack', 'pack', 'checksum', 'text'"
FORMATS = "'gif', 'jpeg', 'png', 'webp'"
ALLOWED: list[tuple[Any, str, str]] = [
    (
        list[FileOperation],
        '[{"op": "convert", "format": "s3cr3t"}]',
        f"$[0].format: none of the values allowed: {FORMATS}",
    ),
    (
        list[FileOperation],
        '[{"op": "s3cr3t"}]',
        f"$[0].op: none of the values allowed: {OPERATIONS} and 3 more",
    ),
    (CatRow | DogRow | None, '["s3cr3t", 1]', "$[0]: none of the values allowed: 'cat', 'dog'"),
    (DogRow | ColorRow, '["color", 1, "s3cr3t"]', "$[2]: none of the values allowed: 'red'"),
    (Colored, '{"way": "s3cr3t"}', "$.way: none of the values allowed: 'n', 's'"),
    (
        Colored,
        '{"way": "n", "byName": {"s3cr3t": {"s3cr3t": 1}}}',
        "a key of $.byName[...]: none of the values allowed: 'red'",
    ),
    (Colored, '{"way": "n", "pair": [1, "s3cr3t"]}', "$.pair[1]: none of the values allowed: 'red'"),
    (dict[str, list[Color]], '{"s3cr3t": ["red", "s3cr3t"]}', "$[...][1]: none of the values allowed: 'red'"),
    (
        dict[str, FileOperation],
        '{"a": {"op": "convert", "format": "s3cr3t"}}',
        "$[...].format: none of the values allowed",
    ),
    (Literal["' - at `$.x", "\n" + "x" * 999], '"s3cr3t"', "$: none of the values allowed: "),
    (list[Color], '["s3cr3t", ', "$[0]: none of the values allowed"),
]


@pytest.mark.parametrize(("annotation", "raw", "problem"), ALLOWED, ids=lambda part: str(part)[:50])
def test_what_is_allowed_instead_is_named(annotation: Any, raw: str, problem: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        decoder_of("f", annotation)(raw.encode())
    message = str(caught.value)
    assert message == f"f: {problem}" or (problem.endswith(": ") and message.startswith(f"f: {problem}"))
    assert message.isprintable() and len(message) < 300 and SECRET not in message
    assert caught.value.__cause__ is None and caught.value.__context__ is None


@pytest.mark.parametrize(("annotation", "raw", "value"), GOOD, ids=lambda part: str(part)[:50])
def test_data_becomes_what_the_annotation_says(annotation: Any, raw: str, value: Any) -> None:
    decoded = decoder_of("f", annotation)(raw.encode())
    assert decoded == value and type(decoded) is type(value)


@pytest.mark.parametrize(("annotation", "raw", "problem"), UNKNOWN, ids=lambda part: str(part)[:50])
def test_unknown_fields_are_refused_at_every_depth(annotation: Any, raw: str, problem: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        decoder_of("f", annotation)(raw.encode())
    assert str(caught.value) == f"f: {problem}"


@pytest.mark.parametrize(("annotation", "raw", "problem"), WRONG, ids=lambda part: str(part)[:50])
def test_a_refusal_names_the_path_and_not_the_value(annotation: Any, raw: str, problem: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        decoder_of("f", annotation)(raw.encode())
    error = caught.value
    assert str(error).startswith(f"f: {problem}")
    assert SECRET not in str(error) and "733733" not in str(error)
    assert error.__cause__ is None and error.__context__ is None


class Raises(msgspec.Struct, forbid_unknown_fields=True):
    x: str
    kind: str = "ValueError"

    def __post_init__(self) -> None:
        raise {"ValueError": ValueError, "KeyError": KeyError}[self.kind](f"bad {self.x}")


def refuse(instance: object, attribute: object, value: str) -> None:
    raise ValueError(f"bad {value}")


@attrs.define
class Validated:
    x: str = attrs.field(validator=refuse)


class Validating(pydantic.BaseModel):
    x: str

    @pydantic.field_validator("x")
    @classmethod
    def check(cls, value: str) -> str:
        raise ValueError(f"bad {value}")


class Custom(pydantic.BaseModel):
    x: str

    @pydantic.field_validator("x")
    @classmethod
    def check(cls, value: str) -> str:
        from pydantic_core import PydanticCustomError

        raise PydanticCustomError("phone", "bad {value}", {"value": value})


class Falling(pydantic.BaseModel):
    x: str

    @pydantic.field_validator("x")
    @classmethod
    def check(cls, value: str) -> str:
        raise KeyError(value)


class Kinds(pydantic.BaseModel):
    item: Annotated[KindA | KindB, pydantic.Field(discriminator="kind")]


class KindA(pydantic.BaseModel):
    kind: Literal["a"]


class KindB(pydantic.BaseModel):
    kind: Literal["b"]


@pytest.mark.parametrize(
    ("annotation", "raw", "problem"),
    [
        (list[Raises], f'[{{"x": "{SECRET}"}}]', "$[0]: refused by its own check (ValueError)"),
        (Raises, f'{{"x": "{SECRET}", "kind": "KeyError"}}', "$: refused by its own check (KeyError)"),
        (Validated, f'{{"x": "{SECRET}"}}', "$: refused by its own check (ValueError)"),
        (Validating, f'{{"x": "{SECRET}"}}', "$.x: refused as value_error"),
        (Custom, f'{{"x": "{SECRET}"}}', "$.x: refused as phone"),
        (Falling, f'{{"x": "{SECRET}"}}', "$: refused by its own check (KeyError)"),
        (Kinds, f'{{"item": {{"kind": "{SECRET}"}}}}', "$.item: refused as union_tag_invalid"),
    ],
)
def test_what_a_class_says_of_its_value_is_not_told(annotation: Any, raw: str, problem: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        decoder_of("f", annotation)(raw.encode())
    assert str(caught.value) == f"f: {problem}"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("annotation", [Strict, Lax, Model, dict[str, Strict]])
@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "\u202e", "`", "x" * 10**6, " - at `$.x`"])
def test_a_hostile_field_name_is_escaped_and_clipped(annotation: Any, name: str) -> None:
    value = {"x": 1, name: 1}
    raw = msgspec.json.encode({"k": value} if annotation == dict[str, Strict] else value)
    with pytest.raises(InvalidArguments) as caught:
        decoder_of("f", annotation)(raw)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_memory_running_out_is_not_the_datas_fault() -> None:
    class Hungry(msgspec.Struct, forbid_unknown_fields=True):
        def __post_init__(self) -> None:
            raise MemoryError

    with pytest.raises(MemoryError):
        decoder_of("f", Hungry)(b"{}")


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="not UTF-8"):
        decoder_of("f", str)(b'"\xff"')


class Foreign:
    pass


@pydantic.dataclasses.dataclass
class PydanticData:
    x: Annotated[int, pydantic.Field(gt=5)]


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (Foreign, "use a msgspec.Struct, dataclass"),
        (dict[str, list[Foreign]], "Foreign"),
        (complex, "complex"),
        (Model | int, "can't be decoded from JSON"),
        (Strict | Data, "can't be decoded from JSON"),
        (PydanticData, "pydantic dataclass"),
        (list[PydanticData], "pydantic dataclass"),
        (3, "can't be decoded from JSON"),
    ],
)
def test_what_json_cannot_become_is_refused_beforehand(annotation: Any, why: str) -> None:
    with pytest.raises(RegistrationError, match=why):
        decoder_of("f", annotation)


def test_a_model_of_an_older_pydantic_is_refused_beforehand() -> None:
    class Old:
        __pydantic_validator__ = None

        @classmethod
        def model_validate_json(cls, data: bytes, *, strict: bool | None = None) -> None: ...

    with pytest.raises(RegistrationError, match=r"pydantic 2\.12"):
        decoder_of("f", Old)


@given(value=st.recursive(WHOLE | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_is_decoded_or_refused_and_nothing_else(value: Any) -> None:
    raw = msgspec.json.encode(value)
    for annotation in (Lax, Data, Typed, Model, Row, Cat | Dog, list[Data], dict[str, Data]):
        try:
            decoder_of("f", annotation)(raw)
        except InvalidArguments as error:
            assert str(error).isprintable()


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 64 + b"]" * 64,
        b'{"a":' * 64 + b"1" + b"}" * 64,
        b"[" + b",".join([b"[]"] * 1000) + b"]",
        b'["' + b"[" * 1000 + b'"]',
        b'["\\"' + b"[{" * 1000 + b'\\\\"]',
        b'{"' + b"[" * 1000 + b'": 1}',
        b"12345678901234567890",
        b"-12345678901234567890",
        b'"' + b"1" * 5000 + b'"',
        b'["a\\"' + b"1" * 5000 + b'"]',
        b"0.1000000000000000055511151231257827",
        b"1" * 25 + b".5",
        b"1" * 25 + b"e5",
    ],
)
def test_ordinary_payloads_pass(raw: bytes) -> None:
    refuse_bombs("f", raw)
    msgspec.json.decode(raw)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"[" * 65 + b"]" * 65, "nested deeper than 64"),
        (b"[" * 10**6, "nested deeper than 64"),
        (b'{"a":' * 10**5, "nested deeper than 64"),
        (b'["]]]]]]]]",' * 65 + b"1" + b"]" * 65, "nested deeper than 64"),
        (b'["' + b"[" * 100 + b'",' + b"[" * 65, "nested deeper than 64"),
        (b"1" * 21, "more than 20 digits"),
        (b"-" + b"1" * 5000, "more than 20 digits"),
        (b'{"a": [1, ' + b"9" * 21 + b"]}", "more than 20 digits"),
        (b'["' + b"1" * 50 + b'",' + b"1" * 50 + b"]", "more than 20 digits"),
        *[(b" " * pad + b"1" * 21, "more than 20 digits") for pad in range(22)],
    ],
)
def test_bombs_are_refused_before_decoding(raw: bytes, why: str) -> None:
    """X10, X11: levels and digits are counted before anything is decoded."""
    with pytest.raises(InvalidArguments, match=why):
        refuse_bombs("f", raw)


@given(
    st.recursive(
        st.text(alphabet='[]{}"\\1')
        | st.integers(-(10**22), 10**22)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='[]{}"\\1'), inner),
        max_leaves=30,
    ),
    st.integers(0, 70),
)
def test_the_scan_agrees_with_the_value(value: Any, wraps: int) -> None:
    import json

    for _ in range(wraps):
        value = [value]
    bomb = _depth(value) > 64 or _longest(value) > 20
    try:
        refuse_bombs("f", json.dumps(value).encode())
    except InvalidArguments:
        assert bomb
    else:
        assert not bomb


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _longest(value: Any) -> int:
    if isinstance(value, dict):
        return max(map(_longest, value.values()), default=0)
    if isinstance(value, list):
        return max(map(_longest, value), default=0)
    return len(str(abs(value))) if isinstance(value, int) else 0


@pytest.mark.parametrize(
    "raw", [b'"' * 10**6, b'"' + b'\\"' * 500_000, b'["' + b"\\\\" * 500_000, b"1[" * 500_000, b"[1,]" * 250_000]
)
def test_the_scan_is_linear(raw: bytes) -> None:
    start = time.perf_counter()
    with contextlib.suppress(InvalidArguments):
        refuse_bombs("f", raw + b"[" * 65 + b"]" * 65)
    assert time.perf_counter() - start < 2


def test_a_depth_bomb_leaves_a_thread_with_a_small_stack_alive() -> None:
    """X10: a worker's thread."""
    program = (
        "import threading\n"
        "from redqueue.errors import InvalidArguments\n"
        "from redqueue.registry import ServiceRegistry\n"
        "registry = ServiceRegistry()\n"
        "registry.register_task('t', lambda data: data)\n"
        "registry.register_processor('p', lambda data: data)\n"
        "registry.check()\n"
        "def run():\n"
        "    for binding in (registry.task_bindings()['t'], registry.processor_binding('p')):\n"
        "        for bomb in (b'[' * 10**6, b'{\"data\":' * 10**6, b'\\x91' * 10**6):\n"
        "            try: binding.prepare(bomb)\n"
        "            except InvalidArguments: print('refused')\n"
        "threading.stack_size(256 * 1024)\n"
        "thread = threading.Thread(target=run); thread.start(); thread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * 6), done.stderr


def test_a_type_that_refuses_unknown_fields_itself_is_decoded_once() -> None:
    once: list[Any] = [Any, int, list[str], Strict, Sms, Campaign, dict[str, Strict], Model]
    twice: list[Any] = [Lax, Data, Attrs, Typed, list[Lax], Holder]
    assert [check_of(msgspec.inspect.type_info(annotation)) for annotation in once] == [None] * len(once)
    assert None not in [check_of(msgspec.inspect.type_info(annotation)) for annotation in twice]


def test_decoding_is_safe_for_threads() -> None:
    decode = decoder_of("f", Lax)
    found: list[int] = []

    def run() -> None:
        found.extend(decode(b'{"x": %d, "many": [{"x": 1}]}' % n).x for n in range(300))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted([*range(300)] * 8)
