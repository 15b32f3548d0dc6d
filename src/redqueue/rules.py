"""Rules that a queue follows by itself: how finished jobs are kept."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from redqueue.defaults import MAX_KEPT
from redqueue.errors import InvalidOption, Seconds
from redqueue.units import check_int, shown, to_ms


class Keep(msgspec.Struct, frozen=True):
    """How many and how long finished jobs stay; whichever is reached first trims. None is no limit of that kind.

    An option that takes a Keep also takes an int, which is a count, and a timedelta, which is an age.
    """

    count: int | None = None
    age: Seconds | None = None

    @classmethod
    def of(cls, option: str, value: object) -> Keep:
        """The Keep that an option's value means.

        Raises:
            InvalidOption: neither int, timedelta nor Keep, a negative count, an age out of bounds, or no limit at all.
        """
        if isinstance(value, timedelta):
            value = cls(age=value)
        elif isinstance(value, int):
            value = cls(count=value)
        if not isinstance(value, cls):
            raise InvalidOption(option, f"{option} must be a count, a timedelta or a Keep, not {shown(value)}")
        value._check(option)
        return value

    @property
    def limits(self) -> tuple[int, int]:
        """(count, age in ms), -1 for no limit: as the scripts take them."""
        count = -1 if self.count is None else self.count
        return count, -1 if self.age is None else to_ms("age", self.age)

    def _check(self, option: str) -> None:
        if self.count is None and self.age is None:
            raise InvalidOption(option, f"{option} must limit count or age: finished jobs kept for ever fill Redis")
        if self.age is not None:
            to_ms(f"{option}.age", self.age)
        if self.count is not None:
            check_int(option, self.count, 0, MAX_KEPT)
