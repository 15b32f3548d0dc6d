"""Phone numbers as people write them, read into E.164."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redqueue.errors import InvalidOption, MissingExtra
from redqueue.units import shown

try:
    import phonenumbers
    from phonenumbers import NumberParseException, PhoneNumberFormat
except ImportError as error:
    raise MissingExtra("sms", "reading phone numbers") from error

AT_ONCE: Final = 25
"""Numbers read before the event loop has its turn: about 3 ms."""

LONGEST: Final = 16
"""A plus and the 15 digits of E.164 (ITU-T E.164, 6.2.1)."""


class BadNumber(Exception):
    """Nothing can be sent to it; the text says why, without the number."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One entry of a job's phone numbers.

    Attributes:
        place: its index in the job.
        to: in E.164; of a bad one, what the job says.
        error: what is wrong with it; None: nothing.
        first: the place at which the same number stands first; its own, if it is that one.
    """

    place: int
    to: str
    error: str | None
    first: int

    @property
    def is_sent_to(self) -> bool:
        """Whether a message goes out for this entry."""
        return self.error is None and self.first == self.place


def check_region(region: str | None) -> str | None:
    """A region as phonenumbers knows it: two capital letters of ISO 3166-1, as in "DE".

    Raises:
        InvalidOption: there is none of that name.
    """
    if region is None or region in phonenumbers.SUPPORTED_REGIONS:
        return region
    raise InvalidOption(
        "default_region", f'default_region must be a country as in "DE" (ISO 3166-1), not {shown(region)}'
    )


def read_number(text: str, region: str | None) -> str:
    """A number in any usual notation, as E.164.

    Args:
        region: where a number without a country code belongs.
    Raises:
        BadNumber: no number, one that can't exist, or one with an extension.
    """
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException as error:
        if region is None and error.error_type == NumberParseException.INVALID_COUNTRY_CODE:
            raise BadNumber("no country code") from None
        raise BadNumber("not a phone number") from None
    if number.extension:
        raise BadNumber("has an extension")
    if not phonenumbers.is_valid_number(number):
        raise BadNumber("no such number")
    written = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    if len(written) > LONGEST:
        raise BadNumber("longer than E.164")
    return written


async def read_contacts(texts: Sequence[str], region: str | None) -> list[Contact]:
    """All entries of a job, in its order. 10,000 take about a second, of which others on the loop have a part."""
    contacts: list[Contact] = []
    seen: dict[str, int] = {}
    for place, text in enumerate(texts):
        if place % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
        try:
            to = read_number(text, region)
        except BadNumber as error:
            contacts.append(Contact(place, text, str(error), place))
        else:
            contacts.append(Contact(place, to, None, seen.setdefault(to, place)))
    return contacts
