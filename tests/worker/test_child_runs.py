"""Runs in child processes, as the thread that carries them sees it; the jobs are `child_run_jobs`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from redqueue.context import JobFacts
from redqueue.core.lifecycle import Interrupted, Raised, Returned, Snoozed
from redqueue.core.report import Kind
from redqueue.errors import LeaseLost, Seconds
from redqueue.registry.binding import Portable
from redqueue.worker.executors.process import Assignment, ChildDied, Children, ChildRun, Ending

from . import child_run_jobs as jobs

GUARD = 20.0
FACTS = JobFacts("q", "j1", "t", "label", 1, 3, 7, 1000, user_id="u", given={"a": 2**53})


class Receipt:
    """Of something noted; by default Redis has it at once."""

    def __init__(self) -> None:
        self.future: Future[None] = Future()

    def wait(self, timeout: Seconds | None = None) -> None:
        assert isinstance(timeout, int | float)
        self.future.result(timeout)

    def __await__(self) -> Generator[Any, None, None]:
        raise AssertionError("the thread that carries a run has no loop")


class Notes:
    """What a run told, and the receipts that it got."""

    def __init__(self, *, held: bool = False, lost: bool = False) -> None:
        self.notes: list[tuple[Kind, bytes]] = []
        self.receipts: list[Receipt] = []
        self.heard = threading.Event()
        self._held = held
        self._lost = lost

    def note(self, kind: Kind, text: bytes) -> Receipt:
        receipt = Receipt()
        if self._lost:
            receipt.future.set_exception(LeaseLost("another run has it"))
        elif not self._held:
            receipt.future.set_result(None)
        self.notes.append((kind, text))
        self.receipts.append(receipt)
        self.heard.set()
        return receipt


def assignment(key: str, data: object = None, *, attempt: int = 1, restored: object = None) -> Assignment:
    facts = msgspec.structs.replace(FACTS, attempt=attempt)
    saved = None if restored is None else msgspec.json.encode(restored)
    return Assignment(key, msgspec.json.encode(data), facts, saved)


def run_of(key: str, data: object = None, told: Notes | None = None, **more: Any) -> ChildRun:
    return ChildRun(assignment(key, data, **more), told or Notes())


def value_of(ending: Ending) -> Any:
    assert isinstance(ending.outcome, Returned), ending
    assert (ending.error_type, ending.told_to_stop) == ("", False)
    return msgspec.json.decode(ending.outcome.result) if ending.outcome.result else None


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return not Path("/proc/self").exists() or not Path(f"/proc/{pid}").exists()


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    monkeypatch.setenv("OPENED", str(tmp_path / "opened"))


@pytest.fixture
def mark(tmp_path: Path) -> str:
    return str(tmp_path / "begun")


@pytest.fixture
def children() -> Iterator[Children]:
    made = jobs.children()
    yield made
    made.close()


@pytest.fixture
def started(children: Children) -> Iterator[Callable[[ChildRun], Future[Ending]]]:
    """Carries runs in threads."""
    with ThreadPoolExecutor(8) as threads:
        yield lambda run: threads.submit(children.carry, run)


@pytest.fixture(params=["spawn", "forkserver", "fork"])
def start_method(request: pytest.FixtureRequest) -> Iterator[str]:
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


# -- outcomes


def test_a_job_runs_in_a_process_of_its_own_by_each_start_method(start_method: str) -> None:
    """Faults: A04."""
    children = jobs.children()
    try:
        assert value_of(children.carry(run_of("echo", {"n": [1, None]}))) == {"n": [1, None]}
        first, second = (value_of(children.carry(run_of(key))) for key in ("pid", "pid_async"))
        assert first == second != os.getpid()
        with pytest.raises(ChildDied, match="exit code 7"):
            children.carry(run_of("die", "exit"))
        assert value_of(children.carry(run_of("echo"))) is None
    finally:
        children.close()
    assert is_gone(first)


def test_a_child_shares_nothing_with_the_worker_and_ignores_ctrl_c(children: Children) -> None:
    seen = value_of(children.carry(run_of("environment", "")))
    assert (seen["sigint"], seen["blocked"], seen["redis"]) == (True, [], False)
    assert len([name for name in seen["sockets"] if name.startswith("socket:")]) <= 3  # its pipe, its loop's own two


def test_an_exception_comes_with_its_text_and_the_users_frames_only(children: Children) -> None:
    ending = children.carry(run_of("fail", "no such number"))
    assert isinstance(ending.outcome, Raised)
    told = msgspec.json.decode(ending.outcome.error)
    assert (told["type"], told["message"], ending.error_type) == ("Broken", "no such number", "Broken")
    assert "child_run_jobs.py" in told["traceback"]
    assert "executors" not in told["traceback"]
    assert not ending.outcome.final


@pytest.mark.parametrize("key", ["strict", "giving-up"])
def test_the_processors_options_say_what_is_final(children: Children, key: str) -> None:
    outcome = children.carry(run_of(key, "x")).outcome
    assert isinstance(outcome, Raised) and outcome.final


def test_steering(children: Children) -> None:
    assert children.carry(run_of("steer", "snooze")).outcome == Snoozed(5000, "not now")
    retry = children.carry(run_of("steer", "retry")).outcome
    assert isinstance(retry, Raised) and (retry.after_ms, retry.final) == (2000, False)
    discard = children.carry(run_of("steer", "discard"))
    assert isinstance(discard.outcome, Raised) and discard.outcome.final and discard.error_type == "Discard"


@pytest.mark.parametrize(
    ("key", "data", "error"),
    [
        ("steer", "exit", "SystemExit"),
        ("exit_async", None, "SystemExit"),
        ("steer", "interrupt", "KeyboardInterrupt"),
        ("steer", "object", "ResultNotSerializable"),
        ("typed", "text", "InvalidArguments"),
    ],
)
def test_whatever_a_job_does_is_its_own_failure(children: Children, key: str, data: object, error: str) -> None:
    before = value_of(children.carry(run_of("pid")))
    ending = children.carry(run_of(key, data))
    assert isinstance(ending.outcome, Raised) and ending.error_type == error
    assert value_of(children.carry(run_of("pid"))) == before


@pytest.mark.parametrize(("attempt", "told"), [(3, False), (4, True)])
def test_a_processor_is_told_in_the_child_that_its_job_failed_for_good(
    children: Children, mark: str, attempt: int, told: bool
) -> None:
    children.carry(run_of("parts", mark, attempt=attempt))
    assert Path(mark).exists() is told


# -- context


def test_the_context_tells_the_jobs_facts(children: Children) -> None:
    found = value_of(children.carry(run_of("facts", restored={"at": 3})))
    assert found == ["q", "j1", 1, 3, 7, "label", "u", {"a": 2**53}, {"at": 3}, False]
    assert value_of(children.carry(run_of("facts", attempt=2)))[2:9:6] == [2, None]


@pytest.mark.parametrize("key", ["tell", "tell_async"])
def test_what_a_run_tells_reaches_the_worker_in_order(children: Children, key: str) -> None:
    notes = Notes()
    assert value_of(children.carry(run_of(key, told=notes))) is None
    assert [kind for kind, _ in notes.notes] == ["s", "l", "p"]
    assert notes.notes[0][1] == b'{"n":1}' and notes.notes[1][1] == b"line"


@pytest.mark.parametrize("key", ["tell", "tell_async"])
def test_a_receipt_that_redis_refused_raises_in_the_child(children: Children, key: str) -> None:
    ending = children.carry(run_of(key, told=Notes(lost=True)))
    assert isinstance(ending.outcome, Raised) and ending.error_type == "LeaseLost"
    assert b"another run has it" in ending.outcome.error


def test_a_receipt_is_waited_for_as_long_as_its_waiter_says(started: Callable[[ChildRun], Future[Ending]]) -> None:
    notes = Notes(held=True)
    future = started(run_of("tell_impatiently", told=notes))
    until(lambda: len(notes.notes) == 2)
    notes.receipts[0].future.set_result(None)
    assert value_of(future.result(GUARD)) == "late"


def test_progress_that_nobody_waits_for_is_cheap_and_its_last_is_never_lost(children: Children) -> None:
    notes = Notes()
    seconds = value_of(children.carry(run_of("tell_often", 100_000, notes)))
    assert seconds < 10
    assert len(notes.notes) <= 3 + 21 * seconds
    assert msgspec.json.decode(notes.notes[-1][1])[0] == 0.99999


def test_the_latest_progress_does_not_wait_for_a_later_one(started: Callable[[ChildRun], Future[Ending]]) -> None:
    notes = Notes()
    run = run_of("tell_and_wait", told=notes)
    future = started(run)
    until(lambda: len(notes.notes) == 2)
    run.cancel()
    assert value_of(future.result(GUARD)) is None
    assert [msgspec.json.decode(text)[0] for _, text in notes.notes] == [0.1, 0.2]


def test_what_a_run_tells_when_it_is_over_reaches_no_other_run(children: Children) -> None:
    first, second = Notes(), Notes()
    children.carry(run_of("tell_when_over", told=first))
    children.carry(run_of("tell_others_tale", told=second))
    assert first.notes == []
    assert second.notes == [("l", b"mine")]


# -- deaths


@pytest.mark.parametrize(("data", "how"), [("exit", "exit code 7"), ("segv", "SIGSEGV")])
def test_a_death_is_told_and_the_next_job_has_a_fresh_child(children: Children, data: str, how: str) -> None:
    before = value_of(children.carry(run_of("pid")))
    with pytest.raises(ChildDied, match=how) as died:
        children.carry(run_of("die", data))
    assert died.value.begun
    assert value_of(children.carry(run_of("pid"))) != before


def test_a_death_is_seen_though_a_grandchild_holds_the_pipes(children: Children, mark: str) -> None:
    try:
        with pytest.raises(ChildDied, match="exit code 7"):
            children.carry(run_of("die_with_a_child_of_its_own", mark))
    finally:
        os.kill(int(Path(mark).read_text()), signal.SIGKILL)


def test_a_child_that_died_while_idle_costs_no_job(children: Children) -> None:
    before = value_of(children.carry(run_of("pid")))
    os.kill(before, signal.SIGKILL)
    assert value_of(children.carry(run_of("pid"))) != before


def test_a_child_that_cannot_start_says_why() -> None:
    with pytest.raises(ChildDied, match="no child process could be started"):
        Children({"x": Portable("processor", "x", lambda data: data, None, ())}, ()).carry(run_of("x"))
    broken = Children({"x": Portable("processor", "x", jobs.opened, None, ())}, ())
    with pytest.raises(ChildDied, match="can run no jobs: RegistrationError") as died:
        broken.carry(run_of("x"))
    assert not died.value.begun
    broken.close()


def test_children_end_when_their_worker_is_killed(mark: str) -> None:
    """Faults: L20."""
    worker = multiprocessing.get_context("spawn").Process(target=jobs.orphan, args=(mark,))
    worker.start()
    until(lambda: Path(mark).exists() and Path(mark).read_text())
    child = int(Path(mark).read_text())
    worker.kill()
    worker.join(GUARD)
    until(lambda: is_gone(child))
    assert not Path(mark + ".ended").exists()


# -- stopping


@pytest.mark.parametrize("key", ["sleep", "sleep_async", "block_async", "chatter"])
def test_terminating_lets_a_function_clean_up(
    started: Callable[[ChildRun], Future[Ending]], mark: str, key: str
) -> None:
    before = value_of(started(run_of("pid")).result(GUARD))
    run = run_of(key, mark)
    future = started(run)
    until(Path(mark).exists)
    run.terminate()
    ending = future.result(GUARD)
    assert (ending.outcome, ending.told_to_stop) == (Interrupted(), True)
    assert ending.error_type == ("CancelledError" if key == "sleep_async" else "Terminated")
    assert Path(mark + ".ended").exists()
    assert value_of(started(run_of("pid")).result(GUARD)) == before


def test_a_stray_signal_does_not_end_a_job(started: Callable[[ChildRun], Future[Ending]], mark: str) -> None:
    pid = value_of(started(run_of("pid")).result(GUARD))
    os.kill(pid, signal.SIGTERM)
    run = run_of("sleep", mark)
    future = started(run)
    until(Path(mark).exists)
    for stray in (signal.SIGTERM, signal.SIGINT):
        os.kill(pid, stray)
    assert value_of(started(run_of("echo", 1)).result(GUARD)) == 1  # another child: this one is busy
    assert not future.done()
    run.terminate()
    assert future.result(GUARD).told_to_stop


def test_a_call_that_holds_the_interpreter_ends_by_kill_only(
    started: Callable[[ChildRun], Future[Ending]], mark: str
) -> None:
    run = run_of("hold_gil", mark)
    future = started(run)
    until(Path(mark).exists)
    run.cancel()
    run.terminate()
    with pytest.raises(TimeoutError):
        future.result(0.3)
    run.kill()
    with pytest.raises(ChildDied, match="SIGKILL"):
        future.result(GUARD)


def test_a_coroutine_is_cancelled_once(started: Callable[[ChildRun], Future[Ending]], mark: str) -> None:
    run = run_of("count_cancels", mark)
    future = started(run)
    until(Path(mark).exists)
    run.cancel()
    run.cancel()
    assert value_of(future.result(GUARD)) == 1


def test_a_cancelled_coroutine_was_told_to_stop(started: Callable[[ChildRun], Future[Ending]], mark: str) -> None:
    run = run_of("sleep_async", mark)
    future = started(run)
    until(Path(mark).exists)
    run.cancel()
    assert future.result(GUARD) == Ending(Interrupted(), "CancelledError", True)
    assert Path(mark + ".ended").exists()


def test_a_run_can_be_stopped_before_a_child_has_it(children: Children, mark: str) -> None:
    cancelled, cancelled_async, terminated, killed = (
        run_of("facts"),
        run_of("sleep_async", mark),
        run_of("sleep", mark),
        run_of("sleep", mark),
    )
    cancelled.cancel()
    assert children.carry(cancelled).told_to_stop
    cancelled_async.cancel()
    assert children.carry(cancelled_async).told_to_stop
    terminated.terminate()
    assert children.carry(terminated).told_to_stop
    killed.kill()
    with pytest.raises(ChildDied):
        children.carry(killed)
    assert not Path(mark).exists()


def test_a_run_that_is_over_stops_nobody(started: Callable[[ChildRun], Future[Ending]], mark: str) -> None:
    over = run_of("pid")
    pid = value_of(started(over).result(GUARD))
    run = run_of("sleep", mark)
    future = started(run)
    until(Path(mark).exists)
    assert int(Path(mark).read_text()) == pid
    over.cancel()
    over.terminate()
    over.kill()
    with pytest.raises(TimeoutError):
        future.result(0.3)
    run.terminate()
    assert future.result(GUARD).told_to_stop


# -- lives


def test_a_child_is_replaced_after_so_many_jobs() -> None:
    children = jobs.children(max_jobs=2)
    pids = [value_of(children.carry(run_of("pid"))) for _ in range(5)]
    children.close()
    assert [pids[0] == pids[1], pids[2] == pids[3], len(set(pids))] == [True, True, 3]
    assert all(is_gone(pid) for pid in pids)


def test_a_child_that_grew_is_replaced() -> None:
    children = jobs.children(max_memory=200 * 1024 * 1024)
    pids = [value_of(children.carry(run_of("grow", size))) for size in (1, 300 * 1024 * 1024, 1)]
    children.close()
    assert pids[0] == pids[1] != pids[2]


def test_resources_are_opened_once_a_child_and_closed_when_it_leaves(tmp_path: Path) -> None:
    children = jobs.children()
    children.carry(run_of("pid"))
    assert not (tmp_path / "opened").exists()
    for _ in range(3):
        children.carry(run_of("pid_async"))
    assert (tmp_path / "opened").read_text() == "open\n"
    children.close()
    assert (tmp_path / "opened").read_text() == "open\nclosed\n"


def test_nothing_is_left_of_children_that_ended(mark: str) -> None:
    def open_files() -> set[str]:
        return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir keeps one open

    warm = jobs.children()  # multiprocessing keeps some of its own
    warm.carry(run_of("pid"))
    warm.close()
    before = open_files()
    children = jobs.children(max_jobs=2)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: children.carry(run_of("pid")), range(12)))
    with pytest.raises(ChildDied):
        children.carry(run_of("die", "exit"))
    children.close()
    assert len(open_files()) == len(before)
    assert multiprocessing.active_children() == []
    with pytest.raises(ChildDied, match="closed"):
        children.carry(run_of("pid"))


def test_a_hundred_jobs_at_once_in_eight_threads(started: Callable[[ChildRun], Future[Ending]]) -> None:
    futures = [started(run_of("echo", n)) for n in range(100)]
    assert [value_of(future.result(GUARD)) for future in futures] == list(range(100))
