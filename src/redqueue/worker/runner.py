"""Runs claimed jobs: opens the envelope, decodes the data, enters the function, decides what becomes of the job."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal

from redqueue.context import CURRENT, JobContext
from redqueue.core.codec import open_envelope
from redqueue.core.lease import Claimed
from redqueue.core.lifecycle import Fail, Interrupted, Outcome, Raised, RetryIn, RunRules, Settlement, SnoozeFor, decide
from redqueue.errors import JobCancelled, ResultNotSerializable, UnknownJobType
from redqueue.options import DEFAULT_BACKOFF
from redqueue.worker.executors.thread import Threads
from redqueue.worker.rulebook import Rulebook
from redqueue.worker.verdict import facts_of, raised, returned

if TYPE_CHECKING:
    from redqueue.registry.binding import Prepared
    from redqueue.worker.dispatch import Dispatch
    from redqueue.worker.pump import Pump
    from redqueue.worker.slots import Slots

Stopped = Literal["", "lost", "cancelled", "leaving"]
LONGEST_WAIT_FOR_A_NAME: Final = 15_000
NO_THREAD_MS: Final = 1_000

logger = logging.getLogger("redqueue.worker")


class Run:
    """One run of one job; what its context knows of it."""

    __slots__ = ("attempt", "claimed", "context", "entered", "prepared", "pump", "rules", "started", "stopped", "task")

    def __init__(self, pump: Pump, claimed: Claimed, prepared: Prepared, rules: RunRules) -> None:
        self.pump = pump
        self.claimed = claimed
        self.prepared = prepared
        self.rules = rules
        self.attempt = claimed.failed + 1
        self.started = 0.0
        self.stopped: Stopped = ""
        self.entered = False
        self.task: asyncio.Task[None] | None = None
        self.context: JobContext | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the run should stop."""
        return self.stopped != ""


class Runner:
    """The runs of one worker, over all of its queues."""

    def __init__(self, dispatch: Dispatch, rulebook: Rulebook, slots: Slots, unknown_grace_ms: int) -> None:
        self.on_settled: Callable[[Claimed, Settlement], None] | None = None
        self._dispatch = dispatch
        self._rulebook = rulebook
        self._slots = slots
        self._unknown_grace_ms = unknown_grace_ms
        self._runs: dict[Claimed, Run] = {}
        self._threads = Threads(slots.total)
        self._loop = asyncio.get_running_loop()
        # The end of one job starts the next: each begins with the worker's contextvars, not with those of that job.
        self._scope = contextvars.copy_context()
        self._ended: deque[tuple[Run, Settlement, float]] = deque()
        self._told = False
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self, pump: Pump, claimed: Claimed) -> None:
        """Run a job in a slot that was taken for it. Whatever is wrong with it concerns it alone."""
        try:
            run = self._prepare(pump, claimed)
        except Exception as error:
            self._settle_unstarted(pump, claimed, error)
            return
        self._runs[claimed] = run
        self._idle.clear()
        if run.prepared.binding.is_coroutine:
            run.task = self._loop.create_task(self._carry(run), context=self._scope.copy())
        else:
            self._submit(run)

    def _submit(self, run: Run) -> None:
        try:
            self._threads.submit(self._work_of(run))
        except RuntimeError as error:
            logger.error("job %s waits: %s", run.claimed.id, error)
            self._finish(run, SnoozeFor(NO_THREAD_MS, "its worker could start no thread"), None)

    def stop(self, claimed: Claimed, why: Stopped) -> None:
        """Tell a run to stop: coroutines are cancelled, plain functions see it in their context."""
        run = self._runs.get(claimed)
        if run is None or run.stopped == "lost":
            return
        first = not run.stopped
        run.stopped = why
        if first and run.task is not None and run.entered:
            run.task.cancel()

    def stop_all(self) -> None:
        """The worker's grace is over."""
        for claimed in list(self._runs):
            self.stop(claimed, "leaving")

    def abandon(self) -> list[Claimed]:
        """Forget the runs that ignored it, and give their jobs back: their threads can't be ended."""
        left = list(self._runs)
        for claimed in left:
            run = self._runs.pop(claimed)
            logger.error("job %s did not stop; it is given back, and its late outcome is not recorded", claimed.id)
            run.pump.release(claimed)
        self._idle.set()
        return left

    async def wait_idle(self) -> None:
        """Return when nothing runs."""
        await self._idle.wait()

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()

    def _prepare(self, pump: Pump, claimed: Claimed) -> Run:
        envelope = open_envelope(claimed.id, claimed.envelope)
        head = envelope.head
        prepared, given = self._dispatch.prepare(head.job_type, envelope.data)
        rules = self._rulebook.rules(pump, prepared.binding, head.given)
        run = Run(pump, claimed, prepared, rules)
        run.context = JobContext(
            run,
            pump.keys.queue,
            claimed.id,
            head.job_type,
            head.label,
            run.attempt,
            rules.retries,
            head.created_ms,
            head.sub_account_id,
            head.user_id,
            given,
        )
        return run

    async def _carry(self, run: Run) -> None:
        """A coroutine's run, in a task of its own. Nothing that it raises gets further than its job."""
        context = run.context
        assert context is not None
        CURRENT.set(context)
        started = perf_counter()
        run.entered = True  # a task that is cancelled before its first step never runs it
        try:
            if run.stopped:
                raise asyncio.CancelledError
            value = run.prepared.call(context)
            outcome = returned(await value)  # type: ignore[misc]  # the binding says that it is a coroutine
        except BaseException as error:
            settlement = self._judge(run, error)
            if isinstance(settlement, Fail) and isinstance(error, Exception):
                with _guard(run):
                    told = run.prepared.failed(error, context)
                    if inspect.isawaitable(told):
                        await told
        else:
            settlement = self._accept(run, outcome)
        self._finish(run, settlement, perf_counter() - started)

    def _work_of(self, run: Run) -> Callable[[], None]:
        """A plain function's run, for a thread that has the contextvars of the worker."""
        scope = self._scope.copy()

        def work() -> None:
            started = perf_counter()
            settlement = scope.run(self._call, run)
            self._ended.append((run, settlement, perf_counter() - started))
            if not self._told:
                self._told = True
                with contextlib.suppress(RuntimeError):  # given back over its head, and the loop has ended
                    self._loop.call_soon_threadsafe(self._finish_ended)

        return work

    def _call(self, run: Run) -> Settlement:
        context = run.context
        assert context is not None
        CURRENT.set(context)
        try:
            outcome = returned(run.prepared.call(context))
        except BaseException as error:
            settlement = self._judge(run, error)
            if isinstance(settlement, Fail) and isinstance(error, Exception):
                with _guard(run):
                    run.prepared.failed(error, context)
            return settlement
        return self._accept(run, outcome)

    def _finish_ended(self) -> None:
        """Several threads' ends share one call into the loop."""
        ended = self._ended
        self._told = False  # before the first look: what is appended later calls again
        for _ in range(len(ended)):
            run, settlement, seconds = ended.popleft()
            self._threads.done()
            self._finish(run, settlement, seconds)
        if ended and not self._told:
            self._told = True
            self._loop.call_soon(self._finish_ended)

    def _finish(self, run: Run, settlement: Settlement, seconds: float | None) -> None:
        if self._runs.pop(run.claimed, None) is None:
            return  # abandoned: given back already
        if not self._runs:
            self._idle.set()
        pump = run.pump
        if seconds is not None:
            pump.ran_for(seconds)
        if run.stopped == "lost":
            pump.drop(run.claimed)
        else:
            pump.settle(run.claimed, settlement, run.attempt, run.rules)
            if self.on_settled is not None:
                self.on_settled(run.claimed, settlement)
        self._slots.give_back(pump)

    def _judge(self, run: Run, error: BaseException) -> Settlement:
        """What becomes of a job whose run raised."""
        told = run.stopped and isinstance(error, asyncio.CancelledError | JobCancelled)
        outcome: Outcome = Interrupted() if told else raised(error, run.prepared.binding.options)
        settlement = self._decide(run, outcome)
        if not told:
            _log_failure(run, type(error).__name__, settlement)
        return settlement

    def _accept(self, run: Run, outcome: Outcome) -> Settlement:
        """What becomes of a job whose run returned: a value that can't be stored is a failure, too."""
        settlement = self._decide(run, outcome)
        if isinstance(outcome, Raised):
            _log_failure(run, ResultNotSerializable.__name__, settlement)
        return settlement

    def _decide(self, run: Run, outcome: Outcome) -> Settlement:
        draw = random.random()  # noqa: S311 - jitter, not a secret
        try:
            return decide(outcome, attempt=run.attempt, rules=run.rules, draw=draw)
        except Exception as wrong:
            logger.error("job %s: its backoff is no wait (%s); the default is used", run.claimed.id, wrong)
            plain = RunRules(run.rules.retries, DEFAULT_BACKOFF, run.rules.keep_completed, run.rules.keep_failed)
            return decide(outcome, attempt=run.attempt, rules=plain, draw=draw)

    def _settle_unstarted(self, pump: Pump, claimed: Claimed, error: Exception) -> None:
        """A job whose function was not entered: it waits for a worker that knows it, or fails."""
        rules = self._rulebook.default
        settlement: Settlement
        if isinstance(error, UnknownJobType) and (wait := self._wait_for_a_name(pump, claimed, str(error))) is not None:
            settlement = wait
        else:
            settlement = Fail(facts_of(error))
            name = type(error).__name__
            # The text is our own: it names paths and types, never a value.
            facts = {"queue": pump.keys.queue, "job_id": claimed.id, "attempt": claimed.failed + 1, "error": name}
            text = "job %s of queue %s failed without being run: %s: %s"
            logger.error(text, claimed.id, pump.keys.queue, name, error, extra=facts)
        pump.settle(claimed, settlement, claimed.failed + 1, rules)
        if self.on_settled is not None:
            self.on_settled(claimed, settlement)
        self._slots.give_back(pump)

    def _wait_for_a_name(self, pump: Pump, claimed: Claimed, why: str) -> SnoozeFor | None:
        """A snooze while a rolling deploy may still bring a worker that knows the name, else None."""
        waited = pump.redis_now_ms() - claimed.noted_ms if claimed.note == why else 0
        if waited >= self._unknown_grace_ms:
            return None
        logger.warning("job %s waits: %s", claimed.id, why)
        return SnoozeFor(min(LONGEST_WAIT_FOR_A_NAME, max(500, self._unknown_grace_ms // 10)), why)


@contextlib.contextmanager
def _guard(run: Run) -> Iterator[None]:
    """Around `on_failed`: the job's end is decided, whatever that raises."""
    try:
        yield
    except BaseException as broken:
        logger.error("job %s: on_failed raised %s", run.claimed.id, type(broken).__name__)


def _log_failure(run: Run, error: str, settlement: Settlement) -> None:
    # The text of the exception stays in the job's status: it may hold what must not be in a log.
    queue, job_id = run.pump.keys.queue, run.claimed.id
    facts = {"queue": queue, "job_id": job_id, "attempt": run.attempt, "error": error}
    words = (job_id, queue, run.prepared.binding.name, run.attempt, error)
    if isinstance(settlement, Fail):
        logger.error("job %s of queue %s (%s) failed at attempt %d: %s", *words, extra=facts)
    elif isinstance(settlement, RetryIn):
        logger.info("job %s of queue %s (%s) is run again after attempt %d: %s", *words, extra=facts)
