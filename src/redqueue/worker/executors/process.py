"""Functions that run in child processes: reused from job to job, replaced when they grow, killed when they must be.

A child is started anew, never forked from the worker: so it has none of its sockets, locks and threads. What goes back
and forth is data, see `redqueue.worker.executors.pipe`.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Mapping
from itertools import count
from typing import Final, Protocol

import msgspec

from redqueue.context import JobFacts, Receipt
from redqueue.core.lifecycle import Interrupted, Outcome
from redqueue.core.report import Kind
from redqueue.registry.binding import Portable
from redqueue.registry.resources import Resource
from redqueue.worker.executors.child_process import BURY_WITHIN, ChildProcess
from redqueue.worker.executors.child_process import ChildDied as ChildDied
from redqueue.worker.executors.child_process import ChildNotStarted as ChildNotStarted
from redqueue.worker.executors.pipe import (
    Answer,
    Begin,
    Begun,
    Broken,
    Ended,
    Note,
    Ready,
    Stop,
    ToWorker,
    Wanted,
    outcome_of,
)

LEAVE_WITHIN: Final = 2.0
"""Seconds for a child that is asked to end, to close its resources; then it is killed."""
LOOK_EVERY: Final = 1.0
"""Seconds between two looks at a busy child. A child's child can hold the pipes by which its death would be heard."""
ANSWER_WITHIN: Final = 0.02
"""Seconds for which a run's messages may have to wait while its worker waits for Redis on its behalf."""

MAKING: Final = threading.Lock()
"""Held by who makes a worker's `Children`: several threads may be the first to need them."""

_numbers: Final = count(1)


class Assignment(msgspec.Struct, frozen=True):
    """One job for a child.

    Attributes:
        key: of its portable.
        raw: the job's data or arguments, as JSON.
        restored: the last checkpoint of an earlier run, as JSON.
    """

    key: str
    raw: bytes
    facts: JobFacts
    restored: bytes | None = None


class Ending(msgspec.Struct, frozen=True):
    """What a run in a child ended in.

    Attributes:
        error_type: class of what was raised; empty when it returned.
        told_to_stop: it ended because it was cancelled or terminated.
    """

    outcome: Outcome
    error_type: str
    told_to_stop: bool


class Notebook(Protocol):
    """How what a run tells reaches the worker; called in the thread that carries the run."""

    def note(self, kind: Kind, text: bytes) -> Receipt:
        """Take progress, a line or a state, encoded already."""
        ...


class ChildRun:
    """One assignment in one child. Its methods can be called from any thread, before, during and after the run."""

    def __init__(self, assignment: Assignment, notebook: Notebook) -> None:
        self.assignment = assignment
        self.notebook = notebook
        self.number = next(_numbers)
        self.cancelled = False
        self.terminated = False
        self.killed = False
        self._lock = threading.Lock()
        self._child: ChildProcess | None = None

    @property
    def told_to_stop(self) -> bool:
        """Whether it is not to be begun any more."""
        return self.cancelled or self.terminated

    def cancel(self) -> None:
        """`context.cancelled` becomes true, and an async function gets CancelledError, once."""
        with self._lock:
            self.cancelled = True
            self._wake()

    def terminate(self) -> None:
        """Raise an exception in the function, wherever it is, so that its ``finally`` blocks run."""
        with self._lock:
            self.terminated = True
            self._wake()

    def kill(self) -> None:
        """End the process of the run, whatever it does."""
        with self._lock:
            self.killed = True
            if self._child is not None:
                self._child.kill()

    def attach(self, child: ChildProcess | None) -> None:
        """From here on it is this child that is told and killed, until it is another one or None."""
        with self._lock:
            self._child = child
            if child is not None and self.killed:
                child.kill()

    def _wake(self) -> None:
        if self._child is not None:
            self._child.wake()


class Children:
    """The children of one worker.

    Args:
        portables: what they run, by `Binding.key`.
        resources: what their functions take; each child opens its own.
        log_format: children log like ``python -m redqueue.worker``, in this format; None: they set up no log.
        max_jobs: jobs after which a child is replaced; None: never.
        max_memory: bytes that a child may have resident after a job, else it is replaced; None: any.
    """

    def __init__(
        self,
        portables: Mapping[str, Portable],
        resources: tuple[Resource, ...],
        log_format: str | None = None,
        /,
        *,
        max_jobs: int | None = None,
        max_memory: int | None = None,
    ) -> None:
        self._portables = dict(portables)
        self._resources = resources
        self._log_format = log_format
        self._max_jobs = max_jobs
        self._max_memory = max_memory
        self._lock = threading.Lock()
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()
        self._leaving: set[threading.Thread] = set()
        self._closed = False
        atexit.register(self._kill_all)  # before multiprocessing waits for them

    def carry(self, run: ChildRun) -> Ending:
        """Run it in a child and block until it ends, in a thread.

        Raises:
            ChildNotStarted: the system gives no child now; the run has not begun.
            ChildDied: the child ended under it, or none can be started.
        """
        while True:
            if run.killed:
                raise ChildDied("the run was killed before a child process had it")
            if run.told_to_stop:
                return Ending(Interrupted(), "", True)
            child = self._take()
            was_idle = child.jobs > 0
            run.attach(child)
            try:
                ended = _Talk(child, run).hold()
            except BaseException as error:
                run.attach(None)
                self._bury(child)
                if isinstance(error, ChildDied) and was_idle and not error.begun and not run.killed:
                    continue  # it died between two jobs
                raise
            run.attach(None)
            if ended is None:
                self._give_back(child, 0)  # it is still starting, for another job
                continue
            child.jobs += 1
            self._give_back(child, ended.memory)
            return Ending(outcome_of(ended), ended.error_type, ended.told_to_stop)

    def close(self) -> None:
        """Let the idle children end, and the busy ones after their job. Blocks for 2 s, or a little longer, at most."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            leaving = list(self._leaving)
        for child in idle:
            child.send_leave()
        until = time.monotonic() + LEAVE_WITHIN
        for child in idle:
            child.reap(until - time.monotonic())
            self._bury(child)
        for thread in leaving:
            thread.join()
        self._unregister()

    def _take(self) -> ChildProcess:
        while True:
            with self._lock:
                if self._closed:
                    raise ChildDied("the worker has closed its child processes")
                child = self._idle.pop() if self._idle else None
            if child is None:
                break
            if child.is_alive():
                return child
            self._bury(child)
        child = ChildProcess(self._portables, self._resources, self._log_format)
        with self._lock:
            self._all.add(child)
        return child

    def _give_back(self, child: ChildProcess, memory: int) -> None:
        worn = self._max_jobs is not None and child.jobs >= self._max_jobs
        grown = self._max_memory is not None and memory > self._max_memory
        with self._lock:
            if not (worn or grown or self._closed):
                self._idle.append(child)
                return
            thread = threading.Thread(target=self._let_go, args=(child,), name="redqueue-child-leaves", daemon=True)
            self._leaving.add(thread)
        try:
            thread.start()
        except RuntimeError:  # a limit of the system
            self._leaving.discard(thread)
            self._bury(child)

    def _let_go(self, child: ChildProcess) -> None:
        child.send_leave()
        child.reap(LEAVE_WITHIN)
        self._bury(child)
        with self._lock:
            self._leaving.discard(threading.current_thread())
        self._unregister()

    def _bury(self, child: ChildProcess) -> None:
        child.kill()
        child.reap(BURY_WITHIN)
        child.close()
        with self._lock:
            self._all.discard(child)

    def _unregister(self) -> None:
        with self._lock:
            over = self._closed and not self._all
        if over:
            atexit.unregister(self._kill_all)

    def _kill_all(self) -> None:
        for child in list(self._all):
            child.kill()


class _Talk:
    """What is said between a child and the thread that carries a run in it."""

    def __init__(self, child: ChildProcess, run: ChildRun) -> None:
        self._child = child
        self._run = run
        self._given = False
        self._begun = False
        self._cancel_sent = False
        self._terminate_sent = False
        self._latest: dict[Kind, Receipt] = {}
        self._wanted: list[tuple[int, Receipt]] = []

    def hold(self) -> Ended | None:
        """Until the run has ended; None when it was told to stop before the child could take it."""
        try:
            if self._child.ready:
                self._give()
            while True:
                if not self._given and self._run.told_to_stop:
                    return None
                self._pass_on_orders()
                self._answer()
                message = self._child.hear(0 if self._wanted else LOOK_EVERY)
                if isinstance(message, Ended) and message.run == self._run.number:
                    return message
                if message is not None:
                    self._take(message)
        except ChildDied as died:
            died.begun = died.begun or self._begun
            raise

    def _take(self, message: ToWorker) -> None:
        number = self._run.number
        match message:
            case Ready():
                self._child.ready = True
                self._give()
            case Broken(why):
                raise ChildDied(f"a child process can run no jobs: {why}")
            case Begun(run) if run == number:
                self._begun = True
            case Note(run, kind, text) if run == number:
                self._latest[kind] = self._run.notebook.note(kind, text)
            case Wanted(run, wanted, kind) if run == number and kind in self._latest:
                self._wanted.append((wanted, self._latest[kind]))

    def _give(self) -> None:
        given = self._run.assignment
        self._cancel_sent = self._run.cancelled
        self._child.send(Begin(self._run.number, given.key, given.raw, given.facts, given.restored, self._cancel_sent))
        self._given = True

    def _pass_on_orders(self) -> None:
        if not self._given:
            return
        if self._run.cancelled and not self._cancel_sent:
            self._cancel_sent = True
            self._child.send(Stop(self._run.number, hard=False))
        if self._run.terminated and not self._terminate_sent:
            self._terminate_sent = True
            self._child.send(Stop(self._run.number, hard=True))

    def _answer(self) -> None:
        """Wait a little for the first receipt that somebody wants, and look at the others."""
        seconds = ANSWER_WITHIN
        for wanted in list(self._wanted):
            number, receipt = wanted
            lost: str | None = None
            try:
                receipt.wait(seconds)
            except TimeoutError:
                seconds = 0
                continue
            except Exception as error:
                lost = str(error) or type(error).__name__
            seconds = 0
            self._wanted.remove(wanted)
            self._child.send(Answer(self._run.number, number, lost))
