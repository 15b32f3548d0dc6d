"""Nothing is told or done that `authorize` doesn't allow."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from tests.web.parts import Ask

from redqueue import AsyncJobQueueService, ConfigurationError, JobStatus
from redqueue.web import Action, JobsApp, jobs_app

FOR_EVERYBODY = {"/job-status.js"}
"""What reveals nothing. A new route is either here, or asks."""


def request_of(client: httpx.AsyncClient, method: str, path: str) -> Any:
    path = path.replace("{type}", "sms").replace("{job_id}", "17")
    return client.request(method, path, json={"n": 1} if method == "POST" else None)


@pytest.mark.parametrize("route", JobsApp.routes, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_asks(ask: Ask, service: AsyncJobQueueService, route: Any) -> None:
    """X22: each route of the app, new ones included."""
    asked: list[str] = []

    async def nobody(request: Request, action: Action, job_type: str, status: JobStatus | None) -> bool:
        asked.append(action)
        raise HTTPException(401, "who are you?", {"WWW-Authenticate": "Bearer"})

    await service.add_job("sms", 1, job_id="17")
    answer = await request_of(await ask(nobody, allow_add=["sms"]), route.method, route.path)
    if route.path in FOR_EVERYBODY:
        assert (answer.status_code, asked, route.action) == (200, [], None)
        return
    assert (answer.status_code, asked) == (401, [route.action])
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["detail"] == "who are you?"
    assert (await service.get_queue_stats("sms")).waiting == 1


@pytest.mark.parametrize("answer", [False, None, 1, "yes", [True]])
@pytest.mark.parametrize("route", JobsApp.routes[1:], ids=lambda route: f"{route.method} {route.path}")
async def test_only_true_allows(ask: Ask, service: AsyncJobQueueService, route: Any, answer: Any) -> None:
    async def later(*asked: object) -> Any:
        return answer

    await service.add_job("sms", 1, job_id="17")
    refused = 404 if route.action == "status" else 403
    for authorize in (lambda *asked: answer, later):
        got = await request_of(await ask(authorize, allow_add=["sms"]), route.method, route.path)
        assert got.status_code == (refused if answer in (False, None) else 500)
    assert (await service.get_queue_stats("sms")).waiting == 1


class Guard:
    """An object whose call is a coroutine function."""

    async def __call__(self, request: Request, action: Action, job_type: str, status: JobStatus | None) -> bool:
        return True


async def a_coroutine(extra: int, request: Request, action: Action, job_type: str, status: JobStatus | None) -> bool:
    return True


@pytest.mark.parametrize(
    "authorize", [Guard(), partial(a_coroutine, 1), lambda *asked: True, lambda *asked: a_coroutine(1, *asked)]
)
async def test_plain_functions_and_coroutines_are_asked(ask: Ask, authorize: Any) -> None:
    assert (await (await ask(authorize)).get("/sms/stats")).status_code == 200


async def test_an_error_of_authorize_allows_nothing_and_tells_nothing(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*asked: object) -> bool:
        raise KeyError("the database's password")

    with caplog.at_level(logging.ERROR, "redqueue.web"):
        answer = await (await ask(broken)).get("/sms/stats")
    assert answer.status_code == 500
    assert "password" not in answer.text
    assert answer.json()["detail"] == "something went wrong; the server's log has more"
    assert "KeyError" in caplog.text


def by_sub_account(request: Request, action: Action, job_type: str, status: JobStatus | None) -> bool:
    """Everybody sees the jobs of the sub-account that the header names."""
    return status is not None and status.sub_account_id == request.headers.get("x-account")


def by_sub_account_or_unknown(*asked: Any) -> bool:
    return asked[3] is None or by_sub_account(*asked)


@pytest.mark.parametrize("authorize", [by_sub_account, by_sub_account_or_unknown])
async def test_the_job_of_another_sub_account_can_not_be_told_from_none(
    ask: Ask, service: AsyncJobQueueService, authorize: Any
) -> None:
    await service.add_job("sms", {"subAccountId": "acme"}, job_id="theirs")
    task = await service.execute_task("Task", "delay", [1], sub_account_id="acme", user_id="u7")
    client = await ask(authorize)
    other = {"x-account": "other"}
    for path in (f"/generic-task/{task}/status", "/sms/theirs/status"):
        assert (await client.get(path, headers={"x-account": "acme"})).status_code == 200
        refused = await client.get(path, headers=other)
        missing = await client.get(path.replace("/status", "x/status"), headers=other)
        assert (refused.status_code, refused.content) == (missing.status_code, missing.content)
        assert refused.status_code == 404
        assert dict(refused.headers) == dict(missing.headers)
        assert (await client.get(f"{path}?wait=1", headers={**other, "If-None-Match": "*"})).status_code == 404
    status = await service.get_job_status("generic-task", task)
    assert status is not None
    assert (status.sub_account_id, status.user_id) == ("acme", "u7")


async def test_authorize_may_send_the_client_elsewhere(ask: Ask) -> None:
    def log_in(*asked: object) -> bool:
        raise HTTPException(303, headers={"Location": "/login"})

    answer = await (await ask(log_in)).get("/sms/stats")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


async def test_authorize_sees_the_names_in_the_path(ask: Ask) -> None:
    seen: list[Any] = []

    async def look(request: Request, action: Action, job_type: str, status: JobStatus | None) -> bool:
        seen.append((action, job_type, request.path_params, status))
        return True

    await (await ask(look)).get("/sms/17/status")
    assert seen == [("status", "sms", {"type": "sms", "job_id": "17"}, None)]


def test_there_is_no_app_without_authorize(service: AsyncJobQueueService) -> None:
    """X22: there is no default that lets everybody in."""
    make: Any = jobs_app
    with pytest.raises(TypeError, match="authorize"):
        make(service)
    with pytest.raises(ConfigurationError, match="authorize must be a function"):
        make(service, authorize=None)
    with pytest.raises(ConfigurationError, match="not bool"):
        make(service, authorize=True)
