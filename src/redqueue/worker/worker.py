"""The worker's life: enter, run until told to stop, finish, leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Self, Unpack

from redqueue.client.aio.runner import AsyncRunner
from redqueue.client.transport import AsyncTransport, Transport
from redqueue.client.urls import parse
from redqueue.core import inspect, lease
from redqueue.core.keys import Keys
from redqueue.core.lease import Claimed
from redqueue.defaults import (
    DEFAULT_GRACE,
    DEFAULT_LEASE,
    DEFAULT_PREFIX,
    DEFAULT_UNKNOWN_GRACE,
    GENERIC_TASK,
)
from redqueue.errors import ConfigurationError, Seconds
from redqueue.options import RunOptions
from redqueue.registry.registry import ServiceRegistry
from redqueue.units import to_ms
from redqueue.worker.config import SessionName, WorkerConfig
from redqueue.worker.dispatch import Dispatch
from redqueue.worker.heartbeat import Heartbeat
from redqueue.worker.link import Link
from redqueue.worker.pump import LANES, Pump
from redqueue.worker.recoverer import recover_for_ever
from redqueue.worker.rulebook import Rulebook
from redqueue.worker.runner import Runner
from redqueue.worker.slots import Slots

CANCEL_WITHIN: Final = 5.0
"""Seconds for cancelled runs to clean up before their jobs are given back over their heads."""

FLUSH_WITHIN: Final = 10.0
LEAVE_WITHIN: Final = 2.0

logger = logging.getLogger("redqueue.worker")


class Worker:
    """Claims from the queues and runs what the registry holds.

    Args:
        queues: names; or a mapping, which sets each queue's own concurrency. None: all that the registry names.
        url: of Redis; None takes the environment's. Not a client: a worker needs connections of its own.
        registry: None takes the application's one.
        concurrency: how many jobs run at once, over all queues (default 10).
        lease: seconds after which the jobs of a worker that died are taken back.
        grace: seconds for running jobs to finish when the worker stops.
        burst: end when nothing is left to claim. Delayed jobs that are not due yet stay.
        prefetch: jobs claimed beyond the free slots. None decides by measured run time: short runs only, at most
            100 ms of work. 0 turns it off.
        unknown_grace: seconds for which a job whose type, service or task isn't registered waits for a worker that
            knows it, as in a rolling deploy. Then it fails.
        defaults: run options for jobs that say nothing, whose processors say nothing either.
    Raises:
        BadInput, ConfigurationError: at construction; nothing is connected before `run`.
    """

    def __init__(
        self,
        queues: Iterable[str] | Mapping[str, int] | None = None,
        url: str | None = None,
        *,
        registry: ServiceRegistry | None = None,
        concurrency: int | None = None,
        lease: Seconds = DEFAULT_LEASE,
        grace: Seconds = DEFAULT_GRACE,
        burst: bool = False,
        prefetch: int | None = None,
        unknown_grace: Seconds = DEFAULT_UNKNOWN_GRACE,
        prefix: str = DEFAULT_PREFIX,
        **defaults: Unpack[RunOptions],
    ) -> None:
        self._registry = ServiceRegistry.get_instance() if registry is None else registry
        self._all_queues = queues is None
        self._config = WorkerConfig.of(
            () if queues is None else queues,
            url,
            concurrency=concurrency,
            lease=lease,
            grace=grace,
            burst=burst,
            prefetch=prefetch,
            unknown_grace=unknown_grace,
            prefix=prefix,
            defaults=defaults,
        )
        self.concurrency = self._config.concurrency
        self._shift: _Shift | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Work until stopped; blocks. On the main thread it takes SIGTERM and SIGINT: a second one skips the grace.

        Raises:
            RedisRefused: Redis will never take this worker's calls; what it says is in the message.
            RegistrationError: the registry can't work; what to mend is in the message.
        """
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._serve(take_signals=threading.current_thread() is threading.main_thread()))

    async def serve(self) -> None:
        """The same inside a running loop; installs no signal handler."""
        await self._serve(take_signals=False)

    async def stop(self, grace: Seconds | None = None) -> None:
        """Finish, give back, leave; returns when done.

        Args:
            grace: seconds for running jobs to finish, when it should differ from the worker's.
        """
        shift = self._shift
        if shift is not None:
            shift.stop(None if grace is None else to_ms("grace", grace))
            await shift.over.wait()

    def request_stop(self) -> None:
        """Stop soon. From any thread or signal handler; returns at once. A second request skips the grace."""
        shift = self._shift
        if shift is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended, and so has the work
                shift.loop.call_soon_threadsafe(shift.stop, None)

    @contextlib.contextmanager
    def in_thread(self) -> Iterator[Self]:
        """Work in a thread of its own between enter and exit; entering waits until it works."""
        ready, failed = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                asyncio.run(self._serve(take_signals=False, on_ready=ready.set))
            except BaseException as error:
                failed.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=work, name="redqueue-worker", daemon=True)
        thread.start()
        ready.wait()
        try:
            if not failed:
                yield self
        finally:
            self.request_stop()
            thread.join()
        if failed:
            raise failed[0]

    async def check(self) -> list[str]:
        """Ask Redis about each queue, as ``--check`` does, and change nothing: a line a queue.

        Raises:
            RegistrationError, RedisUnavailable, RedisRefused: what stands in the way of working.
        Cost: one round trip a queue.
        """
        self._registry.check()
        config = self._config.with_queues(_queues_of(self._registry)) if self._all_queues else self._config
        lines: list[str] = []
        for name in config.limits:
            runner = AsyncRunner(AsyncTransport(parse(config.url)), Keys(name, config.prefix))
            stats = await runner.run(inspect.get_stats(runner.keys))
            lines.append(f"queue     {name}: {stats.waiting} waiting, {stats.delayed} delayed, {stats.workers} workers")
            await runner.close()
        return lines

    async def __aenter__(self) -> Self:
        """Serve in a task between enter and exit; entering waits until it works."""
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._serve(take_signals=False, on_ready=ready.set), name="redqueue-worker")
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([self._task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done():
            await self._task
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()
        if self._task is not None:
            await self._task

    async def _serve(self, *, take_signals: bool, on_ready: Callable[[], None] = lambda: None) -> None:
        if self._shift is not None:
            raise ConfigurationError("this worker works already: make another Worker for another loop or thread")
        self._registry.check()
        config = self._config
        if self._all_queues:
            config = config.with_queues(_queues_of(self._registry))
        shift = self._shift = _Shift(config, self._registry)
        try:
            with _signals(shift) if take_signals else contextlib.nullcontext():
                await shift.work(on_ready)
        finally:
            self._shift = None
            shift.over.set()


class _Shift:
    """One start of a worker, from entering to leaving: a session.

    Attributes:
        when_dry: asked in a burst when nothing is left to claim: whether to look again instead of leaving.
    """

    def __init__(self, config: WorkerConfig, registry: ServiceRegistry) -> None:
        self.loop = asyncio.get_running_loop()
        self.over = asyncio.Event()
        self.when_dry: Callable[[], Awaitable[bool]] | None = None
        self._config = config
        self._grace_ms = config.grace_ms
        self._session = SessionName.fresh()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        location = parse(config.url)
        self._transport = AsyncTransport(location)
        self._link = Link(self._transport, self._on_lost)
        self._slots = Slots(config.concurrency)
        self.runner = Runner(Dispatch(registry), Rulebook(config.rules), self._slots, config.unknown_grace_ms)
        self._pumps = [self._pump(name, limit) for name, limit in config.limits.items()]
        self._slots.lines.extend(self._pumps)
        self._heartbeat = Heartbeat(
            Transport(location.with_timeout(max(config.lease_ms / 15_000, 0.2))),
            self._session.id,
            self._pumps,
            on_stop=self._from_thread(self._stop_run),
            on_down=self._from_thread(self._link.lose),
            on_up=self._from_thread(self._link.restore),
        )

    def stop(self, grace_ms: int | None) -> None:
        """Begin to leave; the second time, without waiting for running jobs."""
        if grace_ms is not None:
            self._grace_ms = grace_ms
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def work(self, on_ready: Callable[[], None]) -> None:
        """Enter, run, leave."""
        try:
            await self._enter()
            if not self._stop.is_set():
                on_ready()
                await self._run()
        finally:
            self.runner.close()
            await self._transport.close()

    async def _enter(self) -> None:
        for pump in self._pumps:
            session, lease_ms = self._session, self._config.lease_ms
            call = lease.enter(pump.keys, session.id, session.worker, session.host, session.pid, lease_ms)
            entered = await self._unless_stopped(self._link.insist(call))
            if entered is None:
                return
            pump.lease_ms = entered
            if entered != lease_ms:
                logger.warning(
                    "queue %s: workers with a lease of %g s are at work, so this one takes theirs instead of %g s",
                    pump.keys.queue,
                    entered / 1000,
                    lease_ms / 1000,
                )
        queues = ", ".join(f"{pump.keys.queue}:{pump.limit}" for pump in self._pumps)
        logger.info("%s works on %s, on %s", self._session.worker, queues, self._transport.target)

    async def _run(self) -> None:
        self._heartbeat.start()
        chores = [
            self.loop.create_task(recover_for_ever(pump, self._link, self._config.max_crashes)) for pump in self._pumps
        ]
        pumping = [self.loop.create_task(pump.serve(), name=f"redqueue-pump-{pump.keys.queue}") for pump in self._pumps]
        if self._config.burst:
            chores.append(self.loop.create_task(self._stop_when_dry()))
        stopping = self.loop.create_task(self._stop.wait())
        try:
            await asyncio.wait([stopping, *pumping, *chores], return_when=asyncio.FIRST_COMPLETED)
            await self._finish(pumping)
        finally:
            for pump in self._pumps:
                pump.end()
            ended = await _end([stopping, *chores, *pumping])
            await asyncio.to_thread(self._heartbeat.stop, LEAVE_WITHIN)
        _raise_first(ended)
        await self._leave()

    async def _finish(self, pumping: list[asyncio.Task[None]]) -> None:
        """Claim nothing more, let running jobs end within the grace, hand everything back."""
        for pump in self._pumps:
            pump.stop_claiming()
        if not await self._idle_within(self._grace_ms / 1000, self._hurry):
            logger.warning("the grace of %g s is over: cancelling what still runs", self._grace_ms / 1000)
            self.runner.stop_all()
            if not await self._idle_within(CANCEL_WITHIN, None):
                self.runner.abandon()
        for pump in self._pumps:
            pump.look_again()
        _, late = await asyncio.wait(pumping, timeout=FLUSH_WITHIN)
        if late:
            logger.error("Redis did not take the last outcomes within %g s; those jobs run again", FLUSH_WITHIN)

    async def _idle_within(self, seconds: float, hurry: asyncio.Event | None) -> bool:
        """Whether nothing runs any more; False when time is up or somebody is in a hurry."""
        waits: list[Awaitable[Any]] = [self.runner.wait_idle(), *([hurry.wait()] if hurry else [])]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        return tasks[0] in done

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(LEAVE_WITHIN):
                for pump in self._pumps:
                    held = list(pump.held)[: lease.MOST_A_CALL]
                    await self._link.insist(lease.leave(pump.keys, self._session.id, LANES, held))
                logger.info("%s has left; it was handed %d jobs", self._session.worker, self._claimed())
        except TimeoutError:
            logger.warning("left without a word: Redis does not answer")

    async def _stop_when_dry(self) -> None:
        """Burst: leave when a whole round over all queues found nothing; a job of one queue may add to another."""
        while True:
            before = self._claimed()
            for pump in self._pumps:
                pump.look_again()
            await asyncio.gather(*(pump.dry.wait() for pump in self._pumps))
            if self._claimed() != before:
                continue
            if self.when_dry is None or not await self.when_dry():
                self.stop(None)
                return

    def _claimed(self) -> int:
        return sum(pump.claimed for pump in self._pumps)

    async def _unless_stopped(self, wait: Awaitable[int]) -> int | None:
        answer, stopped = asyncio.ensure_future(wait), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([answer, stopped], return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            answer.cancel()
            stopped.cancel()

    def _stop_run(self, pump: Pump, run: Claimed, word: str) -> None:
        """The heartbeat found a lease lost, or its job cancelled."""
        if run not in pump.held:
            return
        if word == "l":
            self.runner.stop(run, "lost")
            if run in pump.backlog:
                pump.drop(run)
        elif run in pump.backlog:
            pump.backlog.remove(run)
            pump.release(run)
        else:
            self.runner.stop(run, "cancelled")

    def _on_lost(self) -> None:
        self._heartbeat.look()
        for pump in self._pumps:
            pump.look_again()

    def _pump(self, name: str, limit: int) -> Pump:
        keys = Keys(name, self._config.prefix)
        return Pump(keys, limit, self._config, self._session, self._link, self._slots, self.runner.start)

    def _from_thread(self, told: Callable[..., None]) -> Callable[..., None]:
        def tell(*facts: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self.loop.call_soon_threadsafe(told, *facts)

        return tell


def _queues_of(registry: ServiceRegistry) -> list[str]:
    queues = registry.job_types()
    if registry.has_generic_tasks:
        queues.append(GENERIC_TASK)
    if not queues:
        raise ConfigurationError("the registry names no processor, service or task: register some, or name the queues")
    return queues


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> list[BaseException | None]:
    """Cancel tasks until they have ended, and answer with what they raised.

    Once is not enough on Python 3.11: redis-py sends within an `asyncio.wait_for`, which drops a cancel that comes in
    the same turn of the loop as its result; 3.12 mended it.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.2)
    return [None if task.cancelled() else task.exception() for task in tasks]


def _raise_first(ended: list[BaseException | None]) -> None:
    for error in ended:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if error is not None and not isinstance(error, asyncio.CancelledError):
            raise error


@contextlib.contextmanager
def _signals(shift: _Shift) -> Iterator[None]:
    """SIGTERM and SIGINT stop the shift; what handled them before does so again afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        try:
            shift.loop.add_signal_handler(number, shift.stop, None)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: shift.loop.call_soon_threadsafe(shift.stop, None))
    try:
        yield
    finally:
        for number, handler in before.items():
            with contextlib.suppress(NotImplementedError):
                shift.loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop when the extra `fast` is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
