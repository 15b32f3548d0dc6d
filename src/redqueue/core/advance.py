"""Letting time pass in a queue, for tests that don't want to wait."""

from __future__ import annotations

from functools import partial
from typing import Final

from redqueue.core.keys import Keys
from redqueue.core.script import Steps, load
from redqueue.core.steer import read_word

ADVANCE: Final = load("advance")

_TIMES: Final = ("delayed", "active", "completed", "failed", "cancelled", "expiring", "notes", "expires", "meta")
"""Keys that hold times to which something is due; `meta` has the end of a recovery's hold."""


def advance(keys: Keys, ms: int) -> Steps[None]:
    """Move due times, lease deadlines, finished times and expiries by `ms` into the past.

    Workers look by themselves: an idle one is woken for delayed jobs, leases are recovered at the next scan.
    """
    for name in _TIMES:
        cursor = "0"
        while True:
            call = ADVANCE.call(partial(read_word, ADVANCE), keys, wanted=name, cursor=cursor, ms=ms)
            cursor = yield call
            if cursor == "0":
                break
