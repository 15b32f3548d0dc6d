"""Adding a job by POST: only types that are listed, only by the application's own pages, within bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from tests.web.parts import Ask, anything

from redqueue import AsyncJobQueueService, ConfigurationError, InvalidName, JobStatus
from redqueue.defaults import MAX_PAYLOAD
from redqueue.web import Action, jobs_app


async def waiting(service: AsyncJobQueueService, job_type: str = "sms") -> int:
    return (await service.get_queue_stats(job_type)).waiting


async def test_a_job_is_added_and_its_status_has_an_address(ask: Ask, service: AsyncJobQueueService) -> None:
    client = await ask(allow_add=["sms"], prefix="/api/jobs")
    answer = await client.post("/api/jobs/sms", json={"n": 1})
    assert answer.status_code == 202
    job_id = answer.json()["jobId"]
    url = f"/api/jobs/sms/{job_id}/status"
    assert answer.json() == {"jobId": job_id, "jobType": "sms", "checkStatusAt": url}
    assert answer.headers["location"] == url
    assert await service.queue("sms").get_data(job_id) == {"n": 1}
    assert (await client.get(url)).json()["status"] == "pending"


async def test_the_services_own_options_are_those_of_its_jobs(service: AsyncJobQueueService, open_client: Any) -> None:
    app = jobs_app(service.with_options(delay=60), authorize=anything, allow_add=["sms"])
    client = await open_client(app)
    job_id = (await client.post("/sms", json=1)).json()["jobId"]
    assert (await client.get(f"/sms/{job_id}/status")).json()["state"] == "delayed"


async def test_an_idempotency_key_adds_once(client: httpx.AsyncClient, service: AsyncJobQueueService) -> None:
    for n in (1, 2):
        answer = await client.post("/sms", json=n, headers={"Idempotency-Key": "order-17"})
        assert (answer.status_code, answer.json()["jobId"]) == (202, "order-17")
    assert await service.queue("sms").get_data("order-17") == 1
    for key in ("a b", "", "..", "x" * 129):
        assert (await client.post("/sms", json=1, headers={"Idempotency-Key": key})).status_code == 422
    assert await waiting(service) == 1


async def own_jobs(request: Request, action: Action, job_type: str, status: JobStatus | None) -> bool:
    """Of the account in the header; who names none may add what names none."""
    account = request.headers.get("x-account")
    if action == "status":
        return status is not None and status.sub_account_id == account
    data = await request.json()
    return bool(data.get("subAccountId") == account)


async def test_two_accounts_with_one_idempotency_key_get_a_job_each(ask: Ask, service: AsyncJobQueueService) -> None:
    client = await ask(own_jobs, allow_add=["sms"])

    async def add(account: str) -> httpx.Response:
        return await client.post(
            "/sms", json={"subAccountId": account}, headers={"x-account": account, "Idempotency-Key": "order-17"}
        )

    first, again, other = await add("acme"), await add("acme"), await add("other")
    assert [answer.status_code for answer in (first, again, other)] == [202, 202, 202]
    assert first.json() == again.json() != other.json()
    assert await service.queue("sms").get_data(other.json()["jobId"]) == {"subAccountId": "other"}
    assert await waiting(service) == 2


async def test_a_key_whose_job_is_another_ones_adds_nothing_and_says_so(
    ask: Ask, service: AsyncJobQueueService
) -> None:
    client = await ask(own_jobs, allow_add=["sms"])
    mine = {"x-account": "acme", "Idempotency-Key": "order-17"}
    job_id = (await client.post("/sms", json={"subAccountId": "acme"}, headers=mine)).json()["jobId"]
    answer = await client.post("/sms", json={}, headers={"Idempotency-Key": job_id})
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert "draw a random one" in answer.json()["detail"]
    assert await waiting(service) == 1


@pytest.mark.parametrize(("name", "wire"), [("sub_account_id", "subAccountId"), ("user_id", "userId")])
async def test_who_asks_is_said_in_one_spelling(ask: Ask, service: AsyncJobQueueService, name: str, wire: str) -> None:
    client = await ask(own_jobs, allow_add=["sms"])
    answer = await client.post("/sms", json={name: "victim"})
    assert (answer.status_code, answer.json()["detail"]) == (422, f"the body has {name}: write {wire}")
    assert await waiting(service) == 0


async def test_what_became_of_a_job_is_kept_for_who_asks_now_and_then(
    client: httpx.AsyncClient, service: AsyncJobQueueService, work: Callable[..., Awaitable[None]]
) -> None:
    job_id = (await client.post("/sms", json=1)).json()["jobId"]
    other = await service.add_job("sms", 2)
    await work()
    for n in range(10):
        await service.add_job("sms", n)
    await work()
    assert (await client.get(f"/sms/{job_id}/status")).json()["status"] == "completed"
    assert (await client.get(f"/sms/{other}/status")).status_code == 404


async def test_the_services_options_say_how_long_it_is_kept(
    service: AsyncJobQueueService, open_client: Any, work: Callable[..., Awaitable[None]]
) -> None:
    client = await open_client(jobs_app(service.with_options(keep_completed=0), authorize=anything, allow_add=["sms"]))
    job_id = (await client.post("/sms", json=1)).json()["jobId"]
    await work()
    assert (await client.get(f"/sms/{job_id}/status")).status_code == 404


async def test_nothing_is_added_that_is_not_listed(ask: Ask, service: AsyncJobQueueService) -> None:
    assert (await (await ask()).post("/sms", json=1)).status_code == 403
    client = await ask(allow_add={"sms"})
    assert (await client.post("/generic-task", json={"function": "delay"})).status_code == 403
    assert await waiting(service) == await waiting(service, "generic-task") == 0


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
async def test_a_page_of_another_site_adds_nothing(
    client: httpx.AsyncClient, service: AsyncJobQueueService, site: str
) -> None:
    """X23: by what browsers say of it."""
    sent = {"Sec-Fetch-Site": site, "Origin": "https://evil.example"}
    assert (await client.post("/sms", json=1, headers=sent)).status_code == 403
    assert (await client.post("/sms", data={"n": "1"}, headers=sent)).status_code == 403
    assert await waiting(service) == 0


@pytest.mark.parametrize("site", ["same-origin", "none", None])
async def test_a_page_of_ours_adds(client: httpx.AsyncClient, site: str | None) -> None:
    sent = {} if site is None else {"Sec-Fetch-Site": site}
    assert (await client.post("/sms", json=1, headers=sent)).status_code == 202


@pytest.mark.parametrize(
    "media_type",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/plain; application/json",
        "application/json; charset=utf-16",
        "",
    ],
)
async def test_what_a_form_can_send_is_not_taken(
    client: httpx.AsyncClient, service: AsyncJobQueueService, media_type: str
) -> None:
    """X23: no form reaches it."""
    assert (await client.post("/sms", content=b"1", headers={"Content-Type": media_type})).status_code == 415
    assert (await client.post("/sms", content=b"1")).status_code == 415
    assert await waiting(service) == 0


async def test_json_in_utf8_is_taken_as_it_is(client: httpx.AsyncClient) -> None:
    sent = {"Content-Type": 'Application/JSON; charset="UTF-8"'}
    assert (await client.post("/sms", content='"ü"'.encode(), headers=sent)).status_code == 202
    compressed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert (await client.post("/sms", content=b"1", headers=compressed)).status_code == 415


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "Input data was truncated"),
        (b"{", "Input data was truncated"),
        (b"NaN", "JSON is malformed: invalid character (byte 0)"),
        (b"\xff", "JSON is malformed: invalid character (byte 0)"),
        (b"[" * 100_000, "JSON is nested deeper than 256"),
        (b'{"a":1}x', "JSON is malformed: trailing characters (byte 8)"),
    ],
    ids=["empty", "cut", "nan", "bytes", "deep", "more"],
)
async def test_what_can_not_be_read_is_refused_with_the_reason(
    client: httpx.AsyncClient, service: AsyncJobQueueService, body: bytes, why: str
) -> None:
    answer = await client.post("/sms", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (400, f"the body can't be read: {why}")
    assert await waiting(service) == 0


async def test_what_json_can_not_carry_is_refused_by_its_path(client: httpx.AsyncClient) -> None:
    sent = {"Content-Type": "application/json"}
    answer = await client.post("/sms", content=b'{"n":' + b"[" * 70 + b"]" * 70 + b"}", headers=sent)
    assert answer.status_code == 422
    assert "nested deeper than 64 levels" in answer.json()["detail"]
    asked = await client.post("/sms", json={"subAccountId": "x" * 129})
    assert asked.status_code == 413
    assert "sub_account_id" in asked.json()["detail"]


async def test_a_body_is_read_up_to_its_limit(client: httpx.AsyncClient, service: AsyncJobQueueService) -> None:
    sent = {"Content-Type": "application/json"}
    largest = b'"' + b"x" * (MAX_PAYLOAD - 2) + b'"'
    assert (await client.post("/sms", content=largest, headers=sent)).status_code == 202
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65_536
            yield b"x" * 65_536

    answer = await client.post("/sms", content=endless(), headers=sent)
    assert (answer.status_code, await waiting(service)) == (413, 1)
    assert read <= MAX_PAYLOAD + 2 * 65_536


async def test_authorize_can_decide_by_what_is_added(ask: Ask, service: AsyncJobQueueService) -> None:
    client = await ask(own_jobs, allow_add=["sms"])
    mine = {"x-account": "acme"}
    assert (await client.post("/sms", json={"subAccountId": "acme"}, headers=mine)).status_code == 202
    assert (await client.post("/sms", json={"subAccountId": "other"}, headers=mine)).status_code == 403
    assert await waiting(service) == 1


def test_what_may_be_added_is_a_collection_of_names(service: AsyncJobQueueService) -> None:
    with pytest.raises(ConfigurationError, match="allow_add must be a collection"):
        jobs_app(service, authorize=anything, allow_add="sms")
    with pytest.raises(InvalidName):
        jobs_app(service, authorize=anything, allow_add=["-x"])
