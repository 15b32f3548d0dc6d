"""Through a real worker: what becomes of the job, and of secrets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest
import redis

from redqueue import AsyncQueue, JobStatus, ServiceRegistry, Worker
from redqueue.processors.sms import GatewayProvider, SmsProcessor, SmsProvider, TwilioProvider
from redqueue.shapes import SmsResult
from redqueue.testing import advance_async

from .conftest import HttpServer, Reply, Request, Told, job_data, numbers
from .test_twilio import SID, TOKEN


async def run(url: str, processor: SmsProcessor, job_id: str, data: Any, **options: Any) -> JobStatus:
    """Add the job unless it is there, and let a worker run what is due."""
    registry = ServiceRegistry()
    registry.register_processor("sms", processor)
    async with AsyncQueue("sms", url) as queue:
        job = await queue.add("sms", data, job_id=job_id, **options)
        await asyncio.wait_for(Worker(["sms"], url, registry=registry, burst=True).serve(), 20)
        status = await job.status()
        assert status is not None
        return status


def first_time(to: str, reply: Reply) -> Callable[[Request], Reply]:
    """Answer so to the first request with that number, and accept all others."""
    left = [reply]
    return lambda request: left.pop() if request.json()["to"] == to and left else Reply()


def gateway(http: HttpServer) -> SmsProcessor:
    provider = GatewayProvider(
        http.url, json={"to": "{to}"}, headers={"Idempotency-Key": "{idempotency_key}"}, message_id="id"
    )
    return SmsProcessor(provider, concurrency=4, default_region="DE")


async def test_a_job_sends_and_its_result_is_the_shape(http: HttpServer, real_url: str) -> None:
    http.answer = lambda request: Reply(200, {"id": "m" + request.json()["to"][-1]})
    data = {"subAccountId": "s", "phoneNumbers": ["0151 23000001", "x"], "message": "Hi"}
    status = await run(real_url, gateway(http), "j", data)
    assert status.result == {
        "total": 2,
        "successful": 1,
        "failed": 1,
        "duplicates": 0,
        "segments": 1,
        "results": [
            {"to": "+4915123000001", "messageId": "m1"},
            {"to": "x", "status": "failed", "error": "not a phone number"},
        ],
    }
    assert (status.progress, status.message) == (1.0, "2 of 2")


async def test_an_outage_is_retried_and_only_what_is_left_is_sent_again(http: HttpServer, real_url: str) -> None:
    http.answer = first_time(numbers(10)[5], Reply(503))
    status = await run(real_url, gateway(http), "j", job_data(numbers(10)), retries=1, backoff=0)
    assert (status.state, status.attempts) == ("completed", 2)
    keys = [request.headers["idempotency-key"] for request in http.requests]
    assert len(keys) == 11
    assert len(set(keys)) == 10


async def test_429_snoozes_without_burning_an_attempt(http: HttpServer, real_url: str) -> None:
    http.answer = first_time(numbers(4)[2], Reply(429, {}, {"Retry-After": "600"}))
    status = await run(real_url, gateway(http), "j", job_data(numbers(4)), retries=0)
    assert (status.state, status.attempts) == ("delayed", 0)
    async with AsyncQueue("sms", real_url) as queue:
        await advance_async(queue, 601)
    status = await run(real_url, gateway(http), "j", job_data(numbers(4)))
    assert (status.state, len(http.requests)) == ("completed", 5)


async def test_wrong_settings_fail_the_job_at_once(http: HttpServer, real_url: str) -> None:
    http.answer = lambda request: Reply(401)
    status = await run(real_url, gateway(http), "j", job_data(numbers(2)))
    assert status.state == "failed"
    assert status.error is not None and "check the URL and the credentials" in status.error


@pytest.mark.parametrize(
    "data",
    [
        {"subAccountId": "s", "phoneNumbers": [], "message": "Hi"},
        {"subAccountId": "s", "phoneNumbers": ["+1"], "message": " "},
        {"subAccountId": "s", "phoneNumbers": ["+1" * 40], "message": "Hi"},
        {"subAccountId": "s", "phoneNumbers": ["+1"], "message": "x" * 1_601},
        {"subAccountId": "s", "phoneNumbers": ["+1"], "message": "Hi", "to": "+1"},
    ],
)
async def test_bad_data_fails_the_job_at_once_and_sends_nothing(
    http: HttpServer, real_url: str, data: dict[str, Any]
) -> None:
    status = await run(real_url, gateway(http), "j", data)
    assert (status.state, http.requests) == ("failed", [])


async def test_ten_thousand_contacts_are_cheap_and_fit(real_url: str) -> None:
    began = process_time()
    status = await run(real_url, SmsProcessor(Told()), "j", job_data(numbers(10_000)))
    spent = process_time() - began
    assert status.state == "completed"
    assert status.result["successful"] == 10_000
    assert spent < 6, "a growing checkpoint is rewritten 500 times: that must stay cheap"


async def test_a_worker_that_leaves_keeps_what_was_sent(
    http: HttpServer, real_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redqueue.processors.sms.processor.CHUNK_SECONDS", 10_000)
    registry = ServiceRegistry()
    registry.register_processor("sms", SmsProcessor(GatewayProvider(http.url, json={"to": "{to}"}), rate=0.001))
    reached, loop = asyncio.Event(), asyncio.get_running_loop()

    def answer(request: Request) -> Reply:
        loop.call_soon_threadsafe(reached.set)
        return Reply()

    http.answer = answer
    async with AsyncQueue("sms", real_url) as queue:
        job = await queue.add("sms", job_data(numbers(3)))
        async with Worker(["sms"], real_url, registry=registry, grace=0):
            await asyncio.wait_for(reached.wait(), 10)
        status = await job.status()
        assert status is not None and (status.state, status.attempts) == ("waiting", 0)
        assert len(http.requests) == 1
        quick = SmsProcessor(GatewayProvider(http.url, json={"to": "{to}"}))
        done = await run(real_url, quick, job.id, job_data(numbers(3)))
    assert done.state == "completed"
    assert sorted(request.json()["to"] for request in http.requests) == numbers(3)


@pytest.mark.parametrize("status", [201, 400, 401, 429, 503, 0])
async def test_a_token_is_in_no_log_error_traceback_or_result(
    http: HttpServer, real_url: str, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpx")
    caplog.set_level(logging.DEBUG, "httpcore")
    http.answer = lambda request: Reply(status, {"code": 21614, "message": "no"} if status == 400 else {})
    twilio = TwilioProvider(SID, TOKEN, sender="+1", base_url=http.url)
    other = GatewayProvider(
        http.url + f"/{TOKEN}?key={TOKEN}",
        json={"key": TOKEN},
        query={"k": TOKEN, "to": "{to}"},
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    providers: list[SmsProvider] = [twilio, other]
    for n, provider in enumerate(providers):
        found = await run(real_url, SmsProcessor(provider), f"j{n}", job_data(numbers(1), "s3cret text"), retries=0)
        assert found.state in ("completed", "failed", "delayed")
        assert TOKEN not in repr(found)
        assert TOKEN not in str(found.result)
        assert TOKEN not in str(found.error)
    assert len(http.requests) == 2
    with redis.Redis.from_url(real_url, decode_responses=True) as client:
        stored = [str(client.hgetall(key)) for key in client.scan_iter(_type="hash")] + [
            str(client.get(key)) for key in client.scan_iter(_type="string")
        ]
        stored.append(str(client.xrange("redqueue:{sms}:events")))
    assert any("s3cret text" in value for value in stored), "the data is where it should be"
    assert TOKEN not in "".join(stored), "tracebacks are stored with the outcome"
    assert TOKEN not in caplog.text
    assert "s3cret text" not in caplog.text


def test_the_result_is_a_struct_of_the_shapes() -> None:
    assert SmsResult.__struct_fields__ == ("total", "successful", "failed", "duplicates", "segments", "results")
