"""A worker warns once, when it starts, of a server that may throw jobs away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from redqueue import AsyncQueue, ServiceRegistry, Worker
from redqueue.embedded import PrivateServer

from .conftest import echo

SAYS = "when memory is short, Redis throws jobs away"


@pytest.fixture(scope="module")
def _server() -> Iterator[PrivateServer]:
    with PrivateServer() as server:
        yield server


@pytest.fixture
def admin(_server: PrivateServer) -> Iterator[Any]:
    with redis.Redis.from_url(_server.url, protocol=2) as client:
        client.flushall()
        yield client
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")


async def run_once(url: str) -> Any:
    """A job's result, by a worker that starts and ends."""
    registry = ServiceRegistry()
    registry.register_processor("echo", echo)
    async with AsyncQueue("q", url) as queue:
        job = await queue.add("echo", 1)
        await Worker(["q"], url, registry=registry, burst=True).serve()
        return await job.result(10)


async def test_a_policy_that_evicts_is_told_once_when_a_worker_starts(
    _server: PrivateServer, admin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Faults: R02."""
    admin.config_set("maxmemory", 2**30)
    admin.config_set("maxmemory-policy", "allkeys-lru")
    assert await run_once(_server.url) == 1
    (line,) = [record for record in caplog.records if SAYS in record.message]
    assert (line.name, line.levelname) == ("redqueue.worker", "WARNING")
    assert "maxmemory-policy is allkeys-lru" in line.message
    assert "CONFIG SET maxmemory-policy noeviction" in line.message


@pytest.mark.parametrize(("policy", "maxmemory"), [("noeviction", 2**30), ("allkeys-lru", 0), ("noeviction", 0)])
async def test_nothing_is_told_where_nothing_is_evicted(
    _server: PrivateServer, admin: Any, caplog: pytest.LogCaptureFixture, policy: str, maxmemory: int
) -> None:
    admin.config_set("maxmemory", maxmemory)
    admin.config_set("maxmemory-policy", policy)
    assert await run_once(_server.url) == 1
    assert SAYS not in caplog.text


async def test_a_server_that_may_not_be_asked_is_worked_on_all_the_same(
    _server: PrivateServer, admin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    admin.config_set("maxmemory", 2**30)
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.execute_command("ACL", "SETUSER", "guest", "reset", "on", ">secret", "~*", "&*", "+@all", "-info", "-config")
    before = len(admin.acl_log())
    mark = "&" if "?" in _server.url else "?"
    assert await run_once(f"{_server.url}{mark}username=guest&password=secret") == 1
    assert SAYS not in caplog.text
    assert [one["object"] for one in admin.acl_log()[: len(admin.acl_log()) - before]] == ["info"]


async def test_it_asks_once_and_a_producer_never(_server: PrivateServer, admin: Any) -> None:
    admin.config_resetstat()
    async with AsyncQueue("q", _server.url) as queue:
        await queue.add("echo", 1)
    assert "cmdstat_config|get" not in admin.info("commandstats")
    asked_before = admin.info("commandstats")["cmdstat_info"]["calls"]
    assert await run_once(_server.url) == 1
    stats = admin.info("commandstats")
    assert stats["cmdstat_info"]["calls"] == asked_before + 2, "this test's own, and the worker's"
    assert asked_before == 1
