"""Ways in which Redis goes away and comes back. Each returns when it is back, and asserts that it was away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redqueue.embedded import PrivateServer

from .proxy import Proxy

Outage: TypeAlias = Callable[[PrivateServer, Proxy, float], Awaitable[None]]


def client_of(server: PrivateServer, seconds: float | None = None) -> Any:
    """A client for what users don't do."""
    retry = Retry(NoBackoff(), 0)
    return redis.Redis(unix_socket_path=str(server.socket), protocol=2, socket_timeout=seconds, retry=retry)


async def killed(server: PrivateServer, proxy: Proxy, seconds: float) -> None:
    """SIGKILL, and a start after a while."""
    before = server.pid
    await asyncio.to_thread(server.kill)
    await _start_after(server, before, seconds)


async def shut_down(server: PrivateServer, proxy: Proxy, seconds: float) -> None:
    """SHUTDOWN, and a start after a while."""
    before = server.pid
    await asyncio.to_thread(server.stop)
    await _start_after(server, before, seconds)


async def _start_after(server: PrivateServer, before: int, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await asyncio.to_thread(server.start)
    assert server.pid != before


async def stopped(server: PrivateServer, proxy: Proxy, seconds: float) -> None:
    """SIGSTOP and SIGCONT: connections stay, and what was sent meanwhile is carried out late."""
    server.pause()
    try:
        await asyncio.to_thread(_does_not_answer, server)
        await asyncio.sleep(seconds)
    finally:
        server.resume()


def _does_not_answer(server: PrivateServer) -> None:
    with client_of(server, 0.1) as client, pytest.raises(redis.TimeoutError):
        client.ping()


async def paused(server: PrivateServer, proxy: Proxy, seconds: float) -> None:
    """CLIENT PAUSE: every command of every client waits."""
    with client_of(server) as client:
        client.client_pause(int(seconds * 1000))
        began = time.monotonic()
        await asyncio.to_thread(client.ping)
        assert time.monotonic() - began > seconds / 2


async def busy(server: PrivateServer, proxy: Proxy, seconds: float) -> None:
    """Another client's slow command: DEBUG SLEEP."""
    with client_of(server) as client:
        began = time.monotonic()
        await asyncio.to_thread(client.execute_command, "DEBUG", "SLEEP", seconds)
        assert time.monotonic() - began >= seconds * 0.9


async def cut(server: PrivateServer, proxy: Proxy, seconds: float) -> None:
    """CLIENT KILL of all connections, several times."""
    with client_of(server) as client:
        kills = 0
        for _ in range(3):
            kills += int(client.client_kill_filter(_type="normal", skipme=True))
            await asyncio.sleep(seconds / 3)
        assert kills >= 3


async def silent(server: PrivateServer, proxy: Proxy, seconds: float) -> None:
    """All connections of the worker die without a word, as behind a firewall; new ones work at once."""
    assert proxy.silence() > 0


async def parted(server: PrivateServer, proxy: Proxy, seconds: float) -> None:
    """The network carries nothing for a while, and the connections of before stay silent for good."""
    assert proxy.part() > 0
    await asyncio.sleep(seconds)
    proxy.join()


async def demoted(server: PrivateServer, proxy: Proxy, seconds: float) -> None:
    """A replica, of a primary that isn't there, for a while: READONLY, and blocked clients are sent away."""
    with client_of(server) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(redis.ReadOnlyError):
                client.set("any", 1)
            await asyncio.sleep(seconds)
        finally:
            client.replicaof("NO", "ONE")


OUTAGES: Final[Mapping[str, Outage]] = {
    "kill -9": killed,
    "shutdown": shut_down,
    "SIGSTOP": stopped,
    "CLIENT PAUSE": paused,
    "DEBUG SLEEP": busy,
    "CLIENT KILL": cut,
    "silent connections": silent,
    "no network": parted,
    "READONLY": demoted,
}
