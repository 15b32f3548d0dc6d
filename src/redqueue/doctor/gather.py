"""Looking at a server and its queues. Everything may be denied; nothing is changed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from redqueue.client.faults import CAUGHT, Action, classify
from redqueue.client.sync.queue import Queue
from redqueue.client.transport import Transport
from redqueue.client.urls import Location
from redqueue.core.keys import FAMILIES, FIXED, Keys
from redqueue.doctor.facts import Facts, QueueFacts, ServerFacts
from redqueue.errors import RedisRefused

TIMEOUT_S: Final = 5.0
SCANNED_AT_ONCE: Final = 1000
MOST_STRANGERS: Final = 100

_SETTINGS: Final = ("timeout", "tcp-keepalive", "min-replicas-to-write", "save", "appendfsync", "maxmemory-policy")
_QUEUE_KEY: Final = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9_.-]{0,63})\}:([a-z]+)(:.+)?")
_LIVES: Final = frozenset({"session", "inbox", "producer"})
"""What a removed queue leaves behind for a while."""


def gather(location: Location, prefix: str, names: Iterable[str] | None, *, audit: bool) -> Facts:
    """All facts; raises what redis-py raises when the server can't be reached.

    Args:
        names: the queues to look at; None: all that are found under the prefix.
    """
    transport = Transport(location.with_timeout(TIMEOUT_S))
    try:
        client = transport.client()
        client.ping()
        servers = [_server(place, each) for place, each in _servers(client, str(location))]
        search = _search(client, prefix) if names is None else _Search(set(names), [], 0, False)
        queues = [_queue(location, client, name, prefix, audit=audit) for name in sorted(search.names)]
    finally:
        transport.close()
    return Facts(servers, queues, search.strangers, search.stranger_count, search.searched)


class _Search(NamedTuple):
    """Names of queues, some keys that belong to none, and how many these are. `searched`: None is not allowed."""

    names: set[str]
    strangers: list[str]
    stranger_count: int
    searched: bool | None


def _servers(client: Any, target: str) -> Iterator[tuple[str, Any]]:
    """Each server that may hold a queue: the primaries of a cluster, or the one."""
    if not hasattr(client, "get_primaries"):
        yield target, client
        return
    client.ping()
    for node in client.get_primaries():
        yield str(node.name), client.get_redis_connection(node)


def _server(place: str, client: Any) -> ServerFacts:
    config: dict[str, str] = {}
    for name in _SETTINGS:
        config.update(_ask(client, "CONFIG GET", name) or {})
    info = _ask(client, "INFO")
    began = time.time()
    now = _ask(client, "TIME")
    took = time.time() - began
    ahead = None if now is None else now[0] + now[1] / 1e6 - began - took / 2
    return ServerFacts(place, info, {**config} or None, ahead, took)


def _ask(client: Any, *words: Any) -> Any:
    """The answer, or None where it is denied or unknown."""
    try:
        return client.execute_command(*words)
    except CAUGHT as error:
        if classify(error).action is Action.GIVE_UP:
            return None
        raise


def _search(client: Any, prefix: str) -> _Search:
    found: set[str] = set()
    strangers: list[str] = []
    count = 0
    try:
        for key in client.scan_iter(f"{prefix}:*", count=SCANNED_AT_ONCE):
            text = key.decode("utf-8", "backslashreplace")
            known = _QUEUE_KEY.fullmatch(text[len(prefix) + 1 :])
            if known and known[2] not in _LIVES and (known[2] in FIXED or known[2] in FAMILIES):
                found.add(known[1])
            elif not (known and known[2] in _LIVES):
                count += 1
                if len(strangers) < MOST_STRANGERS:
                    strangers.append(ascii(text)[1:-1][:200])
    except CAUGHT as error:
        if classify(error).action is Action.GIVE_UP:
            return _Search(set(), [], 0, None)
        raise
    return _Search(found, sorted(strangers), count, True)


def _queue(location: Location, client: Any, name: str, prefix: str, *, audit: bool) -> QueueFacts:
    keys = Keys(name, prefix)
    with Queue(name, location.url, prefix=prefix) as queue:
        try:
            stats = queue.get_stats()
        except RedisRefused as error:
            return QueueFacts(name, refused=str(error))
        meta = _ask(client, "HMGET", keys["meta"], "format", "lease")
        stored, lease = meta or (None, None)
        lease_ms = int(lease or 30_000)
        before = int(time.time() * 1000) - lease_ms
        if (now := _ask(client, "TIME")) is not None:
            before = int(now[0] * 1000) - lease_ms
        audited = _audited(queue) if audit else None
        return QueueFacts(
            name,
            None if meta is None else (stored or b"").decode("ascii", "backslashreplace"),
            stats=stats,
            lease_s=lease_ms / 1000,
            late=_ask(client, "ZCOUNT", keys["active"], "-inf", f"({before}"),
            due=_ask(client, "ZCOUNT", keys["delayed"], "-inf", f"({before}"),
            audit=audited,
            audit_denied=audit and audited is None,
        )


def _audited(queue: Queue) -> list[str] | None:
    try:
        return list(queue.audit())
    except RedisRefused:
        return None
