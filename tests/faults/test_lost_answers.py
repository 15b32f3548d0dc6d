"""Calls and answers that get lost, late, doubled or torn on their way, by a proxy that does it to the bytes."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
import redis
import redis.asyncio

from redqueue import AsyncQueue, Queue
from redqueue.embedded import PrivateServer
from redqueue.worker import link as link_module
from redqueue.worker import pump as pump_module

from .conftest import Ran, all_done
from .proxy import Fault, Proxy

Operation = Callable[[Queue], Any]

OPERATIONS: Final[dict[str, tuple[str, Operation, Any]]] = {
    "add": ("add", lambda q: q.add("t", job_id="new").answer, "created"),
    "add_many": ("add", lambda q: [job.answer for job in q.add_many([("t", n) for n in range(3)])], ["created"] * 3),
    "cancel": ("cancel", lambda q: q.cancel("waiting", "why"), "cancelled"),
    "retry": ("retry", lambda q: q.retry("cancelled"), True),
    "promote": ("promote", lambda q: q.promote("delayed"), True),
    "remove": ("remove", lambda q: q.remove("waiting"), True),
    "pause": ("pause", lambda q: q.pause(), None),
    "drain": ("sweep", lambda q: q.drain(delayed=True), 2),
    "clean": ("sweep", lambda q: q.clean("cancelled"), 1),
    "obliterate": ("obliterate", lambda q: q.obliterate(), 3),
    "status": ("status", lambda q: q.get_status("waiting").state, "waiting"),  # type: ignore[union-attr]
}
LOSSES: Final = [Fault.DROP_REQUEST, Fault.DROP_REPLY, Fault.CUT_REPLY]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda one: one.name)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_operation_whose_call_or_answer_is_lost_happens_once_and_says_the_same(
    shared_proxy: Proxy, shared_queue: AsyncQueue, operation: str, loss: Fault
) -> None:
    """It is sent again as the same bytes; the audit that follows each test finds nothing done by halves.

    Faults: D01.
    """
    script, operate, answer = OPERATIONS[operation]
    await shared_queue.add("t", job_id="waiting")
    await shared_queue.add("t", job_id="delayed", delay=60)
    await shared_queue.add("t", job_id="cancelled")
    await shared_queue.cancel("cancelled")
    rule = shared_proxy.add(loss, script)

    def perform() -> Any:
        with Queue("q", shared_proxy.url) as queue:
            return operate(queue)

    assert await asyncio.to_thread(perform) == answer
    assert rule.met == 1


@pytest.mark.parametrize("loss", [*LOSSES, Fault.REPEAT], ids=lambda one: one.name)
@pytest.mark.parametrize("script", ["enter", "pump", "renew", "recover", "leave"])
async def test_a_workers_calls_may_be_lost_or_doubled_at_any_time(
    ran: Ran, shared_proxy: Proxy, shared_queue: AsyncQueue, script: str, loss: Fault
) -> None:
    """No job is lost, none runs twice, and a failed one is tried once more: settling and retrying are one call.

    Faults: L10, D01, D08.
    """
    once = script in ("enter", "leave")
    rule = shared_proxy.add(loss, script, skip=0 if once else 1, times=1 if once else 4, every=2, seconds=0.05)
    await shared_queue.add_many([("note", n) for n in range(150)])
    await shared_queue.add_many([("flaky", f"f{n}") for n in range(10)])
    await shared_queue.add("hold", "h")
    async with ran.worker(shared_proxy.url, lease=0.5, concurrency=8, prefetch=0):
        await all_done(shared_queue, 160)
        async with asyncio.timeout(10):
            while not once and rule.met < 2:
                await asyncio.sleep(0.01)
        ran.go.set()
        await all_done(shared_queue, 161)
    assert rule.met > 0
    assert ran.ends == dict.fromkeys([*range(150), *(f"f{n}" for n in range(10)), "h"], 1)
    assert all(ran.starts[f"f{n}"] == 2 for n in range(10))
    assert ran.starts["h"] == 1


async def test_an_add_that_waits_longer_than_its_client_for_a_slow_server_makes_one_job(
    shared_server: PrivateServer, shared_queue: AsyncQueue
) -> None:
    """All copies are carried out in the end, and the last one is answered as the first.

    Faults: D01, S04.
    """
    with redis.Redis.from_url(shared_server.url) as admin:
        sleeping = threading.Thread(target=admin.execute_command, args=("DEBUG", "SLEEP", 1))
        async with AsyncQueue("q", f"{shared_server.url}&socket_timeout=0.2") as queue:
            await queue.get_stats()
            sleeping.start()
            await asyncio.sleep(0.1)
            began = time.monotonic()
            job = await queue.add("t")
            assert time.monotonic() - began > 0.4, "it was answered at once"
        sleeping.join()
    assert job.answer == "created"
    assert (await shared_queue.get_stats()).waiting == 1


async def test_a_worker_whose_sockets_are_given_a_short_time_waits_no_longer_than_that(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """A blocking read that is longer than the socket's own limit would end in an error each time.

    Faults: S04.
    """
    async with ran.worker(f"{shared_server.url}&socket_timeout=0.3"):
        await asyncio.sleep(1)
        await shared_queue.add("note", 1)
        await ran.wait_until(lambda: ran.ends[1] == 1, 2)
    assert "away" not in caplog.text


async def test_a_token_whose_answer_comes_just_when_nobody_waits_any_more_loses_no_job(
    ran: Ran, shared_proxy: Proxy, shared_queue: AsyncQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What wakes a worker holds no job, so that it may get lost between its pop and its reading.

    Faults: L04.
    """
    monkeypatch.setattr(pump_module, "LONGEST_BLOCK", 0.05)
    monkeypatch.setattr(link_module, "LATE", 0.02)
    chance = random.Random(4)
    rules = [
        shared_proxy.add(Fault.DELAY_REPLY, "blpop", times=1000, every=2, skip=n, seconds=seconds)
        for n, seconds in enumerate((0.019, 0.02, 0.021, 0.05))
    ]
    slowest = 0.0
    async with ran.worker(shared_proxy.url, lease=0.5):
        for n in range(40):
            await asyncio.sleep(chance.uniform(0, 0.06))
            began = time.monotonic()
            await shared_queue.add("note", n)
            await ran.wait_until(lambda n=n: ran.ends[n] == 1)  # type: ignore[misc]
            slowest = max(slowest, time.monotonic() - began)
    assert sum(rule.met for rule in rules) > 20
    assert ran.starts == dict.fromkeys(range(40), 1)
    assert slowest < 2


@pytest.mark.parametrize("kind", ["pool", "single connection"])
async def test_a_cancelled_call_leaves_no_answer_for_the_next_one(
    shared_server: PrivateServer, shared_queue: AsyncQueue, kind: str
) -> None:
    """Whoever asks gets the answer to its own question, whatever was cancelled before on the connection.

    Faults: L06.
    """
    chance, cancelled = random.Random(6), 0
    for n in range(20):
        await shared_queue.add("t", n, job_id=str(n))
    client = redis.asyncio.Redis(
        unix_socket_path=str(shared_server.socket), single_connection_client=kind == "single connection"
    )
    queue = AsyncQueue("q", client=client)
    for n in range(300):
        task = asyncio.create_task(queue.get_data(str(n % 20)))
        await asyncio.sleep(chance.choice([0, 0, 0.0002, 0.0005, 0.001]))
        cancelled += task.cancel()
        assert await queue.get_data(str((n + 7) % 20)) == (n + 7) % 20
        await asyncio.wait([task])
        assert task.cancelled() or task.result() == n % 20
    assert cancelled > 50
    await queue.close()
    await client.aclose()
