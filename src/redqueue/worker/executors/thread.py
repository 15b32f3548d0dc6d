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
        """Run it in a thread. It must not raise; called on the event loop only, at most `limit` at once.

        Raises:
            RuntimeError: the system gives no thread, and there is none yet that could run it.
        """
        if self._busy >= self._started and self._started < self._limit:
            self._start_one()
        self._busy += 1
        self._work.put(work)

    def _start_one(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"redqueue-job-{self._started + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # a limit of the system: those that run take over, one after the other
            if not self._started:
                raise
        else:
            self._started += 1

    def replace_one(self) -> None:
        """A thread is stuck: another one takes its place."""
        self._limit += 1

    def retire_one(self) -> None:
        """The stuck one came back: one is too many."""
        self._limit -= 1
        self._started -= 1
        self._busy -= 1
        self._work.put(None)

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
