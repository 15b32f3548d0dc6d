"""Looks for inconsistencies while everything is at work, in a thread of its own."""

from __future__ import annotations

import threading
import time
from typing import Final, Self

from redqueue import Queue
from redqueue.errors import RedQueueError

SHARE: Final = 0.2
"""Of the time: an audit of many jobs is much work for Redis, and the others want some of it, too."""
AT_LEAST_S: Final = 1.0


class Auditor:
    """A context manager that audits a queue again and again.

    Attributes:
        looks: how often it looked through everything.
        findings: what it found, each once.
    """

    def __init__(self, queue: str, url: str) -> None:
        self.looks = 0
        self.findings: list[str] = []
        self._queue = Queue(queue, url)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="auditor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._queue.close()

    def _look(self) -> None:
        pause = AT_LEAST_S
        while not self._over.wait(pause):
            began = time.monotonic()
            try:
                found = self._queue.audit()
                self.looks += 1
                self.findings += [one for one in found if one not in self.findings]
            except RedQueueError:
                pass  # Redis is away: that is what the scenario is about
            pause = max(AT_LEAST_S, (time.monotonic() - began) / SHARE)
