"""When running jobs are out of time.

One heap and one timer for all of them: a timer a job costs a third of the throughput.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Protocol


class Timed(Protocol):
    """What has a deadline; it may be moved, and is forgotten by setting it to None."""

    due: float | None


class Deadlines:
    """Calls back for what is due, on the event loop. What ended before is dropped when its time comes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[Timed], None]) -> None:
        self._loop = loop
        self._on_due = on_due
        self._heap: list[tuple[float, int, Timed]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def set(self, timed: Timed, seconds: float) -> None:
        """Call back in so many seconds, unless the deadline is moved or forgotten before."""
        timed.due = at = monotonic() + seconds
        heapq.heappush(self._heap, (at, next(self._order), timed))
        if self._timer is None or at < self._timer_at:
            self._arm(at)

    def close(self) -> None:
        """Call back for nothing any more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - monotonic(), 0), self._look)

    def _look(self) -> None:
        self._timer = None
        while self._heap and self._heap[0][0] <= monotonic():
            at, _, timed = heapq.heappop(self._heap)
            if timed.due == at:
                timed.due = None
                self._on_due(timed)
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        if self._heap and self._timer is None:
            self._arm(self._heap[0][0])
