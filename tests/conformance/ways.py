"""The ways to a server by which the suite of public behaviours runs; $REDQUEUE_WAYS names those that are taken."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import redis
import redis.asyncio
from tests.topology.servers import Authority, Cluster, Sentinels, admin, start, start_tls

from redqueue.core import acl
from redqueue.core.acl import Role
from redqueue.embedded import PrivateServer, binary
from redqueue.testing.fake import FakeServer

from .users import ByLeastUser

VARIABLE: Final = "REDQUEUE_WAYS"
USUAL: Final = "genuine,fakeredis"


def asked() -> list[str]:
    """The names in the variable, which stands for the usual ones when it is empty."""
    names = [name.strip() for name in (os.environ.get(VARIABLE) or USUAL).split(",")]
    if unknown := [name for name in names if name not in _MAKERS]:
        raise ValueError(f"${VARIABLE} names {unknown}; there are {', '.join(_MAKERS)}")
    return names


class Way:
    """Servers and how they are reached.

    Attributes:
        url: by which everything can be done; workers take it.
        servers: whose users a test may change; none where there are no users.
    """

    def __init__(self, name: str, url: str, *servers: PrivateServer) -> None:
        self.name = name
        self.url = url
        self.servers = servers

    def handle(self, kind: Any, *arguments: Any, **options: Any) -> Any:
        """A queue or a service."""
        return kind(*arguments, url=self.url, **options)

    def url_as(self, username: str, password: str) -> str:
        """The same way for another user."""
        return f"{self.url}{'&' if '?' in self.url else '?'}username={username}&password={password}"

    def client(self, module: Any = redis, **options: Any) -> Any:
        """A client of redis-py's by this way, for threads, or for tasks from `redis.asyncio`."""
        return module.Redis.from_url(self.url, **options)

    async def close(self, client: Any) -> None:
        """End a client that was made here."""
        closing = client.aclose() if hasattr(client, "aclose") else client.close()
        if inspect.isawaitable(closing):
            await closing

    @cached_property
    def administrator(self) -> Any:
        """A client that sees everything that is stored."""
        return self.client(protocol=2)

    def empty(self) -> None:
        """All that is stored goes."""
        self.administrator.flushall()

    def refusals(self) -> list[str]:
        """What its users were refused since it was emptied."""
        return []

    @contextmanager
    def user(self, name: str, **rights: Any) -> Iterator[None]:
        """A user with the password ``right`` on each server, for a while."""
        for server in self.servers:
            with self._admin(server) as client:
                client.acl_setuser(name, enabled=True, passwords=["+right"], **rights)
        try:
            yield
        finally:
            for server in self.servers:
                with self._admin(server) as client:
                    client.acl_deluser(name)

    def _admin(self, server: PrivateServer) -> AbstractContextManager[Any]:
        return admin(server)


class OfCluster(Way):
    """A cluster of three nodes."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__("cluster", cluster.url, *cluster.servers)

    def client(self, module: Any = redis, **options: Any) -> Any:
        return module.RedisCluster.from_url(f"redis://127.0.0.1:{self.servers[0].port}", **options)


class OfSentinel(Way):
    """A primary that sentinels name, and its replica."""

    def __init__(self, sentinels: Sentinels) -> None:
        super().__init__("sentinel", sentinels.url, sentinels.primary, sentinels.replica)
        self._hosts = sentinels.hosts

    def client(self, module: Any = redis, **options: Any) -> Any:
        return module.sentinel.Sentinel(self._hosts).master_for("main", **options)

    async def close(self, client: Any) -> None:
        for one in (client, *client.connection_pool.sentinel_manager.sentinels):
            await super().close(one)


_ROLES: Final[tuple[Role, ...]] = ("worker", "producer", "reader")


class OfUsers(Way):
    """A server on which each call is made by the least user that may make it; the default user is off."""

    def __init__(self, server: PrivateServer) -> None:
        super().__init__("acl", _url(server, "redqueue-worker"), server)
        fsync = binary.version(binary.find()) >= (7, 2)
        with redis.Redis(unix_socket_path=str(server.socket), protocol=2) as client:
            for role in _ROLES:
                line = acl.setuser(role, prefix="redqueue", fsync=fsync).replace("PASSWORD", "secret")
                client.execute_command(*line.split(), "~other:*")  # for the test of two prefixes
            client.execute_command("ACL", "SETUSER", "administrator", "reset", "on", ">secret", "~*", "&*", "+@all")
            client.execute_command("ACL", "SETUSER", "default", "off")

    def handle(self, kind: Any, *arguments: Any, **options: Any) -> Any:
        made: dict[Role, Any] = {
            role: kind(*arguments, url=_url(self.servers[0], f"redqueue-{role}"), **options) for role in _ROLES
        }
        return ByLeastUser(made)

    @cached_property
    def administrator(self) -> Any:
        return redis.Redis.from_url(_url(self.servers[0], "administrator"), protocol=2)

    def _admin(self, server: PrivateServer) -> AbstractContextManager[Any]:
        return nullcontext(self.administrator)

    def empty(self) -> None:
        super().empty()
        self.administrator.acl_log_reset()

    def refusals(self) -> list[str]:
        """All but that of the library's name, which redis-py sends and does without."""
        log = [{_text(name): _text(value) for name, value in one.items()} for one in self.administrator.acl_log()]
        return [
            f"{entry['username']} was refused {entry['object']} ({entry['reason']})"
            for entry in log
            if entry["username"].startswith("redqueue-") and entry["object"] != "client|setinfo"
        ]


def _url(server: PrivateServer, user: str) -> str:
    return f"redis://{user}:secret@127.0.0.1:{server.port}/0"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class OfFake(Way):
    """fakeredis, which has no users."""

    def __init__(self, server: FakeServer) -> None:
        super().__init__("fakeredis", server.url)
        self._server = server

    def empty(self) -> None:
        self._server.flush()


@contextmanager
def open_way(name: str, folder: Path) -> Iterator[Way]:
    """All servers of a way, until the end."""
    with _MAKERS[name](folder) as way, closing(way.administrator):
        yield way


@contextmanager
def _genuine(folder: Path) -> Iterator[Way]:
    with PrivateServer() as server:
        yield Way("genuine", server.url, server)


@contextmanager
def _fake(folder: Path) -> Iterator[Way]:
    with FakeServer() as server:
        yield OfFake(server)


@contextmanager
def _cluster(folder: Path) -> Iterator[Way]:
    with Cluster() as cluster:
        yield OfCluster(cluster)


@contextmanager
def _sentinel(folder: Path) -> Iterator[Way]:
    with Sentinels() as sentinels:
        yield OfSentinel(sentinels)


@contextmanager
def _tls(folder: Path) -> Iterator[Way]:
    authority = Authority(folder)
    with start_tls(authority) as server:
        yield Way("tls", f"rediss://localhost:{server.port}/0?ssl_ca_certs={authority.certificate}", server)


@contextmanager
def _acl(folder: Path) -> Iterator[Way]:
    with start(lambda port: PrivateServer(port=port)) as server:
        yield OfUsers(server)


_MAKERS: Final[Mapping[str, Callable[[Path], AbstractContextManager[Way]]]] = MappingProxyType(
    {"genuine": _genuine, "fakeredis": _fake, "cluster": _cluster, "sentinel": _sentinel, "tls": _tls, "acl": _acl}
)
