"""Runs claimed jobs: opens the envelope, decodes the data, enters the function, hands back what became of the job.

Coroutines run as tasks on the worker's loop, plain functions in its threads, and those that ask for it in a child
process, whose pipe a thread of the worker's attends to.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from redqueue.context import CURRENT, JobFacts
from redqueue.core.codec import Head, open_envelope
from redqueue.core.lease import Claimed
from redqueue.core.lifecycle import Fail, Returned, Settlement, SnoozeFor
from redqueue.errors import JobExpired, UnknownJobType
from redqueue.registry.around import run_around
from redqueue.worker.deadlines import Deadlines, Timed
from redqueue.worker.executors.thread import Threads
from redqueue.worker.judge import EndedInChild, accept, attempt_ended, in_child, judge, settle, stopped
from redqueue.worker.rulebook import Rulebook
from redqueue.worker.run import Run, Stopped
from redqueue.worker.verdict import facts_of, returned

if TYPE_CHECKING:
    from redqueue.registry.around import AroundRun, Hooks
    from redqueue.worker.dispatch import Dispatch
    from redqueue.worker.executors.process import Children, Ending
    from redqueue.worker.pump import Pump
    from redqueue.worker.slots import Slots

LONGEST_WAIT_FOR_A_NAME: Final = 15_000
NO_THREAD_MS: Final = 1_000
STUCK_AFTER: Final = 5.0
"""Seconds for a run that was told to stop, before it is given up."""

logger = logging.getLogger("redqueue.worker")


class Runner:
    """The runs of one worker, over all of its queues.

    Attributes:
        on_settled: told of each outcome, in tests.
        on_stuck: called when more runs ignore that they were given up than the worker has slots.
        resources: what is injected, by type.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        rulebook: Rulebook,
        slots: Slots,
        *,
        unknown_grace_ms: int,
        max_crashes: int,
        middlewares: tuple[AroundRun, ...],
        hooks: Hooks,
        children: Callable[[], Children],
        on_stuck: Callable[[int], None],
    ) -> None:
        self.on_settled: Callable[[Claimed, Settlement], None] | None = None
        self.on_stuck = on_stuck
        self.resources: Mapping[Any, object] = {}
        self._dispatch = dispatch
        self._rulebook = rulebook
        self._slots = slots
        self._unknown_grace_ms = unknown_grace_ms
        self._max_crashes = max_crashes
        self._middlewares = middlewares
        self._hooks = hooks
        self._make_children = children
        self._children: Children | None = None
        self._runs: dict[Claimed, Run] = {}
        self._threads = Threads(slots.total)
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop, self._on_due)
        # The end of one job starts the next: each begins with the worker's contextvars, not with those of that job.
        self._scope = contextvars.copy_context()
        self._ended: deque[tuple[Run, Settlement, float]] = deque()
        self._told = False
        self._stuck: set[Run] = set()
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
        if run.rules.timeout_ms is not None:
            seconds = run.rules.timeout_ms / 1000
            self._deadlines.set(run, seconds)
            claimed.renew_until = time.monotonic() + seconds + 2 * STUCK_AFTER
        if self._middlewares or run.prepared.binding.execution == "loop":
            run.task = self._loop.create_task(self._carry(run), context=self._scope.copy())
        else:
            self._submit(run)

    def stop(self, claimed: Claimed, why: Stopped) -> None:
        """Tell a run to stop: coroutines are cancelled, others see it in their context."""
        run = self._runs.get(claimed)
        if run is None or run.stopped == "lost":
            return
        first = not run.stopped
        run.stopped = why
        execution = run.prepared.binding.execution
        if first and run.task is not None and run.entered and not run.in_thread:
            run.task.cancel()
        if run.child is not None:
            # One of them: a second exception would interrupt the cleaning up after the first.
            if why == "timeout":
                run.child.terminate()
            else:
                run.child.cancel()
        # Once: a renewal says again and again that the job is cancelled.
        if first and why != "leaving" and (execution != "thread" or why != "cancelled"):
            # A thread that goes on after a cancel may complete; nothing else holds its slot for ever.
            self._deadlines.set(run, STUCK_AFTER)

    def stop_all(self) -> None:
        """The worker's grace is over."""
        for claimed in list(self._runs):
            self.stop(claimed, "leaving")

    def abandon(self) -> None:
        """Give back the jobs of the runs that ignored it, over their heads: threads and stubborn tasks go on."""
        for claimed, run in list(self._runs.items()):
            logger.error("job %s did not stop; it is given back, and its late outcome is not recorded", claimed.id)
            if run.child is not None:
                run.child.kill()
            del self._runs[claimed]
            self._stuck.add(run)
            run.pump.release(claimed)
        self._idle.set()

    async def wait_idle(self) -> None:
        """Return when nothing runs."""
        await self._idle.wait()

    def close(self) -> None:
        """Let the threads and children end."""
        self._deadlines.close()
        self._threads.close()
        if self._children is not None:
            self._children.close()

    # -- beginning

    def _prepare(self, pump: Pump, claimed: Claimed) -> Run:
        envelope = open_envelope(claimed.id, claimed.envelope)
        head = envelope.head
        prepared, given = self._dispatch.prepare(head.job_type, envelope.data)
        rules = self._rulebook.rules(pump, prepared.binding, head.given)
        if rules.expires_ms is not None:
            _check_expiry(pump, claimed, head, rules.expires_ms)
        attempt = claimed.failed + 1
        facts = JobFacts(
            pump.keys.queue,
            claimed.id,
            head.job_type,
            head.label,
            attempt,
            rules.retries,
            claimed.fence,
            head.created_ms,
            None if rules.timeout_ms is None else time.time() * 1000 + rules.timeout_ms,
            head.sub_account_id,
            head.user_id,
            given,
        )
        return Run(pump, claimed, prepared, rules, facts)

    def _submit(self, run: Run) -> None:
        try:
            self._give_thread(run, self._work_of(run))
        except RuntimeError as error:
            logger.error("job %s waits: %s", run.claimed.id, error)
            self._finish(run, SnoozeFor(NO_THREAD_MS, "its worker could start no thread"), None)

    # -- on the loop

    async def _carry(self, run: Run) -> None:
        """A run in a task of its own. Nothing that it raises gets further than its job."""
        CURRENT.set(run.context)
        started = perf_counter()
        run.entered = True  # a task that is cancelled before its first step never runs it
        try:
            if run.stopped:
                raise asyncio.CancelledError
            outcome = returned(await self._enter(run))
        except BaseException as error:
            settlement = judge(run, error)
            if isinstance(settlement, Fail) and isinstance(error, Exception) and not isinstance(error, EndedInChild):
                with _guard(run):
                    await self._call_there(run, partial(run.prepared.failed, error, run.context))
        else:
            settlement = accept(run, outcome)
        self._finish(run, settlement, perf_counter() - started)

    def _enter(self, run: Run) -> Awaitable[object]:
        """The function, within its middlewares."""
        if not self._middlewares:  # the hot path: nothing is made that isn't used
            entered: Awaitable[object] = run.prepared.call(run.context, self.resources)  # type: ignore[assignment]
            return entered
        if run.prepared.binding.execution == "process":
            innermost = partial(self._in_thread, run, partial(self._call_in_child, run))
        else:
            innermost = partial(self._call_there, run, partial(run.prepared.call, run.context, self.resources))
        return run_around(self._middlewares, run.context, innermost)

    async def _call_there(self, run: Run, call: Callable[[], object]) -> object:
        """Call a part of the job where it belongs: what is async here, what is plain in a thread."""
        if not run.prepared.binding.is_coroutine:
            return await self._in_thread(run, call)
        called = call()
        return await called if inspect.isawaitable(called) else called

    async def _in_thread(self, run: Run, call: Callable[[], object]) -> object:
        """Call something plain in a thread, and hand value or error over to the loop."""
        answer: asyncio.Future[object] = self._loop.create_future()
        scope = contextvars.copy_context()

        def work() -> None:
            value: object = None
            error: BaseException | None = None
            try:
                value = scope.run(call)
            except BaseException as raised_there:
                error = raised_there
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._hand_over, run, answer, value, error)

        self._give_thread(run, work)
        return await answer

    def _hand_over(self, run: Run, answer: asyncio.Future[object], value: object, error: BaseException | None) -> None:
        self._count_out(run)
        if answer.done():
            return
        if error is None:
            answer.set_result(value)
        elif isinstance(error, Exception) and not isinstance(error, StopIteration):
            answer.set_exception(error)
        else:  # no future takes a StopIteration, and nothing of the others' kind shall end the loop
            answer.set_exception(RuntimeError(f"the function raised {type(error).__name__}: {error}"))

    # -- in threads

    def _work_of(self, run: Run) -> Callable[[], None]:
        """A run in a thread that has the contextvars of the worker."""
        scope = self._scope.copy()
        call = self._call if run.prepared.binding.execution == "thread" else self._call_child

        def work() -> None:
            started = perf_counter()
            settlement = scope.run(call, run)
            self._ended.append((run, settlement, perf_counter() - started))
            if not self._told:
                self._told = True
                with contextlib.suppress(RuntimeError):  # given back over its head, and the loop has ended
                    self._loop.call_soon_threadsafe(self._finish_ended)

        return work

    def _call(self, run: Run) -> Settlement:
        CURRENT.set(run.context)
        try:
            outcome = returned(run.prepared.call(run.context, self.resources))
        except BaseException as error:
            settlement = judge(run, error)
            if isinstance(settlement, Fail) and isinstance(error, Exception):
                with _guard(run):
                    run.prepared.failed(error, run.context)
            return settlement
        return accept(run, outcome)

    def _call_child(self, run: Run) -> Settlement:
        return settle(run, *in_child(run, partial(self._carried, run), self._max_crashes))

    def _call_in_child(self, run: Run) -> object:
        """For middlewares, which see a value or an error."""
        outcome, error = in_child(run, partial(self._carried, run), self._max_crashes)
        if isinstance(outcome, Returned):
            return msgspec.json.decode(outcome.result) if outcome.result else None
        raise EndedInChild(run, outcome, error)

    def _carried(self, run: Run) -> Ending:
        from redqueue.worker.executors.process import Assignment, ChildRun  # only workers with such jobs need it

        prepared = run.prepared
        if self._children is None:
            self._children = self._make_children()
        child = ChildRun(Assignment(prepared.binding.key, prepared.raw, run.facts, run.claimed.saved), run)
        run.child = child
        if run.stopped:
            child.cancel()
        return self._children.carry(child)

    # -- ending

    def _finish_ended(self) -> None:
        """Several threads' ends share one call into the loop."""
        ended_runs = self._ended
        self._told = False  # before the first look: what is appended later calls again
        for _ in range(len(ended_runs)):
            run, settlement, seconds = ended_runs.popleft()
            self._count_out(run)
            self._finish(run, settlement, seconds)
        if ended_runs and not self._told:
            self._told = True
            self._loop.call_soon(self._finish_ended)

    def _give_thread(self, run: Run, work: Callable[[], None]) -> None:
        self._threads.submit(work)
        run.in_thread = True

    def _count_out(self, run: Run) -> None:
        """A thread is free again; the one of a run that was given up is one too many."""
        run.in_thread = False
        if run in self._stuck:
            self._threads.retire_one()
        else:
            self._threads.done()

    def _finish(self, run: Run, settlement: Settlement, seconds: float | None) -> None:
        run.due = None
        self._stuck.discard(run)
        if self._runs.pop(run.claimed, None) is None:
            return  # given up: settled already
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
        if self._hooks.wants("attempt_end"):
            self._hooks.tell("attempt_end", attempt_ended(run, settlement, (seconds or 0) * 1000))
        self._slots.give_back(pump)

    def _on_due(self, timed: Timed) -> None:
        """A run is out of time, or ignored that it was told to stop."""
        assert isinstance(timed, Run)
        if not timed.stopped:
            self.stop(timed.claimed, "timeout")
        elif timed.child is not None:
            timed.child.kill()
        else:
            self._give_up(timed)

    def _give_up(self, run: Run) -> None:
        """Nothing ends it; it shall hold neither its slot nor its lease."""
        logger.error(
            "job %s of queue %s (%s) is stuck: told to stop (%s), it went on for %g s; its outcome is not recorded",
            run.claimed.id,
            run.pump.keys.queue,
            run.prepared.binding.name,
            run.stopped,
            STUCK_AFTER,
        )
        if run.in_thread:
            self._threads.replace_one()
        settlement = stopped(run)
        self._finish(run, settlement, None)
        self._stuck.add(run)
        if len(self._stuck) > self._slots.total:
            self.on_stuck(len(self._stuck))

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


def _check_expiry(pump: Pump, claimed: Claimed, head: Head, expires_ms: int) -> None:
    fresh = not (claimed.failed or claimed.crashes or claimed.note)
    if fresh and pump.redis_now_ms() > head.created_ms + expires_ms:
        raise JobExpired(f"nobody started it within the {expires_ms / 1000:g} s that its processor allows")


@contextlib.contextmanager
def _guard(run: Run) -> Iterator[None]:
    """Around `on_failed`: the job's end is decided, whatever that raises."""
    try:
        yield
    except BaseException as broken:
        logger.error("job %s: on_failed raised %s", run.claimed.id, type(broken).__name__)
