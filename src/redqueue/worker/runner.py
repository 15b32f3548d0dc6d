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

from redqueue.context import CURRENT, JobContext, JobFacts
from redqueue.core.codec import open_envelope
from redqueue.core.lease import Claimed
from redqueue.core.lifecycle import INTERRUPTED, Fail, Release, Returned, Settlement, SnoozeFor
from redqueue.errors import LeaseLost, Snooze
from redqueue.registry.around import run_around
from redqueue.worker.deadlines import Deadlines, Timed
from redqueue.worker.executors.coroutine import Coroutines
from redqueue.worker.executors.thread import Threads
from redqueue.worker.judge import EndedInChild, accept, attempt_ended, cause_of, in_child, judge, settle, stopped
from redqueue.worker.rulebook import Rulebook
from redqueue.worker.run import Run, Stopped
from redqueue.worker.unstarted import check_expiry, settlement_of
from redqueue.worker.verdict import returned

if TYPE_CHECKING:
    from redqueue.registry.around import AroundRun, Hooks
    from redqueue.worker.dispatch import Dispatch
    from redqueue.worker.executors.process import Children, Ending
    from redqueue.worker.pump import Pump
    from redqueue.worker.slots import Slots

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
        self._tells_ends = hooks.wants("attempt_end")
        self._make_children = children
        self._children: Children | None = None
        self._runs: dict[Claimed, Run] = {}
        self._loop = asyncio.get_running_loop()
        self._threads = Threads(slots.total)
        self._coroutines = Coroutines(self._loop, self._carry)
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
            # By itself: a class's own check is the first of a job's code that runs.
            run = self._scope.copy().run(self._prepare, pump, claimed)
        except BaseException as error:  # which may raise anything
            self._settle_unstarted(pump, claimed, error)
            return
        self._runs[claimed] = run
        self._idle.clear()
        if run.rules.timeout_ms is not None:
            seconds = run.rules.timeout_ms / 1000
            self._deadlines.set(run, seconds)
            claimed.renew_until = time.monotonic() + seconds + 2 * STUCK_AFTER
        if self._middlewares or run.prepared.binding.execution == "loop":
            self._coroutines.enter(run)
        else:
            self._submit(run)

    def stop(self, claimed: Claimed, why: Stopped) -> None:
        """Tell a run to stop: coroutines are cancelled, others see it in their context."""
        run = self._runs.get(claimed)
        # The first word counts, however often it is said again; but what lost its lease has nothing to say any more.
        if run is None or run.stopped == "lost" or (run.stopped and why != "lost"):
            return
        if not run.stopped:
            self._deadlines.forget(run)
            self._interrupt(run, why)
        run.stopped = why
        # A thread that goes on after a cancel may complete; nothing else holds its slot for ever.
        if run.due is None and why != "leaving" and (run.prepared.binding.execution != "thread" or why != "cancelled"):
            self._deadlines.set(run, STUCK_AFTER)

    def _interrupt(self, run: Run, why: Stopped) -> None:
        """Once: a second exception would interrupt the cleaning up after the first."""
        if run.task is not None and run.entered and not run.in_thread:
            run.task.cancel()
        if run.child is not None and why == "timeout":
            run.child.terminate()
        elif run.child is not None:
            run.child.cancel()

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
            run.over = True
            self._stuck.add(run)
            run.pump.settle(claimed, run.decided or Release(INTERRUPTED), run.attempt, run.rules)
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
        if pump.keys.seal is not None:
            pump.keys.seal.open_claimed(claimed)
        envelope = open_envelope(claimed.id, claimed.envelope)
        head = envelope.head
        prepared, given = self._dispatch.prepare(head.job_type, envelope.data)
        rules = self._rulebook.rules(pump, prepared.binding, head.given)
        if rules.expires_ms is not None:
            check_expiry(pump, claimed, head, rules.expires_ms)
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
        return Run(pump, claimed, prepared, rules, facts, attempt)

    def _submit(self, run: Run) -> None:
        try:
            self._give_thread(run, self._work_of(run))
        except RuntimeError as error:
            logger.error("job %s waits: %s", run.claimed.id, error)
            self._finish(run, SnoozeFor(NO_THREAD_MS, "its worker could start no thread"), None)

    # -- on the loop

    async def _carry(self, run: Run) -> None:
        """A run in a task of its own. Nothing that it raises gets further than its job."""
        context = JobContext(run, run.facts)  # not held by the run: a circle a job is work for the garbage collector
        CURRENT.set(context)
        started = perf_counter()
        run.entered = True  # a task that is cancelled before its first step never runs it
        try:
            if run.claimed.renew_until < time.monotonic():
                run.stopped = "timeout"  # what held the loop up also kept it from being told
            if run.stopped:
                raise asyncio.CancelledError
            outcome = returned(await self._enter(run, context))
        except BaseException as error:
            settlement = judge(run, error)
            cause = self._cause_to_tell(run, settlement, error)
            if cause is not None:
                with _guard(run):
                    await self._call_there(run, partial(run.prepared.failed, cause, context))
        else:
            settlement = accept(run, outcome)
        self._finish(run, settlement, perf_counter() - started)

    def _enter(self, run: Run, context: JobContext) -> Awaitable[object]:
        """The function, within its middlewares."""
        if not self._middlewares:  # the hot path: nothing is made that isn't used
            entered: Awaitable[object] = run.prepared.call(context, self.resources)  # type: ignore[assignment]
            return entered
        if run.prepared.binding.execution == "process":
            innermost = partial(self._in_thread, run, partial(self._call_in_child, run))
        else:
            innermost = partial(self._call_there, run, partial(run.prepared.call, context, self.resources))
        return run_around(self._middlewares, context, innermost)

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

        try:
            self._give_thread(run, work)
        except RuntimeError as error:
            raise Snooze(NO_THREAD_MS / 1000, f"its worker could start no thread: {error}") from error
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
        context = JobContext(run, run.facts)
        CURRENT.set(context)
        try:
            outcome = returned(run.prepared.call(context, self.resources))
        except BaseException as error:
            settlement = judge(run, error)
            cause = self._cause_to_tell(run, settlement, error)
            if cause is not None:
                with _guard(run):
                    run.prepared.failed(cause, context)
            return settlement
        return accept(run, outcome)

    def _cause_to_tell(self, run: Run, settlement: Settlement, error: BaseException) -> Exception | None:
        """What `on_failed` is told; None: this is not the end of the job, or not for this run to say."""
        if not isinstance(settlement, Fail) or run.stopped == "lost" or run.over:
            return None
        if isinstance(error, EndedInChild | LeaseLost):
            return None  # the child called it; or another run has the job
        run.decided = settlement  # whatever becomes of the telling
        return cause_of(run, error)

    def _call_child(self, run: Run) -> Settlement:
        return settle(run, *in_child(run, partial(self._carried, run), self._max_crashes))

    def _call_in_child(self, run: Run) -> object:
        """For middlewares, which see a value or an error."""
        outcome, error = in_child(run, partial(self._carried, run), self._max_crashes)
        if isinstance(outcome, Returned):
            return msgspec.json.decode(outcome.result) if outcome.result else None
        raise EndedInChild(run, outcome, error)

    def _carried(self, run: Run) -> Ending:
        # Only workers with such jobs need it.
        from redqueue.worker.executors.process import MAKING, Assignment, ChildRun

        prepared = run.prepared
        with MAKING:
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
        if run.replaced:
            run.replaced = False
            self._threads.retire_one()
        else:
            self._threads.done()

    def _finish(self, run: Run, settlement: Settlement, seconds: float | None) -> None:
        if run.due is not None:
            self._deadlines.forget(run)
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
        self._slots.give_back(pump)
        if self._tells_ends:
            self._hooks.tell("attempt_end", attempt_ended(run, settlement, (seconds or 0) * 1000))

    def _on_due(self, timed: Timed) -> None:
        """A run is out of time, or ignored that it was told to stop."""
        assert isinstance(timed, Run)
        if not timed.stopped:
            self.stop(timed.claimed, "timeout")
        elif timed.child is not None:
            timed.child.kill()
            timed.child = None
            self._deadlines.set(timed, STUCK_AFTER)  # for the thread that attends to it, and for middlewares
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
            run.replaced = True
            self._threads.replace_one()
        self._finish(run, run.decided or stopped(run), None)
        run.over = True
        if run.task is not None:
            run.task.cancel()
        self._stuck.add(run)
        if len(self._stuck) > self._slots.total:
            self.on_stuck(len(self._stuck))

    def running(self) -> list[Run]:
        """What runs now; from any thread."""
        return list(self._runs.values())

    def runs(self, claimed: Claimed) -> bool:
        """Whether the job runs here, and was not given up."""
        return claimed in self._runs

    def _settle_unstarted(self, pump: Pump, claimed: Claimed, error: BaseException) -> None:
        """A job whose function was not entered: it waits for a worker that knows it, or fails."""
        settlement = settlement_of(pump, claimed, error, self._unknown_grace_ms)
        pump.settle(claimed, settlement, claimed.failed + 1, self._rulebook.default)
        if self.on_settled is not None:
            self.on_settled(claimed, settlement)
        self._slots.give_back(pump)


@contextlib.contextmanager
def _guard(run: Run) -> Iterator[None]:
    """Around `on_failed`: the job's end is decided, whatever that raises."""
    try:
        yield
    except BaseException as broken:
        logger.error("job %s: on_failed raised %s", run.claimed.id, type(broken).__name__)
