"""Plain functions, in threads of our own.

Never asyncio's default pool, which also resolves host names: jobs that fill it would stop reconnecting. And never
concurrent.futures, whose threads are joined when the interpreter ends: one stuck job would keep the process alive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]


class Threads:
    """At most `limit` daemon threads, started when needed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._started = 0
        self._busy = 0

    def submit(self, work: Work) -> None:
        """Run it in a thread. It must not raise; called on the event loop only, at most `limit` at once."""
        self._busy += 1
        if self._busy > self._started and self._started < self._limit:
            self._started += 1
            name = f"redqueue-job-{self._started}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._work.put(work)

    def done(self) -> None:
        """One submitted work has ended; called on the event loop."""
        self._busy -= 1

    def close(self) -> None:
        """Let idle threads end, and the busy ones after their work."""
        for _ in range(self._started):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # an idle thread must not keep the last job's data alive
