"""Clients of redis-py: those made of a location, and those given by the user.

redis-py's own retries are off: a call is sent again by the runner, which knows what may be. The wire protocol is 2 on
every release of redis-py, so that answers have one shape and connecting takes a round trip less.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import redis
import redis.asyncio
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import ConnectionError, ResponseError, TimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel

from redqueue.client.faults import before_sending
from redqueue.client.urls import Location
from redqueue.errors import ConfigurationError

RedisClient: TypeAlias = redis.Redis | redis.ConnectionPool | redis.RedisCluster
AsyncRedisClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.ConnectionPool | redis.asyncio.RedisCluster

CONNECT_TIMEOUT: Final = 5.0
"""Seconds, as the one that follows."""
ANSWER_TIMEOUT: Final = 10.0
DROP_WITHIN: Final = 0.5
MOST_CONNECTIONS: Final = 1000
MOST_AT_ONCE: Final = 64
"""Calls of one event loop that are on their way to one pool: thousands of tasks take turns."""
CLIENT_NAME: Final = "redqueue"

_KEEPALIVE: Final = {
    getattr(socket, name): seconds
    for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}


def connect(location: Location) -> tuple[Any, Callable[[], None]]:
    """A client for threads, and what closes it. Only a cluster is connected to at once.

    Raises:
        What redis-py raises when a cluster can't be reached.
    """
    options = _options(location, Retry(NoBackoff(), 0))
    if location.kind == "cluster":
        nodes = [ClusterNode(*host) for host in location.hosts]  # type: ignore[no-untyped-call]
        cluster = redis.RedisCluster(startup_nodes=nodes, **options, **_tls(location))
        return cluster, cluster.close
    options["redis_connect_func"] = _introduce(options.pop("client_name"))
    options.setdefault("max_connections", MOST_CONNECTIONS)
    if location.kind == "sentinel":
        of_sentinels = _of_sentinels(location, options)
        sentinel = Sentinel(location.hosts, sentinel_kwargs=of_sentinels, **_tls(location))  # type: ignore[no-untyped-call]
        primary = sentinel.master_for(location.service, **options)  # type: ignore[no-untyped-call]
        return primary, _all_closed([primary, *sentinel.sentinels])
    client = redis.Redis(connection_pool=redis.ConnectionPool(**_address(location, redis), **options))
    return client, _all_closed([client])


def connect_async(location: Location) -> tuple[Any, Callable[[], Awaitable[None]]]:
    """A client for the event loop that runs, and what closes it. Connects to nothing."""
    options = _options(location, AsyncRetry(NoBackoff(), 0))
    if location.kind == "cluster":
        nodes = [AsyncClusterNode(*host) for host in location.hosts]
        cluster = redis.asyncio.RedisCluster(startup_nodes=nodes, **options, **_tls(location))
        return cluster, _all_nodes_closed(cluster)
    options["redis_connect_func"] = _introduce_async(options.pop("client_name"))
    options.setdefault("max_connections", MOST_CONNECTIONS)
    if location.kind == "sentinel":
        of_sentinels = _of_sentinels(location, options)
        sentinel = AsyncSentinel(location.hosts, sentinel_kwargs=of_sentinels, **_tls(location))  # type: ignore[no-untyped-call]
        primary = sentinel.master_for(location.service, **options)
        return primary, _all_closed_async([primary, *sentinel.sentinels])
    pool = redis.asyncio.ConnectionPool(**_address(location, redis.asyncio), **options)
    client = redis.asyncio.Redis(connection_pool=pool)
    return client, _all_closed_async([client])


def of_one_server(location: Location) -> bool:
    """Whether all connections lead to one server, whatever happens: not to a node, nor to the primary of the moment."""
    return location.kind not in ("cluster", "sentinel")


def check_given(client: object) -> Any:
    """The client for `Queue` and `JobQueueService` that the user gave; a pool gets one.

    Raises:
        ConfigurationError: of another kind, async, or one that decodes what it reads.
    """
    if isinstance(client, redis.asyncio.Redis | redis.asyncio.ConnectionPool | redis.asyncio.RedisCluster):
        raise ConfigurationError("client is an async one: give it to AsyncQueue, or pass a redis.Redis here")
    if not isinstance(client, redis.Redis | redis.ConnectionPool | redis.RedisCluster):
        raise ConfigurationError(f"client must be a redis.Redis, ConnectionPool or RedisCluster, not {_kind(client)}")
    _refuse_decoding(client)
    return client if not isinstance(client, redis.ConnectionPool) else redis.Redis(connection_pool=client)


def check_given_async(client: object) -> Any:
    """The same for `AsyncQueue` and `AsyncJobQueueService`."""
    if isinstance(client, redis.Redis | redis.ConnectionPool | redis.RedisCluster):
        raise ConfigurationError("client is a sync one: give it to Queue, or pass a redis.asyncio.Redis here")
    if not isinstance(client, redis.asyncio.Redis | redis.asyncio.ConnectionPool | redis.asyncio.RedisCluster):
        raise ConfigurationError(
            f"client must be a redis.asyncio.Redis, ConnectionPool or RedisCluster, not {_kind(client)}"
        )
    _refuse_decoding(client)
    return (
        client if not isinstance(client, redis.asyncio.ConnectionPool) else redis.asyncio.Redis(connection_pool=client)
    )


def most_at_once(client: Any) -> int:
    """How many calls may be on their way through an async client, without its pool running empty."""
    return min(MOST_AT_ONCE, connections_of(client))


def connections_of(client: Any) -> int:
    """How many connections a client may have; a cluster's has as many as it likes for each node."""
    if getattr(client, "_single_connection_client", getattr(client, "single_connection_client", False)):
        return 1
    most: int = getattr(getattr(client, "connection_pool", None), "max_connections", MOST_CONNECTIONS)
    return most


def drop_idle(client: Any) -> None:
    """Close a client's connections that no call uses."""
    pools = [client.connection_pool] if hasattr(client, "connection_pool") else _pools_of_nodes(client)
    for pool in pools:
        pool.disconnect(inuse_connections=False)


async def drop_idle_async(client: Any) -> None:
    """The same of an async client, in half a second at most: what is silent may also be silent about its end."""
    pool = getattr(client, "connection_pool", None)
    with suppress(TimeoutError):
        async with asyncio.timeout(DROP_WITHIN):
            if pool is not None:
                await pool.disconnect(inuse_connections=False)
            else:
                await asyncio.gather(*(node.disconnect_free_connections() for node in client.get_nodes()))


def _pools_of_nodes(cluster: Any) -> list[Any]:
    return [node.redis_connection.connection_pool for node in cluster.get_nodes() if node.redis_connection]


def _kind(client: object) -> str:
    return f"{type(client).__module__}.{type(client).__qualname__}"


def _refuse_decoding(client: Any) -> None:
    if client.get_encoder().decode_responses:
        raise ConfigurationError("client must be made with decode_responses=False: what redqueue stores is bytes")


def _options(location: Location, retry: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        "client_name": None if location.kind == "cluster" else CLIENT_NAME,
        "username": location.username,
        "password": location.password,
        "protocol": 2,
        "retry": retry,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": ANSWER_TIMEOUT,
        "socket_keepalive": True,
        "socket_keepalive_options": _KEEPALIVE,
    }
    if location.kind != "cluster":
        options["db"] = location.db
    options |= {name: value for name, value in location.options.items() if not name.startswith("ssl_")}
    if location.kind == "unix":
        del options["socket_keepalive"], options["socket_keepalive_options"]
    elif not options["socket_keepalive"]:
        options["socket_keepalive_options"] = None
    return options


def _address(location: Location, module: Any) -> dict[str, Any]:
    """Where a pool's connections lead, and by which class; sync and async classes have the same names."""
    if location.kind == "unix":
        return {"connection_class": module.UnixDomainSocketConnection, "path": location.path}
    tls = _tls(location)
    kind = module.SSLConnection if tls.pop("ssl", False) else module.Connection
    host, port = location.hosts[0]
    return {"connection_class": kind, "host": host, "port": port, **tls}


def _tls(location: Location) -> dict[str, Any]:
    if not location.tls:
        return {}
    given = {name: value for name, value in location.options.items() if name.startswith("ssl_")}
    requires = given.get("ssl_cert_reqs", "required")
    return {"ssl": True, "ssl_cert_reqs": requires, "ssl_check_hostname": requires != "none", **given}


def _of_sentinels(location: Location, options: dict[str, Any]) -> dict[str, Any]:
    same = {name: options[name] for name in options if name.startswith("socket_") or name in ("protocol", "retry")}
    return {**same, **_tls(location), **location.sentinel_options}


def _introduce(name: str) -> Callable[[Any], None]:
    """The first steps of a connection: redis-py's own, and the name, which managed servers may not allow."""

    def first_steps(connection: Any) -> None:
        try:
            connection.on_connect()
            connection.send_command("CLIENT", "SETNAME", name)
            with suppress(ResponseError):
                connection.read_response()
        except (ConnectionError, TimeoutError) as error:
            raise before_sending(error) from error

    return first_steps


def _introduce_async(name: str) -> Callable[[Any], Awaitable[None]]:
    async def first_steps(connection: Any) -> None:
        try:
            await connection.on_connect()
            await connection.send_command("CLIENT", "SETNAME", name)
            with suppress(ResponseError):
                await connection.read_response()
        except (ConnectionError, TimeoutError) as error:
            raise before_sending(error) from error

    return first_steps


def _all_closed(clients: list[redis.Redis]) -> Callable[[], None]:
    def close() -> None:
        for client in clients:
            client.connection_pool.disconnect()

    return close


def _all_closed_async(clients: list[Any]) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        for client in clients:
            await client.connection_pool.disconnect()

    return close


def _all_nodes_closed(cluster: redis.asyncio.RedisCluster) -> Callable[[], Awaitable[None]]:
    """Its own `aclose` closes nothing while the layout is to be asked for anew, as after a lost connection."""

    async def close() -> None:
        for nodes in ("nodes_cache", "startup_nodes"):
            await cluster.nodes_manager.aclose(nodes)
        await cluster.aclose()

    return close
