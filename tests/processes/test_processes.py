"""Real workers, real signals, a real server that goes away."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from redqueue import Queue, ResultTimeout
from redqueue.embedded import PrivateServer

from .conftest import GUARD, Ledger, Workers, until


@pytest.fixture
def queue(durable_server: PrivateServer) -> Iterator[Queue]:
    with Queue("q", durable_server.url) as queue:
        yield queue
        assert queue.audit() == []


def settled(queue: Queue, count: int) -> None:
    """Return when that many jobs have completed."""
    until(lambda: True if queue.get_stats().succeeded >= count else None, f"{count} completed")


def test_a_killed_workers_jobs_run_again(queue: Queue, workers: Workers, ledger: Ledger) -> None:
    """Faults: L01, L02."""
    first = workers.start("-q", "q", "--lease", "1")
    queue.add("ledger", {"n": 1, "seconds": 60}, retries=0)
    (started,) = ledger.wait_for("start", 1)
    second = workers.start("-q", "q", "--lease", "1")
    until(lambda: True if queue.get_stats().workers == 2 else None, "the second worker")
    first.kill()
    again = ledger.wait_for("start", 2)[-1]
    assert again.pid == second.pid != started.pid
    status = queue.jobs("active")[0]
    assert status.attempts == 0, "a crash is not a counted failure: retries=0 still lets the job run again"


def test_poison_fails_after_three_crashes_and_costs_no_other_job(
    queue: Queue, workers: Workers, ledger: Ledger
) -> None:
    bad = queue.add("poison", {"n": 99}, job_id="bad")
    queue.add_many([("ledger", {"n": n, "seconds": 0.2}) for n in range(20)])
    for _ in range(3):
        assert workers.start("-q", "q", "--lease", "0.5", "-c", "30").wait(GUARD) == -signal.SIGKILL
    workers.start("-q", "q", "--lease", "0.5")
    settled(queue, 20)
    status = until(lambda: s if (s := bad.status()) and s.state == "failed" else None, "the poison to be failed")
    assert status.error is not None and status.error.startswith("WorkerCrashed")
    assert ledger.runs()[99] == 3
    assert queue.get_stats().failed == 1


def test_sigterm_lets_running_jobs_finish_and_gives_the_others_back(
    queue: Queue, workers: Workers, ledger: Ledger
) -> None:
    """Faults: L19."""
    worker = workers.start("-q", "q", "-c", "2", "--prefetch", "10")
    queue.add_many([("ledger", {"n": n, "seconds": 1}) for n in range(10)])
    ledger.wait_for("start", 2)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(GUARD) == 0, workers.log(worker)
    assert len(ledger.lines("start")) == len(ledger.lines("end")) == 2
    stats = queue.get_stats()
    assert (stats.succeeded, stats.waiting, stats.active, stats.workers) == (2, 8, 0, 0)
    assert all(job.attempts == 0 for job in queue.jobs("waiting"))


def test_what_outlasts_the_grace_is_given_back_uncounted(queue: Queue, workers: Workers, ledger: Ledger) -> None:
    """Faults: A06."""
    worker = workers.start("-q", "q", "--grace", "0.1")
    queue.add("ledger", {"n": 1, "seconds": 60})
    ledger.wait_for("start", 1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(GUARD) == 0
    (job,) = queue.jobs("waiting")
    assert job.attempts == 0


def test_a_second_signal_skips_the_grace(queue: Queue, workers: Workers, ledger: Ledger) -> None:
    """Faults: A06."""
    worker = workers.start("-q", "q", "--grace", "600")
    queue.add("ledger", {"n": 1, "seconds": 60})
    ledger.wait_for("start", 1)
    worker.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.5)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(GUARD) == 0
    assert queue.get_stats().waiting == 1


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "busy"])
def test_a_worker_goes_on_after_redis_was_killed_and_restarted(
    queue: Queue, workers: Workers, ledger: Ledger, durable_server: PrivateServer, idle: bool
) -> None:
    worker = workers.start("-q", "q", "--lease", "3")
    queue.add_many([("ledger", {"n": n, "seconds": 0 if idle else 2}) for n in range(5)])
    ledger.wait_for("end" if idle else "start", 5)
    if idle:
        settled(queue, 5)
    durable_server.kill()
    durable_server.start()
    queue.add("ledger", {"n": 100})
    ledger.wait_for("start", 6)
    settled(queue, 6)
    assert ledger.runs() == {**dict.fromkeys(range(5), 1), 100: 1}
    assert worker.poll() is None


def test_running_jobs_survive_an_outage_of_twice_the_lease(
    queue: Queue, workers: Workers, ledger: Ledger, durable_server: PrivateServer
) -> None:
    """Faults: D19."""
    for _ in range(2):
        workers.start("-q", "q", "--lease", "1", "-c", "20")
    queue.add_many([("ledger", {"n": n, "seconds": 4}) for n in range(40)])
    ledger.wait_for("start", 40)
    durable_server.pause()
    try:
        subprocess.run(["sleep", "2"], check=True)  # the outage itself
    finally:
        durable_server.resume()
    settled(queue, 40)
    assert ledger.runs() == dict.fromkeys(range(40), 1), "no job ran twice"


def test_a_blocked_event_loop_loses_no_job(queue: Queue, workers: Workers, ledger: Ledger) -> None:
    """Faults: D02."""
    workers.start("-q", "q", "--lease", "0.5")
    queue.add("blocking", {"n": 1, "seconds": 2})
    ledger.wait_for("start", 1)
    workers.start("-q", "q", "--lease", "0.5")
    settled(queue, 1)
    assert ledger.runs() == {1: 1}


def test_a_worker_that_was_stopped_for_long_records_nothing_twice(
    queue: Queue, workers: Workers, ledger: Ledger
) -> None:
    """Faults: D09."""
    first = workers.start("-q", "q", "--lease", "0.5")
    queue.add("ledger", {"n": 1, "seconds": 1})
    ledger.wait_for("start", 1)
    first.send_signal(signal.SIGSTOP)
    workers.start("-q", "q", "--lease", "0.5")
    settled(queue, 1)
    first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGTERM)
    assert first.wait(GUARD) == 0
    stats = queue.get_stats()
    assert (stats.succeeded, stats.failed, stats.waiting, stats.active) == (1, 0, 0, 0)


def test_a_worker_whose_interpreter_is_held_loses_its_job_and_records_nothing_over_another_one(
    queue: Queue, workers: Workers, ledger: Ledger
) -> None:
    """Faults: D03."""
    first, second = (workers.start("-q", "q", "--lease", "0.5") for _ in range(2))
    until(lambda: True if queue.get_stats().workers == 2 else None, "both workers")
    job = queue.add("seizing", {"n": 1, "seconds": 3})
    holder, other = ledger.wait_for("start", 2)
    assert job.result(GUARD) == other.pid != holder.pid
    assert [line.pid for line in ledger.wait_for("end", 2)] == [other.pid, holder.pid]
    first.send_signal(signal.SIGTERM)
    second.send_signal(signal.SIGTERM)
    assert first.wait(GUARD) == second.wait(GUARD) == 0
    assert (queue.get_stats().succeeded, queue.get_stats().failed) == (1, 0)


def test_who_waits_for_a_stopped_workers_job_gets_the_result_of_another_one(
    queue: Queue, workers: Workers, ledger: Ledger
) -> None:
    """Faults: S18."""
    first = workers.start("-q", "q", "--lease", "0.5")
    job = queue.add("ledger", {"n": 1, "seconds": 1})
    ledger.wait_for("start", 1)
    first.send_signal(signal.SIGSTOP)
    with pytest.raises(ResultTimeout):
        job.result(0.5)
    workers.start("-q", "q", "--lease", "0.5")
    assert job.result(GUARD) is None
    assert ledger.runs("end") == {1: 1}
    first.send_signal(signal.SIGCONT)


def test_a_burst_ends_when_nothing_is_left(queue: Queue, workers: Workers, ledger: Ledger) -> None:
    queue.add_many([("flaky", {"n": n}) for n in range(3)])
    queue.add("ledger", {"n": 9}, delay=3600)
    assert workers.start("-q", "q", "--burst").wait(GUARD) == 0
    assert workers.start("-q", "q", "--burst").wait(GUARD) == 0
    assert ledger.runs("end") == dict.fromkeys(range(3), 1)
    assert queue.get_stats().delayed == 1
