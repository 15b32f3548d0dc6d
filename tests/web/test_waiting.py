"""Long polling: an answer as soon as there is news, one reader of events for all who wait, and none left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import redis.asyncio
import redis.exceptions
from tests.web.parts import Steps

from redqueue import AsyncJobQueueService, ServiceRegistry, Worker
from redqueue.client.patience import Patience
from redqueue.web import JobsApp, changes, jobs_app
from redqueue.web import app as module_of_app

GUARD = 20


@pytest.fixture
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only events bring news."""
    monkeypatch.setattr(changes, "LOOK_AGAIN_S", 3600.0)


@pytest.fixture
def readers(real_url: str) -> Callable[[], Awaitable[int]]:
    """How many connections wait for an event."""

    async def count() -> int:
        async with redis.asyncio.Redis.from_url(real_url, protocol=2) as client:
            return len([one for one in await client.client_list() if one["cmd"] == "xread" and "b" in one["flags"]])

    return count


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(GUARD):
        while not await condition():
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("no_second_look")
async def test_whoever_waits_is_told_of_each_step(
    client: httpx.AsyncClient,
    service: AsyncJobQueueService,
    real_url: str,
    registry: ServiceRegistry,
    steps: Steps,
    readers: Callable[[], Awaitable[int]],
) -> None:
    job_id = await service.add_job("slow", None)
    etag = (await client.get(f"/slow/{job_id}/status")).headers["etag"]
    seen: list[Any] = []

    async def poll() -> Any:
        nonlocal etag
        answer = await client.get(f"/slow/{job_id}/status?wait=60", headers={"If-None-Match": etag})
        assert answer.status_code == 200
        etag = answer.headers["etag"]
        status = answer.json()
        seen.append((status["status"], status["progress"], status["message"]))

    async with asyncio.timeout(GUARD):
        polling = asyncio.create_task(poll())
        await until(lambda: is_one(readers))
        async with Worker(["slow"], real_url, registry=registry):
            await polling
            await steps.started.wait()
            for step in (steps.go_on, steps.end):
                polling = asyncio.create_task(poll())
                await asyncio.sleep(0)
                step.set()
                await polling
    assert seen == [("processing", None, None), ("processing", 0.5, "half of it"), ("completed", 0.5, "half of it")]


async def is_one(count: Callable[[], Awaitable[int]]) -> bool:
    return await count() == 1


async def test_what_differs_or_ended_is_answered_at_once(
    client: httpx.AsyncClient, service: AsyncJobQueueService, work: Callable[..., Awaitable[None]]
) -> None:
    began = time.monotonic()
    job_id = await service.add_job("sms", 1)
    path = f"/sms/{job_id}/status?wait=60"
    assert (await client.get(path, headers={"If-None-Match": '"old"'})).json()["status"] == "pending"
    await work()
    done = await client.get(path)
    assert done.json()["status"] == "completed"
    assert (await client.get(path, headers={"If-None-Match": done.headers["etag"]})).status_code == 304
    assert (await client.get("/sms/nobody/status?wait=60")).status_code == 404
    assert time.monotonic() - began < 20


async def test_whoever_waited_for_nothing_is_told_so(client: httpx.AsyncClient, service: AsyncJobQueueService) -> None:
    job_id = await service.add_job("sms", 1)
    path = f"/sms/{job_id}/status?wait=0.1"
    first = await client.get(path)
    assert first.json()["status"] == "pending"
    assert (await client.get(path, headers={"If-None-Match": first.headers["etag"]})).status_code == 304


@pytest.mark.usefixtures("no_second_look")
@pytest.mark.parametrize("how", ["cancel", "remove", "drain"])
async def test_a_job_that_goes_is_news(
    client: httpx.AsyncClient, service: AsyncJobQueueService, readers: Callable[[], Awaitable[int]], how: str
) -> None:
    job_id = await service.add_job("sms", 1)
    queue = service.queue("sms")
    async with asyncio.timeout(GUARD):
        polling = asyncio.create_task(client.get(f"/sms/{job_id}/status?wait=60"))
        await until(lambda: is_one(readers))
        await (
            queue.drain() if how == "drain" else queue.cancel(job_id, "no") if how == "cancel" else queue.remove(job_id)
        )
        answer = await polling
    assert (answer.status_code, answer.json()["status"]) == ((200, "cancelled") if how == "cancel" else (404, 404))
    if how != "cancel":
        assert answer.json()["detail"] == "finished and no longer kept"


async def test_the_place_in_line_is_looked_at_in_between(
    client: httpx.AsyncClient, service: AsyncJobQueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LOOK_AGAIN_S", 0.05)
    first = await service.add_job("sms", 1)
    job_id = await service.add_job("sms", 2)
    path = f"/sms/{job_id}/status"
    second = await client.get(path)
    assert second.json()["position"] == 1
    polling = asyncio.create_task(client.get(f"{path}?wait=60", headers={"If-None-Match": second.headers["etag"]}))
    await service.queue("sms").cancel(first)
    async with asyncio.timeout(GUARD):
        assert (await polling).json()["position"] == 0


@pytest.mark.usefixtures("no_second_look")
async def test_a_thousand_who_wait_share_one_reader(
    app: JobsApp,
    open_client: Any,
    service: AsyncJobQueueService,
    real_url: str,
    registry: ServiceRegistry,
    steps: Steps,
    readers: Callable[[], Awaitable[int]],
) -> None:
    client: httpx.AsyncClient = await open_client(app)
    jobs = [await service.add_job("slow", n) for n in range(10)]
    async with asyncio.timeout(2 * GUARD):
        waiting = [asyncio.create_task(client.get(f"/slow/{jobs[n % 10]}/status?wait=60")) for n in range(1000)]
        while app._waiting < 1000:
            await asyncio.sleep(0)
        await until(lambda: is_one(readers))
        steps.go_on.set()
        steps.end.set()
        async with Worker(["slow"], real_url, registry=registry, concurrency=10):
            answers = await asyncio.gather(*waiting)
    assert {answer.json()["status"] for answer in answers} <= {"processing", "completed"}


@pytest.mark.usefixtures("no_second_look")
async def test_who_comes_at_once_shares_a_look(
    app: JobsApp, service: AsyncJobQueueService, monkeypatch: pytest.MonkeyPatch, open_client: Any
) -> None:
    job_id = await service.add_job("sms", 1)
    looks, look = 0, service.get_job_status

    async def counted(job_type: str, job_id: str) -> Any:
        nonlocal looks
        looks += 1
        return await look(job_type, job_id)

    monkeypatch.setattr(service, "get_job_status", counted)
    client = await open_client(app)
    answers = await asyncio.gather(*(client.get(f"/sms/{job_id}/status") for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert looks < 10


async def test_who_hangs_up_waits_no_longer(app: JobsApp, service: AsyncJobQueueService) -> None:
    job_id = await service.add_job("sms", 1)
    gone = asyncio.Event()
    messages: list[Any] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/sms/{job_id}/status",
        "query_string": b"wait=60",
        "headers": [],
    }
    asking = asyncio.create_task(app(scope, receive, send))
    async with asyncio.timeout(GUARD):
        while not app._waiting:
            await asyncio.sleep(0)
        gone.set()
        await asking
    assert app._waiting == 0
    (reader,) = app._here()._readers.values()
    assert reader._waiting == {}


async def test_the_reading_ends_with_the_waiting(
    client: httpx.AsyncClient,
    service: AsyncJobQueueService,
    monkeypatch: pytest.MonkeyPatch,
    readers: Callable[[], Awaitable[int]],
) -> None:
    monkeypatch.setattr(changes, "BLOCK_S", 0.05)
    job_id = await service.add_job("sms", 1)
    await client.get(f"/sms/{job_id}/status?wait=0.1")

    async def ended() -> bool:
        return not [task for task in asyncio.all_tasks() if task.get_name().startswith("redqueue web")]

    await until(ended)
    assert await readers() == 0
    assert (await client.get(f"/sms/{job_id}/status?wait=0.1")).status_code == 200


@pytest.mark.usefixtures("no_second_look")
async def test_the_reading_ends_with_the_service(
    client: httpx.AsyncClient,
    service: AsyncJobQueueService,
    monkeypatch: pytest.MonkeyPatch,
    readers: Callable[[], Awaitable[int]],
) -> None:
    monkeypatch.setattr(changes, "BLOCK_S", 3600.0)
    job_id = await service.add_job("sms", 1)
    polling = asyncio.create_task(client.get(f"/sms/{job_id}/status?wait=60"))
    async with asyncio.timeout(GUARD):
        await until(lambda: is_one(readers))
        (reading,) = [task for task in asyncio.all_tasks() if task.get_name() == "redqueue web: read"]
        await service.close()
        await reading
    polling.cancel()


async def test_too_many_are_answered_at_once(
    client: httpx.AsyncClient, service: AsyncJobQueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_of_app, "MOST_WAITING", 0)
    job_id = await service.add_job("sms", 1)
    async with asyncio.timeout(GUARD):
        assert (await client.get(f"/sms/{job_id}/status?wait=60")).status_code == 200


async def test_what_changed_is_allowed_anew(service: AsyncJobQueueService, open_client: Any) -> None:
    allowed = [True, False]
    client = await open_client(jobs_app(service, authorize=lambda *asked: allowed.pop(0)))
    job_id = await service.add_job("sms", 1)
    polling = asyncio.create_task(client.get(f"/sms/{job_id}/status?wait=60"))
    async with asyncio.timeout(GUARD):
        while len(allowed) == 2:
            await asyncio.sleep(0)
        await service.queue("sms").cancel(job_id)
        assert (await polling).status_code == 404
    assert allowed == []


@pytest.mark.usefixtures("no_second_look")
async def test_an_outage_ends_the_waiting_with_a_problem(
    client: httpx.AsyncClient,
    service: AsyncJobQueueService,
    monkeypatch: pytest.MonkeyPatch,
    readers: Callable[[], Awaitable[int]],
) -> None:
    job_id = await service.add_job("sms", 1)
    runner = service.queue("sms")._runner
    monkeypatch.setattr(changes, "LOOK_AGAIN_S", 0.05)
    polling = asyncio.create_task(client.get(f"/sms/{job_id}/status?wait=60"))
    async with asyncio.timeout(GUARD):
        await until(lambda: is_one(readers))
        runner.patience = Patience(unsent=0.01, sent=0.01)

        async def away(self: object, call: object) -> Any:
            raise redis.exceptions.ConnectionError("away")

        with monkeypatch.context() as outage:
            outage.setattr(type(runner._transport), "send", away)
            answer = await polling
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_without_events_jobs_are_looked_at(
    client: httpx.AsyncClient,
    service: AsyncJobQueueService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(changes, "LOOK_AGAIN_S", 0.05)

    def refused(*_: object) -> Any:
        raise PermissionError

    monkeypatch.setattr(changes, "tail", refused)
    job_id = await service.add_job("sms", 1)
    path = f"/sms/{job_id}/status"
    etag = (await client.get(path)).headers["etag"]
    polling = asyncio.create_task(client.get(f"{path}?wait=60", headers={"If-None-Match": etag}))
    async with asyncio.timeout(GUARD):
        while "can't follow events and looks every 0.05 s: PermissionError" not in caplog.text:
            await asyncio.sleep(0)
        await service.queue("sms").cancel(job_id)
        assert (await polling).json()["status"] == "cancelled"
