"""Queues on a Redis Cluster: each has a slot of its own, so a worker's queues live on several nodes."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.exceptions import RedisClusterException

from redqueue import AsyncQueue, Queue, RedisRefused, RedisUnavailable
from redqueue.client.patience import Patience
from redqueue.embedded import PrivateServer

from .conftest import Handles, Ledger, insist
from .servers import GUARD, Cluster, admin, asked, start, until

if int(redis.__version__.split(".")[0]) < 8:
    # It drops the nodes of an earlier layout without closing them.
    pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def _no_garbage() -> Iterator[None]:
    """What a test leaves unclosed is found here, and not by a later module."""
    yield
    gc.collect()


@pytest.fixture(params=["url", "client"])
def queue(request: pytest.FixtureRequest, cluster: Cluster, handles: Handles) -> Iterator[Any]:
    """The queue "q", by the cluster's URL or with a RedisCluster that is given."""
    if request.param == "url":
        with handles.open("q", cluster.url) as opened:
            yield opened
        return
    with given_client(cluster, handles) as client, handles.open("q", client=client) as opened:
        yield opened


@contextmanager
def given_client(cluster: Cluster, handles: Handles) -> Iterator[Any]:
    port = cluster.primaries[0].port
    if handles.kind == "sync":
        client = redis.RedisCluster("127.0.0.1", port)
        yield client
        client.close()
    else:
        tasks_client = redis.asyncio.RedisCluster("127.0.0.1", port)
        yield tasks_client
        handles.do(tasks_client.aclose())


def test_jobs_are_added_and_looked_at(handles: Handles, queue: Any) -> None:
    do = handles.do
    job = do(queue.add("t", {"n": 1}, job_id="one"))
    assert (job.id, job.answer) == ("one", "created")
    assert do(queue.add("t", {"n": 1}, job_id="one")).answer == "duplicate"
    assert {job.answer for job in do(queue.add_many([("t", n) for n in range(1500)]))} == {"created"}
    do(queue.add("t", "later", job_id="later", delay=60))
    status = do(queue.get_status("one"))
    assert (status.state, status.position) == ("waiting", 0)
    assert do(job.status()).state == "waiting"
    assert do(queue.get_data("one")) == {"n": 1}
    assert [do(queue.get_logs("one")) for _ in range(10)] == [[]] * 10  # a call without a key goes to any node
    stats = do(queue.get_stats())
    assert (stats.waiting, stats.delayed) == (1501, 1)
    assert [job.job_id for job in do(queue.jobs("delayed"))] == ["later"]
    assert do(queue.jobs("waiting", count=1, newest=False))[0].job_id == "one"
    assert do(queue.audit()) == []


def test_jobs_are_steered(handles: Handles, queue: Any) -> None:
    do = handles.do
    for name in ("a", "b", "c"):
        do(queue.add("t", job_id=name, delay=60 if name == "c" else None))
    assert do(queue.cancel("a", "not wanted")) == "cancelled"
    assert do(queue.get_status("a")).state == "cancelled"
    assert do(queue.retry("a")) is True
    assert do(queue.promote("c")) is True
    assert [job.job_id for job in do(queue.jobs("waiting", newest=False))] == ["b", "a", "c"]
    assert do(queue.remove("b")) is True
    assert do(queue.remove("b")) is False
    do(queue.pause())
    assert do(queue.get_stats()).paused is True
    do(queue.resume())
    assert do(queue.get_stats()).paused is False
    assert do(queue.audit()) == []


def test_a_queue_is_swept(handles: Handles, queue: Any) -> None:
    do = handles.do
    do(queue.add_many([("t", n) for n in range(1200)]))
    do(queue.add_many([("t", n) for n in range(5)], delay=60))
    assert do(queue.clean("waiting", limit=100)) == 100
    assert do(queue.drain()) == 1100
    assert do(queue.drain(delayed=True)) == 5
    do(queue.add_many([("t", n) for n in range(1100)]))
    assert do(queue.audit()) == []
    assert do(queue.obliterate()) == 1100
    assert do(queue.get_stats()).waiting == 0


def test_a_service_reaches_queues_on_all_nodes(cluster: Cluster, handles: Handles) -> None:
    service = handles.service(cluster.url)
    queues = [cluster.queue_on(place) for place in range(3)]
    for name in queues:
        job_id = handles.do(service.add_job(name, {"n": 1}))
        assert handles.do(service.get_job_status(name, job_id)).state == "waiting"
    for node in cluster.primaries:
        with admin(node) as client:
            assert client.dbsize() > 0
    handles.do(service.close())


def succeeded(handles: Handles, queue: Any, count: int) -> bool:
    return bool(handles.do(queue.get_stats()).succeeded == count)


def test_one_worker_serves_queues_on_all_nodes(cluster: Cluster, handles: Handles, ledger: Ledger) -> None:
    """Faults: R06."""
    names = [cluster.queue_on(place) for place in range(3)]
    queues = [handles.queue(name, cluster.url, backoff=0) for name in names]
    for n, queue in enumerate(queues):
        handles.do(queue.add_many([("count", 1000 * n + i) for i in range(200)]))
        handles.do(queue.add("count", 1000 * n + 900, delay=0.2))
        handles.do(queue.add("flaky", 1000 * n + 901))
    with ledger.worker(names, cluster.url).in_thread():
        for queue in queues:
            until(partial(succeeded, handles, queue, 202), "the jobs")
            assert handles.do(queue.audit()) == []
    assert {ledger.ended.pop(1000 * n + 901) for n in range(3)} == {3}
    assert set(ledger.ended.values()) == {1}
    assert len(ledger.ended) == 3 * 201
    for queue in queues:
        handles.do(queue.close())


def test_a_running_job_is_cancelled_and_a_result_arrives(cluster: Cluster, handles: Handles, ledger: Ledger) -> None:
    started, cancelled = threading.Event(), threading.Event()

    @ledger.registry.processor("hold")
    async def hold(data: object) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with handles.open("q", cluster.url) as queue, ledger.worker(["q"], cluster.url, lease=1).in_thread():
        job = handles.do(queue.add("hold"))
        assert started.wait(20)
        assert handles.do(job.cancel()) == "requested"
        assert cancelled.wait(20)
        until(lambda: handles.do(job.status()).state == "cancelled", "the outcome")
        counted = handles.do(queue.add("count", 7))
        until(lambda: handles.do(counted.status()).result == 7, "the result")


def test_nodes_that_forget_their_scripts_get_them_again(cluster: Cluster, handles: Handles, ledger: Ledger) -> None:
    names = [cluster.queue_on(place) for place in range(3)]
    queues = [handles.queue(name, cluster.url) for name in names]
    with ledger.worker(names, cluster.url).in_thread():
        for turn in range(5):
            for n, queue in enumerate(queues):
                handles.do(queue.add_many([("count", 1000 * n + 20 * turn + i) for i in range(20)]))
                cluster.forget_scripts()
        until(lambda: len(ledger.ended) == 300, "the jobs")
        for queue in queues:
            until(partial(succeeded, handles, queue, 100), "the outcomes")
            handles.do(queue.close())
    assert set(ledger.ended.values()) == {1}


def test_a_plain_url_to_a_node_that_lacks_the_queue_says_what_to_use(cluster: Cluster, handles: Handles) -> None:
    queue = handles.impatient(f"redis://127.0.0.1:{cluster.primaries[_elsewhere(cluster)].port}")
    with pytest.raises(RedisUnavailable, match=r"another node of the cluster has the queue: use redis\+cluster:") as no:
        handles.do(queue.add("t"))
    assert no.value.sent is False
    handles.do(queue.close())


def test_a_plain_url_to_the_node_that_has_the_queue_works(cluster: Cluster, handles: Handles, ledger: Ledger) -> None:
    """All keys of a queue are on one node; it just ends when the queue moves."""
    url = f"redis://127.0.0.1:{cluster.primaries[cluster.place_of('q')].port}"
    with handles.open("q", url) as queue, ledger.worker(["q"], url).in_thread():
        handles.do(queue.add_many([("count", n) for n in range(10)]))
        until(lambda: handles.do(queue.get_stats()).succeeded == 10, "the jobs")


async def test_a_worker_by_a_plain_url_to_the_wrong_node_waits_and_says_why(
    cluster: Cluster, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    worker = ledger.worker(["q"], f"redis://127.0.0.1:{cluster.primaries[_elsewhere(cluster)].port}")
    serving = asyncio.create_task(worker.serve())
    async with asyncio.timeout(20):
        while "use redis+cluster://" not in caplog.text:
            await asyncio.sleep(0.01)
        await worker.stop()
        await serving


def test_a_cluster_url_to_a_server_that_is_none_says_what_to_use(handles: Handles) -> None:
    with start(lambda port: PrivateServer(port=port)) as server:
        queue = handles.impatient(f"redis+cluster://127.0.0.1:{server.port}")
        with pytest.raises(RedisRefused, match="the server is no cluster: use redis://"):
            handles.do(queue.add("t"))
        handles.do(queue.close())


def test_a_queue_moves_to_another_node_while_its_worker_works(cluster: Cluster, ledger: Ledger) -> None:
    """Between the first and the last of its keys the nodes answer TRYAGAIN, and calls wait for the end of the move."""
    home, away = cluster.primaries[cluster.place_of("q")], cluster.primaries[_elsewhere(cluster)]
    with Queue("q", cluster.url) as queue, ledger.worker(["q"], cluster.url).in_thread(), ThreadPoolExecutor() as pool:
        for turn, (source, target) in enumerate([(home, away), (away, home)]):
            queue.add_many([("count", 1000 * turn + n) for n in range(100)])
            before = refusals(source)
            move = cluster.begin_move("q", source, target)
            adding = pool.submit(queue.add, "count", 1000 * turn + 100)
            until(partial(_refuses, source, before), "a call during the move")
            move()
            assert adding.result(GUARD).answer == "created"
        until(lambda: queue.get_stats().succeeded == 202, "the jobs")
        assert queue.audit() == []
    assert set(ledger.ended.values()) == {1}


def _refuses(node: PrivateServer, before: int) -> bool:
    return refusals(node) > before


def refusals(node: PrivateServer) -> int:
    """How often it answered that a queue is being moved."""
    errors = asked(node, "errorstats")
    return sum(errors.get(f"errorstat_{word}", {"count": 0})["count"] for word in ("TRYAGAIN", "ASK"))


@pytest.mark.parametrize(
    "error",
    [
        AttributeError("'NoneType' object has no attribute 'writelines'"),
        RuntimeError("dictionary changed size during iteration"),
    ],
)
def test_a_call_under_which_another_one_closed_the_connection_is_sent_again(
    cluster: Cluster, handles: Handles, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """So redis-py does when a node is gone, and its own errors are no help."""
    with handles.open("q", cluster.url) as queue:
        client = handles.do(queue._runner._transport.client())
        raised = fail_once(client, monkeypatch, error)
        assert handles.do(queue.add("t")).answer == "created"
        assert raised == [error]
        assert handles.do(queue._runner._transport.client()) is client
        handles.do(queue.drain())


def test_a_client_that_cannot_learn_the_layout_is_replaced(
    cluster: Cluster, handles: Handles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It forgets the nodes that the URL names, some of which may be back by now."""
    with handles.open("q", cluster.url) as queue:
        client = handles.do(queue._runner._transport.client())
        raised = fail_once(client, monkeypatch, RedisClusterException("Redis Cluster cannot be connected."))
        assert handles.do(queue.add("t")).answer == "created"
        assert len(raised) == 1
        assert handles.do(queue._runner._transport.client()) is not client
        handles.do(queue.drain())


def fail_once(client: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[Exception]:
    """Let the client's next command fail; what was raised."""
    raised: list[Exception] = []
    execute = client.execute_command

    def fail(*words: Any) -> Any:
        if raised:
            return execute(*words)
        raised.append(error)
        raise error

    monkeypatch.setattr(client, "execute_command", fail)
    return raised


def test_workers_and_producers_go_on_when_all_nodes_were_down(cluster: Cluster, ledger: Ledger) -> None:
    """Then no node is left to ask for the layout but those that the URL names."""
    sync, tasks = Handles("sync"), Handles("async")
    with (
        sync.open("q", cluster.url) as queue,
        tasks.open("q", cluster.url) as tasks_queue,
        ledger.worker(["q"], cluster.url).in_thread(),
        ThreadPoolExecutor() as pool,
    ):
        for one in (queue, tasks_queue):
            one._runner.patience = Patience(unsent=GUARD, sent=GUARD)
        queue.add("count", 0)
        tasks.do(tasks_queue.add("count", 1))
        until(lambda: len(ledger.ended) == 2, "the first jobs")
        for node in cluster.primaries:
            node.kill()
        adding = [pool.submit(queue.add, "count", 2), pool.submit(lambda: tasks.do(tasks_queue.add("count", 3)))]
        for node in cluster.primaries:
            node.start()
        assert [each.result(GUARD).answer for each in adding] == ["created"] * 2
        until(lambda: len(ledger.ended) == 4, "the last jobs")
    tasks.close()


async def test_workers_and_producers_go_on_when_a_primary_is_killed(
    replicated_cluster: Cluster, ledger: Ledger
) -> None:
    """The promoted replica has what was replicated, and no script. Queues of the other nodes only wait meanwhile."""
    cluster = replicated_cluster
    names = [cluster.queue_on(place) for place in range(3)]
    queues = [AsyncQueue(name, cluster.url) for name in names]
    threads_queues = [Queue(name, cluster.url) for name in names]

    async def add(n: int) -> None:
        await insist(lambda: queues[n % 3].add("count", n, job_id=f"job{n}"))

    def add_in_thread(n: int) -> None:
        asyncio.run(insist(lambda: asyncio.to_thread(threads_queues[n % 3].add, "count", n, job_id=f"job{n}")))

    await asyncio.gather(*(add(n) for n in range(300)), *(asyncio.to_thread(add_in_thread, n) for n in range(300, 330)))
    await asyncio.to_thread(until, lambda: settled(cluster), "the replicas to have all")
    async with ledger.worker(names, cluster.url):
        cluster.primaries[0].kill()
        adding = [add(n) for n in range(330, 360)]
        await asyncio.gather(*adding, *(asyncio.to_thread(add_in_thread, n) for n in range(360, 390)))
        async with asyncio.timeout(GUARD):
            while ledger.ended.keys() != set(range(390)):
                await asyncio.sleep(0.01)
    with admin(cluster.replicas[0]) as client:
        assert client.info("errorstats")["errorstat_NOSCRIPT"]["count"] > 0
    for queue, threads_queue in zip(queues, threads_queues, strict=True):
        assert await queue.audit() == []
        await queue.close()
        threads_queue.close()


def settled(cluster: Cluster) -> bool:
    """Whether each replica has all that its primary wrote."""
    return all(
        asked(one, "replication")["master_repl_offset"] == asked(other, "replication")["master_repl_offset"]
        for one, other in zip(cluster.primaries, cluster.replicas, strict=True)
    )


def _elsewhere(cluster: Cluster) -> int:
    return (cluster.place_of("q") + 1) % 3
