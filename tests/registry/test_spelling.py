"""A shape's own fields may be spelled either way; what lies within them is nobody's to respell."""

from __future__ import annotations

from typing import Any

import pytest

from redqueue.errors import InvalidArguments
from redqueue.registry.decoding import decoder_of
from redqueue.shapes import SmsJobData

decode = decoder_of("send", SmsJobData)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"subAccountId": "s", "phoneNumbers": ["1"], "message": "m"}',
        b'{"sub_account_id": "s", "phone_numbers": ["1"], "message": "m"}',
        b'{"sub_account_id": "s", "phoneNumbers": ["1"], "message": "m"}',
    ],
)
def test_either_spelling_is_taken(raw: bytes) -> None:
    assert decode(raw) == SmsJobData(sub_account_id="s", phone_numbers=["1"], message="m")


def test_what_lies_within_a_field_stays_as_it_is() -> None:
    metadata: dict[str, Any] = {"user_id": 1, "userId": 2, "big": [{"sub_account_id": None}]}
    data = decode(
        b'{"sub_account_id": "s", "phone_numbers": ["1"], "message": "m",'
        b' "metadata": {"user_id": 1, "userId": 2, "big": [{"sub_account_id": null}]}}'
    )
    assert data.metadata == metadata


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (
            b'{"sub_account_id": "s", "subAccountId": "t", "phoneNumbers": ["1"], "message": "m"}',
            "send: $: 'subAccountId' is given twice, also as 'sub_account_id': keep one",
        ),
        (
            b'{"sub_account_id": "s", "phone_numberz": ["1"], "message": "m"}',
            "send: $: unknown field 'phone_numberz'",
        ),
        (b'{"sub_account_id": "s", "phone_numbers": [1], "message": "m"}', "send: $.phoneNumbers[0]: expected `str`"),
        (b'{"sub_account_id": "s"', "send: $: "),
        (b"[]", "send: $: expected `object`"),
    ],
)
def test_a_refusal_names_the_field(raw: bytes, problem: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        decode(raw)
    assert str(refused.value).startswith(problem)
