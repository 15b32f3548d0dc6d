"""What runs in a child process of the worker: one job at a time, from the pipe, until the worker has no more of them.

The main thread runs the functions. A second thread listens to the worker, so that a run learns that it should stop,
and so that the process ends when the worker is gone.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final, NoReturn, TypeVar

from redqueue.context import CURRENT, JobContext
from redqueue.core.bombs import decode
from redqueue.core.lifecycle import Interrupted, Outcome, Raised
from redqueue.core.report import LINE, PROGRESS, STATE, Kind, line_text, progress_text, state_text
from redqueue.errors import JobCancelled, LeaseLost, ResultNotSerializable, Seconds
from redqueue.registry.binding import Binding, Portable, Prepared, bind_portable
from redqueue.registry.resources import OpenResources, Resource
from redqueue.units import to_ms
from redqueue.worker.executors.parent import Line, end_now, end_with_worker
from redqueue.worker.executors.pipe import (
    Answer,
    Begin,
    Begun,
    Broken,
    Leave,
    Note,
    Ready,
    Stop,
    Wanted,
    ended,
    for_child,
)
from redqueue.worker.logs import set_up_logging
from redqueue.worker.verdict import raised, returned

T = TypeVar("T")

PROGRESS_EVERY: Final = 0.05
"""Seconds between two messages of progress, unless somebody waits for it."""
FLUSH_EVERY: Final = 0.05
"""Seconds between two looks for progress that no other follows: it waits for at most twice as long."""

_log: Final = logging.getLogger("redqueue.worker")


class Terminated(BaseException):
    """The worker ends this run, wherever it is. Let it pass: what becomes of the job is decided already."""


def serve(
    pipe: Connection, portables: Mapping[str, Portable], resources: tuple[Resource, ...], log_format: str | None
) -> None:
    """Run the jobs that come through the pipe; the main function of a child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the worker decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if log_format is not None:
        set_up_logging(log_format)
    line = Line(pipe)
    try:
        bindings = {key: bind_portable(portable) for key, portable in portables.items()}
    except Exception as error:
        line.send(Broken(f"{type(error).__name__}: {error}"))
        return
    Child(pipe, line, bindings, resources).serve()


class ReceiptHere:
    """The receipt of something noted here. Whether Redis has it is asked only when somebody waits."""

    __slots__ = ("_future", "_kind", "_run")

    def __init__(self, run: RunHere, kind: Kind) -> None:
        self._run = run
        self._kind: Kind = kind
        self._future: Future[None] | None = None

    def wait(self, timeout: Seconds | None = None) -> None:
        """Block until Redis has it: not on an event loop."""
        self._asked().result(None if timeout is None else to_ms("timeout", timeout) / 1000)

    def __await__(self) -> Generator[Any, None, None]:
        answer = asyncio.wrap_future(self._asked())
        answer.add_done_callback(_seen)
        # Shielded: who else waits for it is not cancelled along with this one.
        return asyncio.shield(answer).__await__()

    def _asked(self) -> Future[None]:
        if self._future is None:
            self._future = self._run.ask(self._kind)
        return self._future


class RunHere:
    """One run in this process: what its context knows of it, and how it is stopped."""

    def __init__(self, begin: Begin, line: Line, loop: asyncio.AbstractEventLoop) -> None:
        self.begin = begin
        self.cancelled = begin.cancelled
        self.task: asyncio.Task[Any] | None = None
        self._line = line
        self._loop = loop
        self._lock = threading.Lock()
        self._over = False
        self._progress: bytes | None = None
        self._progress_at = 0.0
        self._numbers = count(1)
        self._wanted: dict[int, Future[None]] = {}
        self._hard = False
        self._armed = False
        self._cancelled_task = False
        self._shields = 0

    # -- for the context

    @property
    def restored(self) -> Any:
        """The last checkpoint of an earlier run."""
        return None if self.begin.restored is None else decode(self.begin.restored)

    def note_progress(self, done: float | None, message: str | None, data: object) -> ReceiptHere:
        """Send progress, the latest only, about 20 times a second."""
        text = progress_text(done, message, data)
        return self._shielded(lambda: self._note_progress(text))

    def note_line(self, line: str) -> ReceiptHere:
        """Send a line of the job's log."""
        text = line_text(line)
        return self._shielded(lambda: self._note(LINE, text))

    def note_state(self, state: object) -> ReceiptHere:
        """Send a checkpoint."""
        text = state_text(state)
        return self._shielded(lambda: self._note(STATE, text))

    def ask(self, kind: Kind) -> Future[None]:
        """Tells when Redis has all that was noted of this kind until now."""
        return self._shielded(lambda: self._ask(kind))

    def _note_progress(self, text: bytes) -> ReceiptHere:
        with self._lock:
            self._progress = text
            self._send_progress_if_due()
        return ReceiptHere(self, PROGRESS)

    def _note(self, kind: Kind, text: bytes) -> ReceiptHere:
        with self._lock:
            self._send_progress()
            if not self._over:
                self._line.send(Note(self.begin.run, kind, text))
        return ReceiptHere(self, kind)

    def _ask(self, kind: Kind) -> Future[None]:
        future: Future[None] = Future()
        with self._lock:
            self._send_progress()
            if self._over:
                future.set_exception(LeaseLost("the run is over, so nothing that it tells is recorded"))
            else:
                number = next(self._numbers)
                self._wanted[number] = future
                self._line.send(Wanted(self.begin.run, number, kind))
        return future

    def _send_progress_if_due(self) -> None:
        if monotonic() - self._progress_at >= PROGRESS_EVERY:
            self._send_progress()

    def _send_progress(self) -> None:
        text, self._progress = self._progress, None
        if text is not None and not self._over:
            self._progress_at = monotonic()
            self._line.send(Note(self.begin.run, PROGRESS, text))

    # -- for the thread that listens

    def flush(self) -> None:
        """Send the progress that waits for a later one."""
        with self._lock:
            self._send_progress_if_due()

    def answer(self, message: Answer) -> None:
        """Redis has what somebody waits for, or refused it."""
        future = self._wanted.pop(message.wanted, None)
        if future is None:
            return
        if message.lost is None:
            future.set_result(None)
        else:
            future.set_exception(LeaseLost(message.lost))

    def stop(self, hard: bool) -> None:
        """Let the context and the coroutine know; `hard`: raise `Terminated` in whatever runs."""
        self._hard = self._hard or hard
        self.cancelled = True
        if hard:
            # To the main thread itself: so what it blocks in is interrupted.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        else:
            self._loop.call_soon_threadsafe(self._cancel_task)

    # -- in the main thread

    def close(self) -> None:
        """Nothing that is told from here on is recorded."""
        with self._lock:
            self._send_progress()
            self._over = True
        for number in list(self._wanted):
            self.answer(Answer(self.begin.run, number, "the run ended before this was noted"))

    def guarded(self, call: Callable[[], T]) -> T:
        """Call what `Terminated` may end. Once this is left, nothing is raised any more: see `Child._judged`."""
        try:
            self._armed = True
            if self._hard:
                self._terminate()
            return call()
        finally:
            self._armed = False

    async def guarded_await(self, call: Callable[[], Awaitable[T]]) -> T:
        """The same for a coroutine, which may be cancelled too."""
        try:
            self._armed = True
            if self.cancelled:
                raise asyncio.CancelledError
            return await call()
        finally:
            self._armed = False

    def alarm(self) -> None:
        """The signal is here; never in the middle of a message, half of which would be sent."""
        if not self._hard or not self._armed or self._shields:
            return
        if self.task is None or asyncio.current_task(self._loop) is self.task:
            self._terminate()
        self._hard = False  # the cancel is its one exception: a second would interrupt its cleaning up
        self._loop.call_soon_threadsafe(self._cancel_task, True)

    def _terminate(self) -> NoReturn:
        self._hard = False
        raise Terminated("the worker ended this run")

    def _cancel_task(self, again: bool = False) -> None:
        if self.task is not None and self._armed and (again or not self._cancelled_task):
            self._cancelled_task = True
            self.task.cancel()

    def _shielded(self, call: Callable[[], T]) -> T:
        if threading.current_thread() is not threading.main_thread():
            return call()
        self._shields += 1
        try:
            return call()
        finally:
            self._shields -= 1
            if self._hard:
                self.alarm()


class Child:
    """The jobs of one process."""

    def __init__(
        self, pipe: Connection, line: Line, bindings: Mapping[str, Binding], resources: tuple[Resource, ...]
    ) -> None:
        self._pipe = pipe
        self._line = line
        self._bindings = bindings
        needed = {injection.kind for binding in bindings.values() for injection in binding.injections} - {JobContext}
        self._opened = OpenResources(resources, needed)
        self._resources: Mapping[Any, object] | None = None
        self._loop = asyncio.new_event_loop()
        self._run: RunHere | None = None
        self._runs: SimpleQueue[RunHere | None] = SimpleQueue()

    def serve(self) -> None:
        """Run jobs until told to leave."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # the worker started it without
        threading.Thread(target=self._listen, name="redqueue-pipe", daemon=True).start()
        self._line.send(Ready())
        while (run := self._runs.get()) is not None:
            self._line.send(Begun(run.begin.run))
            outcome, error_type, told = contextvars.copy_context().run(self._carry, run)
            run.close()
            self._run = None
            with suppress(Exception):
                sys.stdout.flush()
            self._line.send(ended(run.begin.run, outcome, error_type, told, _memory()))
            del run, outcome  # an idle child must not keep the last job's data alive
        self._loop.run_until_complete(self._opened.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _on_signal(self, number: int, frame: object) -> None:
        """Who else sends it is ignored: a shutdown signals every process, and the worker gives its jobs a grace."""
        if (run := self._run) is not None:
            run.alarm()

    def _listen(self) -> None:
        try:
            first = self._pipe.recv_bytes()
            end_with_worker()
            self._hear(first)
            while True:
                run = self._run
                if run is not None and not self._pipe.poll(FLUSH_EVERY):
                    run.flush()
                else:
                    self._hear(self._pipe.recv_bytes())
        finally:
            end_now()  # the worker is gone, or nothing that it says is understood

    def _hear(self, text: bytes) -> None:
        message = for_child(text)
        run = self._run
        match message:
            case Begin():
                self._run = RunHere(message, self._line, self._loop)
                self._runs.put(self._run)
            case Leave():
                self._runs.put(None)
            case Stop(number, hard) if run is not None and run.begin.run == number:
                run.stop(hard)
            case Answer(number) if run is not None and run.begin.run == number:
                run.answer(message)

    # -- one run

    def _carry(self, run: RunHere) -> tuple[Outcome, str, bool]:
        """The outcome, the class of the error, and whether it ended because it was told to."""
        context = JobContext(run, run.begin.facts)
        CURRENT.set(context)
        binding = self._bindings[run.begin.key]
        prepared: Prepared | None = None
        try:
            prepared = binding.prepare(run.begin.raw)
            outcome = self._called(run, prepared, context)
        except BaseException as error:
            told = run.cancelled and isinstance(error, asyncio.CancelledError | JobCancelled | Terminated)
            if told:
                return Interrupted(), type(error).__name__, True
            outcome = raised(error, binding.options)
            if prepared is not None and isinstance(error, Exception) and _is_last(outcome, context):
                self._tell_failed(prepared, error, context)
            return outcome, type(error).__name__, False
        return outcome, ResultNotSerializable.__name__ if isinstance(outcome, Raised) else "", False

    def _called(self, run: RunHere, prepared: Prepared, context: JobContext) -> Outcome:
        takes_any = any(injection.kind is not JobContext for injection in prepared.binding.injections)
        resources = self._open_resources(run) if takes_any else {}

        async def awaited() -> Outcome:
            value: Any = prepared.call(context, resources)
            return returned(await value)

        if prepared.binding.is_coroutine:
            return self._on_loop(run, awaited)
        return run.guarded(lambda: returned(prepared.call(context, resources)))

    def _open_resources(self, run: RunHere) -> Mapping[Any, object]:
        """All that the bindings take, once; a failure is the job's, and the next job tries again."""
        if self._resources is None:
            self._resources = self._on_loop(run, self._opened.open)
        return self._resources

    def _on_loop(self, run: RunHere, call: Callable[[], Awaitable[T]]) -> T:
        """Run it as a task that `run.stop` cancels. What it raises never gets further than its own step."""
        values: list[T] = []
        errors: list[BaseException] = []

        async def caught() -> None:
            try:
                values.append(await run.guarded_await(call))
            except BaseException as error:
                errors.append(error)

        run.task = self._loop.create_task(caught())
        try:
            self._loop.run_until_complete(run.task)
        finally:
            run.task = None
        if errors:
            raise errors.pop()
        return values[0]

    def _tell_failed(self, prepared: Prepared, error: Exception, context: JobContext) -> None:
        try:
            told = prepared.failed(error, context)
            if asyncio.iscoroutine(told):
                self._loop.run_until_complete(told)
        except BaseException as broken:
            _log.error("job %s: on_failed raised %s", context.job_id, type(broken).__name__)


def _is_last(outcome: Outcome, context: JobContext) -> bool:
    return isinstance(outcome, Raised) and (outcome.final or context.attempt > context.retries)


def _memory() -> int:
    """Resident bytes: now on Linux, elsewhere the most there ever were."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _seen(answer: asyncio.Future[None]) -> None:
    """So that asyncio doesn't report the refusal of a receipt whose waiter was cancelled."""
    if not answer.cancelled():
        answer.exception()
