"""Jobs of one queue that are claimed and not started."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from redqueue.core.lease import Claimed

STALE_AFTER_S: Final = 1.0


class Backlog(deque[Claimed]):
    """In order. Those that long jobs keep from starting are found out, so that an idle worker can have them.

    Args:
        on_stale: given those that waited for one to two seconds; they are no more in here.
    """

    def __init__(self, on_stale: Callable[[list[Claimed]], None]) -> None:
        super().__init__()
        self._on_stale = on_stale
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Look after them, as long as there are any: an idle worker has no timer."""
        if self and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(STALE_AFTER_S, self._look, set(self))

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, seen: set[Claimed]) -> None:
        self._timer = None
        stale = [run for run in self if run in seen]
        if stale:
            fresh = [run for run in self if run not in seen]
            self.clear()
            self.extend(fresh)
            self._on_stale(stale)
        self.watch()
