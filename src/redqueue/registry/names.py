"""What a name may look like, and how one that came from outside is shown."""

from __future__ import annotations

import unicodedata
from typing import Final

from redqueue.errors import InvalidName, RegistrationError
from redqueue.units import shown

MAX_NAME: Final = 128
_SHOWN: Final = 80


def check_name(kind: str, name: object) -> str:
    """The name of a service or task itself, so that a log shows it whole and no other name looks the same to Redis.

    Raises:
        InvalidName: not text of 1 to 128 printable characters in Unicode's composed form (NFC).
    """
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidName(f"a {kind} name is text of 1 to {MAX_NAME} printable characters, not {shown(name)}")
    if not unicodedata.is_normalized("NFC", name):
        raise InvalidName(f"the {kind} name {shown(name)} must be NFC-normalised: unicodedata.normalize('NFC', name)")
    return name


def check_method_name(service: str, name: object) -> str:
    """The name of a method that a job may call, itself.

    Raises:
        RegistrationError: private, or not the name of an attribute at all.
    """
    if not isinstance(name, str) or not name.isidentifier() or len(name) > MAX_NAME:
        raise RegistrationError(f"service {service!r}: {shown(name)} is not the name of a method")
    if name.startswith("_"):
        raise RegistrationError(
            f"service {service!r}: {name!r} is private, so no job may call it; give it a public name"
        )
    return name


def quoted(text: str, most: int = _SHOWN) -> str:
    """Text from outside, for a message: it can't forge a line or send a terminal a code, and is short."""
    quote = repr(text[: most + 1])
    return quote if len(quote) <= most + 2 else f"{quote[: most - 1]}..."


def escaped(text: str, most: int = 4 * _SHOWN) -> str:
    """The text itself, clipped, with what isn't printable escaped."""
    clipped = text if len(text) <= most else f"{text[: most - 3]}..."
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in clipped)
