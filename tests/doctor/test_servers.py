"""A server is judged by what it says of itself, without one."""

from __future__ import annotations

from typing import Any

import pytest

from redqueue.doctor.facts import Finding, Level, ServerFacts
from redqueue.doctor.servers import CHECKS, judge

INFO = {
    "redis_version": "8.2.3",
    "maxmemory_policy": "noeviction",
    "evicted_keys": 0,
    "used_memory": 1_000_000,
    "maxmemory": 100_000_000,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "role": "master",
    "connected_slaves": 1,
    "maxclients": 10_000,
    "connected_clients": 12,
}
CONFIG = {
    "timeout": "0",
    "tcp-keepalive": "300",
    "min-replicas-to-write": "1",
    "save": "",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
}


def facts(info: dict[str, Any] | None = None, config: dict[str, str] | None = None, ahead_s: float = 0) -> ServerFacts:
    return ServerFacts("here", {**INFO, **(info or {})}, {**CONFIG, **(config or {})}, ahead_s, 0.01)


def one(check: str, looked_at: ServerFacts) -> Finding:
    (found,) = [finding for finding in judge(looked_at) if finding.check == check]
    return found


def test_a_well_kept_server_has_nothing_but_well() -> None:
    found = list(judge(facts()))
    assert [finding.check for finding in found] == list(CHECKS)
    assert {finding.level for finding in found} == {"ok"}
    assert {finding.where for finding in found} == {"server here"}


@pytest.mark.parametrize(
    ("check", "info", "config", "level", "says", "do"),
    [
        ("version", {"redis_version": "6.0.16"}, {}, "error", "older than 6.2", "upgrade"),
        ("version", {"redis_version": "5.0"}, {}, "error", "older than 6.2", "upgrade"),
        ("version", {"redis_version": "6.2.19"}, {}, "warning", "CVE-2025-49844", "6.2.20 or later"),
        ("version", {"redis_version": "6.2.20"}, {}, "ok", "Redis 6.2.20", ""),
        ("version", {"redis_version": "7.0.15"}, {}, "hint", "the number alone doesn't tell", "7.0.15-1~deb12u6"),
        ("version", {"redis_version": "7.2.4"}, {}, "warning", "CVE-2025-49844", "7.2.11"),
        ("version", {"redis_version": "8.2.1"}, {}, "warning", "CVE-2025-49844", "8.2.2"),
        ("version", {"redis_version": "8.4.0"}, {}, "ok", "Redis 8.4.0", ""),
        ("version", {"redis_version": "7.2.4", "valkey_version": "8.1.3"}, {}, "warning", "Valkey 8.1.3", "8.1.4"),
        ("version", {"redis_version": "7.2.4", "valkey_version": "9.1.2"}, {}, "ok", "Valkey 9.1.2", ""),
        ("version", {"redis_version": "unknown"}, {}, "hint", "doesn't say", ""),
        ("eviction", {}, {"maxmemory-policy": "allkeys-lru"}, "error", "allkeys-lru", "noeviction"),
        ("eviction", {"maxmemory": 0}, {"maxmemory-policy": "volatile-ttl"}, "warning", "throws jobs away", "noevic"),
        ("eviction", {"evicted_keys": 3}, {}, "error", "3 keys were evicted", "audit"),
        ("memory", {"used_memory": 95_000_000}, {}, "warning", "90.6 MiB of 95.4 MiB", "raise maxmemory"),
        ("memory", {"used_memory": 100_000_000}, {}, "error", "takes no new jobs", "raise maxmemory"),
        ("memory", {"maxmemory": 0}, {}, "hint", "no maxmemory", "set maxmemory"),
        ("persistence", {"aof_enabled": 0}, {}, "warning", "a restart loses all jobs", "appendonly yes"),
        ("persistence", {"aof_enabled": 0}, {"save": "3600 1"}, "warning", "snapshots only", "appendonly yes"),
        ("persistence", {}, {"appendfsync": "no"}, "warning", "appendfsync no", "everysec"),
        ("replication", {"role": "slave"}, {}, "error", "it is a replica", "primary"),
        ("replication", {"connected_slaves": 0}, {"min-replicas-to-write": "0"}, "hint", "no replica", ""),
        ("replication", {}, {"min-replicas-to-write": "0"}, "warning", "loses them", "min-replicas-to-write 1"),
        ("replication", {"min_slaves_good_slaves": 0}, {}, "error", "takes no jobs", "bring the replicas back"),
        ("timeouts", {}, {"timeout": "60"}, "hint", "closes connections", "timeout 0"),
        ("timeouts", {}, {"tcp-keepalive": "0"}, "warning", "never given up", "tcp-keepalive 300"),
        ("connections", {"connected_clients": 9_000}, {}, "warning", "9,000 of 10,000", "maxclients"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    check: str, info: dict[str, Any], config: dict[str, str], level: Level, says: str, do: str
) -> None:
    found = one(check, facts(info, config))
    assert found.level == level
    assert says in found.says
    assert do in found.do
    assert (found.do == "") == (do == "")


@pytest.mark.parametrize("name", ["aof_last_write_status", "rdb_last_bgsave_status"])
def test_a_disk_that_fails_is_an_error_beside_what_is_set(name: str) -> None:
    levels = [finding.level for finding in judge(facts({name: "err"})) if finding.check == "persistence"]
    assert levels == ["error", "ok"]


@pytest.mark.parametrize(("ahead_s", "level"), [(0.5, "ok"), (-1.9, "ok"), (3.0, "warning"), (-3600.0, "warning")])
def test_clocks_that_differ_are_told(ahead_s: float, level: Level) -> None:
    assert one("clock", facts(ahead_s=ahead_s)).level == level


def test_what_may_not_be_looked_at_is_said_and_is_no_fault() -> None:
    found = list(judge(ServerFacts("here", None, None, None, 0)))
    assert [finding.check for finding in found] == list(CHECKS)
    assert {finding.level for finding in found} == {"hint"}
    assert all("not allowed to look" in finding.says for finding in found)
    assert all(finding.do and finding.denied for finding in found)


def test_settings_that_are_denied_are_taken_from_info_where_it_has_them() -> None:
    found = {finding.check: finding for finding in judge(ServerFacts("here", INFO, None, 0, 0))}
    assert [check for check, finding in found.items() if finding.level != "ok"] == ["timeouts"]
    assert "appendfsync not allowed to look" in found["persistence"].says
    assert [check for check, finding in found.items() if finding.denied] == [
        "persistence",
        "replication",
        "timeouts",
    ]
