"""Connections that stay at hand between the calls of threads.

redis-py's pool locks, polls and counts for each call, which is half of what a call costs beyond its round trip.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

from redis.exceptions import ResponseError

RESTED_S: Final = 1.0
"""After so long a connection may have been closed at the other end: redis-py's pool looks before it is used again."""


class Kept:
    """The connections that threads have taken from one pool of redis-py's, as many as calls were on their way at once.

    They count as in use there, so that its limit holds.
    """

    __slots__ = ("_at_hand", "_pool")

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._at_hand: list[tuple[Any, float]] = []

    def execute(self, *words: Any) -> Any:
        """The answer to one command; raises what redis-py raises."""
        connection = self._take()
        try:
            connection.send_command(*words)
            answer = connection.read_response()
        except ResponseError:  # it is an answer, too
            self._at_hand.append((connection, monotonic()))
            raise
        except BaseException:
            connection.disconnect()
            self._pool.release(connection)
            raise
        self._at_hand.append((connection, monotonic()))
        return answer

    def hand_back(self) -> None:
        """Give the pool those that no call uses: somebody else wants one, or they are to be closed."""
        while (connection := self._pop(0.0)) is not None:
            self._pool.release(connection)

    def _take(self) -> Any:
        connection = self._pop(monotonic() - RESTED_S)
        return self._pool.get_connection() if connection is None else connection

    def _pop(self, used_since: float) -> Any:
        try:
            connection, used_at = self._at_hand.pop()
        except IndexError:
            return None
        if used_at < used_since:
            self._pool.release(connection)
            return None
        return connection
