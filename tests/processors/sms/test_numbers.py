"""Numbers as people write them."""

from __future__ import annotations

import asyncio

import pytest

from redqueue.errors import InvalidOption
from redqueue.processors.sms.numbers import AT_ONCE, BadNumber, check_region, read_contacts, read_number

from .conftest import numbers


@pytest.mark.parametrize(
    "written",
    [
        "+4915123456789",
        "0151 23456789",
        "0049 151 2345 6789",
        "(0151) 234-567 89",
        "tel:+49-151-23456789",
        " +49 151/23456789 ",
        "+٤٩١٥١٢٣٤٥٦٧٨٩",
    ],
)
def test_usual_notations_are_read_as_e164(written: str) -> None:
    assert read_number(written, "DE") == "+4915123456789"


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "not a phone number"),
        ("hello", "not a phone number"),
        ("+", "not a phone number"),
        ("+999123456789", "not a phone number"),
        ("12", "no such number"),
        ("+4915", "no such number"),
        ("+491512345678901234", "no such number"),
        ("+49 30 123456 ext. 7", "has an extension"),
        ("0" * 64, "not a phone number"),
        ("9" * 64, "not a phone number"),
    ],
)
def test_what_is_no_number_is_refused_with_the_reason(written: str, why: str) -> None:
    with pytest.raises(BadNumber, match=f"^{why}$"):
        read_number(written, "DE")


def test_a_national_number_needs_a_region() -> None:
    with pytest.raises(BadNumber, match="no country code"):
        read_number("0151 23456789", None)
    assert read_number("+4915123456789", None) == "+4915123456789"


def test_a_region_is_a_country() -> None:
    assert check_region("DE") == "DE"
    for wrong in ("de", "Germany", "XX", ""):
        with pytest.raises(InvalidOption, match="default_region"):
            check_region(wrong)


async def test_a_repeated_number_is_told_by_its_first_place() -> None:
    contacts = await read_contacts(["+4915123456789", "0151 23456789", "nobody", "nobody"], "DE")
    assert [contact.first for contact in contacts] == [0, 0, 2, 3]
    assert [contact.is_sent_to for contact in contacts] == [True, False, False, False]


async def test_reading_many_leaves_the_event_loop_its_turns() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await read_contacts(numbers(4 * AT_ONCE), None)
    task.cancel()
    assert turns >= 4
