"""The lifecycle of a job as a table, and the verdict on a run."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeAlias, assert_never

import msgspec

from redqueue.backoff import Backoff, Waits, wait_ms
from redqueue.errors import Seconds
from redqueue.options import State


class Move(StrEnum):
    """What can happen to a job."""

    ADD = "add"
    DUE = "due"
    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    RETRY_NOW = "retry without a wait"
    SNOOZE = "snooze"
    RELEASE = "release"
    RECOVER = "recover"
    CRASH = "crash"
    CRASH_TOO_OFTEN = "crash too often"
    CANCEL = "cancel"
    EXPIRE = "expire"
    PROMOTE = "promote"
    RETRY_BY_HAND = "retry by hand"


TRANSITIONS: Final[Mapping[tuple[State, Move], State]] = MappingProxyType(
    {
        ("delayed", Move.DUE): "waiting",
        ("delayed", Move.PROMOTE): "waiting",
        ("delayed", Move.CANCEL): "cancelled",
        ("waiting", Move.CLAIM): "active",
        ("waiting", Move.CANCEL): "cancelled",
        ("waiting", Move.EXPIRE): "failed",
        ("active", Move.COMPLETE): "completed",
        ("active", Move.FAIL): "failed",
        ("active", Move.RETRY): "delayed",
        ("active", Move.RETRY_NOW): "waiting",
        ("active", Move.SNOOZE): "delayed",
        ("active", Move.RELEASE): "waiting",
        ("active", Move.RECOVER): "waiting",
        ("active", Move.CRASH): "waiting",
        ("active", Move.CRASH_TOO_OFTEN): "failed",
        ("completed", Move.RETRY_BY_HAND): "waiting",
        ("failed", Move.RETRY_BY_HAND): "waiting",
        ("cancelled", Move.RETRY_BY_HAND): "waiting",
    }
)
"""Every legal move; what is not here changes nothing. A job that retention drops, or that is removed, has no state."""


class RunRules(msgspec.Struct, frozen=True):
    """What decides a run's outcome: the job's options, else its processor's, else the worker's.

    Keeps are the words of the settle script: ``-`` by the list's rule, ``0`` dropped at once, else an age in ms. The
    job's own ``expires_in`` is Redis's affair; `expires_ms` is its processor's.
    """

    retries: int
    backoff: Backoff | Seconds | Waits
    keep_completed: str = "-"
    keep_failed: str = "-"
    timeout_ms: int | None = None
    expires_ms: int | None = None


class Complete(msgspec.Struct, frozen=True, gc=False):
    """The run returned."""

    result: bytes


class Fail(msgspec.Struct, frozen=True, gc=False):
    """The job is over, failed."""

    error: bytes


class RetryIn(msgspec.Struct, frozen=True, gc=False):
    """The attempt failed and another one is due."""

    delay_ms: int
    error: bytes


class SnoozeFor(msgspec.Struct, frozen=True, gc=False):
    """The job goes on later; no attempt is burned."""

    delay_ms: int
    note: str


class Release(msgspec.Struct, frozen=True, gc=False):
    """Back to its place in line: the run did not take place, or was interrupted, as the note says."""

    note: str = ""


INTERRUPTED: Final = "its last run was interrupted"
FOR_ANOTHER: Final = "waits for a worker that can run it: "
"""What the note of such a job begins with, whichever worker wrote it; lua/lib/again.lua knows it, too."""


class Crash(msgspec.Struct, frozen=True):
    """The process of the run died under it: back to its place in line, a crash of its own."""


Settlement: TypeAlias = Complete | Fail | RetryIn | SnoozeFor | Release | Crash


class Returned(msgspec.Struct, frozen=True, gc=False):
    """What a run ended in: a value, already encoded."""

    result: bytes


class Raised(msgspec.Struct, frozen=True, gc=False):
    """What a run ended in: an error, as data. `final` gives the other retries up; `after_ms` overrides the backoff."""

    error: bytes
    final: bool = False
    after_ms: int | None = None


class Snoozed(msgspec.Struct, frozen=True, gc=False):
    """What a run ended in: it asked to be run later."""

    after_ms: int
    note: str


class Interrupted(msgspec.Struct, frozen=True):
    """What a run ended in: it was told to stop."""


class Died(msgspec.Struct, frozen=True):
    """What a run ended in: its process died. `error` is for the crash that is one too many."""

    error: bytes
    last: bool


Outcome: TypeAlias = Returned | Raised | Snoozed | Interrupted | Died


def decide(outcome: Outcome, *, attempt: int, rules: RunRules, draw: float) -> Settlement:
    """What becomes of a job whose run ended so.

    Args:
        attempt: 1 + the failures counted before.
        draw: chance, 0 <= draw < 1, for the backoff's jitter.
    Raises:
        InvalidOption: a backoff of the user's own answered with something other than a wait.
    """
    match outcome:
        case Returned(result):
            return Complete(result)
        case Raised(error, final, after_ms):
            if final or attempt > rules.retries:
                return Fail(error)
            return RetryIn(wait_ms(rules.backoff, attempt, draw) if after_ms is None else after_ms, error)
        case Snoozed(after_ms, note):
            return SnoozeFor(after_ms, note)
        case Interrupted():
            return Release(INTERRUPTED)
        case Died(error, last):
            return Fail(error) if last else Crash()
        case _:
            assert_never(outcome)


def words_of(settlement: Settlement, *, attempt: int, rules: RunRules) -> tuple[str, Any]:
    """A settlement in the words of the settle script: its verdict, and the outcome's text."""
    match settlement:
        case Complete(result):
            return f"c 0 {rules.keep_completed} {attempt}", result
        case Fail(error):
            return f"f 0 {rules.keep_failed} {attempt}", error
        case RetryIn(delay_ms, error):
            return f"r {delay_ms} - {attempt}", error
        case SnoozeFor(delay_ms, note):
            return f"s {delay_ms} - {attempt}", note
        case Release(note):
            return f"l 0 - {attempt}", note
        case Crash():
            return f"k 0 - {attempt}", ""
        case _:
            assert_never(settlement)
