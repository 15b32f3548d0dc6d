"""Results and events by the ways to more than one server."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from redqueue import JobCancelled

from .conftest import Handles, Ledger
from .servers import Cluster, Sentinels

QUEUES = ("a", "b", "c", "d")
"""On different nodes of three."""


def first_events(handles: Handles, queue: Any, count: int) -> list[Any]:
    events = queue.events(since="0")
    if handles.kind == "sync":
        return [next(events) for _ in range(count)]

    async def listen() -> list[Any]:
        told = [await anext(events) for _ in range(count)]
        await events.aclose()
        return told

    told: list[Any] = handles.do(listen())
    return told


def wait_and_listen(handles: Handles, ledger: Ledger, url: str) -> None:
    with ledger.worker(list(QUEUES), url).in_thread():
        for name in QUEUES:
            with handles.open(name, url) as queue:
                for n in range(3):
                    assert handles.do(handles.do(queue.add("count", n)).result(20)) == n
                kinds = [one.kind for one in first_events(handles, queue, 3)]
                assert kinds == ["added", "active", "completed"]
    for name in QUEUES:  # nobody works any more: what was waited for came by the stream
        with handles.open(name, url) as queue:
            job = handles.do(queue.add("count", 7))
            timer = threading.Timer(0.3, cancel, (url, name, job.id))
            timer.start()
            with pytest.raises(JobCancelled, match="not wanted"):
                handles.do(job.result(20))
            timer.join()


def cancel(url: str, name: str, job_id: str) -> None:
    other = Handles("sync")
    with other.open(name, url) as queue:
        assert queue.cancel(job_id, "not wanted") == "cancelled"
    other.close()


def test_results_and_events_on_all_nodes_of_a_cluster(cluster: Cluster, handles: Handles, ledger: Ledger) -> None:
    wait_and_listen(handles, ledger, cluster.url)


def test_results_and_events_by_sentinels(sentinels: Sentinels, handles: Handles, ledger: Ledger) -> None:
    wait_and_listen(handles, ledger, sentinels.url)
