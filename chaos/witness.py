"""Whether Redis itself forgot what it had acknowledged, told by a client that has nothing to do with redqueue.

With ``appendfsync everysec`` Redis puts a write off, for up to two seconds, while the disk is still busy with the last
fsync, and answers nevertheless. Killed in that moment it forgets what it answered, claims and outcomes included.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Final, Self

import redis
from chaos.ledger import EVERYBODY, Ledger, now_us
from redis.backoff import NoBackoff
from redis.retry import Retry

FORGOT: Final = "redis-forgot"
"""The fault that it notes: from the last write that was kept until Redis was back."""
KEY: Final = "chaos:witness"
EVERY_S: Final = 0.002
_REMEMBERED: Final = 20_000


class Witness:
    """A context manager that counts upwards in Redis, and notes when a number comes for the second time."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        self._client: Any = redis.Redis.from_url(url, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=5)
        self._ledger = ledger
        self._answers: deque[tuple[int, int]] = deque([(0, now_us())], maxlen=_REMEMBERED)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count, name="witness", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()

    def _count(self) -> None:
        while not self._over.is_set():
            try:
                self.take(self._client.incr(KEY), now_us())
            except redis.RedisError:
                time.sleep(0.01)  # it is being killed
            time.sleep(EVERY_S)

    def take(self, number: int, at: int) -> None:
        """One answer of Redis."""
        if number <= self._answers[-1][0]:
            while len(self._answers) > 1 and self._answers[-1][0] >= number:
                self._answers.pop()
            self._ledger.note("fault", FORGOT, EVERYBODY, self._answers[-1][1], at)
        self._answers.append((number, at))
