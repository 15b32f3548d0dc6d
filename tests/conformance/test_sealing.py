"""Sealed queues, by Queue and AsyncQueue alike: what opens, what is refused, and what stays readable (X16)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest
import redis

from redqueue import (
    AsyncQueue,
    BadSignature,
    Encrypted,
    Event,
    JobContext,
    JobFailed,
    JobStatus,
    Retry,
    ServiceRegistry,
    Signed,
    UnknownSealKey,
)
from redqueue.core.keys import Keys

from .conftest import MakeQueue, MakeService, Work

OLD: Final = b"an old secret of 32 random bytes"
NEW: Final = b"a newer secret of 32 random byte"
CANARY: Final = "canary-of-the-tests"


@pytest.fixture(params=[Signed, Encrypted], ids=["signed", "encrypted"])
def seal(request: pytest.FixtureRequest) -> Signed:
    kind: type[Signed] = request.param
    return kind({"old": OLD})


@pytest.fixture
def registry(registry: ServiceRegistry, ran: list[Any]) -> ServiceRegistry:
    """Also: "tells" reports all that it can and goes on from its checkpoint."""

    @registry.processor("tells")
    async def tells(data: Any, context: JobContext) -> Any:
        ran.append(context.restored)
        if context.restored is None:
            await context.progress(0.5, f"message {data}", {"at": data})
            await context.log(f"line {data}")
            await context.checkpoint({"state": data})
            raise Retry(0, f"reason {data}")
        return {"restored": context.restored}

    return registry


@pytest.fixture
def sealed(make_queue: MakeQueue, seal: Signed) -> AsyncQueue:
    return make_queue(seal=seal)


async def look(queue: AsyncQueue, job_id: str) -> JobStatus:
    status = await queue.get_status(job_id)
    assert status is not None
    return status


def everything(client: redis.Redis) -> bytes:
    """All that Redis holds, as it would be dumped."""
    texts: list[Any] = []
    read: dict[Any, Callable[[Any], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": client.xrange,
    }
    for key in client.scan_iter():
        texts += [key, read[client.type(key)](key)]
    return repr(texts).encode()


def stored(client: redis.Redis, key: str) -> bytes:
    found = client.get(key)
    assert isinstance(found, bytes)
    return found


def outcome_key(queue: str, job_id: str) -> str:
    return Keys(queue, "redqueue").family("outcome") + job_id


async def test_a_sealed_job_runs_and_is_read(sealed: AsyncQueue, work: Work, seal: Signed, ran: list[Any]) -> None:
    done = await sealed.add("ok", {"n": [1, None]})
    nothing = await sealed.add("ok")
    broken = await sealed.add("fail", "that")
    assert await sealed.get_data(done.id) == {"n": [1, None]}
    await work(seal=seal)
    assert ran == [{"n": [1, None]}, None, "that"]
    assert await done.result(5) == {"n": [1, None]}
    assert await nothing.result(5) is None
    assert await sealed.job(done.id).result(0) == {"n": [1, None]}
    with pytest.raises(JobFailed) as caught:
        await broken.result(5)
    assert (caught.value.type, caught.value.message) == ("Broken", "no that")
    assert (await look(sealed, done.id)).result == {"n": [1, None]}
    assert (await look(sealed, nothing.id)).error is None
    assert (await look(sealed, broken.id)).error == "Broken: no that"
    assert "Broken" in ((await look(sealed, broken.id)).traceback or "")
    assert [job.result for job in await sealed.jobs("completed", newest=False)] == [{"n": [1, None]}, None]
    assert list(await sealed.audit()) == []


async def test_a_large_result_that_is_not_kept_is_read(sealed: AsyncQueue, work: Work, seal: Signed) -> None:
    job = await sealed.add("ok", "x" * 5000, keep_completed=0)
    await work(seal=seal)
    assert await job.result(5) == "x" * 5000


async def test_what_a_run_tells_is_sealed_and_read(
    sealed: AsyncQueue, work: Work, seal: Signed, ran: list[Any], client: redis.Redis
) -> None:
    job = await sealed.add("tells", CANARY, retries=1)
    await work(seal=seal)
    assert ran == [None, {"state": CANARY}]
    assert await job.result(5) == {"restored": {"state": CANARY}}
    status = await look(sealed, job.id)
    assert (status.progress, status.message) == (0.5, f"message {CANARY}")
    assert list(await sealed.get_logs(job.id)) == [f"line {CANARY}"]
    facts = await events_of(sealed, 6)
    assert {event.kind: event.facts for event in facts if event.kind in ("progress", "retrying", "completed")} == {
        "progress": {"progress": 0.5, "message": f"message {CANARY}", "data": {"at": CANARY}},
        "retrying": {"attempt": 1, "delay_s": 0.0, "error_type": "Retry", "error": f"reason {CANARY}"},
        "completed": {"result": {"restored": {"state": CANARY}}},
    }
    if isinstance(seal, Encrypted):
        assert CANARY.encode() not in everything(client)


async def events_of(queue: AsyncQueue, count: int) -> list[Event]:
    found: list[Event] = []
    events = queue.events(since="0")
    try:
        while len(found) < count:
            found.append(await anext(events))
    finally:
        await events.aclose()
    return found


async def test_the_head_stays_readable(make_queue: MakeQueue, sealed: AsyncQueue) -> None:
    job = await sealed.add("ok", 1, priority=3)
    plain = make_queue()
    status = await look(plain, job.id)
    assert (status.job_type, status.state, status.position) == ("ok", "waiting", 0)


async def test_a_job_that_is_not_sealed_is_not_run(
    queue: AsyncQueue, sealed: AsyncQueue, work: Work, seal: Signed, ran: list[Any]
) -> None:
    """X16: it fails for good, its function is not entered, and no retry is burned."""
    job = await queue.add("ok", 1, retries=5)
    await work(seal=seal)
    assert ran == []
    status = await look(sealed, job.id)
    assert (status.state, status.attempts) == ("failed", 1)
    assert status.error == f"BadSignature: job {job.id}: its data is not sealed, and here it must be"
    with pytest.raises(JobFailed) as caught:
        await sealed.job(job.id).result(5)
    assert caught.value.type == "BadSignature"
    with pytest.raises(BadSignature):
        await sealed.get_data(job.id)


@pytest.mark.parametrize("change", ["job", "queue", "type", "bit", "label"])
async def test_a_payload_that_was_moved_or_changed_is_not_run(
    make_queue: MakeQueue,
    sealed: AsyncQueue,
    work: Work,
    seal: Signed,
    ran: list[Any],
    client: redis.Redis,
    change: str,
) -> None:
    """X16: between jobs and queues, under another job type or options, or with a bit flipped."""
    job = await sealed.add("fail", "evil", job_id="a")
    other = await make_queue("q2", seal=seal).add("ok", "other", job_id="a")
    second = await sealed.add("ok", "second", job_id="b")
    key = Keys("q", "redqueue").job
    first, stolen = stored(client, key("a")), stored(client, key("b"))
    head, _, data = first.partition(b"\n")
    changed = {
        "job": stolen,
        "queue": stored(client, Keys("q2", "redqueue").job("a")),
        "type": head.replace(b'"fail"', b'"ok"') + b"\n" + data,
        "bit": first[:-1] + bytes((first[-1] ^ 1,)),
        "label": head.replace(b'""', b'"innocent"', 1) + b"\n" + data,
    }[change]
    assert changed != first
    client.set(key("a"), changed)
    with pytest.raises(BadSignature):
        await sealed.get_data(job.id)
    await work("q", "q2", seal=seal)
    assert sorted(ran) == ["other", "second"]
    assert "BadSignature" in ((await look(sealed, job.id)).error or "")
    assert await second.result(5) == "second"
    assert await other.result(5) == "other"


async def test_an_outcome_that_was_moved_or_changed_is_not_read(
    make_queue: MakeQueue, sealed: AsyncQueue, work: Work, seal: Signed, client: redis.Redis
) -> None:
    """X16: results and errors of other jobs, unsealed ones, none at all, and data in a result's place."""
    ids = ["a", "b", "c", "d", "e"]
    for id in ids:
        await sealed.add("ok", f"of {id}", job_id=id)
    await sealed.add("fail", "f", job_id="f")
    await work(seal=seal)
    stolen = client.hget(outcome_key("q", "e"), "result")
    data = stored(client, Keys("q", "redqueue").job("d")).partition(b"\n")[2]
    client.hset(outcome_key("q", "a"), "result", stolen or b"")
    client.hset(outcome_key("q", "b"), "result", b'"forged"')
    client.hdel(outcome_key("q", "c"), "result")
    client.hset(outcome_key("q", "d"), "result", data)
    client.hset(outcome_key("q", "f"), "error", b'{"type":"os.system","message":"touch x"}')
    reader = make_queue(seal=seal)
    for id in ("a", "b", "c", "d", "f"):
        status = await look(reader, id)
        assert (status.result, status.traceback) == (None, None)
        assert (status.error or "").startswith("BadSignature: ")
        assert "touch" not in (status.error or "")
        with pytest.raises(BadSignature):
            await reader.job(id).result(0)
    assert (await look(reader, "e")).result == "of e"
    # One job hides no other.
    assert {job.job_id: job.result for job in await reader.jobs("completed")} == {**dict.fromkeys("abcd"), "e": "of e"}


async def test_a_result_does_not_outlive_its_head(
    sealed: AsyncQueue, work: Work, seal: Signed, client: redis.Redis
) -> None:
    job = await sealed.add("ok", 1)
    await work(seal=seal)
    key = Keys("q", "redqueue").job(job.id)
    client.set(key, stored(client, key).replace(b'"ok"', b'"no"'))
    assert ((await look(sealed, job.id)).error or "").startswith("BadSignature: ")


async def test_a_forged_checkpoint_is_not_restored(
    sealed: AsyncQueue, work: Work, seal: Signed, ran: list[Any], client: redis.Redis
) -> None:
    """X16: the function is not entered with a state that no run of this job saved."""
    job = await sealed.add("tells", "x", retries=3)
    client.hset(Keys("q", "redqueue")["states"], job.id, b'{"state":"forged"}')
    await work(seal=seal)
    assert ran == []
    assert "BadSignature" in ((await look(sealed, job.id)).error or "")


async def test_forged_log_lines_and_events_are_refused(
    sealed: AsyncQueue, work: Work, seal: Signed, client: redis.Redis
) -> None:
    job = await sealed.add("ok", 1)
    await work(seal=seal)
    client.rpush(Keys("q", "redqueue").log(job.id), "forged")
    with pytest.raises(BadSignature):
        await sealed.get_logs(job.id)
    client.delete(Keys("q", "redqueue").log(job.id))
    client.xadd(Keys("q", "redqueue")["events"], {"completed": "z", ":z": '"forged"'})
    *_, forged = await events_of(sealed, 5)
    assert forged.kind == "completed"
    assert forged.facts["error_type"] == "BadSignature"
    assert "result" not in forged.facts


async def test_without_keys_what_is_sealed_is_not_read(
    queue: AsyncQueue, sealed: AsyncQueue, work: Work, seal: Signed, ran: list[Any]
) -> None:
    """The readers say what is missing; a worker lets the job wait, as it does for a name that it doesn't know."""
    done = await sealed.add("ok", 1)
    await work(seal=seal)
    waits = await sealed.add("ok", 2)
    lost = await sealed.add("ok", 3)
    with pytest.raises(UnknownSealKey, match="pass seal="):
        await queue.get_data(waits.id)
    with pytest.raises(UnknownSealKey):
        await queue.job(done.id).result(0)
    assert ((await look(queue, done.id)).error or "").startswith("UnknownSealKey: ")
    await work()
    assert ran == [1]
    status = await look(queue, waits.id)
    assert (status.state, status.attempts) == ("delayed", 0)
    assert "pass seal=" in (status.message or "")
    await queue.promote(lost.id)
    await work(unknown_grace=0)
    assert ran == [1]
    assert ((await look(queue, lost.id)).error or "").startswith("UnknownSealKey: ")
    await queue.promote(waits.id)
    await work(seal=seal)
    assert ran == [1, 2]


@pytest.mark.parametrize("kind", [Signed, Encrypted], ids=lambda kind: kind.__name__)
async def test_keys_are_rotated(make_queue: MakeQueue, work: Work, ran: list[Any], kind: type[Signed]) -> None:
    """X16: an old key opens while the new one seals; a job of a key that is not here yet waits."""
    before, both = kind({"old": OLD}), kind({"old": OLD, "new": NEW}, "new")
    old, new = make_queue(seal=before), make_queue(seal=both)
    first, second = await old.add("ok", 1), await new.add("ok", 2)
    await work(seal=before)
    assert ran == [1]
    assert "'new'" in ((await look(new, second.id)).message or "")
    await new.promote(second.id)
    third = await old.add("ok", 3)
    await work(seal=both)
    assert sorted(ran) == [1, 2, 3]
    assert [await new.job(job.id).result(0) for job in (first, second, third)] == [1, 2, 3]
    with pytest.raises(UnknownSealKey, match="'new'"):
        await old.job(second.id).result(0)


async def test_a_queue_can_change_over_to_seals(
    make_queue: MakeQueue, queue: AsyncQueue, work: Work, ran: list[Any]
) -> None:
    lenient = Signed({"k": OLD}, required=False)
    await queue.add("ok", "plain")
    await make_queue(seal=lenient).add("ok", "sealed")
    await work(seal=lenient)
    assert ran == ["plain", "sealed"]


async def test_errors_that_scripts_write_are_read(sealed: AsyncQueue, work: Work, seal: Signed) -> None:
    job = await sealed.add("ok", 1, expires_in=0.001)
    await asyncio.sleep(0.002)
    await work(seal=seal)
    assert (await look(sealed, job.id)).error == "JobExpired: nobody started it in time: its expires_in is over"
    with pytest.raises(JobFailed):
        await sealed.job(job.id).result(0)


async def test_a_service_seals_by_its_option_and_by_the_environment(
    make_service: MakeService, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch, work: Work, seal: Signed
) -> None:
    job_id = await make_service(seal=seal).add_job("ok", 1)
    reader = make_queue("ok", seal=seal)
    assert await reader.get_data(job_id) == 1
    with pytest.raises(UnknownSealKey):
        await make_queue("ok").get_data(job_id)
    secret = "YW4gb2xkIHNlY3JldCBvZiAzMiByYW5kb20gYnl0ZXM="
    monkeypatch.setenv("REDQUEUE_SEAL", f'{{"kind": "signed", "keys": {{"old": "{secret}"}}}}')
    other = await make_service().add_job("ok", 2)
    assert await reader.get_data(other) == 2
    await work("ok")
    assert await reader.job(other).result(5) == 2


async def test_without_a_seal_the_bytes_are_what_they_were(queue: AsyncQueue, work: Work, client: redis.Redis) -> None:
    job = await queue.add("ok", {"n": 1})
    assert stored(client, Keys("q", "redqueue").job(job.id)).partition(b"\n")[2] == b'{"n":1}'
    await work()
    assert client.hget(outcome_key("q", job.id), "result") == b'{"n":1}'
