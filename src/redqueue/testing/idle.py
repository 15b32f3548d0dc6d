"""Running a worker's jobs in a test until nothing is left to do, without waiting for what is not due yet."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from redqueue.client.aio.runner import AsyncRunner
from redqueue.client.transport import AsyncTransport
from redqueue.client.urls import parse
from redqueue.core import inspect, lease
from redqueue.core.advance import advance
from redqueue.core.lease import Claimed, ErrorFacts
from redqueue.core.lifecycle import Complete, Fail, Release, RetryIn, Settlement, SnoozeFor
from redqueue.errors import ConfigurationError, JobFailed, RedQueueError, Seconds
from redqueue.units import to_ms

if TYPE_CHECKING:
    from redqueue.worker.worker import Worker

MOST_SNOOZES: Final = 200
"""Of one job, after which it is taken to snooze for ever."""

STEP_MS: Final = 1000
"""Jobs that are due within one second of each other come due together."""


class NeverIdle(RedQueueError):
    """A worker's queues did not become idle; the message names what runs on, waits or snoozes."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the runs of one `run_until_idle`.

    Attributes:
        completed, failed: jobs that ended so; failed ones have used up their retries.
        retried: runs that failed and were due again.
        snoozed: runs that asked to be run later.
        cancelled: runs that were stopped because somebody cancelled their job.
        recovered: jobs taken back from workers that died with them.
        failures: one for each failed job, in the order in which they failed.
    """

    completed: int
    failed: int
    retried: int
    snoozed: int
    cancelled: int
    recovered: int
    failures: tuple[JobFailed, ...]


def run_until_idle(worker: Worker, *, raise_failed: bool = False, timeout: Seconds = 30) -> Report:
    """Run what the worker's queues hold, and what that adds to them, until nothing waits, runs or is delayed.

    Nothing is waited for: when only delayed jobs are left, time passes at once in all of the worker's queues, so they
    run in the order in which they are due. A name that isn't registered fails its job at once. Nobody else should work
    on these queues meanwhile: another worker's leases end when time passes.

    Args:
        worker: not at work; its options count, but for `burst` and `unknown_grace`.
        raise_failed: raise what failed instead of reporting it.
        timeout: seconds for all of it.
    Raises:
        JobFailed: with raise_failed, the job that failed.
        ExceptionGroup: with raise_failed, of JobFailed, when several did.
        NeverIdle: after the timeout, when a queue is paused, or when a job snoozes 200 times.
        ConfigurationError: called while an event loop runs in this thread; await `run_until_idle_async` there.
    """
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise ConfigurationError("an event loop runs in this thread: await run_until_idle_async(...) instead")
    return asyncio.run(run_until_idle_async(worker, raise_failed=raise_failed, timeout=timeout))


async def run_until_idle_async(worker: Worker, *, raise_failed: bool = False, timeout: Seconds = 30) -> Report:
    """`run_until_idle` within a running event loop, in which the jobs then run."""
    burst = _Burst(worker)
    await burst.run(to_ms("timeout", timeout) / 1000)
    report = burst.report()
    if raise_failed and report.failures:
        first, *more = report.failures
        raise ExceptionGroup(f"{report.failed} jobs failed", report.failures) if more else first
    return report


class _Burst:
    """One run of a worker's queues until they are idle, by a worker like it."""

    def __init__(self, worker: Worker) -> None:
        if worker._shift is not None:
            raise ConfigurationError("this worker is at work: let it stop first, or make another one")
        self._worker = copy(worker)
        self._worker._config = msgspec.structs.replace(worker._config, burst=True, unknown_grace_ms=0)
        self._transport = AsyncTransport(parse(worker._config.url))
        self._queues: list[AsyncRunner] = []
        self._counts: Counter[type[Settlement]] = Counter()
        self._snoozes: Counter[str] = Counter()
        self._recovered = 0
        self._failures: list[JobFailed] = []
        self._never: str | None = None

    async def run(self, seconds: float) -> None:
        serving = asyncio.create_task(self._worker._serve(take_signals=False, on_ready=self._watch))
        try:
            await asyncio.wait([serving], timeout=seconds)
            if not serving.done():
                self._never = f"not idle after {seconds:g} s: {await self._what_is_left()}"
        finally:
            await self._worker.stop(0)
            await self._transport.close()
        await serving
        if self._never is not None:
            raise NeverIdle(self._never)

    def report(self) -> Report:
        counts = self._counts
        return Report(
            completed=counts[Complete],
            failed=len(self._failures),
            retried=counts[RetryIn],
            snoozed=counts[SnoozeFor],
            cancelled=counts[Release],
            recovered=self._recovered,
            failures=tuple(self._failures),
        )

    def _watch(self) -> None:
        shift = self._worker._shift
        assert shift is not None
        self._queues = [AsyncRunner(self._transport, pump.keys) for pump in shift._pumps]
        shift.runner.on_settled = self._note
        shift.when_dry = self._let_time_pass

    def _note(self, run: Claimed, settlement: Settlement) -> None:
        self._counts[type(settlement)] += 1
        if isinstance(settlement, Fail):
            facts = msgspec.json.decode(settlement.error, type=ErrorFacts)
            self._failures.append(JobFailed(run.id, facts.type, facts.message, facts.traceback, run.failed + 1))
        if isinstance(settlement, SnoozeFor):
            self._snoozes[run.id] += 1
            if self._snoozes[run.id] >= MOST_SNOOZES and self._worker._shift is not None:
                self._never = f"job {run.id} asked {MOST_SNOOZES:,} times to be run later ({settlement.note or '-'})"
                self._worker._shift.stop(0)

    async def _let_time_pass(self) -> bool:
        """Let the time pass that jobs wait for. False: there are none."""
        stats = [await queue.run(inspect.get_stats(queue.keys)) for queue in self._queues]
        for queue, one in zip(self._queues, stats, strict=True):
            if one.paused and (one.waiting or one.delayed):
                raise NeverIdle(f"queue {queue.keys.queue} is paused, and has jobs: resume it")
        if any(one.waiting for one in stats):
            return True
        if any(one.active for one in stats):
            await self._recover()
            return True
        waits = [wait for queue in self._queues if (wait := await queue.run(_first_due(queue))) is not None]
        if waits:
            await self._advance(max(min(waits), 0) + STEP_MS)
        return bool(waits)

    async def _recover(self) -> None:
        """What is active now belongs to workers that died: this one runs nothing."""
        for queue in self._queues:
            recover = lease.recover(queue.keys, self._worker._config.max_crashes)
            await queue.run(recover)  # makes a gap in the workers' signs of life known, and holds recovery
        await self._advance(2 * self._longest_lease_ms())
        for queue in self._queues:
            recovery = await queue.run(lease.recover(queue.keys, self._worker._config.max_crashes))
            self._recovered += recovery.count - len(recovery.crashed)
            self._failures += [
                JobFailed(job_id, "WorkerCrashed", "its worker died while it ran, too often")
                for job_id in recovery.crashed
            ]

    async def _advance(self, ms: int) -> None:
        for queue in self._queues:
            await queue.run_steps(advance(queue.keys, ms))

    def _longest_lease_ms(self) -> int:
        shift = self._worker._shift
        assert shift is not None
        return max(pump.lease_ms for pump in shift._pumps)

    async def _what_is_left(self) -> str:
        left: list[str] = []
        for queue in self._queues:
            running = await queue.run(inspect.jobs(queue.keys, "active", 0, 10))
            stats = await queue.run(inspect.get_stats(queue.keys))
            names = ", ".join(f"{job.job_id} ({job.job_type})" for job in running) or "nothing"
            left.append(
                f"in queue {queue.keys.queue} {names} runs, {stats.waiting} jobs wait, {stats.delayed} are delayed"
            )
        return "; ".join(left) or "the worker could not begin"


def _first_due(queue: AsyncRunner) -> Any:
    """The call for the ms until the first delayed job is due; None when there is none."""

    def read(raw: Any) -> int | None:
        page = inspect.PAGE.reply(raw)
        return int(float(page.spots[0])) - int(page.now) if page.spots else None

    return inspect.page(queue.keys, "delayed", 0, 1, newest=False, read=read)
