"""Errors that Redis answers for a while: each is waited out, and says what it is to whom waits too long."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Final

import pytest
import redis

from redqueue import AsyncQueue, RedisFull, RedisUnavailable
from redqueue.client.patience import Patience
from redqueue.embedded import PrivateServer

from .conftest import Ran, all_done
from .proxy import Fault, Proxy

PASSING: Final = {
    "LOADING": "LOADING Redis is loading the dataset in memory",
    "BUSY": "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN": "CLUSTERDOWN Hash slot not served",
    "NOSCRIPT": "NOSCRIPT No matching script.",
    "READONLY": "READONLY You can't write against a read only replica.",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "UNBLOCKED": "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
}
FULL: Final = {
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF": "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
}
COMMANDS: Final = ["enter", "pump", "renew", "recover", "blpop"]


@pytest.mark.parametrize("code", [*PASSING, *FULL])
async def test_a_worker_waits_out_what_passes(
    ran: Ran, shared_proxy: Proxy, shared_queue: AsyncQueue, code: str
) -> None:
    """Each of its calls is answered with the error once, in the middle of its work.

    Faults: R04, R05.
    """
    text = PASSING.get(code) or FULL[code]
    rules = [shared_proxy.add(Fault.ANSWER, command, text=text) for command in COMMANDS]
    async with ran.worker(shared_proxy.url, lease=0.5):
        for n in range(3):
            await shared_queue.add("note", n)
            await ran.wait_until(lambda n=n: ran.ends[n] == 1, 10)  # type: ignore[misc]
        async with asyncio.timeout(10):
            while any(rule.met == 0 for rule in rules):
                await asyncio.sleep(0.01)
        await shared_queue.add("note", 3)
        await ran.wait_until(lambda: ran.ends[3] == 1, 10)
    assert ran.starts == dict.fromkeys(range(4), 1)


@pytest.mark.parametrize("code", PASSING)
async def test_an_add_waits_out_what_passes_soon(shared_proxy: Proxy, shared_queue: AsyncQueue, code: str) -> None:
    """Faults: R04, R05."""
    rule = shared_proxy.add(Fault.ANSWER, "add", text=PASSING[code], times=2)
    async with AsyncQueue("q", shared_proxy.url) as queue:
        assert (await queue.add("note")).answer == "created"
    assert rule.met == 2
    assert (await shared_queue.get_stats()).waiting == 1


async def test_an_add_while_a_server_reads_its_data_for_long_says_that_nothing_was_stored(
    shared_proxy: Proxy, shared_queue: AsyncQueue
) -> None:
    """Faults: R05."""
    rule = shared_proxy.add(Fault.ANSWER, "add", text=PASSING["LOADING"], times=1000)
    async with AsyncQueue("q", shared_proxy.url) as queue:
        queue._runner.patience = Patience(unsent=0.3)
        with pytest.raises(RedisUnavailable, match="reading its data") as raised:
            await queue.add("note")
    assert rule.met > 1
    assert not raised.value.sent
    assert (await shared_queue.get_stats()).waiting == 0


async def test_a_script_of_somebody_elses_that_never_ends_is_waited_out(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue
) -> None:
    """The server answers BUSY until it is ended.

    Faults: R08.
    """
    with redis.Redis.from_url(shared_server.url) as admin, redis.Redis.from_url(shared_server.url) as other:
        admin.config_set("busy-reply-threshold", 50)
        async with ran.worker(shared_server.url, lease=0.5):
            await shared_queue.add("note", 1)
            await all_done(shared_queue, 1)
            endless = threading.Thread(target=_run_for_ever, args=(other,))
            endless.start()
            await asyncio.sleep(0.2)
            with pytest.raises(redis.ResponseError, match="BUSY"):
                admin.get("any")
            adding = asyncio.create_task(shared_queue.add("note", 2))
            await asyncio.sleep(0.8)
            assert not adding.done()
            admin.script_kill()
            back = time.monotonic()
            assert (await adding).answer == "created"
            await ran.wait_until(lambda: ran.ends[2] == 1)
            assert time.monotonic() - back < 5
            endless.join()
    assert ran.starts == {1: 1, 2: 1}


def _run_for_ever(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="SCRIPT KILL"):
        client.eval("while true do end", 0)


async def test_a_server_that_cannot_save_takes_the_outcomes_once_it_can(
    ran: Ran, own_server: PrivateServer, queue: AsyncQueue
) -> None:
    """Until then adds are refused, and a worker keeps what it did.

    Faults: R01.
    """
    blocked = own_server.folder / "dump.rdb"
    with redis.Redis.from_url(own_server.url) as admin:
        async with ran.worker(own_server.url, lease=1):
            await queue.add("hold", 1)
            await ran.wait_until(lambda: ran.starts[1] == 1)
            blocked.mkdir()
            admin.config_set("save", "3600 1")
            _fail_to_save(admin)
            with pytest.raises(RedisFull, match="save its data"):
                await queue.add("note", 2)
            ran.go.set()
            await ran.wait_until(lambda: ran.ends[1] == 1)
            await asyncio.sleep(1.5)  # longer than the lease
            assert (await queue.get_stats()).succeeded == 0
            blocked.rmdir()
            admin.config_set("save", "")
            await all_done(queue, 1)
            await queue.add("note", 2)
            await all_done(queue, 2)
    assert ran.starts == {1: 1, 2: 1}


def _fail_to_save(admin: redis.Redis) -> None:
    admin.bgsave()
    ends = time.monotonic() + 10
    while admin.info("persistence")["rdb_last_bgsave_status"] != "err":
        assert time.monotonic() < ends, "it could save"
        time.sleep(0.01)


async def test_scripts_that_are_forgotten_all_the_time_are_sent_again(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue
) -> None:
    """About a thousand times a second, under a worker and many producers.

    Faults: R03.
    """
    flushes, over = 0, threading.Event()

    def flush() -> None:
        nonlocal flushes
        with redis.Redis.from_url(shared_server.url) as admin:
            while not over.is_set():
                admin.script_flush()
                flushes += 1

    flushing = threading.Thread(target=flush)
    flushing.start()
    try:
        async with ran.worker(shared_server.url, concurrency=50):
            for start in range(0, 300, 30):
                adds = (shared_queue.add("note", n) for n in range(start, start + 30))
                assert {job.answer for job in await asyncio.gather(*adds)} == {"created"}
            await all_done(shared_queue, 300)
    finally:
        over.set()
        flushing.join()
    assert flushes > 20
    assert ran.starts == dict.fromkeys(range(300), 1)
