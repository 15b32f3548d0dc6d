"""The speed at which a worker sends, shared by all of its jobs."""

from __future__ import annotations

import asyncio
from typing import Final

from redqueue.errors import MissingExtra

try:
    from aiolimiter import AsyncLimiter
except ImportError as error:
    raise MissingExtra("sms", "sending no faster than allowed") from error

BURST: Final = 0.1
"""Seconds whose messages may go at once, so that a late timer costs no throughput."""


class Pace:
    """At most so many messages a second, on each event loop: a worker has one, and so has a child process.

    A leaky bucket of a tenth of a second: in any second at most 1.1 times the rate (at least one message) is let
    through.

    Args:
        rate: messages a second; None: as fast as it goes.
    """

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._limiters: dict[asyncio.AbstractEventLoop, AsyncLimiter] = {}

    def __reduce__(self) -> tuple[type[Pace], tuple[float | None]]:
        return Pace, (self.rate,)

    async def wait(self) -> None:
        """Return when one more message may go."""
        if self.rate is not None:
            await self._limiter(self.rate).acquire()

    def _limiter(self, rate: float) -> AsyncLimiter:
        loop = asyncio.get_running_loop()
        if (limiter := self._limiters.get(loop)) is None:
            for ended in [other for other in list(self._limiters) if other.is_closed()]:
                self._limiters.pop(ended, None)
            at_once = max(1.0, rate * BURST)
            limiter = self._limiters[loop] = AsyncLimiter(at_once, at_once / rate)
        return limiter
