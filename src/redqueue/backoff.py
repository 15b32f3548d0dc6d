"""How long a failed job waits before it runs again."""

from __future__ import annotations

import random
from typing import Annotated, Final, Protocol, TypeAlias, runtime_checkable

import msgspec

from redqueue.errors import InvalidOption, Seconds
from redqueue.units import LONGEST_MS, shown, to_ms

_TABLE_LENGTH: Final = 20
"""Waits asked of a producer's own Backoff when the job doesn't say how many retries it has."""


@runtime_checkable
class Backoff(Protocol):
    """Seconds to wait after failed attempt n (from 1); a plain number is the same wait each time."""

    def delay(self, attempt: int, /) -> Seconds:
        """The wait after the attempt with that number."""
        ...


class Exponential(msgspec.Struct, frozen=True):
    """``first * 2**(attempt - 1)`` up to ``cap``, of which ``jitter`` is the part left to chance.

    jitter 1 (full jitter) draws from 0 to the whole wait, 0.5 from its upper half, 0 not at all. Full jitter spreads a
    crowd of retries best: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    first: Seconds = 1
    cap: Seconds = 600
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0

    def delay(self, attempt: int, /) -> Seconds:
        """Seconds to wait after that attempt; drawn anew at each call."""
        return self.wait_ms(attempt, random.random()) / 1000  # noqa: S311 - spreading load, not a secret

    def wait_ms(self, attempt: int, draw: float) -> int:
        """The same with the chance given, 0 <= draw < 1."""
        whole = min(to_ms("backoff.first", self.first) << min(attempt - 1, 64), to_ms("backoff.cap", self.cap))
        return round(whole * (1 - self.jitter * draw))

    def check(self, option: str) -> None:
        """Raise InvalidOption when a field is out of bounds."""
        to_ms(f"{option}.first", self.first)
        to_ms(f"{option}.cap", self.cap)
        jitter = self.jitter
        if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= 1:
            raise InvalidOption(option, f"{option}.jitter must be from 0 to 1, not {shown(jitter)}")


Waits: TypeAlias = tuple[Annotated[int, msgspec.Meta(ge=0, le=LONGEST_MS)], ...] | Exponential
"""A backoff as a job carries it: milliseconds by attempt, the last one for all that follow, or an Exponential."""


def check_backoff(option: str, value: object) -> Backoff | Seconds:
    """The value itself when it is a backoff; InvalidOption when it isn't."""
    if isinstance(value, Exponential):
        value.check(option)
        return value
    if isinstance(value, Backoff) and not isinstance(value, type):
        return value
    to_ms(option, value)
    return value  # type: ignore[return-value]  # to_ms refuses all that isn't Seconds


def to_waits(option: str, value: Backoff | Seconds, retries: int | None) -> Waits:
    """A backoff as data. A class of the user's own is asked once for each of the job's retries.

    Raises:
        InvalidOption: it answered with something other than a wait.
    """
    if isinstance(value, Exponential):
        return value
    if isinstance(value, Backoff):
        attempts = range(1, (_TABLE_LENGTH if retries is None else min(retries, 100)) + 1)
        return tuple(to_ms(f"{option}.delay({n})", value.delay(n)) for n in attempts) or (0,)
    return (to_ms(option, value),)


def wait_ms(backoff: Backoff | Seconds | Waits, attempt: int, draw: float) -> int:
    """Milliseconds to wait after a failed attempt (from 1); `draw` in [0, 1) is its share of chance.

    Raises:
        InvalidOption: a backoff of the user's own answered with something other than a wait.
    """
    if isinstance(backoff, Exponential):
        return backoff.wait_ms(attempt, draw)
    if isinstance(backoff, tuple):
        return backoff[min(attempt, len(backoff)) - 1]
    if isinstance(backoff, Backoff):
        return to_ms(f"backoff.delay({attempt})", backoff.delay(attempt))
    return to_ms("backoff", backoff)
