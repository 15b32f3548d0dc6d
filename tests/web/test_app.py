"""What the app answers, and by which headers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from tests.web.parts import Ask, anything

from redqueue import AsyncJobQueueService, ConfigurationError, InvalidName, JobQueueService
from redqueue.client.patience import Patience
from redqueue.web import JobsApp, jobs_app

XSS = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "\u2028{{7*7}}")


async def test_a_jobs_status_is_its_wire_shape(
    client: httpx.AsyncClient, service: AsyncJobQueueService, work: Callable[..., Awaitable[None]]
) -> None:
    job_id = await service.add_job("sms", {"subAccountId": "acme", "n": 1})
    waiting = await client.get(f"/sms/{job_id}/status")
    assert waiting.status_code == 200
    assert waiting.headers["content-type"] == "application/json"
    status = await service.get_job_status("sms", job_id)
    assert status is not None
    assert waiting.json() == status.to_wire()
    assert (waiting.json()["jobId"], waiting.json()["status"], waiting.json()["position"]) == (job_id, "pending", 0)
    await work()
    done = (await client.get(f"/sms/{job_id}/status")).json()
    assert (done["status"], done["progress"], done["result"]) == ("completed", 1, {"subAccountId": "acme", "n": 1})
    assert "traceback" not in done
    assert "subAccountId" not in done


async def test_a_status_that_did_not_change_is_not_sent_again(
    client: httpx.AsyncClient, service: AsyncJobQueueService, work: Callable[..., Awaitable[None]]
) -> None:
    job_id = await service.add_job("sms", 1)
    first = await client.get(f"/sms/{job_id}/status")
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        again = await client.get(f"/sms/{job_id}/status", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    await work()
    done = await client.get(f"/sms/{job_id}/status", headers={"If-None-Match": etag})
    assert done.status_code == 200
    assert done.headers["etag"] != etag


async def test_a_queues_numbers_and_health(
    client: httpx.AsyncClient, service: AsyncJobQueueService, work: Callable[..., Awaitable[None]]
) -> None:
    assert (await client.get("/sms/health")).json()["healthy"] is True
    await service.add_job("sms", 1)
    stats = await client.get("/sms/stats")
    assert (stats.json()["waiting"], stats.json()["keptCompleted"]) == (1, 0)
    assert stats.headers["cache-control"] == "no-store"
    ill = await client.get("/sms/health")
    assert (ill.status_code, ill.json()["healthy"]) == (503, False)
    assert "start one" in ill.json()["problem"]
    await work()
    assert (await client.get("/sms/health")).status_code == 200


async def test_an_unknown_job_is_a_problem(client: httpx.AsyncClient) -> None:
    answer = await client.get("/sms/nobody/status")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "never added, or finished and no longer kept",
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/-x/17/status", 422),
        ("GET", "/sms/{17}/status", 422),
        ("GET", "/sms/a%20b/status", 422),
        ("GET", f"/{'x' * 65}/stats", 422),
        ("GET", f"/sms/{'x' * 129}/status", 422),
        ("GET", "/_x/health", 422),
        ("GET", "/sms/17/status?wait=61", 422),
        ("GET", "/sms/17/status?wait=-1", 422),
        ("GET", "/sms/17/status?wait=nan", 422),
        ("GET", "/sms/17/status?wait=1e1", 422),
        ("GET", "/sms/17/status?wait=", 422),
        ("GET", "/sms/17/status?wait=1&wait=2", 422),
        ("GET", "/sms/17/status?wait=٣", 422),
        ("GET", "/", 404),
        ("GET", "/sms/a%2Fb/status", 404),
        ("GET", "/sms/17", 404),
        ("GET", "//stats", 404),
        ("GET", "/sms", 405),
        ("DELETE", "/sms/17/status", 405),
        ("POST", "/sms/stats", 405),
    ],
)
async def test_what_can_not_be_asked_is_a_problem(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_only_a_post_changes_anything(client: httpx.AsyncClient, service: AsyncJobQueueService) -> None:
    job_id = await service.add_job("sms", 1)
    for path in (f"/sms/{job_id}/status", "/sms/stats", "/sms/health", "/job-status.js", "/sms"):
        options = await client.options(path, headers={"Origin": "https://evil.example"})
        assert options.status_code == 405
        assert not [name for name in options.headers if name.startswith("access-control")]
        head = await client.head(path)
        assert head.status_code == (405 if path == "/sms" else 503 if path == "/sms/health" else 200)
    assert (await client.options("/sms")).headers["allow"] == "POST"
    assert (await client.options("/sms/stats")).headers["allow"] == "HEAD, GET"
    assert (await service.get_queue_stats("sms")).waiting == 1


@pytest.mark.parametrize("text", XSS)
async def test_markup_stays_text(
    client: httpx.AsyncClient, service: AsyncJobQueueService, work: Callable[..., Awaitable[None]], text: str
) -> None:
    job_id = await service.execute_task(text, "no such task", [text])
    await service.queue("generic-task").cancel(job_id, text)
    await service.add_job("fail", text, job_id="f")
    await work("fail")
    answers = [
        await client.get(f"/generic-task/{job_id}/status"),
        await client.get("/fail/f/status"),
        await client.get(httpx.URL("https://app.example/").copy_with(path=f"/{text}/17/status")),
        await client.get(httpx.URL("https://app.example/").copy_with(path=f"/sms/{text}/status")),
        await client.get("/sms/17/status", params={"wait": text}),
    ]
    assert answers[0].json()["label"] == answers[0].json()["message"] == text
    assert answers[1].json()["error"] == f"ValueError: {text}"
    for answer in answers:
        assert not {"<", ">", "&"} & set(answer.text)
        assert "json" in answer.headers["content-type"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        json.loads(answer.text)


async def test_without_redis_it_is_unavailable_and_says_when_to_come_again(
    open_client: Callable[[Any], Awaitable[httpx.AsyncClient]],
) -> None:
    async with AsyncJobQueueService("redis://:secret@127.0.0.1:1/0") as service:
        service.queue("sms")._runner.patience = Patience(unsent=0.01)
        client = await open_client(jobs_app(service, authorize=anything, allow_add=["sms"]))
        answers = [
            await client.get("/sms/17/status"),
            await client.get("/sms/stats"),
            await client.post("/sms", json=1),
        ]
        for answer in answers:
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert answer.json()["detail"] == "the queue can't be reached: try again later"
        health = await client.get("/sms/health")
        assert (health.status_code, health.json()["reachable"]) == (503, False)
        assert "secret" not in health.text


async def test_the_script_is_for_everybody(ask: Ask) -> None:
    def nothing(*asked: object) -> bool:
        return False

    client = await ask(nothing)
    answer = await client.get("/job-status.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "export async function pollJobStatus" in answer.text
    known = {"If-None-Match": answer.headers["etag"]}
    assert (await client.get("/job-status.js", headers=known)).status_code == 304


def test_a_status_url_is_below_the_prefix(service: AsyncJobQueueService) -> None:
    app = jobs_app(service, authorize=anything, prefix="/api/jobs")
    assert app.status_url("sms", "a:b@c-1") == "/api/jobs/sms/a:b@c-1/status"
    assert jobs_app(service, authorize=anything).status_url("sms", "17") == "/sms/17/status"
    for job_type, job_id in (("-x", "17"), ("sms", "a/b"), ("sms", ".."), ("sms", ".")):
        with pytest.raises(InvalidName):
            app.status_url(job_type, job_id)


@pytest.mark.parametrize("prefix", ["api", "/api/", "/a//b", "/a?b", 7])
def test_a_prefix_is_a_path(service: AsyncJobQueueService, prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="prefix must be a path"):
        jobs_app(service, authorize=anything, prefix=prefix)


def test_a_sync_service_is_refused(real_url: str) -> None:
    sync: Any = JobQueueService(real_url)
    with pytest.raises(ConfigurationError, match="AsyncJobQueueService, not JobQueueService"):
        jobs_app(sync, authorize=anything)


async def test_the_app_can_be_served_alone(app: JobsApp) -> None:
    sent: list[Any] = []
    messages = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

    async def receive() -> Any:
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


def test_the_app_works_in_one_event_loop_after_the_other(real_url: str) -> None:
    service = AsyncJobQueueService(real_url)
    app = jobs_app(service, authorize=anything)

    async def look() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://app.example") as client:
            job_id = await service.add_job("sms", 1)
            await client.get(f"/sms/{job_id}/status?wait=0.05")
            answers = await asyncio.gather(*(client.get(f"/sms/{job_id}/status?wait=0.05") for _ in range(40)))
        return sum(answer.status_code == 200 for answer in answers)

    assert [asyncio.run(look()), asyncio.run(look())] == [40, 40]
    assert len(app._changes) == 1


def test_without_starlette_the_extra_is_named() -> None:
    hidden = "import sys; sys.modules['starlette'] = None\nimport redqueue, redqueue.shapes\nimport redqueue.web"
    ran = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, timeout=60)
    assert "MissingExtra: serving jobs over HTTP needs the extra 'web'" in ran.stderr
