"""What is stored of a job."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.backoff import Exponential
from redqueue.core.codec import MAX_DEPTH, Head, encode_data, encode_json, make_head, open_envelope, seal
from redqueue.errors import CorruptEnvelope, PayloadNotSerializable, PayloadTooLarge
from redqueue.options import MAX_PAYLOAD, NOTHING_GIVEN, Given

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(SCALARS | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)
WAITS = st.none() | st.lists(st.integers(0, 2**38), min_size=1).map(tuple) | st.builds(Exponential, st.integers(0, 9))
LIMITS = st.none() | st.tuples(st.integers(-1, 99), st.integers(-1, 2**38))
HEADS = st.builds(
    Head,
    TEXT,
    TEXT,
    st.integers(0, 2**42),
    st.none() | TEXT,
    st.none() | TEXT,
    st.builds(Given, st.none() | st.integers(0, 10_000), WAITS, LIMITS, LIMITS),
)


# The way there and back


@given(JSON)
def test_data_comes_back_as_it_was(data: Any) -> None:
    """Faults: O02."""
    assert msgspec.json.decode(encode_data(data)) == data
    assert json.loads(encode_data(data)) == data


@given(HEADS, st.binary())
def test_an_envelope_comes_back_as_it_was(head: Head, data: bytes) -> None:
    opened = open_envelope("a", seal(head, data))
    assert (opened.head, opened.data) == (head, data)


@given(st.binary())
def test_bytes_that_are_no_envelope_are_refused_and_raise_nothing_else(stored: bytes) -> None:
    """Faults: P07."""
    try:
        opened = open_envelope("job-7", stored)
    except CorruptEnvelope as error:
        assert "job-7" in str(error)
    else:
        assert isinstance(opened.head, Head)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\n",
        b"null\nnull",
        b"{}\nnull",
        b"[]\nnull",
        b'["sms"]\n',
        b'["sms","","now"]\n',
        b'[7,"",1]\n',
        b"\xff\n1",
    ],
)
def test_what_is_not_an_envelope_is_refused(stored: bytes) -> None:
    with pytest.raises(CorruptEnvelope):
        open_envelope("a", stored)


def test_a_plain_envelope_is_short() -> None:
    assert len(seal(Head("sms", "", 1_790_000_000_000), b"null")) < 50


def test_a_head_of_a_later_release_may_have_more() -> None:
    assert open_envelope("a", b'["sms","",1,null,null,{},"more"]\nnull').head.job_type == "sms"


# Data of many kinds


class Colour(Enum):
    RED = "red"


@dataclass
class Plain:
    number: str
    seen: datetime | None = None


@attrs.define
class Attrs:
    number: str


class Struct(msgspec.Struct, rename="camel"):
    phone_number: str
    inner: Plain | None = None


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(serialize_by_alias=True)
    number: str = pydantic.Field(alias="phoneNumber")
    price: Decimal = Decimal("1.50")


class Lying(pydantic.BaseModel):
    number: float

    @pydantic.model_serializer
    def bare(self) -> float:
        return self.number


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        (None, b"null"),
        ((1, "é"), '[1,"é"]'.encode()),
        (Plain("7"), b'{"number":"7","seen":null}'),
        (Plain("7", datetime(2026, 1, 2, tzinfo=UTC)), b'{"number":"7","seen":"2026-01-02T00:00:00Z"}'),
        (Attrs("7"), b'{"number":"7"}'),
        (Struct("7", Plain("8")), b'{"phoneNumber":"7","inner":{"number":"8","seen":null}}'),
        (Model(phoneNumber="7"), b'{"phoneNumber":"7","price":"1.50"}'),
        ({"many": [Model(phoneNumber="7")]}, b'{"many":[{"phoneNumber":"7","price":"1.50"}]}'),
        (Colour.RED, b'"red"'),
        (UUID(int=7), b'"00000000-0000-0000-0000-000000000007"'),
    ],
)
def test_what_is_encoded(data: Any, encoded: bytes) -> None:
    assert encode_data(data) == encoded


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (NAN, "$"),
        ({"a": [1, INFINITE]}, "$.a[1]"),
        ({"a": -INFINITE}, "$.a"),
        ({1, 2}, "$"),
        ({"a": (frozenset(),)}, "$.a[0]"),
        ({1: "a"}, "$"),
        ({"a": {True: "a"}}, "$.a"),
        ({None: "a"}, "$"),
        (2**64, "$"),
        ([-(2**63) - 1], "$[0]"),
        ([Plain(NAN)], "$[0].number"),  # type: ignore[arg-type]
        (Struct(2**64), "$.phoneNumber"),  # type: ignore[arg-type]
        (Lying.model_construct(number=NAN), "$"),
    ],
)
def test_what_json_would_change_is_refused_by_its_path(data: Any, path: str) -> None:
    with pytest.raises(PayloadNotSerializable) as caught:
        encode_data(data)
    assert caught.value.path == path


@pytest.mark.parametrize("data", ["\ud800", {"a": "\udfff"}, {"\ud800": 1}, object(), 1j, lambda: None, Plain, [print]])
def test_what_json_does_not_have_is_refused(data: Any) -> None:
    with pytest.raises(PayloadNotSerializable):
        encode_data(data)


def test_a_circle_is_refused() -> None:
    circle: list[Any] = []
    circle.append({"a": circle})
    with pytest.raises(PayloadNotSerializable, match="circle"):
        encode_data(circle)
    plain = Plain("7")
    plain.seen = plain  # type: ignore[assignment]
    with pytest.raises(PayloadNotSerializable):
        encode_data(plain)


def test_depth_is_bounded() -> None:
    def nested(depth: int) -> Any:
        return [nested(depth - 1)] if depth else 7

    assert encode_json(nested(MAX_DEPTH)) == b"[" * MAX_DEPTH + b"7" + b"]" * MAX_DEPTH
    with pytest.raises(PayloadNotSerializable, match="deeper than 64"):
        encode_json(nested(MAX_DEPTH + 1))
    with pytest.raises(PayloadNotSerializable):
        encode_json(nested(500))


def test_size_is_bounded_after_encoding() -> None:
    assert len(encode_data("x" * (MAX_PAYLOAD - 2))) == MAX_PAYLOAD
    with pytest.raises(PayloadTooLarge) as caught:
        encode_data("é" * (MAX_PAYLOAD // 2))
    assert (caught.value.size, caught.value.limit) == (MAX_PAYLOAD + 2, MAX_PAYLOAD)


def test_a_refusal_does_not_show_the_data() -> None:
    with pytest.raises(PayloadNotSerializable) as caught:
        encode_data({"password": {"secret"}})
    assert "secret" not in str(caught.value)


# Who asked


@pytest.mark.parametrize(
    "data",
    [
        {"subAccountId": "sub", "userId": "user"},
        {"sub_account_id": "sub", "user_id": "user"},
        type("Data", (), {"sub_account_id": "sub", "user_id": "user"})(),
    ],
)
def test_who_asked_is_taken_from_the_data(data: Any) -> None:
    head = make_head("sms", "", 1, data, NOTHING_GIVEN)
    assert (head.sub_account_id, head.user_id) == ("sub", "user")
    head = make_head("sms", "", 1, data, NOTHING_GIVEN, user_id="other")
    assert (head.sub_account_id, head.user_id) == ("sub", "other")


@pytest.mark.parametrize("data", [None, 7, "x", {"userId": 7}, {"userId": ""}, []])
def test_data_that_does_not_say_who_asked(data: Any) -> None:
    assert make_head("sms", "", 1, data, NOTHING_GIVEN).user_id is None


@pytest.mark.parametrize("asked", [{"user_id": "x" * 129}, {"sub_account_id": "x" * 129}])
def test_heads_are_bounded(asked: dict[str, str]) -> None:
    with pytest.raises(PayloadTooLarge):
        make_head("sms", "", 1, None, NOTHING_GIVEN, **asked)
    with pytest.raises(PayloadTooLarge):
        make_head("sms", "x" * 257, 1, None, NOTHING_GIVEN)
