"""What users pass as a number or a time becomes an integer here, and nowhere else; times in milliseconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

from redqueue.errors import InvalidOption

LONGEST_MS: Final = 10 * 365 * 86_400_000
"""Ten years: longer waits are a mistake in units, and scores stay far below 2**53."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 2**42
_MILLISECOND: Final = timedelta(milliseconds=1)


def check_int(option: str, value: object, least: int, most: int) -> int:
    """The int itself, or InvalidOption: bools and floats are not ints."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidOption(option, f"{option} must be a whole number from {least:,} to {most:,}, not {shown(value)}")
    return value


def to_ms(option: str, value: object, *, at_least_ms: int = 0) -> int:
    """Milliseconds of a number of seconds or a timedelta, rounded up, so that a wait is never cut short.

    Raises:
        InvalidOption: not a finite number or timedelta, below the minimum, or longer than ten years.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool) and _finite(value):
        seconds = value
    else:
        raise InvalidOption(option, f"{option} must be a finite number of seconds or a timedelta, not {shown(value)}")
    if not at_least_ms <= seconds * 1000 <= LONGEST_MS:
        least = f"{at_least_ms / 1000:g}"
        raise InvalidOption(option, f"{option} must be from {least} seconds to ten years, not {shown(value)}")
    return math.ceil(round(seconds * 1000, 3))


def to_epoch_ms(option: str, value: object) -> int:
    """Milliseconds since 1970 of an aware datetime.

    Raises:
        InvalidOption: not a datetime, naive, before 1970, or after May 2109.
    """
    if not isinstance(value, datetime):
        raise InvalidOption(option, f"{option} must be a datetime, not {shown(value)}")
    if value.utcoffset() is None:
        raise InvalidOption(option, f"{option} must be an aware datetime; {value!r} has no time zone: add tzinfo=")
    ms = -((_EPOCH - value) // _MILLISECOND)  # rounded up, and exact, which a float of these seconds is not
    if not 0 <= ms <= _LAST_MS:
        raise InvalidOption(option, f"{option} must lie between 1970 and 2109, not {value.isoformat()}")
    return ms


def from_epoch_ms(ms: float) -> datetime:
    """The aware UTC datetime of a server's milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def shown(value: object) -> str:
    """A value as error messages quote it: short, whatever it is."""
    try:
        text = repr(value)
    except Exception:  # an int of more digits than Python prints, or a class whose repr fails
        return f"a {type(value).__name__} that can't be shown"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the floats
        return False
