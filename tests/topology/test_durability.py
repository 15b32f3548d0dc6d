"""What an add waits for when it is told to: a replica, or the disk of the server."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

from redqueue import AsyncQueue, NotConfirmed, Queue, RedisRefused, RedisUnavailable, ServiceRegistry
from redqueue.client import confirming
from redqueue.client.confirming import send, send_async
from redqueue.core.add import NewJob, add
from redqueue.core.keys import Keys
from redqueue.embedded import PrivateServer, binary

from .conftest import Handles
from .servers import GUARD, Cluster, Sentinels, admin, asked, slot_of, start, until

QUICK_MS = 300


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not confirmed soon is not confirmed."""
    monkeypatch.setattr(confirming, "CONFIRM_MS", QUICK_MS)


@pytest.fixture
def stopped_replica(sentinels: Sentinels) -> Iterator[PrivateServer]:
    """The replica stands still: its connection stays open, and it says nothing."""
    sentinels.replica.pause()
    yield sentinels.replica
    sentinels.replica.resume()
    until(sentinels.is_replicated, "the replica")


@pytest.fixture
def disk() -> Iterator[PrivateServer]:
    """A server with an append-only file, which knows WAITAOF: the embedded one."""
    if (name := binary.find().name) == "redis-server":
        pytest.skip(f"{name} may be older than WAITAOF")
    with PrivateServer(appendonly=True) as server:
        yield server


def has(server: PrivateServer, job_id: str, queue: str = "q") -> bool:
    with admin(server) as client:
        return bool(client.exists(Keys(queue, "redqueue").job(job_id)))


def test_what_a_replica_confirmed_is_on_the_replica(sentinels: Sentinels, handles: Handles) -> None:
    with handles.open("q", sentinels.url) as queue:
        for n in range(20):
            job = handles.do(queue.add("t", n, job_id=f"j{n}", durability="replica"))
            assert has(sentinels.replica, job.id)
            assert (job.answer, job.confirmed) == ("created", "replica")
        plain = handles.do(queue.add("t", 1))
        assert (plain.answer, plain.confirmed) == ("created", "memory")
        assert queue.job("j1").confirmed is None
        assert handles.do(queue.add("t", 0, job_id="j0", durability="replica")).confirmed == "replica"
        assert handles.do(queue.audit()) == []


@pytest.mark.usefixtures("impatient", "stopped_replica")
def test_a_job_that_no_replica_confirmed_is_stored_and_the_error_says_so(
    sentinels: Sentinels, handles: Handles
) -> None:
    with handles.open("q", sentinels.url) as queue:
        with pytest.raises(NotConfirmed, match="no replica said that it has them") as no:
            handles.do(queue.add("t", 1, job_id="one", durability="replica"))
        assert isinstance(no.value, RedisUnavailable)
        assert (no.value.sent, no.value.durability, no.value.job_ids) == (True, "replica", ("one",))
        assert handles.do(queue.get_status("one")).state == "waiting"
        with pytest.raises(NotConfirmed):  # the duplicate isn't confirmed by having nothing to write
            handles.do(queue.add("t", 1, job_id="one", durability="replica"))
        sentinels.replica.resume()
        until(sentinels.is_replicated, "the replica")
        again = handles.do(queue.add("t", 1, job_id="one", durability="replica"))
        assert (again.answer, again.confirmed) == ("duplicate", "replica")
        assert handles.do(queue.get_stats()).waiting == 1


@pytest.mark.usefixtures("impatient", "stopped_replica")
def test_a_call_that_is_sent_again_is_not_confirmed_by_what_it_did_not_write(sentinels: Sentinels) -> None:
    """Its answer was lost, so it comes again on another connection, and finds its record: it writes nothing itself."""
    keys = Keys("q", "redqueue")
    call = add(keys, [NewJob("one", "t", "0", b"{}\nnull", durability="replica")]).on(keys.producer("p:0"), 1)
    for _ in range(2):
        with redis.Redis(unix_socket_path=str(sentinels.primary.socket), protocol=2) as client:
            confirmation = send(client, call, set())
            assert call.script.reply(confirmation.answer).word.startswith(b"c ")
            assert confirmation.given is False


@pytest.mark.usefixtures("impatient", "stopped_replica")
async def test_so_it_is_for_tasks(sentinels: Sentinels) -> None:
    keys = Keys("q", "redqueue")
    call = add(keys, [NewJob("one", "t", "0", b"{}\nnull", durability="replica")]).on(keys.producer("p:0"), 1)
    for _ in range(2):
        async with redis.asyncio.Redis(unix_socket_path=str(sentinels.primary.socket), protocol=2) as client:
            assert (await send_async(client, call, set())).given is False


def test_many_jobs_are_confirmed_by_the_call(sentinels: Sentinels, handles: Handles) -> None:
    with handles.open("q", sentinels.url, durability="replica") as queue:
        jobs = handles.do(queue.add_many([("t", n) for n in range(1500)]))
        assert {job.confirmed for job in jobs} == {"replica"}
        assert all(has(sentinels.replica, job.id) for job in (jobs[0], jobs[-1]))
        mixed = handles.do(queue.add_many([("t", 1, {"durability": "memory"}), ("t", 2)]))
        assert {job.confirmed for job in mixed} == {"replica"}
        alone = handles.do(queue.add("t", 3, durability="memory"))
        assert alone.confirmed == "memory"


def test_a_service_adds_durably(sentinels: Sentinels, handles: Handles) -> None:
    registry = ServiceRegistry()

    @registry.task("double")
    def double(n: int) -> int:
        return 2 * n

    service = handles.service(sentinels.url, registry=registry).with_options(durability="replica")
    job_id = handles.do(service.add_job("sms", {"n": 1}))
    assert has(sentinels.replica, job_id, "sms")
    job_id = handles.do(service.execute_task("Double", "double", [2]))
    assert has(sentinels.replica, job_id, "generic-task")
    assert handles.do(service.execute(double, 2)).confirmed == "replica"
    handles.do(service.close())


def test_what_a_replica_confirmed_survives_the_primary(
    own_sentinels: Sentinels, handles: Handles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover loses what the old primary alone had acknowledged; never what was confirmed."""
    sentinels = own_sentinels
    with handles.open("q", sentinels.url) as queue:
        for n in range(200):
            handles.do(queue.add("t", n, job_id=f"j{n}", durability="replica"))
        sentinels.primary.kill()
        assert all(has(sentinels.replica, f"j{n}") for n in range(200))
        until(sentinels.is_failed_over, "the failover")
        monkeypatch.setattr(confirming, "CONFIRM_MS", QUICK_MS)
        with pytest.raises(NotConfirmed):  # the new primary has no replica
            for _ in range(100):
                add_insisting(handles, queue, "last")
        assert handles.do(queue.get_status("last")).state == "waiting"
        assert handles.do(queue.get_stats()).waiting == 201


def add_insisting(handles: Handles, queue: Any, job_id: str) -> None:
    try:
        handles.do(queue.add("t", None, job_id=job_id, durability="replica"))
    except NotConfirmed:
        raise
    except RedisUnavailable:  # not failed over for all yet
        time.sleep(0.05)


def test_a_cluster_confirms_on_the_node_that_has_the_queue(replicated_cluster: Cluster, handles: Handles) -> None:
    cluster = replicated_cluster
    for place in range(3):
        name = cluster.queue_on(place)
        with handles.open(name, cluster.url) as queue:
            for n in range(5):
                cluster.forget_scripts()
                job = handles.do(queue.add("t", n, durability="replica"))
                assert job.confirmed == "replica"
                assert holds(cluster.replicas[place], name, job.id)
            assert {job.confirmed for job in handles.do(queue.add_many([("t", 1)] * 3, durability="replica"))} == {
                "replica"
            }


def holds(replica: PrivateServer, queue: str, job_id: str) -> bool:
    with admin(replica) as client:
        slot_keys = client.cluster("GETKEYSINSLOT", slot_of(queue), 100)
        return Keys(queue, "redqueue").job(job_id) in slot_keys


@pytest.mark.usefixtures("impatient")
def test_a_server_that_lost_its_scripts_is_not_waited_for_twice(handles: Handles) -> None:
    """There is no replica: what Redis was asked to wait for the call that it could not carry out counts."""
    with PrivateServer() as server, admin(server) as client, handles.open("q", server.url) as queue:
        with pytest.raises(NotConfirmed):
            handles.do(queue.add("t", durability="replica"))
        client.script_flush()
        with admin(server) as spy, spy.monitor() as monitor:
            with pytest.raises(NotConfirmed):
                handles.do(queue.add("t", job_id="last", durability="replica"))
            client.ping()
            asked_for = []
            while (command := monitor.next_command()["command"]) != "PING":
                asked_for += [int(command.split()[-1])] if command.startswith("WAIT ") else []
        assert asked_for == [QUICK_MS, 1]
        assert has(server, "last")


@pytest.mark.usefixtures("impatient")
def test_a_durable_add_follows_a_queue_to_another_node(cluster: Cluster, handles: Handles) -> None:
    """There are no replicas here, so it says NotConfirmed, once, wherever the queue is."""
    home, away = cluster.primaries[cluster.place_of("q")], cluster.primaries[(cluster.place_of("q") + 1) % 3]
    with handles.open("q", cluster.url) as queue:
        for turn, (source, target) in enumerate([(home, away), (away, home)]):
            with pytest.raises(NotConfirmed):
                handles.do(queue.add("t", job_id=f"before{turn}", durability="replica"))
            cluster.begin_move("q", source, target)()
            with pytest.raises(NotConfirmed):
                handles.do(queue.add("t", job_id=f"after{turn}", durability="replica"))
            assert handles.do(queue.get_status(f"after{turn}")).state == "waiting"
        assert handles.do(queue.get_stats()).waiting == 4
        assert handles.do(queue.audit()) == []


def test_the_disk_confirms(disk: PrivateServer, handles: Handles) -> None:
    with handles.open("q", disk.url, durability="fsync") as queue:
        assert handles.do(queue.add("t", 1, job_id="one")).confirmed == "fsync"
        with admin(disk) as client:
            client.script_flush()
        assert {job.confirmed for job in handles.do(queue.add_many([("t", n) for n in range(3)]))} == {"fsync"}
        disk.kill()
        disk.start()
        assert handles.do(queue.get_stats()).waiting == 4


async def test_tasks_that_ask_for_the_disk_at_once_wait_for_it_together(disk: PrivateServer) -> None:
    async with AsyncQueue("q", disk.url) as queue:
        await queue.add("t", durability="fsync")
        before = asked(disk, "commandstats")["cmdstat_waitaof"]["calls"]
        jobs = await asyncio.gather(*(queue.add("t", n, durability="fsync") for n in range(100)), queue.add("t", 1))
        assert [job.confirmed for job in jobs] == ["fsync"] * 100 + ["memory"]
        assert asked(disk, "commandstats")["cmdstat_waitaof"]["calls"] - before == 2


@pytest.mark.usefixtures("impatient")
def test_a_disk_that_is_not_waited_for_is_not_confirmed(disk: PrivateServer, handles: Handles) -> None:
    with admin(disk) as client, handles.open("q", disk.url) as queue:
        client.config_set("appendfsync", "no")
        with pytest.raises(NotConfirmed, match="the disk was not said to have them"):
            handles.do(queue.add("t", job_id="one", durability="fsync"))
        client.config_set("appendfsync", "always")
        assert handles.do(queue.add("t", job_id="two", durability="fsync")).confirmed == "fsync"
        client.config_set("appendonly", "no")
        with pytest.raises(NotConfirmed, match="Redis refused to tell: WAITAOF cannot be used"):
            handles.do(queue.add("t", job_id="three", durability="fsync"))
        assert handles.do(queue.get_stats()).waiting == 3


def without_disk() -> PrivateServer:
    return PrivateServer()


def without_command() -> PrivateServer:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on PATH")
    server = PrivateServer(binary=program)
    server.start()
    if tuple(int(part) for part in asked(server, "server")["redis_version"].split(".")[:2]) >= (7, 2):
        server.close()
        pytest.skip("the redis-server on PATH knows WAITAOF")
    return server


@pytest.mark.parametrize("make", [without_disk, without_command], ids=lambda make: make.__name__)
def test_a_server_that_cannot_tell_refuses_before_anything_is_stored(
    make: Callable[[], PrivateServer], handles: Handles
) -> None:
    with make() as server, handles.open("q", server.url) as queue:
        for _ in range(2):
            with pytest.raises(
                RedisRefused, match=r"^durability='fsync' needs the command WAITAOF.*Nothing was stored$"
            ):
                handles.do(queue.add("t", durability="fsync"))
        with admin(server) as client:
            assert client.dbsize() == 0
        assert handles.do(queue.add("t")).confirmed == "memory"


def test_a_user_who_may_not_wait_is_refused_before_anything_is_stored(handles: Handles) -> None:
    with start(lambda port: PrivateServer(port=port)) as server, admin(server) as client:
        client.execute_command("ACL", "SETUSER", "producer", "on", ">secret", "~*", "&*", "+@all", "-wait")
        url = f"redis://producer:secret@127.0.0.1:{server.port}"
        with handles.open("q", url) as queue:
            with pytest.raises(RedisRefused, match="needs the command WAIT, and the server says"):
                handles.do(queue.add("t", durability="replica"))
            assert client.dbsize() == 0


@pytest.mark.no_audit  # fakeredis hangs up on its next client after a command that it doesn't know
def test_a_fake_server_refuses(redqueue_fake_url: str, handles: Handles) -> None:
    with handles.open("q", redqueue_fake_url) as queue:
        with pytest.raises(RedisRefused, match="needs the command WAIT"):
            handles.do(queue.add("t", durability="replica"))
        assert handles.do(queue.get_stats()).waiting == 0


@pytest.mark.usefixtures("stopped_replica")
def test_a_given_client_with_a_short_time_out_is_answered_before_it(sentinels: Sentinels) -> None:
    with (
        redis.Redis(unix_socket_path=str(sentinels.primary.socket), socket_timeout=1) as client,
        Queue("q", client=client) as queue,
        pytest.raises(NotConfirmed),
    ):
        queue.add("t", durability="replica")


@pytest.mark.usefixtures("stopped_replica")
async def test_a_cancelled_add_ends_at_once_and_leaves_room_for_others(sentinels: Sentinels) -> None:
    async with AsyncQueue("q", sentinels.url) as queue:
        adding = [asyncio.create_task(queue.add("t", n, durability="replica")) for n in range(100)]
        async with asyncio.timeout(GUARD):
            while not (await queue.get_stats()).waiting:
                await asyncio.sleep(0.01)
            began = time.monotonic()
            for one in adding:
                one.cancel()
            assert set(map(type, await asyncio.gather(*adding, return_exceptions=True))) == {asyncio.CancelledError}
            assert time.monotonic() - began < 2
        sentinels.replica.resume()
        assert (await queue.add("t", durability="replica")).confirmed == "replica"


def test_what_could_not_be_written_again_is_not_confirmed(disk: PrivateServer, impatient: None) -> None:
    """A call sent again writes nothing but its record's time to live; without that the question is about nothing."""
    with redis.Redis.from_url(disk.url) as client:
        client.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~*", "&*", "+@all", "-pexpire")
    keys = Keys("q", "redqueue")
    job = NewJob("one", "t", "0", b"[]", durability="fsync")
    call = add(keys, [job]).on(keys.producer("p"), 1)
    for _ in range(2):
        with redis.Redis.from_url(disk.url, username="u", password="pw") as client:
            confirmation = send(client, call, {("", "fsync")})
        assert not confirmation.given
        assert "pexpire" in confirmation.why
