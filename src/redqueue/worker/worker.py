"""The worker's public face."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from time import monotonic
from typing import Final, Self, Unpack

from redqueue.client.transport import AsyncTransport
from redqueue.client.urls import parse
from redqueue.defaults import (
    DEFAULT_GRACE,
    DEFAULT_LEASE,
    DEFAULT_PREFIX,
    DEFAULT_UNKNOWN_GRACE,
    GENERIC_TASK,
)
from redqueue.errors import ConfigurationError, InvalidOption, Seconds
from redqueue.options import RunOptions
from redqueue.records import WorkerHealth
from redqueue.registry.registry import ServiceRegistry
from redqueue.seals import Seal, described
from redqueue.units import shown, to_ms
from redqueue.worker.config import WorkerConfig
from redqueue.worker.loop import run_in_loop
from redqueue.worker.ready import STOPPED
from redqueue.worker.shift import Shift

SAME_SIGNAL_S: Final = 0.25
"""A signal to a whole group of processes, and the same one passed on by the supervisor, are one."""


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
        max_jobs_per_child: jobs after which a child process (``execution="process"``) is replaced; None: never.
        max_memory_per_child: bytes of resident memory beyond which it is replaced after a job; None: never.
        ready_file: a path; the file is there, and at most some seconds old, while the worker can take jobs.
        seal: signs or encrypts what is stored of jobs (`Signed`, `Encrypted`); None takes the environment's.
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
        max_jobs_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        ready_file: str | PathLike[str] | None = None,
        seal: Seal | None = None,
        **defaults: Unpack[RunOptions],
    ) -> None:
        self._registry = ServiceRegistry.get_instance() if registry is None else registry
        given: object = self._registry
        if not isinstance(given, ServiceRegistry):
            raise InvalidOption("registry", f"registry must be a ServiceRegistry object, not {shown(registry)}")
        self._all_queues = queues is None
        if queues is not None and not queues:
            raise InvalidOption("queues", "queues must name at least one; None means all that the registry names")
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
            max_jobs_per_child=max_jobs_per_child,
            max_memory_per_child=max_memory_per_child,
            ready_file=ready_file,
            seal=seal,
            defaults=defaults,
        )
        parse(self._config.url)
        self.concurrency = self._config.concurrency
        self._shift: Shift | None = None
        self._task: asyncio.Task[None] | None = None
        self._on_entered: Callable[[str, Sequence[str], str, str], None] | None = None

    def run(self) -> None:
        """Work until stopped; blocks. On the main thread it takes SIGTERM and SIGINT: a second one skips the grace.

        Raises:
            RedisRefused: Redis will never take this worker's calls; what it says is in the message.
            RegistrationError: the registry can't work; what to mend is in the message.
            WorkerStuck: more runs than it has slots ignored that they were given up.
        """
        _refuse_running_loop()
        on_main = threading.current_thread() is threading.main_thread()
        run_in_loop(self._serve(take_signals=on_main, on_ready=self._tell_who_entered), _loop_factory())

    async def serve(self) -> None:
        """The same inside a running loop; installs no signal handler."""
        await self._serve(take_signals=False)

    async def stop(self, grace: Seconds | None = None) -> None:
        """Finish, give back, leave; returns when done.

        Args:
            grace: seconds for running jobs to finish, when it should differ from the worker's.
        """
        shift = self._shift
        if shift is None:
            return
        if asyncio.get_running_loop() is not shift.loop:
            raise ConfigurationError("stop() belongs to the loop that serves; from elsewhere call request_stop()")
        shift.stop(None if grace is None else to_ms("grace", grace))
        await shift.over.wait()

    def request_stop(self) -> None:
        """Stop soon. From any thread or signal handler; returns at once. A second request skips the grace."""
        shift = self._shift
        if shift is not None:
            shift.ask_to_stop()

    @contextlib.contextmanager
    def in_thread(self) -> Iterator[Self]:
        """Work in a thread of its own between enter and exit; entering waits until it works."""
        ready, failed = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                run_in_loop(self._serve(take_signals=False, on_ready=ready.set))
            except BaseException as error:
                failed.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=work, name="redqueue-worker", daemon=True)
        thread.start()
        try:
            ready.wait()
            if not failed:
                yield self
        finally:
            shift = self._shift
            if shift is not None:
                with contextlib.suppress(RuntimeError):  # its loop has ended, and so has the work
                    shift.loop.call_soon_threadsafe(shift.stop)
            thread.join()
        if failed:
            raise failed[0]

    def health(self) -> WorkerHealth:
        """Whether this worker can take jobs, and if not, why: what a readiness probe answers with.

        Ready is one that has entered its queues and of which Redis answered, for each queue, a call that claims within
        the last two intervals (33 s), or that has no free slot and whose leases are renewed. From any thread.

        Cost: no round trip.
        """
        shift = self._shift
        return STOPPED if shift is None else shift.health()

    async def check(self) -> list[str]:
        """Ask Redis about each queue, as ``--check`` does, and change nothing: a line a queue, and one of the seal.

        It also asks whether the user may do what a worker does.

        Raises:
            RegistrationError, RedisUnavailable, RedisRefused: what stands in the way of working.
        Cost: two round trips a queue.
        """
        # A worker starts sooner without.
        from redqueue.client.aio.runner import AsyncRunner
        from redqueue.core import inspect, lease
        from redqueue.core.keys import Keys

        self._registry.check()
        config = self._config.with_queues(_queues_of(self._registry)) if self._all_queues else self._config
        lines: list[str] = []
        for name in config.limits:
            runner = AsyncRunner(AsyncTransport(parse(config.url)), Keys(name, config.prefix))
            await runner.run(lease.rights(runner.keys))
            stats = await runner.run(inspect.get_stats(runner.keys))
            lines.append(f"queue     {name}: {stats.waiting} waiting, {stats.delayed} delayed, {stats.workers} workers")
            await runner.close()
        return [*lines, f"seal      {described(config.seal)}"]

    async def __aenter__(self) -> Self:
        """Serve in a task between enter and exit; entering waits until it works."""
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._serve(take_signals=False, on_ready=ready.set), name="redqueue-worker")
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait([self._task, waiting], return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise
        finally:
            waiting.cancel()
        if self._task.done():
            await self._task
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()
        if self._task is not None:
            await self._task

    def _tell_who_entered(self) -> None:
        """Tell the supervisor of this process; a shift is ready, too, when Redis turns out to be away."""
        shift = self._shift
        if self._on_entered is not None and shift is not None and len(shift._entered) == len(shift._pumps):
            config = shift._config
            self._on_entered(shift._session.id, list(config.limits), config.prefix, config.url)

    async def _serve(self, *, take_signals: bool, on_ready: Callable[[], None] = lambda: None) -> None:
        if self._shift is not None:
            raise ConfigurationError("this worker works already: make another Worker for another loop or thread")
        self._registry.check()
        config = self._config
        if self._all_queues:
            config = config.with_queues(_queues_of(self._registry))
        shift = self._shift = Shift(config, self._registry)
        try:
            with _signals(shift) if take_signals else contextlib.nullcontext():
                await shift.work(on_ready)
        finally:
            self._shift = None
            shift.over.set()


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError("run() blocks, and an event loop runs here: `async with worker`, or await worker.serve()")


def _queues_of(registry: ServiceRegistry) -> list[str]:
    queues = registry.job_types()
    if registry.has_generic_tasks:
        queues.append(GENERIC_TASK)
    if not queues:
        raise ConfigurationError("the registry names no processor, service or task: register some, or name the queues")
    return queues


@contextlib.contextmanager
def _signals(shift: Shift) -> Iterator[None]:
    """SIGTERM and SIGINT stop the shift; what handled them before does so again afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    first_at = -SAME_SIGNAL_S

    def stop(*_: object) -> None:
        nonlocal first_at
        if monotonic() - first_at >= SAME_SIGNAL_S:
            first_at = monotonic()
            shift.ask_to_stop()

    for number in before:
        try:
            shift.loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, stop)
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
