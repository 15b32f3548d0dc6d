"""Whether Redis throws keys away when memory is short: one rule for the doctor and for a worker that starts."""

from __future__ import annotations

from typing import Final, NamedTuple

KEEPS_ALL: Final = "noeviction"


class Eviction(NamedTuple):
    """What is set, and what to do about it.

    Attributes:
        limited: there is a maxmemory, so it happens as soon as that is reached.
    """

    limited: bool
    says: str
    do: str


def judge(policy: str, maxmemory: int) -> Eviction | None:
    """What is wrong with a maxmemory-policy; None: it keeps all. A maxmemory of 0 is none."""
    if policy == KEEPS_ALL:
        return None
    return Eviction(
        maxmemory > 0,
        f"maxmemory-policy is {policy}: when memory is short, Redis throws jobs away",
        "CONFIG SET maxmemory-policy noeviction, and in the server's configuration",
    )
