"""Three users with the least rights: each can do all that its role does, and what is missing breaks nothing."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from redqueue import Queue, RedisRefused, RedQueueError, Worker
from redqueue.client.scripts import load_all
from redqueue.core import acl
from redqueue.core.acl import Role
from redqueue.core.script import names
from redqueue.doctor import examine
from redqueue.embedded import PrivateServer

from .conftest import GUARD, STEERING, Guarded, look, produce, registry_of, steer, work

TRIED_S = 3

WRITES = frozenset({"hset", "zadd", "set", "mset", "xadd", "rpush", "unlink", "hdel", "zrem", "zpopmin", "hincrby"})

HALF_MOVED: dict[Role, frozenset[str]] = {
    "producer": frozenset({"hincrby", "hset", "hsetnx", "unlink", "zadd", "zrange"}),
    "worker": frozenset({"exists", "hincrby", "hset", "unlink", "zadd", "zrange"}),
}
"""What a script needs after its first write: without it alone a queue is left inconsistent. See docs/acl.md.

Of the worker's user this is what steering leaves behind: a worker itself asks for its rights first.
"""

AT_WORK = ("enter", "pump", "renew", "recover", "leave", "expire")
"""The scripts of a worker at work; the others of its user's steer."""

RIGHTS_AT_WORK = sorted({command.lower() for name in AT_WORK for command in acl.commands_of(name)})


def run_all(guarded: Guarded) -> None:
    """All features, each under its least user."""
    with guarded.queue("producer") as producer, guarded.queue("worker") as operator, guarded.queue("reader") as reader:
        produce(producer)
        produce_durably(producer)
        look(reader)
        reader.audit()

        def act(ended: threading.Event) -> None:
            jobs = [producer.add(kind, n) for n, kind in enumerate(["t", "flaky", "snoozing", "t", "failing"])]
            for job in jobs:
                with suppress(RedQueueError):
                    job.result(GUARD)
            running = producer.add("long", job_id="running")
            until(lambda: running.status(), "active")
            producer.cancel("running")
            until(lambda: running.status(), "cancelled")
            look(reader)

        asyncio.run(work(guarded.url("worker"), act))
        steer(operator)


def produce_durably(queue: Queue) -> None:
    with pytest.raises(RedQueueError, match="no replica said"):
        queue.add("t", durability="replica")


def until(ask: Any, state: str) -> None:
    ends = time.monotonic() + GUARD
    while ask().state != state:
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redqueue.client.confirming.CONFIRM_MS", 50)


def test_every_feature_works_under_its_least_user(guarded: Guarded) -> None:
    guarded.count_anew()
    run_all(guarded)
    assert guarded.audit() == []
    denied = [entry for entry in guarded.admin.acl_log() if entry["username"].startswith("redqueue-")]
    # redis-py's greeting, and a worker's look at how its server evicts: neither is needed.
    assert {entry["object"] for entry in denied} <= {"client|setinfo", "info"}


@pytest.mark.parametrize("role", ["producer", "reader", "monitor"])
def test_roles_are_as_small_as_what_they_do(role: Role) -> None:
    allowed = set(acl.commands(role))
    assert not allowed & {"keys", "flushall", "flushdb", "config", "debug", "acl", "script", "del", "eval_ro"}
    if role in ("reader", "monitor"):
        assert not allowed & WRITES


def test_a_reader_can_change_nothing(guarded: Guarded) -> None:
    with guarded.queue("producer") as producer, guarded.queue("reader") as reader:
        producer.add("t", job_id="one")
        for change in (
            lambda: reader.add("t"),
            lambda: reader.cancel("one"),
            lambda: reader.remove("one"),
            lambda: reader.pause(),
            lambda: reader.drain(),
            lambda: reader.obliterate(),
        ):
            with pytest.raises(RedisRefused, match="ACL forbids"):
                change()
        assert reader.get_stats().waiting == 1
        assert reader.audit() == []


def test_a_monitor_may_look_at_all_that_the_doctor_looks_at(guarded: Guarded) -> None:
    with guarded.queue("producer") as producer:
        producer.add("t")
    diagnosis = examine(guarded.url("monitor"), strict=True)
    assert [finding for finding in diagnosis.findings if finding.denied] == []
    assert {"queue q", "prefix"} < {finding.where for finding in diagnosis.findings}
    refused = examine(guarded.url("reader"), queues=["q"], strict=True)
    denied = {finding.check for finding in refused.findings if finding.denied}
    assert {"version", "timeouts", "persistence"} <= denied
    assert denied.isdisjoint({"audit", "stuck", "clock", "queue"})
    with Queue("q", guarded.url("monitor")) as monitor, pytest.raises(RedisRefused, match="ACL forbids"):
        monitor.pause()


def test_a_producer_can_do_by_its_keys_what_only_workers_need(guarded: Guarded) -> None:
    """docs/acl.md says so: producer and worker are no bounds against who is hostile."""
    with guarded.queue("producer") as producer:
        producer.add("t", job_id="one")
        producer.pause()
        assert producer.get_stats().paused
        assert producer.remove("one")


def test_a_producer_cannot_claim_or_steer(guarded: Guarded) -> None:
    with guarded.queue("producer") as producer:
        producer.add("t", job_id="one")
        client: Any = producer._runner._transport.client()
        for words in (["ZPOPMIN", "redqueue:{q}:waiting"], ["KEYS", "*"], ["FLUSHALL"], ["CONFIG", "GET", "*"]):
            with pytest.raises(Exception, match=r"(?i)permission"):
                client.execute_command(*words)
        with pytest.raises(RedisRefused):
            producer.audit()
        assert producer.get_stats().waiting == 1


def test_users_of_one_queue_cannot_touch_another(guarded: Guarded) -> None:
    guarded.allow("producer", queues=["q", "r.s"])
    with guarded.queue("producer") as ours, Queue("r.s", guarded.url("producer")) as second:
        assert ours.add("t").answer == second.add("t").answer == "created"
    with Queue("other", guarded.url("producer")) as other, pytest.raises(RedisRefused, match="ACL forbids"):
        other.add("t")
    assert not guarded.admin.keys("redqueue:{other}:*")


def test_without_eval_scripts_are_loaded_by_somebody_else(guarded: Guarded) -> None:
    guarded.allow("producer", evals=False)
    with guarded.queue("producer") as producer:
        with pytest.raises(RedisRefused, match="a script that the server doesn't have"):
            producer.add("t")
        assert not guarded.admin.keys("*")
        assert load_all(guarded.server.url) == {guarded.server.url: len(names())}
        assert producer.add("t").answer == "created"


def test_scripts_are_loaded_by_a_user_who_can_do_that_alone(guarded: Guarded) -> None:
    """docs/acl.md has the line."""
    rights = ["+client|setname", "+ping", "+select", "+script|load"]
    guarded.admin.execute_command("ACL", "SETUSER", "redqueue-loader", "reset", "on", ">secret", *rights)
    guarded.allow("producer", evals=False)
    assert list(load_all(guarded.url("producer").replace("producer", "loader")).values()) == [len(names())]
    with guarded.queue("producer") as producer:
        assert producer.add("t").answer == "created"


def test_the_lines_work_from_a_file_of_acls_with_the_default_user_off(tmp_path: Path) -> None:
    """As docs/acl.md says: `user` for `ACL SETUSER`, and a hash for the password."""
    digest = hashlib.sha256(b"secret").hexdigest()
    line = acl.setuser("producer", prefix="redqueue", queues=["q", "generic-task"])
    user = line.replace("ACL SETUSER", "user").replace(">PASSWORD", f"#{digest}")
    users = tmp_path / "users.acl"
    users.write_text("")
    with PrivateServer(arguments=["--aclfile", str(users)]) as server:
        users.write_text(f"{user}\nuser default off\n")
        with redis.Redis.from_url(server.url, protocol=2) as admin:
            admin.execute_command("ACL", "LOAD")
        url = f"unix://redqueue-producer:secret@{server.socket}"
        for name in ("q", "generic-task"):
            with Queue(name, url) as queue:
                assert queue.add("t").answer == "created"
        with Queue("q", server.url) as stranger, pytest.raises(RedisRefused, match="credentials"):
            stranger.add("t")


async def test_a_worker_whose_user_is_refused_ends_and_its_job_stays(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redqueue.worker.shift.FLUSH_WITHIN", 0.1)
    with guarded.queue("producer") as producer:
        producer.add("long", job_id="one")
        worker = Worker(["q"], guarded.url("worker"), registry=registry_of(), lease=1, grace=0.1)
        serving = asyncio.create_task(worker.serve())
        job = producer.job("one")
        await asyncio.to_thread(until, job.status, "active")
        guarded.admin.execute_command("ACL", "DELUSER", "redqueue-worker")
        with pytest.raises(RedisRefused, match="credentials"):
            async with asyncio.timeout(GUARD):
                await serving
        status = job.status()
        assert status is not None
        assert status.state == "active"
        guarded.allow("worker")
        assert guarded.audit() == []


def scenario(guarded: Guarded, role: Role) -> None:
    if role == "producer":
        with guarded.queue("producer") as queue:
            produce(queue)
        return
    with suppress(RedQueueError):
        scenario_at_work(guarded)
    with guarded.queue("worker") as queue:
        for step in STEERING[:-1]:
            with suppress(RedQueueError):
                step(queue)


def scenario_at_work(guarded: Guarded) -> None:
    with Queue("q", guarded.server.url) as owner:
        owner.add_many([("t", 1), ("flaky", 2), ("snoozing", 3), ("t", 3), ("failing", 4), ("t", 5)])
        owner.add("t", delay=0.01, priority=2)

        def act(ended: threading.Event) -> None:
            """Until all is done, the worker gave up, or it tries for ever what it may not."""
            ends = time.monotonic() + TRIED_S
            while not ended.wait(0.02) and time.monotonic() < ends:
                stats = owner.get_stats()
                if not stats.waiting + stats.delayed + stats.active:
                    return

        asyncio.run(work(guarded.url("worker"), act))


def test_a_worker_that_enters_needs_every_right_that_it_needs_later() -> None:
    assert acl.commands_of("enter") >= {command.upper() for command in RIGHTS_AT_WORK}
    assert acl.commands_of("rights") >= {command.upper() for command in RIGHTS_AT_WORK} - {"TIME"}


@pytest.mark.parametrize("command", RIGHTS_AT_WORK)
def test_a_worker_without_one_right_does_not_start_and_changes_nothing(guarded: Guarded, command: str) -> None:
    with Queue("q", guarded.server.url) as owner:
        owner.add("t", 1, job_id="one")
    guarded.allow("worker", f"-{command}")
    load_all(guarded.server.url)
    before = sorted(guarded.admin.scan_iter("*")), guarded.admin.hgetall("redqueue:{q}:meta")
    with pytest.raises(RedisRefused, match=f"ACL forbids.*: {command.upper()} is denied"):
        start(guarded)
    assert (sorted(guarded.admin.scan_iter("*")), guarded.admin.hgetall("redqueue:{q}:meta")) == before
    assert guarded.audit() == []


async def test_a_check_asks_for_the_rights_and_changes_nothing(guarded: Guarded) -> None:
    worker = Worker(["q"], guarded.url("worker"), registry=registry_of())
    assert (await worker.check())[0].startswith("queue     q: 0 waiting")
    guarded.allow("worker", "-hincrby")
    with pytest.raises(RedisRefused, match="HINCRBY is denied"):
        await worker.check()
    assert list(guarded.admin.scan_iter("*")) == []


def start(guarded: Guarded) -> None:
    asyncio.run(asyncio.wait_for(Worker(["q"], guarded.url("worker"), registry=registry_of()).serve(), GUARD))


@pytest.mark.parametrize(
    ("role", "command"),
    [(role, one) for role in HALF_MOVED for one in acl.commands(role) if "|" not in one and one != "evalsha"],
)
def test_a_user_without_one_right_breaks_nothing_but_what_is_known(guarded: Guarded, role: Role, command: str) -> None:
    guarded.allow(role, f"-{command}")
    load_all(guarded.server.url)
    with suppress(RedisRefused):
        scenario(guarded, role)
    findings = guarded.audit()
    if command in HALF_MOVED[role]:
        assert findings
    else:
        assert not findings
