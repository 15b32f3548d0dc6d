"""Judging a server by what it says of itself. Pure: facts in, findings out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from redqueue.core import eviction
from redqueue.doctor.facts import Finding, Level, ServerFacts

OLDEST: Final = (6, 2)
SKEW_S: Final = 2.0
NEARLY_FULL: Final = 0.9
NEARLY_ALL: Final = 0.8

LUA_FIXED: Final[Mapping[str, Mapping[tuple[int, int], int]]] = MappingProxyType(
    {
        "redis": {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
        "valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
    }
)
"""The first release of each line without CVE-2025-49844 and the three holes in Lua that were closed with it."""


def judge(facts: ServerFacts) -> Iterator[Finding]:
    """What there is to say of one server, in a fixed order."""
    for check, look in CHECKS.items():
        for level, says, do, denied in look(facts):
            yield Finding(level, check, f"server {facts.place}", says, do, denied)


class Said(NamedTuple):
    """A finding without the names of check and server."""

    level: Level
    says: str
    do: str = ""
    denied: bool = False


_UNSEEN: Final = "not allowed to look (denied: {command})"


def _unseen(command: str, look_for: str) -> Said:
    return Said("hint", _UNSEEN.format(command=command), f"ask who runs the server whether {look_for}", True)


def version_of(info: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    """Its kind and version; Valkey says 7.2.4 for the version of Redis that it is compatible with."""
    kind = "valkey" if "valkey_version" in info else "redis"
    return kind, tuple(int(part) for part in re.findall(r"\d+", str(info.get(f"{kind}_version", "")))[:3])


def _version(facts: ServerFacts) -> Iterator[Said]:
    if facts.info is None:
        yield _unseen("INFO", "it is Redis 6.2 or later, or Valkey, with all security releases")
        return
    kind, version = version_of(facts.info)
    told = f"{kind.title()} {'.'.join(map(str, version))}"
    if not version:
        yield Said("hint", "it doesn't say its version")
    elif version < OLDEST:
        yield Said("error", f"{told} is older than 6.2", "upgrade it: redqueue needs Redis 6.2 or later, or Valkey")
    elif (fixed := _fixed_in(kind, version)) is not None and version[2:] < (fixed,):
        line = ".".join(map(str, version[:2]))
        yield Said(
            "warning",
            f"{told} has holes in its Lua (CVE-2025-49844 and others) for users who may send scripts",
            f"upgrade to {line}.{fixed} or later, unless your distribution mends it under the old number, and give "
            "producers an ACL without EVAL",
        )
    elif kind == "redis" and version[:2] == (7, 0):
        yield Said(
            "hint",
            f"{told}: no release of 7.0 mends the holes in its Lua (CVE-2025-49844 and others); distributions do, and "
            "the number alone doesn't tell",
            "on Debian 12, dpkg -s redis-server must say 5:7.0.15-1~deb12u6 or later; else upgrade to 7.2.11 or later",
        )
    else:
        yield Said("ok", told)


def _fixed_in(kind: str, version: tuple[int, ...]) -> int | None:
    return LUA_FIXED[kind].get((version[0], version[1])) if len(version) > 1 else None


def _eviction(facts: ServerFacts) -> Iterator[Said]:
    policy = _setting(facts, "maxmemory-policy", "maxmemory_policy")
    if policy is None:
        yield _unseen("INFO and CONFIG", "maxmemory-policy is noeviction")
        return
    info = facts.info or {}
    if evicted := _number(info, "evicted_keys"):
        yield Said(
            "error",
            f"{evicted:,} keys were evicted since it started, and jobs may be among them",
            "set maxmemory-policy noeviction, then look at what the audit of each queue says",
        )
    found = eviction.judge(policy, _number(info, "maxmemory"))
    if found is not None:
        yield Said("error" if found.limited else "warning", found.says, found.do)
    elif not evicted:
        yield Said("ok", "maxmemory-policy is noeviction")


def _memory(facts: ServerFacts) -> Iterator[Said]:
    if facts.info is None:
        yield _unseen("INFO", "it has memory left")
        return
    used, limit = _number(facts.info, "used_memory"), _number(facts.info, "maxmemory")
    if not limit:
        yield Said(
            "hint",
            f"{_mb(used)} used, no maxmemory: the system ends the server when memory is short",
            "set maxmemory",
        )
    elif used >= limit:
        yield Said(
            "error",
            f"{_mb(used)} of {_mb(limit)} used: it takes no new jobs",
            "raise maxmemory, keep fewer finished jobs, or run more workers, which go on draining it",
        )
    else:
        level: Level = "warning" if used > NEARLY_FULL * limit else "ok"
        do = "raise maxmemory, or keep fewer finished jobs" if level == "warning" else ""
        yield Said(level, f"{_mb(used)} of {_mb(limit)} used", do)


def _persistence(facts: ServerFacts) -> Iterator[Said]:
    info = facts.info
    if info is None:
        yield _unseen("INFO", "it has appendonly yes")
        return
    if _number(info, "loading"):
        yield Said("error", "it is still reading its data", "wait until it has started")
    for name, what in (("aof_last_write_status", "its append-only file"), ("rdb_last_bgsave_status", "a snapshot")):
        if info.get(name, "ok") != "ok":
            yield Said("error", f"it failed to write {what}", "see its log: mostly the disk is full, or not writable")
    saves = None if facts.config is None else facts.config.get("save")
    if _number(info, "aof_enabled"):
        fsync = (facts.config or {}).get("appendfsync")
        if fsync == "no":
            yield Said(
                "warning",
                "appendonly yes with appendfsync no: a power cut loses up to 30 s",
                "set appendfsync everysec",
            )
        else:
            told = f"appendonly yes, appendfsync {fsync or 'not allowed to look (denied: CONFIG)'}"
            yield Said("ok", told, denied=not fsync)
    elif saves:
        yield Said(
            "warning",
            f"snapshots only (save {saves}): a restart loses the jobs since the last one",
            "CONFIG SET appendonly yes, and in the server's configuration",
        )
    elif saves is None:
        yield Said("warning", "no append-only file: a crash loses jobs", "set appendonly yes")
    else:
        yield Said(
            "warning",
            "nothing is written to disk: a restart loses all jobs",
            "CONFIG SET appendonly yes, and in the server's configuration",
        )


def _replication(facts: ServerFacts) -> Iterator[Said]:
    info = facts.info
    if info is None:
        yield _unseen("INFO", "it has a replica, and min-replicas-to-write 1")
        return
    if info.get("role") == "slave":
        yield Said("error", "it is a replica, and takes no jobs", "use the primary's address, or redis+sentinel://")
        return
    replicas, least = _number(info, "connected_slaves"), (facts.config or {}).get("min-replicas-to-write")
    good = info.get("min_slaves_good_slaves")
    if least not in (None, "0", "") and good is not None and int(good) < int(str(least)):
        yield Said(
            "error",
            f"{good} good replicas, and min-replicas-to-write is {least}: it takes no jobs",
            "bring the replicas back",
        )
    elif not replicas:
        yield Said("hint", "no replica: jobs wait while it is away, and are lost with its disk")
    elif least == "0":
        yield Said(
            "warning",
            f"{_count(replicas, 'replica')}, and min-replicas-to-write is 0: a primary that was cut off and replaced "
            "goes on taking jobs, and loses them when it comes back",
            "CONFIG SET min-replicas-to-write 1, with min-replicas-max-lag 10; nothing is written then while no "
            "replica is there, so have two",
        )
    else:
        told = "not allowed to look (denied: CONFIG)" if least is None else least
        yield Said("ok", f"{_count(replicas, 'replica')}, min-replicas-to-write {told}", denied=least is None)


def _timeouts(facts: ServerFacts) -> Iterator[Said]:
    if facts.config is None:
        yield _unseen("CONFIG", "timeout is 0 and tcp-keepalive is not")
        return
    timeout, keepalive = facts.config.get("timeout", "0"), facts.config.get("tcp-keepalive")
    if timeout != "0":
        yield Said(
            "hint",
            f"timeout {timeout}: it closes connections that are idle for so many seconds; redqueue opens new ones",
            "set timeout 0 to spare that",
        )
    if keepalive == "0":
        yield Said(
            "warning",
            "tcp-keepalive is 0: connections of vanished workers are never given up",
            "CONFIG SET tcp-keepalive 300",
        )
    elif timeout == "0":
        yield Said("ok", f"timeout 0, tcp-keepalive {keepalive or 'not allowed to look'}")


def _connections(facts: ServerFacts) -> Iterator[Said]:
    if facts.info is None:
        yield _unseen("INFO", "maxclients leaves room")
        return
    most = _setting(facts, "maxclients", "maxclients")
    used, limit = _number(facts.info, "connected_clients"), int(most or 0)
    told = f"{used:,} of {limit:,} connections used" if limit else _count(used, "connection")
    if limit and used > NEARLY_ALL * limit:
        yield Said(
            "warning", told, "raise maxclients, or use one queue handle a process: handles of one URL share a pool"
        )
    else:
        yield Said("ok", told)


def _clock(facts: ServerFacts) -> Iterator[Said]:
    if facts.ahead_s is None:
        yield _unseen("TIME", "its clock is right")
        return
    away = max(0.0, abs(facts.ahead_s) - facts.round_trip_s)
    if away > SKEW_S:
        side = "ahead of" if facts.ahead_s > 0 else "behind"
        yield Said(
            "warning",
            f"its clock is {abs(facts.ahead_s):.1f} s {side} the one here: leases and delays go by the server's, "
            "created_at, at and a processor's expires_in by the client's",
            "let both follow a time server",
        )
    else:
        yield Said("ok", f"its clock and the one here are within {SKEW_S:g} s")


CHECKS: Final[Mapping[str, Callable[[ServerFacts], Iterator[Said]]]] = MappingProxyType(
    {
        "version": _version,
        "eviction": _eviction,
        "memory": _memory,
        "persistence": _persistence,
        "replication": _replication,
        "timeouts": _timeouts,
        "connections": _connections,
        "clock": _clock,
    }
)
"""By the word that a finding carries."""


def _setting(facts: ServerFacts, config: str, info: str) -> str | None:
    found = (facts.config or {}).get(config, (facts.info or {}).get(info))
    return None if found is None else str(found)


def _number(info: Mapping[str, Any], name: str) -> int:
    try:
        return int(info.get(name, 0))
    except (TypeError, ValueError):
        return 0


def _mb(size: int) -> str:
    return f"{size / 1_048_576:,.1f} MiB"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
