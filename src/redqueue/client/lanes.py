"""Where this process's numbered calls go: a lane has one call on its way at a time, and its numbers only grow.

The server keeps each lane's last number and answer, so a call sent again on its lane changes nothing.
"""

from __future__ import annotations

import os
from itertools import count

from redqueue.client.ids import fresh_ids


class Producer:
    """One process as the server tells it apart: an id of chance, one counter, and a stack of lanes.

    All queues of the process share it, so that the server keeps as many records a queue as calls were ever on their
    way at once, however many handles come and go. Taking and giving back are safe from any thread.
    """

    __slots__ = ("_free", "_lanes", "id", "numbers", "pid")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.id = fresh_ids(1)[0]
        self.numbers = count(1)
        self._lanes = count()
        self._free: list[str] = []

    def take(self) -> str:
        """A lane that no other call uses; give it back when its call was answered, and not otherwise."""
        try:
            return self._free.pop()
        except IndexError:
            return f"{self.id}:{next(self._lanes)}"

    def give_back(self, lane: str) -> None:
        """The lane's call was answered, so it may carry the next one."""
        self._free.append(lane)


_ours = Producer()


def producer() -> Producer:
    """This process's. A forked child draws one of its own: it must not use its parent's lanes."""
    global _ours
    if _ours.pid != os.getpid():
        _ours = Producer()
    return _ours
