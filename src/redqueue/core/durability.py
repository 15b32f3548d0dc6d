"""What an add may wait for beyond Redis's own answer: that a replica has what it wrote, or the server's disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from redqueue.errors import NotConfirmed
from redqueue.records import Durability

CONFIRM_MS: Final = 5000
"""How long Redis may take to confirm, unless the client's own time-out is shorter."""

QUESTIONS: Final[Mapping[Durability, tuple[str | int, ...]]] = MappingProxyType(
    {"replica": ("WAIT", 1), "fsync": ("WAITAOF", 1, 0)}
)
"""The command without its time-out. It asks about what its own connection wrote, and only about that."""

PROBES: Final[Mapping[Durability, tuple[str | int, ...]]] = MappingProxyType(
    {"replica": ("WAIT", 0, 1), "fsync": ("WAITAOF", 1, 0, 1)}
)
"""What is answered at once where the question may be asked, and refused where it may not."""

NEEDS: Final[Mapping[Durability, str]] = MappingProxyType(
    {
        "replica": "durability='replica' needs the command WAIT",
        "fsync": "durability='fsync' needs the command WAITAOF, of Redis 7.2 and of Valkey, and appendonly yes",
    }
)

_MISSING: Final[Mapping[Durability, str]] = MappingProxyType(
    {"replica": "no replica said that it has them", "fsync": "the disk was not said to have them"}
)


class Confirmation(NamedTuple):
    """The answer to a call that was to be confirmed, whether it was, and what Redis said when it refused to tell."""

    answer: Any
    given: bool
    why: str = ""


def strongest(asked: Collection[Durability]) -> Durability:
    """What a call waits for whose jobs ask for these. The disk counts for more than a replica's memory."""
    if "fsync" in asked:
        return "fsync"
    return "replica" if "replica" in asked else "memory"


def is_given(reply: Any) -> bool:
    """Whether the question's reply says yes: a number of replicas, or the pair of local and remote disks."""
    return bool(reply[0] if isinstance(reply, list) else reply)


def not_confirmed(durability: Durability, job_ids: tuple[str, ...], why: str) -> NotConfirmed:
    """The error for jobs that are stored all the same."""
    shown = ", ".join(job_ids[:3]) + (f" and {len(job_ids) - 3} more" if len(job_ids) > 3 else "")
    reason = f"Redis refused to tell: {why}" if why else f"in time {_MISSING[durability]}"
    return NotConfirmed(
        f"stored, and durability={durability!r} was not confirmed, since {reason}. The jobs ({shown}) run like any "
        "other; add again with the same job_id to ask again",
        durability=durability,
        job_ids=job_ids,
    )
