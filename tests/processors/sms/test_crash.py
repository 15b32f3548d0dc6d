"""A worker process that is killed in the middle of a campaign, and another one that goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

from redqueue import Queue

from .conftest import HttpServer, Reply, Request, job_data, numbers

CHUNK = 20  # the concurrency in sms_jobs
TOTAL = 320
KILLED_AT = 170
GUARD = 30.0


def start(url: str, gateway: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "redqueue.worker", "sms_jobs:registry", "--app-dir", str(Path(__file__).parent)]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, "--url", url, "-q", "sms", "--lease", "1"],
            env={**os.environ, "SMS_GATEWAY": gateway},
            stdout=output,
            stderr=output,
        )


def test_a_killed_campaign_goes_on_and_only_what_was_in_flight_is_sent_twice(
    http: HttpServer, real_url: str, tmp_path: Path
) -> None:
    middle, killed = threading.Event(), threading.Event()

    def answer(request: Request) -> Reply:
        with http.lock:
            place = len(http.requests)
        if place >= KILLED_AT and not killed.is_set():
            middle.set()
            killed.wait(GUARD)
        return Reply(200, {"id": request.headers["idempotency-key"]})

    http.answer = answer
    workers = [start(real_url, http.url, tmp_path / "first.log")]
    try:
        with Queue("sms", real_url) as queue:
            job = queue.add("sms", job_data(numbers(TOTAL)), job_id="campaign", retries=0)
            assert middle.wait(GUARD), (tmp_path / "first.log").read_text()
            workers[0].kill()
            workers[0].wait(GUARD)
            killed.set()
            before = len(http.requests)
            workers.append(start(real_url, http.url, tmp_path / "second.log"))
            result = job.result(GUARD)
            assert (result["total"], result["successful"], result["failed"]) == (TOTAL, TOTAL, 0)
            status = job.status()
            assert status is not None and status.attempts == 1, "the crash is no failure"
    finally:
        killed.set()
        for worker in workers:
            worker.kill()
            worker.wait(GUARD)
    keys: dict[str, list[str]] = defaultdict(list)
    for request in http.requests:
        keys[request.json()["to"]].append(request.headers["idempotency-key"])
    assert set(keys) == set(numbers(TOTAL)), "every contact was sent to"
    assert [int(keys[to][0].rpartition(":")[2]) for to in numbers(TOTAL)] == [*range(TOTAL)]
    twice = {to: sent for to, sent in keys.items() if len(sent) > 1}
    assert 0 < len(twice) <= CHUNK, "the kill came in the middle, and cost at most a chunk"
    assert all(len(sent) == 2 and sent[0] == sent[1] for sent in twice.values())
    assert KILLED_AT <= before < TOTAL
