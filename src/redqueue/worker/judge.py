"""What becomes of a job whose run ended: the outcome, by the rules of the run, and a line in the log."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from redqueue.core.lease import ErrorFacts
from redqueue.core.lifecycle import (
    Complete,
    Crash,
    Died,
    Fail,
    Interrupted,
    Outcome,
    Raised,
    RetryIn,
    Returned,
    Settlement,
    Snoozed,
    SnoozeFor,
    decide,
)
from redqueue.errors import JobCancelled, JobFailed, ResultNotSerializable
from redqueue.options import DEFAULT_BACKOFF
from redqueue.records import AttemptEnded, AttemptOutcome
from redqueue.worker.verdict import facts_of, raised

if TYPE_CHECKING:
    from redqueue.worker.executors.process import Ending
    from redqueue.worker.run import Run

NO_CHILD_MS: Final = 1_000

logger = logging.getLogger("redqueue.worker")


class EndedInChild(JobFailed):
    """For middlewares: what a child process ended in. Let it pass, and what the child gave is what is recorded."""

    def __init__(self, run: Run, outcome: Outcome, error: str) -> None:
        facts = ErrorFacts(error, "")
        if isinstance(outcome, Raised | Died):
            facts = msgspec.json.decode(outcome.error, type=ErrorFacts)
        super().__init__(run.claimed.id, facts.type, facts.message, facts.traceback, run.attempt)
        self.outcome = outcome


def judge(run: Run, error: BaseException) -> Settlement:
    """Of a run that raised."""
    if run.stopped and isinstance(error, asyncio.CancelledError | JobCancelled):
        return stopped(run)
    if isinstance(error, EndedInChild):
        return settle(run, error.outcome, error.type)
    return settle(run, raised(error, run.prepared.binding.options), type(error).__name__)


def accept(run: Run, outcome: Outcome) -> Settlement:
    """Of a run that returned: a value that can't be stored is a failure, too."""
    if type(outcome) is Returned:
        return Complete(outcome.result)
    return settle(run, outcome, ResultNotSerializable.__name__)


def stopped(run: Run) -> Settlement:
    """Of a run that did what it was told, and stopped; or that was given up because it did not."""
    return settle(run, *_stop_outcome(run))


def in_child(run: Run, carry: Callable[[], Ending], max_crashes: int) -> tuple[Outcome, str]:
    """What a run in a child process ended in, and the class of its error."""
    try:
        ending = carry()
    except Exception as error:
        if run.stopped:
            return _stop_outcome(run)  # told to stop, it was killed
        logger.error("job %s of queue %s: %s", run.claimed.id, run.pump.keys.queue, error)
        from redqueue.worker.executors.child_process import ChildNotStarted  # only workers with such jobs need it

        if isinstance(error, ChildNotStarted):
            return Snoozed(NO_CHILD_MS, "its worker could start no child process"), ""
        return Died(facts_of(error), run.claimed.crashes + 1 >= max_crashes), type(error).__name__
    if run.stopped and ending.told_to_stop:
        return _stop_outcome(run)
    return ending.outcome, ending.error_type


def cause_of(run: Run, error: BaseException) -> Exception:
    """Why the job failed, for its `on_failed`, which knows exceptions only."""
    if run.stopped == "timeout" and isinstance(error, asyncio.CancelledError | JobCancelled):
        return _out_of_time(run)
    return error if isinstance(error, Exception) else RuntimeError(f"the function raised {type(error).__name__}")


def _stop_outcome(run: Run) -> tuple[Outcome, str]:
    if run.stopped != "timeout":
        return Interrupted(), ""
    error = _out_of_time(run)
    return raised(error, run.prepared.binding.options), type(error).__name__


def _out_of_time(run: Run) -> TimeoutError:
    assert run.rules.timeout_ms is not None
    return TimeoutError(f"the run took longer than its timeout of {run.rules.timeout_ms / 1000:g} s")


def settle(run: Run, outcome: Outcome, error: str = "") -> Settlement:
    """By the rules of the run; a failure is logged by the name of its error."""
    draw = random.random()  # noqa: S311 - jitter, not a secret
    try:
        settlement = decide(outcome, attempt=run.attempt, rules=run.rules, draw=draw)
    except Exception as wrong:
        logger.error("job %s: its backoff is no wait (%s); the default is used", run.claimed.id, wrong)
        plain = msgspec.structs.replace(run.rules, backoff=DEFAULT_BACKOFF)
        settlement = decide(outcome, attempt=run.attempt, rules=plain, draw=draw)
    if isinstance(outcome, (Raised, Died)) and not run.over:
        _log_failure(run, error, settlement)
    return settlement


def attempt_ended(run: Run, settlement: Settlement, run_ms: float) -> AttemptEnded:
    """The fact for hooks."""
    facts = run.facts
    error = getattr(settlement, "error", None)
    return AttemptEnded(
        queue=facts.queue,
        job_id=facts.job_id,
        job_type=facts.job_type,
        label=facts.label,
        attempt=run.attempt,
        outcome=_word(run, settlement),
        run_ms=run_ms,
        error_type=None if error is None else msgspec.json.decode(error)["type"],
    )


def _word(run: Run, settlement: Settlement) -> AttemptOutcome:
    match settlement:
        case Complete():
            return "completed"
        case Fail():
            return "failed"
        case RetryIn():
            return "retrying"
        case SnoozeFor():
            return "snoozed"
        case Crash():
            return "released"
        case _:
            return "cancelled" if run.stopped == "cancelled" else "released"


def _log_failure(run: Run, error: str, settlement: Settlement) -> None:
    # The text of the exception stays in the job's status: it may hold what must not be in a log.
    queue, job_id = run.pump.keys.queue, run.claimed.id
    facts = {"queue": queue, "job_id": job_id, "attempt": run.attempt, "error": error}
    words = (job_id, queue, run.prepared.binding.name, run.attempt, error)
    if isinstance(settlement, Fail):
        logger.error("job %s of queue %s (%s) failed at attempt %d: %s", *words, extra=facts)
    elif isinstance(settlement, RetryIn):
        logger.info("job %s of queue %s (%s) is run again after attempt %d: %s", *words, extra=facts)
