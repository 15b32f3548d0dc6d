"""Calls under which somebody else closed the connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis.exceptions import ConnectionError, RedisClusterException

from redqueue.client.faults import CAUGHT
from redqueue.errors import RedQueueError

_VANISHED: Final = ("during iteration", "the handler is closed")

CUT: Final = "Connection closed by another call"
"""When redis-py finds a cluster's node gone, it closes connections under other calls, too, which then trip over it.

So do calls of a handle that another thread or task closes.
"""


def is_cut(error: Exception) -> bool:
    """Whether something vanished under a call: a connection's socket, or a node while it looked at all of them.

    What uvloop has closed under redis-py is a RuntimeError, also in the first steps of a new connection.
    """
    return isinstance(error, AttributeError) or any(part in str(error) for part in _VANISHED)


@contextmanager
def in_our_words(pool: Any) -> Iterator[None]:
    """What a pool's calls raise; it notes a cluster whose layout can't be learned any more."""
    try:
        yield
    except RedisClusterException:
        pool.lost = True
        raise
    except Exception as error:
        if isinstance(error, (*CAUGHT, RedQueueError)) or (pool.open and not is_cut(error)):
            raise
        raise ConnectionError(CUT) from error
