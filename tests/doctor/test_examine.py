"""What `examine` finds on servers that were set up badly, and on queues that were broken by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from redqueue import ConfigurationError, InvalidName, Queue, ServiceRegistry, Worker
from redqueue.doctor import Diagnosis, examine
from redqueue.embedded import PrivateServer

PORT_OF_NOBODY = 1


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateServer]:
    with PrivateServer(appendonly=True) as server:
        yield server


@pytest.fixture
def admin(server: PrivateServer) -> Iterator[Any]:
    with redis.Redis.from_url(server.url, protocol=2) as client:
        client.flushall()
        yield client
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")


def seen(diagnosis: Diagnosis) -> dict[tuple[str, str], tuple[str, str]]:
    return {(one.where.split()[0], one.check): (one.level, one.says) for one in diagnosis.findings}


def but_for_its_age(diagnosis: Diagnosis) -> Diagnosis:
    """The server that the tests run on may be of an old release."""
    return Diagnosis([one for one in diagnosis.findings if one.check != "version"], diagnosis.reached)


@pytest.mark.usefixtures("admin")
def test_a_server_without_queues_has_hints_only(server: PrivateServer) -> None:
    diagnosis = but_for_its_age(examine(server.url))
    assert (diagnosis.reached, diagnosis.level, diagnosis.exit_code) == (True, "hint", 0)
    assert seen(diagnosis)["prefix", "queue"] == ("hint", "there is no queue")


def test_an_eviction_policy_is_an_error_with_a_limit(server: PrivateServer, admin: Any) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    assert examine(server.url).exit_code == 1
    admin.config_set("maxmemory", 2**30)
    diagnosis = examine(server.url)
    assert diagnosis.exit_code == 2
    assert seen(diagnosis)["server", "eviction"][0] == "error"


def test_queues_are_found_and_those_that_were_removed_are_not(server: PrivateServer, admin: Any) -> None:
    for name in ("sms", "e-mail.eu", "gone"):
        with Queue(name, server.url) as queue:
            queue.add("t")
    with Queue("gone", server.url) as queue:
        queue.obliterate()
        assert admin.keys("redqueue:{gone}:*")  # the records of producers, for a while
    with Queue("other", server.url, prefix="elsewhere") as queue:
        queue.add("t")
    names = {one.where for one in examine(server.url).findings if one.where.startswith("queue ")}
    assert names == {"queue sms", "queue e-mail.eu"}
    assert {one.where for one in examine(server.url, queues=["sms"]).findings if one.where.startswith("queue ")} == {
        "queue sms"
    }
    elsewhere = examine(server.url, prefix="elsewhere")
    assert {one.where for one in elsewhere.findings if one.where.startswith("queue ")} == {"queue other"}


def test_a_broken_queue_and_strangers_are_found(server: PrivateServer, admin: Any) -> None:
    with Queue("sms", server.url) as queue:
        queue.add("t", job_id="lost")
        admin.delete("redqueue:{sms}:job:lost")
    admin.set("redqueue:stray", 1)
    admin.set("redqueue:{sms}:unheard", 1)
    diagnosis = examine(server.url)
    lines = [one.says for one in diagnosis.findings if one.check == "audit"]
    assert "waiting lost: its job key is missing" in lines
    assert any("redqueue makes no such key" in line for line in lines)
    assert "redqueue:stray" in seen(diagnosis)["prefix", "orphans"][1]
    assert diagnosis.exit_code == 2
    assert seen(examine(server.url, audit=False))["queue", "audit"] == ("hint", "not looked at")


def test_jobs_of_a_dead_worker_that_nobody_takes_back_are_stuck(server: PrivateServer, admin: Any) -> None:
    with Queue("sms", server.url) as queue:
        queue.add("t", job_id="one")
        queue.add("t", job_id="two", delay=60)
        seconds, micros = admin.time()
        long_ago = int(seconds * 1000 + micros / 1000) - 61_000
        admin.zadd("redqueue:{sms}:active", {"one": long_ago})
        admin.zadd("redqueue:{sms}:delayed", {"two": long_ago})
        says = [(one.level, one.says) for one in examine(server.url).findings if one.check == "stuck"]
    assert [level for level, _ in says] == ["error", "error"]
    assert "1 running jobs whose lease ended" in says[0][1]
    assert "1 delayed jobs are due" in says[1][1]


@pytest.mark.usefixtures("admin")
async def test_a_queue_at_work_is_well(server: PrivateServer) -> None:
    registry = ServiceRegistry()

    @registry.processor("t")
    async def t(data: Any) -> None: ...

    with Queue("sms", server.url) as queue:
        jobs = queue.add_many([("t", n) for n in range(100)])
        async with Worker(["sms"], server.url, registry=registry):
            await asyncio.to_thread(jobs[-1].result, 20)
            diagnosis = await asyncio.to_thread(examine, server.url)
    assert {level for where, (level, _) in seen(diagnosis).items() if where[0] == "queue"} == {"ok"}
    assert but_for_its_age(diagnosis).exit_code == 0
    assert "1 worker" in seen(diagnosis)["queue", "workers"][1]


def test_another_format_is_told(server: PrivateServer, admin: Any) -> None:
    with Queue("sms", server.url) as queue:
        queue.add("t")
    admin.hset("redqueue:{sms}:meta", "format", "99")
    assert seen(examine(server.url))["queue", "format"][0] == "error"


def test_a_user_who_may_look_at_little_is_told_so(server: PrivateServer, admin: Any) -> None:
    with Queue("sms", server.url) as queue:
        queue.add("t")
    denied = ["-info", "-config", "-client", "-scan"]
    admin.execute_command("ACL", "SETUSER", "guest", "on", ">secret", "~*", "+@all", *denied)
    url = f"{server.url}{'&' if '?' in server.url else '?'}username=guest&password=secret"
    diagnosis = examine(url)
    assert (diagnosis.reached, diagnosis.exit_code) == (True, 0)
    checks = ("version", "eviction", "memory", "persistence", "replication", "timeouts", "connections")
    assert {seen(diagnosis)["server", check][0] for check in checks} == {"hint"}
    assert "not allowed to look" in seen(diagnosis)["prefix", "orphans"][1]
    named = examine(url, queues=["sms"])
    assert seen(named)["queue", "audit"] == ("hint", "not allowed to look")
    strict = examine(url, queues=["sms"], strict=True)
    assert strict.exit_code == 1
    assert {seen(strict)["server", check][0] for check in checks} == {"warning"}
    assert {one.level for one in strict.findings if one.denied} == {"warning"}
    assert "no worker was seen" in seen(named)["queue", "workers"][1]
    admin.execute_command("ACL", "SETUSER", "guest", "resetkeys", "~elsewhere:*")
    assert seen(examine(url, queues=["sms"]))["queue", "queue"][0] == "hint"
    assert "secret" not in str(examine(url).to_wire())


def test_a_server_that_is_not_there_is_one_finding() -> None:
    diagnosis = examine(f"redis://user:secret@127.0.0.1:{PORT_OF_NOBODY}")
    assert (diagnosis.reached, diagnosis.exit_code) == (False, 3)
    (one,) = diagnosis.findings
    assert one.level == "error"
    assert "can't be connected to" in one.says
    assert "secret" not in str(diagnosis)


def test_a_server_that_refuses_the_credentials_is_another_matter(server: PrivateServer, admin: Any) -> None:
    admin.execute_command("ACL", "SETUSER", "gone", "off", ">secret")
    url = f"{server.url}{'&' if '?' in server.url else '?'}username=gone&password=secret"
    diagnosis = examine(url)
    assert (diagnosis.reached, diagnosis.exit_code) == (False, 3)
    (one,) = diagnosis.findings
    assert "refuses the credentials" in one.says
    assert "check user, password" in one.do
    assert "firewall" not in one.do
    assert "secret" not in str(diagnosis)


@pytest.mark.usefixtures("admin")
def test_a_name_under_which_nothing_is_stored_is_a_warning(server: PrivateServer) -> None:
    diagnosis = but_for_its_age(examine(server.url, queues=["smss"]))
    assert diagnosis.exit_code == 1
    assert "nothing is stored under that name" in seen(diagnosis)["queue", "queue"][1]


def test_names_and_urls_are_checked_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError):
        examine("http://localhost")
    with pytest.raises(InvalidName):
        examine("redis://localhost", queues=["a b"])
    with pytest.raises(InvalidName):
        examine("redis://localhost", prefix="a*")
