"""One start of a worker, from entering to leaving: a session."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redqueue.client.transport import AsyncTransport, Transport
from redqueue.client.urls import Location, parse
from redqueue.core import lease
from redqueue.core.keys import Keys
from redqueue.core.lease import Claimed
from redqueue.errors import ConfigurationError, RedisError, RedisRefused, WorkerStuck
from redqueue.records import LeaseGone, WorkerError, WorkerHealth, WorkerStarted, WorkerStopped
from redqueue.registry.registry import ServiceRegistry
from redqueue.registry.resources import OpenResources
from redqueue.seals import described
from redqueue.worker.config import SessionName, WorkerConfig
from redqueue.worker.dispatch import Dispatch
from redqueue.worker.eviction import warn_of_eviction
from redqueue.worker.heartbeat import Heartbeat, answer_within
from redqueue.worker.inbox import listen_for_ever
from redqueue.worker.lag import LagWatch
from redqueue.worker.link import Link
from redqueue.worker.logs import format_in_use
from redqueue.worker.loop import undisturbed
from redqueue.worker.pump import LANES, Pump
from redqueue.worker.ready import Readiness
from redqueue.worker.recoverer import recover_for_ever
from redqueue.worker.rulebook import Rulebook
from redqueue.worker.runner import Runner
from redqueue.worker.slots import Slots

if TYPE_CHECKING:
    from redqueue.worker.executors.process import Children

CANCEL_WITHIN: Final = 5.0
"""Seconds for cancelled runs to clean up before their jobs are given back over their heads."""

FLUSH_WITHIN: Final = 10.0
LEAVE_WITHIN: Final = 2.0
HOOKS_WITHIN: Final = 2.0
RESOURCES_WITHIN: Final = 10.0
DROP_WITHIN: Final = 1.0
"""The same when the worker itself is cancelled, or told to stop a second time: somebody waits for it."""

T = TypeVar("T")
logger = logging.getLogger("redqueue.worker")


class Shift:
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
        self._beaten = asyncio.Event()
        self._unwatched = asyncio.Event()
        self._asked = False
        self._entering: list[Pump] = []
        self._entered: list[Pump] = []
        self._ready: Callable[[], None] = lambda: None
        self._refused: asyncio.Future[None] = self.loop.create_future()
        location = parse(config.url)
        _check_connections(location, len(config.limits))
        self._transport = AsyncTransport(location)
        self._link = Link(self._transport, self._on_lost)
        self._slots = Slots(config.concurrency)
        self._registry = registry
        self._hooks = registry.hooks()
        self._resources = OpenResources(registry.resources())
        self.runner = Runner(
            Dispatch(registry),
            Rulebook(config.rules),
            self._slots,
            unknown_grace_ms=config.unknown_grace_ms,
            max_crashes=config.max_crashes,
            middlewares=registry.around_run,
            hooks=self._hooks,
            children=self._make_children,
            on_stuck=self._leave_stuck,
        )
        self._pumps = [self._pump(name, limit) for name, limit in config.limits.items()]
        self._slots.lines.extend(self._pumps)
        self._readiness, self._lag = self._signs()
        self._heartbeat = Heartbeat(
            Transport(location.with_timeout(answer_within(config.lease_ms))),
            self._session.id,
            self._pumps,
            on_stop=self._from_thread(self._stop_run),
            on_down=self._from_thread(self._lose),
            on_up=self._from_thread(self._link.restore),
            on_refused=self._from_thread(self._refuse),
            on_ended=self._from_thread(self._beaten.set),
        )

    def health(self) -> WorkerHealth:
        """Whether it can take jobs; from any thread."""
        return self._readiness.look(self._heartbeat, self._lag)

    def stop(self, grace_ms: int | None = None, *, hurry: bool = False) -> None:
        """Begin to leave; in a hurry without waiting for running jobs."""
        if grace_ms is not None:
            self._grace_ms = grace_ms
        if hurry:
            self._hurry.set()
        self._stop.set()

    def ask_to_stop(self) -> None:
        """The same from any thread: whoever asks a second time is in a hurry, whether or not the loop saw the first."""
        hurry, self._asked = self._asked, True
        with contextlib.suppress(RuntimeError):  # the loop has ended, and so has the work
            self.loop.call_soon_threadsafe(functools.partial(self.stop, hurry=hurry))

    async def work(self, on_ready: Callable[[], None]) -> None:
        """Enter, run, leave."""
        try:
            # Whoever embeds a worker must not wait for a Redis that is away: it works as soon as there is one.
            self._ready = on_ready
            if await self._open_resources():
                await self._enter_and_run(on_ready)
        finally:
            self.runner.close()
            await undisturbed(self._close())

    async def _open_resources(self) -> bool:
        """False: it was told to stop meanwhile."""
        opened = await self._unless_stopped(self._resources.open())
        if opened is not None:
            self.runner.resources = opened
        return opened is not None

    async def _close(self) -> None:
        try:
            await asyncio.wait_for(self._resources.close(), RESOURCES_WITHIN)
        except TimeoutError:
            logger.error("a resource was not closed within %g s, and is left behind", RESOURCES_WITHIN)
        await self._hooks.finish(HOOKS_WITHIN)
        await self._transport.close()

    async def _enter_and_run(self, on_ready: Callable[[], None]) -> None:
        try:
            await self._enter()
        except BaseException:
            await undisturbed(self._leave())
            raise
        if self._stop.is_set():
            await self._leave()
        else:
            on_ready()
            await self._run()

    async def _enter(self) -> None:
        for pump in self._pumps:
            session, lease_ms = self._session, self._config.lease_ms
            call = lease.enter(pump.keys, session.id, session.worker, session.host, session.pid, lease_ms)
            self._entering.append(pump)  # whatever becomes of this call, it may be carried out
            try:
                entered = await self._unless_stopped(self._link.insist(call))
            except RedisRefused:
                self._entering.remove(pump)  # it was not: a queue of another format is not touched
                raise
            if entered is None:
                return
            pump.lease_ms = entered
            self._entered.append(pump)
            if entered != lease_ms:
                logger.warning(
                    "queue %s: workers with a lease of %g s are at work, so this one takes theirs instead of %g s",
                    pump.keys.queue,
                    entered / 1000,
                    lease_ms / 1000,
                )
        await self._unless_stopped(warn_of_eviction(self._transport))
        queues = ", ".join(f"{pump.keys.queue}:{pump.limit}" for pump in self._pumps)
        seal = described(self._config.seal)
        logger.info("%s works on %s, on %s, seal: %s", self._session.worker, queues, self._transport.target, seal)

    async def _run(self) -> None:
        queues = tuple(self._config.limits)
        self._hooks.tell("start", WorkerStarted(self._session.worker, queues, self._config.concurrency))
        chores = [
            self.loop.create_task(recover_for_ever(pump, self._link, self._config.max_crashes)) for pump in self._pumps
        ]
        pumping = [self.loop.create_task(pump.serve(), name=f"redqueue-pump-{pump.keys.queue}") for pump in self._pumps]
        chores.extend(self.loop.create_task(self._listen(pump)) for pump in self._pumps)
        chores.append(self.loop.create_task(self._end_when_refused()))
        if self._config.burst:
            chores.append(self.loop.create_task(self._stop_when_dry()))
        stopping = self.loop.create_task(self._stop.wait())
        ended: list[BaseException | None] = []
        try:
            self._heartbeat.start()
            self._lag.start()
            await asyncio.wait([stopping, *pumping, *chores], return_when=asyncio.FIRST_COMPLETED)
            await self._finish(pumping)
        except asyncio.CancelledError:
            await undisturbed(self._drop_all(pumping))
            raise
        finally:
            # However often it is cancelled: a heartbeat that goes on would keep its jobs from everybody.
            await undisturbed(self._depart([stopping, *chores, *pumping], ended))
        _raise_first(ended)

    async def _depart(self, tasks: Sequence[asyncio.Task[Any]], ended: list[BaseException | None]) -> None:
        for pump in self._pumps:
            pump.end()
        self._heartbeat.end()
        self._lag.end()
        ended.extend(await _end(tasks))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(self._beaten.wait(), self._unwatched.wait()), LEAVE_WITHIN)
        await self._leave()
        self._hooks.tell("stop", WorkerStopped(self._session.worker, self._claimed()))

    async def _drop_all(self, pumping: list[asyncio.Task[None]]) -> None:
        """The worker itself is cancelled: nothing may go on running without a heartbeat."""
        for pump in self._pumps:
            pump.stop_claiming()
        self.runner.stop_all()
        if not await self._idle_within(DROP_WITHIN):
            self.runner.abandon()
        # A claim that is on its way would be answered to nobody, and its jobs held until their leases end.
        await asyncio.wait(pumping, timeout=DROP_WITHIN)

    async def _finish(self, pumping: list[asyncio.Task[None]]) -> None:
        """Claim nothing more, let running jobs end within the grace, hand everything back."""
        for pump in self._pumps:
            pump.stop_claiming()
        if not await self._idle_within(self._grace_ms / 1000, self._hurry.wait(), asyncio.wait(pumping)):
            hurry = self._hurry.is_set()
            logger.warning("%s: cancelling what still runs", self._why_cancel(pumping))
            self.runner.stop_all()
            if not await self._idle_within(DROP_WITHIN if hurry else CANCEL_WITHIN):
                self.runner.abandon()
        for pump in self._pumps:
            pump.look_again()
        _, late = await asyncio.wait(pumping, timeout=FLUSH_WITHIN)
        if late:
            logger.error("Redis did not take the last outcomes within %g s; those jobs run again", FLUSH_WITHIN)

    def _why_cancel(self, pumping: list[asyncio.Task[None]]) -> str:
        if self._hurry.is_set():
            return "asked a second time"
        if all(pump.done() for pump in pumping):
            return "no outcome can be handed back"
        return f"the grace of {self._grace_ms / 1000:g} s is over"

    async def _idle_within(self, seconds: float, *ends: Awaitable[Any]) -> bool:
        """Whether nothing runs any more; False when time is up, or one of the others came first."""
        tasks = [asyncio.ensure_future(wait) for wait in (self.runner.wait_idle(), *ends)]
        try:
            done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        return tasks[0] in done

    async def _leave(self) -> None:
        if not self._entering:
            return
        try:
            async with asyncio.timeout(LEAVE_WITHIN):
                for pump in self._entering:
                    with contextlib.suppress(RedisRefused):  # a queue that refuses this keeps no other from it
                        await self._leave_queue(pump)
                logger.info("%s has left; it was handed %d jobs", self._session.worker, self._claimed())
        except TimeoutError:
            logger.warning("left without a word: Redis does not answer")

    async def _leave_queue(self, pump: Pump) -> None:
        held = list(pump.held)
        for start in range(0, len(held) or 1, lease.MOST_A_CALL):
            runs = held[start : start + lease.MOST_A_CALL]
            await self._link.insist(lease.leave(pump.keys, self._session.id, LANES, runs))

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

    async def _unless_stopped(self, wait: Awaitable[T]) -> T | None:
        answer, stopped = asyncio.ensure_future(wait), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([answer, stopped], return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            stopped.cancel()
            answer.cancel()
            # Once, so that a resource can be closed in peace.
            await asyncio.wait([answer], timeout=RESOURCES_WITHIN)
            await _end([answer])

    def _stop_run(self, pump: Pump, run: Claimed, word: str) -> None:
        """The heartbeat found a lease lost, or its job cancelled."""
        if run not in pump.held:
            return
        withdrawn = pump.withdraw(run)
        if not withdrawn and not self.runner.runs(run):
            return  # its outcome is on the way: a renewal overtook it
        if word == "l":
            self._hooks.tell("lease_lost", LeaseGone(pump.keys.queue, run.id, run.failed + 1))
        if not withdrawn:
            self.runner.stop(run, "lost" if word == "l" else "cancelled")
        elif word == "l":
            pump.drop(run)
        else:
            pump.release(run)

    async def _listen(self, pump: Pump) -> None:
        inbox = pump.keys.inbox(self._session.id)
        await listen_for_ever(pump, self._link, inbox, self._heartbeat.ask)

    def _make_children(self) -> Children:
        from redqueue.worker.executors.process import Children

        config, registry = self._config, self._registry
        return Children(
            registry.process_entries(),
            registry.resources(),
            format_in_use(),
            max_jobs=config.max_jobs_per_child,
            max_memory=config.max_memory_per_child,
        )

    def _leave_stuck(self, stuck: int) -> None:
        if not self._refused.done():
            text = f"{stuck} runs ignored that they were given up, more than the worker has slots: it leaves"
            logger.error("%s", text)
            self._refused.set_exception(WorkerStuck(text))

    async def _end_when_refused(self) -> None:
        await self._refused

    def _lose(self, why: str) -> None:
        self._hooks.tell("error", WorkerError(self._session.worker, "redis", "RedisUnavailable", why))
        self._link.lose(why)

    def _refuse(self, error: RedisError) -> None:
        if not self._refused.done():
            self._refused.set_exception(error)
        self._link.restore()  # Redis answers: calls that waited for it are refused as well, or carried out

    def _on_lost(self) -> None:
        self._ready()
        self._heartbeat.look()
        for pump in self._pumps:
            pump.look_again()

    def _signs(self) -> tuple[Readiness, LagWatch]:
        readiness = Readiness(
            self._session.worker,
            self._pumps,
            self._slots,
            self._link,
            begun=lambda: len(self._entered) == len(self._pumps) and not self._is_leaving(),
            running=lambda: len(self.runner.running()),
            looks=not self._config.burst,
            path=self._config.ready_file,
        )
        return readiness, LagWatch(
            self.loop,
            self.runner.running,
            lambda: min(pump.lease_ms for pump in self._pumps),
            lambda: readiness.tend(self._heartbeat, self._lag),
            self._end_watch,
        )

    def _is_leaving(self) -> bool:
        return self._stop.is_set() or any(pump.stopping for pump in self._pumps)

    def _end_watch(self) -> None:
        self._readiness.end()  # in the thread that keeps the file
        self._from_thread(self._unwatched.set)()

    def _pump(self, name: str, limit: int) -> Pump:
        keys = Keys(name, self._config.prefix, self._config.seal)
        return Pump(
            keys, limit, self._config, self._session, self._link, self._slots, self.runner.start, self._stop_run
        )

    def _from_thread(self, told: Callable[..., None]) -> Callable[..., None]:
        def tell(*facts: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self.loop.call_soon_threadsafe(told, *facts)

        return tell


def _check_connections(location: Location, queues: int) -> None:
    """Each queue has two reads that wait at the server, on the wake list and on the inbox; calls need one more."""
    most, needed = location.options.get("max_connections", 2 * queues + 1), 2 * queues + 1
    if most < needed:
        raise ConfigurationError(
            f"max_connections={most} of the URL is too few for a worker of {queues} queues: it needs {needed} or more"
        )


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
