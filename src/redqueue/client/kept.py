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
            self._drop(connection)
            raise
        self._at_hand.append((connection, monotonic()))
        return answer

    def drop_all(self) -> None:
        """Close those that no call uses."""
        while self._at_hand:
            try:
                connection, _ = self._at_hand.pop()
            except IndexError:  # another thread took it
                return
            self._drop(connection)

    def _take(self) -> Any:
        try:
            connection, used_at = self._at_hand.pop()
        except IndexError:
            return self._pool.get_connection()
        if monotonic() - used_at < RESTED_S:
            return connection
        self._pool.release(connection)
        return self._pool.get_connection()

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        self._pool.release(connection)
