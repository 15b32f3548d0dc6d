"""Time that passes at once, in one queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redqueue.core import advance as core
from redqueue.errors import Seconds
from redqueue.units import to_ms

if TYPE_CHECKING:
    from redqueue.client.aio.queue import AsyncQueue
    from redqueue.client.sync.queue import Queue


def advance(queue: Queue, seconds: Seconds) -> None:
    """Let time pass for all that a queue has stored: due times, leases, the ages of finished jobs.

    Nothing waits. Idle workers look at once for jobs that are due now; leases that ended are recovered at the next
    scan, a third of a lease away at most.

    Raises:
        InvalidOption: seconds are negative, not finite, or more than ten years.
    Cost: a round trip for each 1,000 jobs, eight at least.
    """
    queue._runner.run_steps(core.advance(queue._keys, to_ms("seconds", seconds)))


async def advance_async(queue: AsyncQueue, seconds: Seconds) -> None:
    """`advance` for an AsyncQueue."""
    await queue._runner.run_steps(core.advance(queue._keys, to_ms("seconds", seconds)))
