"""Jobs whose function is not entered: too late, unreadable, or of a name that nobody here knows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from redqueue.core.codec import Head
from redqueue.core.lease import Claimed
from redqueue.core.lifecycle import FOR_ANOTHER, Fail, Settlement, SnoozeFor
from redqueue.core.seal import refuse_sealed
from redqueue.errors import JobExpired, UnknownJobType, UnknownSealKey
from redqueue.worker.verdict import facts_of

if TYPE_CHECKING:
    from redqueue.worker.pump import Pump

LONGEST_WAIT_FOR_A_NAME: Final = 15_000

logger = logging.getLogger("redqueue.worker")


def check_expiry(pump: Pump, claimed: Claimed, head: Head, expires_ms: int) -> None:
    """By what the job's processor allows; its own ``expires_in`` is Redis's affair.

    Raises:
        JobExpired: nobody started it in time.
    """
    started = claimed.failed or claimed.crashes or claimed.note  # or snoozed, or brought back by hand
    due_ms = head.given.at_ms or head.created_ms + head.given.delay_ms
    if not started and pump.redis_now_ms() > due_ms + expires_ms:
        raise JobExpired(f"nobody started it within the {expires_ms / 1000:g} s that its processor allows")


def settlement_of(pump: Pump, claimed: Claimed, error: BaseException, grace_ms: int) -> Settlement:
    """It waits for a worker that knows its name and has its key, or fails."""
    error = _if_sealed(pump, claimed, error)
    may_be_known = isinstance(error, UnknownJobType | UnknownSealKey)
    if may_be_known and (wait := _wait_for_a_name(pump, claimed, str(error), grace_ms)):
        return wait
    name = type(error).__name__
    # The text is our own: it names paths and types, never a value.
    facts = {"queue": pump.keys.queue, "job_id": claimed.id, "attempt": claimed.failed + 1, "error": name}
    text = "job %s of queue %s failed without being run: %s: %s"
    logger.error(text, claimed.id, pump.keys.queue, name, error, extra=facts)
    return Fail(facts_of(error))


def _wait_for_a_name(pump: Pump, claimed: Claimed, why: str, grace_ms: int) -> SnoozeFor | None:
    """A snooze while a rolling deploy may still bring a worker that knows the name, else None."""
    # Workers that know different names or keys take turns on it, and each has its own words for what it lacks.
    waited = pump.redis_now_ms() - claimed.noted_ms if claimed.note.startswith(FOR_ANOTHER) else 0
    if waited >= grace_ms:
        return None
    note = FOR_ANOTHER + why
    logger.warning("job %s %s", claimed.id, note)
    return SnoozeFor(min(LONGEST_WAIT_FOR_A_NAME, max(500, grace_ms // 10)), note)


def _if_sealed(pump: Pump, claimed: Claimed, error: BaseException) -> BaseException:
    """A worker without a key ring can't decode what is sealed, and says so."""
    if pump.keys.seal is None:
        try:
            refuse_sealed("data", claimed.id, claimed.envelope.partition(b"\n")[2])
        except UnknownSealKey as sealed:
            return sealed
    return error
