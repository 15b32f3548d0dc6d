"""When running jobs are out of time.

One heap and one timer for all of them: a timer a job costs a third of the throughput.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Final, Protocol

_FEW: Final = 64
"""Forgotten deadlines that aren't worth looking for."""


class Deadline:
    """One in the heap, which can't let go of what lies in its middle: a forgotten one holds nothing."""

    __slots__ = ("at", "timed")

    def __init__(self, at: float, timed: Timed) -> None:
        self.at = at
        self.timed: Timed | None = timed


class Timed(Protocol):
    """What has a deadline, or None."""

    due: Deadline | None


class Deadlines:
    """Calls back for what is due, on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[Timed], None]) -> None:
        self._loop = loop
        self._on_due = on_due
        self._heap: list[tuple[float, int, Deadline]] = []
        self._forgotten = 0
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, timed: Timed, seconds: float) -> None:
        """Call back in so many seconds, unless the deadline is moved or forgotten before."""
        self.forget(timed)
        at = monotonic() + seconds
        timed.due = Deadline(at, timed)
        heapq.heappush(self._heap, (at, next(self._order), timed.due))
        self._arm()

    def forget(self, timed: Timed) -> None:
        """Don't call back."""
        if timed.due is None:
            return
        timed.due.timed = None
        timed.due = None
        self._forgotten += 1
        if self._forgotten > _FEW and 2 * self._forgotten > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].timed is not None]
            heapq.heapify(self._heap)
            self._forgotten = 0

    def close(self) -> None:
        """Call back for nothing any more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        """Let the timer go off for the first of the heap at the latest."""
        if not self._heap:
            return
        at = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - monotonic(), 0), self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            while self._heap and (self._heap[0][2].timed is None or self._heap[0][0] <= monotonic()):
                timed = heapq.heappop(self._heap)[2].timed
                if timed is None:
                    self._forgotten -= 1
                else:
                    timed.due = None
                    self._on_due(timed)
        finally:
            self._arm()
