"""What goes wrong around children: limits of the system, signals, halves of messages, a worker that is gone."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from redqueue import AsyncQueue, ServiceRegistry
from redqueue.core.lifecycle import Interrupted
from redqueue.registry.binding import Portable
from redqueue.worker.executors import child_process
from redqueue.worker.executors.pipe import MOST, Begun, Ready, Unread, write
from redqueue.worker.executors.process import ChildDied, ChildNotStarted, Children, ChildRun, Ending

from . import child_fault_jobs as jobs
from .conftest import MakeWorker
from .test_child_runs import GUARD, Notes, assignment, is_gone, run_of, until, value_of

Start = Callable[..., None]
START: Start = child_process._start


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


@pytest.fixture
def mark(tmp_path: Path) -> str:
    return str(tmp_path / "begun")


@pytest.fixture
def children() -> Iterator[Children]:
    made = jobs.children()
    yield made
    made.close()


def carried(children: Children, run: ChildRun) -> Future[Ending]:
    """The run in a thread that nobody waits for, as it may hang."""
    future: Future[Ending] = Future()

    def carry() -> None:
        try:
            future.set_result(children.carry(run))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=carry, daemon=True).start()
    return future


def open_files() -> int:
    gc.collect()  # a failed start holds its files as long as its error lives
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir keeps one open


# -- starting


def test_a_child_that_the_system_refuses_is_told_from_one_that_died(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(child_process, "_start", refuse)
        with pytest.raises(ChildNotStarted, match="no child process could be started: BlockingIOError"):
            children.carry(run_of("echo"))
    assert value_of(children.carry(run_of("echo", 1))) == 1


def test_a_child_that_can_never_start_is_not_waited_for() -> None:
    local = Children({"x": Portable("processor", "x", lambda data: data, None, ())}, ())
    with pytest.raises(ChildDied) as died:
        local.carry(run_of("x"))
    assert not isinstance(died.value, ChildNotStarted)


def test_without_file_descriptors_no_child_starts_and_none_leaks() -> None:
    warm = jobs.children()
    warm.carry(run_of("echo"))
    warm.close()
    before = open_files()
    children = jobs.children()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = [os.dup(0) for _ in range(8)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, limits[1]))
        for _ in range(len(spare)):
            with pytest.raises(ChildNotStarted):
                children.carry(run_of("echo"))
            os.close(spare.pop())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in spare:
            os.close(fd)
    assert open_files() == before
    assert value_of(children.carry(run_of("echo", 1))) == 1
    children.close()


def test_a_shutdown_does_not_end_a_child_that_starts(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service manager signals every process of the service, the worker's children too."""

    def start(process: Any, context: Any) -> None:
        START(process, context)
        os.kill(process.pid, signal.SIGTERM)

    monkeypatch.setattr(child_process, "_start", start)
    assert value_of(children.carry(run_of("echo", 1))) == 1


def test_a_child_that_starts_can_be_killed(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of("echo")

    def start(process: Any, context: Any) -> None:
        START(process, context)
        run.kill()

    monkeypatch.setattr(child_process, "_start", start)
    with pytest.raises(ChildDied, match="SIGKILL"):
        children.carry(run)


async def test_the_first_jobs_of_a_worker_share_its_children(
    queue: AsyncQueue, registry: ServiceRegistry, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Children] = []
    make = Children.__init__

    def make_slowly(self: Children, *args: Any, **options: Any) -> None:
        made.append(self)
        time.sleep(0.2)
        make(self, *args, **options)

    monkeypatch.setattr(Children, "__init__", make_slowly)
    registry.register_processor("echo", jobs.echo, execution="process")
    added = [await queue.add("echo", n) for n in range(4)]
    async with make_worker(concurrency=4):
        assert [await job.result(GUARD) for job in added] == [0, 1, 2, 3]
    assert len(made) == 1


# -- messages


def test_a_message_is_taken_when_all_of_it_was_read() -> None:
    near, far = os.pipe()
    write(far, Begun(7))
    write(far, Ready())
    os.close(far)
    unread, taken = Unread(), []
    while one := os.read(near, 1):
        unread.add(one)
        taken.append(unread.take())
    os.close(near)
    assert [message for message in taken if message is not None] == [Begun(7), Ready()]
    assert taken[-1] == Ready() and not unread


@pytest.mark.parametrize("nonsense", [b"this is none", (MOST + 1).to_bytes(4, "big"), b"\0\0\0\1?"])
def test_what_no_child_says_is_refused_at_once(nonsense: bytes) -> None:
    unread = Unread()
    unread.add(nonsense)
    with pytest.raises(msgspec.DecodeError):
        unread.take()


def test_a_large_result_comes_in_pieces(children: Children) -> None:
    assert value_of(children.carry(run_of("echo", "x" * 1_000_000))) == "x" * 1_000_000


def test_a_child_that_died_within_a_message_is_not_waited_for(children: Children, mark: str) -> None:
    try:
        with pytest.raises(ChildDied, match="SIGKILL"):
            carried(children, run_of("die_within_a_message", mark)).result(GUARD)
    finally:
        os.kill(int(Path(mark).read_text()), signal.SIGKILL)


def test_a_child_that_writes_nonsense_is_killed(children: Children) -> None:
    run = run_of("write_nonsense")
    try:
        with pytest.raises(ChildDied, match="misused its pipe"):
            carried(children, run).result(GUARD)
    finally:
        run.kill()


# -- ending


def test_what_a_coroutine_tells_while_it_cleans_up_does_not_interrupt_it(children: Children, mark: str) -> None:
    notes = Notes()
    run = run_of("tell_at_the_end", mark, notes)
    future = carried(children, run)
    until(Path(mark).exists)
    run.terminate()
    assert future.result(GUARD) == Ending(Interrupted(), "CancelledError", True)
    assert Path(mark + ".ended").exists()
    assert [kind for kind, _ in notes.notes] == ["l", "p", "s"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such a child ends when its call does")
@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_a_child_that_holds_the_interpreter_ends_with_its_killed_worker(start_method: str, mark: str) -> None:
    worker = multiprocessing.get_context("spawn").Process(
        target=jobs.hold_interpreter_until_killed, args=(start_method, assignment("hold_interpreter", mark))
    )
    worker.start()
    until(lambda: Path(mark).exists())
    child = int(Path(mark).read_text())
    worker.kill()
    worker.join(GUARD)
    try:
        until(lambda: is_gone(child))
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


# -- logging


def test_a_job_in_a_child_logs_as_its_worker_does(capfd: pytest.CaptureFixture[str]) -> None:
    for log_format in (None, "text", "json"):
        children = jobs.children(log_format)
        children.carry(run_of("say", f"sold by {log_format}"))
        children.close()
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].endswith("INFO shop: sold by text")
    assert msgspec.json.decode(said[1])["message"] == "sold by json"
