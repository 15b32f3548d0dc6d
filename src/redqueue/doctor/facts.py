"""What was seen, before anybody judges it, and what the judgement is made of. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redqueue.records import QueueStats

Level = Literal["ok", "hint", "warning", "error"]
"""A hint asks for nothing: something worth knowing, or what the user may not look at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what was looked at, one word.
        where: the server or the queue.
        says: what is there.
        do: what to do about it; empty when nothing is to be done.
        denied: the user may not look at it, or not at all of it.
    """

    level: Level
    check: str
    where: str
    says: str
    do: str = ""
    denied: bool = False


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server as it describes itself.

    Attributes:
        place: host and port, or the URL without its password.
        info: the answer to INFO; None: not allowed.
        config: settings by name; None: not allowed.
        ahead_s: its clock against the one here; None: not allowed.
        round_trip_s: how exact that is.
    """

    place: str
    info: Mapping[str, Any] | None
    config: Mapping[str, str] | None
    ahead_s: float | None
    round_trip_s: float


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """One queue. What may not be looked at is None.

    Attributes:
        format: of its layout, as stored; empty when nothing was added yet and no worker came.
        refused: why it can't be looked at at all, in words.
        late: running jobs whose lease ended more than a lease ago.
        due: delayed jobs that should have been in line for more than a lease.
        audit: what is inconsistent; None: not looked at.
        audit_denied: it was to be looked at.
    """

    name: str
    format: str | None = ""
    refused: str = ""
    stats: QueueStats | None = None
    lease_s: float = 30.0
    late: int | None = None
    due: int | None = None
    audit: Sequence[str] | None = None
    audit_denied: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was gathered.

    Attributes:
        strangers: keys under the prefix that belong to no queue, the first of them.
        stranger_count: how many there are.
        searched: whether the server's keys were looked through for queues; None: it was not allowed.
    """

    servers: Sequence[ServerFacts]
    queues: Sequence[QueueFacts]
    strangers: Sequence[str] = ()
    stranger_count: int = 0
    searched: bool | None = True
