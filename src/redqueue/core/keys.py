"""The one maker of keys. Nobody else joins strings into one."""

from __future__ import annotations

from typing import Final

from redqueue.core.seal import QueueSeal
from redqueue.options import check_prefix, check_queue_name
from redqueue.seals import Seal

FIXED: Final = (
    "waiting",
    "delayed",
    "parked",
    "active",
    "leases",
    "tries",
    "notes",
    "cancels",
    "expires",
    "progress",
    "states",
    "logged",
    "completed",
    "failed",
    "cancelled",
    "expiring",
    "sessions",
    "meta",
    "wake",
    "events",
)
"""Keys that a queue has one of. Each has its line in docs/keys.md."""

FAMILIES: Final = ("job", "outcome", "log", "session", "inbox", "producer")
"""Keys that a queue has many of: ``<base><family>:<member>``."""


class Keys:
    """All keys of one queue. They share one hash tag, so one Cluster slot: ``<prefix>:{<queue>}:<suffix>``.

    Attributes:
        seal: how the jobs' contents under them are sealed; None: they are stored as they are.
    """

    __slots__ = ("_names", "base", "prefix", "queue", "seal")

    def __init__(self, queue: str, prefix: str, seal: Seal | None = None) -> None:
        self.queue = check_queue_name(queue)
        self.prefix = check_prefix(prefix)
        self.base = f"{prefix}:{{{queue}}}:"
        self._names = {name: self.base + name for name in FIXED}
        self.seal = None if seal is None else QueueSeal(seal, self.base)

    def __getitem__(self, name: str) -> str:
        """The fixed key of that name."""
        return self._names[name]

    def family(self, name: str) -> str:
        """What the keys of a family begin with: a script appends the member."""
        return f"{self.base}{name}:"

    def job(self, job_id: str) -> str:
        """Where a job's envelope is."""
        return f"{self.base}job:{job_id}"

    def session(self, session: str) -> str:
        """Where one start of one worker keeps what its lanes last did."""
        return f"{self.base}session:{session}"

    def inbox(self, session: str) -> str:
        """Where a session is told of jobs that it shall stop."""
        return f"{self.base}inbox:{session}"

    def log(self, job_id: str) -> str:
        """Where the lines are that a job's runs logged."""
        return f"{self.base}log:{job_id}"

    def producer(self, lane: str) -> str:
        """Where a producer's lane keeps its last answer."""
        return f"{self.base}producer:{lane}"
