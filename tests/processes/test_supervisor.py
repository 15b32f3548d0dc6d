"""``--processes N``: several workers, kept alive by a process that runs no job."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from redqueue import Queue
from redqueue.embedded import PrivateServer
from redqueue.worker.__main__ import _without_processes
from redqueue.worker.supervised import VARIABLE, Entered
from redqueue.worker.supervisor import Supervisor, WorkerProcess, wait_before

from .conftest import GUARD, Ledger, Workers, until

STARTED = re.compile(r"process \d+ of \d+ started: pid (\d+)")


@pytest.fixture
def queue(durable_server: PrivateServer) -> Iterator[Queue]:
    with Queue("q", durable_server.url) as queue:
        yield queue


@pytest.fixture
def crowd(workers: Workers) -> Iterator[Crowd]:
    crowd = Crowd(workers)
    yield crowd
    crowd.close()


class Crowd:
    """A supervisor of workers of the ledger's jobs."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        self.process = self._workers.start("-q", "q", *arguments)
        return self.process

    @property
    def log(self) -> str:
        assert self.process is not None
        return self._workers.log(self.process)

    def pids(self) -> list[int]:
        """Of all that were started, the first one first."""
        return [int(pid) for pid in STARTED.findall(self.log)]

    def wait_for_pids(self, count: int) -> list[int]:
        return until(lambda: pids if len(pids := self.pids()) >= count else None, f"{count} processes")

    def close(self) -> None:
        """End the processes even if the test failed; they belong to nobody else."""
        for pid in self.pids() if self.process else []:
            if is_worker(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def is_worker(pid: int) -> bool:
    """Whether the process lives; what ended and waits to be reaped by init doesn't."""
    found = subprocess.run(["ps", "-o", "stat=,args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return "redqueue.worker" in found.stdout and not found.stdout.startswith("Z")


def wait_until_gone(pids: list[int]) -> None:
    until(lambda: None if any(is_worker(pid) for pid in pids) else True, f"the end of {pids}")


def settled(queue: Queue, count: int) -> None:
    until(lambda: True if queue.get_stats().succeeded >= count else None, f"{count} completed")


def start_module(folder: Path, text: str, *arguments: str) -> subprocess.Popen[str]:
    """A supervisor of workers of a module with this text."""
    (folder / "some_jobs.py").write_text(text)
    return subprocess.Popen(
        [sys.executable, "-m", "redqueue.worker", "some_jobs", "--app-dir", str(folder), *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_processes_share_the_work(queue: Queue, crowd: Crowd, ledger: Ledger) -> None:
    crowd.start("--processes", "3", "-c", "2")
    queue.add_many([("ledger", {"n": n, "seconds": 1}) for n in range(6)])
    lines = ledger.wait_for("start", 6)
    assert {line.pid for line in lines} == set(crowd.wait_for_pids(3))
    settled(queue, 6)
    assert ledger.runs() == dict.fromkeys(range(6), 1)
    assert queue.get_stats().workers == 3


def test_jobs_of_a_killed_process_run_again_at_once_and_another_one_takes_its_place(
    queue: Queue, crowd: Crowd, ledger: Ledger
) -> None:
    crowd.start("--processes", "2", "-c", "2", "--prefetch", "4", "--grace", "0.5")
    queue.add_many([("ledger", {"n": n, "seconds": 60}) for n in range(4)])
    first = ledger.wait_for("start", 4)
    victim = first[0].pid
    theirs = {line.n for line in first if line.pid == victim}
    assert len(theirs) == 2
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    again = ledger.wait_for("start", 6)[4:]
    assert {line.n for line in again} == theirs
    assert max(line.at for line in again) - killed_at < 5, "the lease is 30 s"
    assert "was ended by SIGKILL" in crowd.log
    fresh = crowd.wait_for_pids(3)[-1]
    assert is_worker(fresh)
    until(lambda: True if queue.get_stats().workers == 2 else None, "the new process")
    assert all(job.attempts == 0 for job in queue.jobs("active"))
    assert queue.audit() == []


def test_jobs_of_a_killed_process_run_again_when_redis_is_back(
    queue: Queue, crowd: Crowd, ledger: Ledger, durable_server: PrivateServer
) -> None:
    crowd.start("--processes", "2", "-c", "1", "--grace", "0.5")
    queue.add_many([("ledger", {"n": n, "seconds": 60}) for n in range(2)])
    first = ledger.wait_for("start", 2)
    durable_server.kill()
    os.kill(first[0].pid, signal.SIGKILL)
    until(lambda: True if "can't be taken back yet" in crowd.log else None, "the first try")
    durable_server.start()
    back_at = time.monotonic()
    (again,) = ledger.wait_for("start", 3)[2:]
    assert again.n == first[0].n
    assert again.at - back_at < 12, "the lease is 30 s"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_all_processes_finish(queue: Queue, crowd: Crowd, ledger: Ledger, number: signal.Signals) -> None:
    """Faults: A06."""
    supervisor = crowd.start("--processes", "2", "-c", "1", "--prefetch", "5")
    queue.add_many([("ledger", {"n": n, "seconds": 1}) for n in range(6)])
    ledger.wait_for("start", 2)
    supervisor.send_signal(number)
    assert supervisor.wait(GUARD) == 0, crowd.log
    assert len(ledger.lines("start")) == len(ledger.lines("end")) == 2
    stats = queue.get_stats()
    assert (stats.succeeded, stats.waiting, stats.active, stats.workers) == (2, 4, 0, 0)
    assert all(job.attempts == 0 for job in queue.jobs("waiting"))
    wait_until_gone(crowd.pids())


def test_a_second_signal_skips_the_grace(queue: Queue, crowd: Crowd, ledger: Ledger) -> None:
    supervisor = crowd.start("--processes", "2", "-c", "1", "--grace", "600")
    queue.add_many([("ledger", {"n": n, "seconds": 60}) for n in range(2)])
    ledger.wait_for("start", 2)
    supervisor.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        supervisor.wait(0.5)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(GUARD) == 0
    assert queue.get_stats().waiting == 2


def test_a_process_that_does_not_end_is_killed_and_its_jobs_are_released(
    queue: Queue, crowd: Crowd, ledger: Ledger
) -> None:
    supervisor = crowd.start("--processes", "2", "-c", "1", "--grace", "0")
    queue.add("ledger", {"n": 1, "seconds": 60})
    (line,) = ledger.wait_for("start", 1)
    os.kill(line.pid, signal.SIGSTOP)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(GUARD) == 0
    assert "has not ended within 10 s, and is killed" in crowd.log
    stats = queue.get_stats()
    assert (stats.waiting, stats.active, stats.workers) == (1, 0, 0)


def test_a_killed_supervisor_takes_its_processes_with_it(queue: Queue, crowd: Crowd, ledger: Ledger) -> None:
    """Faults: L20."""
    supervisor = crowd.start("--processes", "2", "-c", "1", "--grace", "0.2")
    queue.add_many([("ledger", {"n": n, "seconds": 60}) for n in range(2)])
    ledger.wait_for("start", 2)
    supervisor.kill()
    wait_until_gone(crowd.pids())
    stats = queue.get_stats()
    assert (stats.waiting, stats.active, stats.workers) == (2, 0, 0)
    assert all(job.attempts == 0 for job in queue.jobs("waiting"))


def test_a_process_that_is_stuck_is_ended_after_its_supervisor(queue: Queue, crowd: Crowd, ledger: Ledger) -> None:
    supervisor = crowd.start("--processes", "2", "-c", "1", "--grace", "0")
    queue.add("blocking", {"n": 1, "seconds": 60})
    (line,) = ledger.wait_for("start", 1)
    supervisor.kill()
    wait_until_gone([line.pid])


def test_a_burst_ends_when_all_are_done(queue: Queue, crowd: Crowd, ledger: Ledger) -> None:
    queue.add_many([("ledger", {"n": n}) for n in range(50)])
    assert crowd.start("--processes=2", "--burst").wait(GUARD) == 0
    assert ledger.runs("end") == dict.fromkeys(range(50), 1)
    assert len(crowd.pids()) == 2


def test_a_burst_goes_on_after_a_process_died(queue: Queue, crowd: Crowd, ledger: Ledger) -> None:
    bad = queue.add("poison", {"n": 99})
    queue.add_many([("ledger", {"n": n}) for n in range(5)])
    assert crowd.start("--processes", "2", "--burst").wait(GUARD) == 0
    assert ledger.runs("end") == dict.fromkeys(range(5), 1)
    status = bad.status()
    assert status is not None
    assert (status.state, ledger.runs()[99]) == ("failed", 3)


def test_a_process_that_somebody_stops_is_started_again(queue: Queue, crowd: Crowd) -> None:
    crowd.start("--processes", "2")
    until(lambda: True if queue.get_stats().workers == 2 else None, "both processes")
    os.kill(crowd.pids()[0], signal.SIGTERM)
    crowd.wait_for_pids(3)
    assert "ended with exit code 0" in crowd.log


def test_what_can_not_be_imported_ends_it_with_2_and_is_not_tried_again(tmp_path: Path) -> None:
    supervisor = start_module(tmp_path, "import no_such_module_at_all\n", "--processes", "2")
    _, said = supervisor.communicate(timeout=GUARD)
    assert supervisor.returncode == 2, said
    assert len(STARTED.findall(said)) == 2
    assert "importing some_jobs raised ModuleNotFoundError" in said
    assert "exit code 2, usage or registry: starting it again would not help" in said


def test_a_wrong_password_ends_it_with_3_and_is_not_shown(tmp_path: Path) -> None:
    text = "import redqueue\n@redqueue.ServiceRegistry.get_instance().processor('q')\ndef q(data: object): ...\n"
    with PrivateServer(arguments=["--requirepass", "right"]) as server:
        url = f"unix://:wrong@{server.socket}"
        supervisor = start_module(tmp_path, text, "-q", "q", "--processes", "2", "--url", url)
        _, said = supervisor.communicate(timeout=GUARD)
    assert supervisor.returncode == 3, said
    assert "wrong" not in said


def test_what_dies_again_and_again_is_started_after_longer_and_longer_waits(tmp_path: Path) -> None:
    note = tmp_path / "starts"
    text = f"import os, time\nopen({str(note)!r}, 'a').write(f'{{time.monotonic()}}\\n')\nos._exit(7)\n"
    supervisor = start_module(tmp_path, text, "--processes", "2")
    try:
        starts = until(lambda: lines if note.exists() and len(lines := note.read_text().split()) >= 8 else None, "8")
    finally:
        supervisor.send_signal(signal.SIGTERM)
        _, said = supervisor.communicate(timeout=GUARD)
    assert supervisor.returncode == 0, said
    assert "ended with exit code 7" in said
    assert "started again at once" in said and "started again in 1 s" in said and "started again in 2 s" in said
    assert float(starts[-1]) - float(starts[0]) > 2


def test_waits_double_up_to_half_a_minute() -> None:
    waits = [wait_before(lives) for lives in range(12)]
    assert waits[:8] == [0, 0, 1, 2, 4, 8, 16, 30]
    assert all(one <= two for one, two in pairwise(waits)) and waits[-1] == 30


def test_a_job_that_ends_its_worker_with_2_or_3_does_not_end_the_others(
    queue: Queue, durable_server: PrivateServer, tmp_path: Path
) -> None:
    text = """
import os, pathlib, redqueue
registry = redqueue.ServiceRegistry.get_instance()

@registry.processor("leave")
def leave(code: int) -> str:
    once = pathlib.Path(__file__).with_name(f"left-{code}")
    if not once.exists():
        once.touch()
        os._exit(code)
    return "stayed"
"""
    url = durable_server.url
    supervisor = start_module(tmp_path, text, "-q", "q", "--processes", "2", "-c", "1", "--url", url)
    try:
        assert [queue.add("leave", code).result(GUARD) for code in (2, 3)] == ["stayed", "stayed"]
    finally:
        supervisor.send_signal(signal.SIGTERM)
        _, said = supervisor.communicate(timeout=GUARD)
    assert supervisor.returncode == 0, said
    assert "ended with exit code 2" in said and "ended with exit code 3" in said


def test_without_file_descriptors_a_process_is_started_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    process = WorkerProcess("process 1 of 1", ["true"])
    monkeypatch.setattr(socket, "socketpair", refuse)
    assert process.start() is None
    assert process.due is not None and process.due > time.monotonic()
    assert "process 1 of 1 can't be started: [Errno 24] Too many open files" in caplog.text


def test_without_a_thread_a_dead_worker_s_jobs_wait_for_their_leases(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    supervisor = Supervisor(["true"], 1, grace=1, burst=False)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    supervisor._release(Entered("session", ["q"], "redqueue", "redis://localhost:6379/0"))
    assert "wait for their leases to end: can't start new thread" in caplog.text


@pytest.mark.parametrize("number", ["0", "65", "-1"])
def test_the_number_of_processes_has_bounds(tmp_path: Path, number: str) -> None:
    supervisor = start_module(tmp_path, "", f"--processes={number}")
    _, said = supervisor.communicate(timeout=GUARD)
    assert supervisor.returncode == 2
    assert "processes must be a whole number from 1 to 64" in said


def test_the_line_s_variable_is_not_for_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "here")
    supervisor = start_module(tmp_path, "")
    _, said = supervisor.communicate(timeout=GUARD)
    assert supervisor.returncode == 2
    assert VARIABLE in said


@pytest.mark.parametrize(
    ("typed", "passed"),
    [
        ("m --processes 3 -c 2", "m -c 2"),
        ("--processes=3 m", "m"),
        ("--proc 3 m --prefix p --prefetch 3", "m --prefix p --prefetch 3"),
        ("--burst -- m --processes", "--burst -- m --processes"),
        ("m --processes", "m"),
    ],
)
def test_each_process_is_told_what_was_typed_but_their_number(typed: str, passed: str) -> None:
    assert _without_processes(typed.split()) == passed.split()


def test_the_variable_starts_processes_that_start_none(
    queue: Queue, crowd: Crowd, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDQUEUE_PROCESSES", "2")
    queue.add("ledger", {"n": 1})
    assert crowd.start("--burst").wait(GUARD) == 0
    assert len(crowd.pids()) == 2
    assert ledger.runs("end") == {1: 1}
