"""The app below /api/jobs in other frameworks: their ASGI, one app, the same answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from tests.web.parts import anything

from redqueue import AsyncJobQueueService
from redqueue.web import JobsApp, jobs_app


def in_fastapi(jobs: JobsApp) -> Any:
    app = FastAPI()
    app.mount("/api/jobs", jobs)
    return app


def behind_a_proxy(jobs: JobsApp) -> Any:
    """As uvicorn's --root-path tells it: the whole path, and what of it the proxy takes off."""
    app = in_fastapi(jobs)

    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "root_path": "/service", "path": f"/service{scope['path']}"}, receive, send)

    return proxied


def behind_another_proxy(jobs: JobsApp) -> Any:
    """As other servers tell it: without what the proxy takes off."""
    app = in_fastapi(jobs)

    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "root_path": "/service"}, receive, send)

    return proxied


async def passed_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


def in_starlette(jobs: JobsApp) -> Any:
    middleware = [Middleware(GZipMiddleware, minimum_size=1), Middleware(BaseHTTPMiddleware, dispatch=passed_on)]
    return Starlette(routes=[Mount("/api", routes=[Mount("/jobs", jobs)])], middleware=middleware)


def in_litestar(jobs: JobsApp) -> Any:
    @asgi("/api/jobs", is_mount=True, copy_scope=True)
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await jobs(scope, receive, send)

    return Litestar([mounted])


def dispatched(jobs: JobsApp) -> Any:
    """As in Django's asgi.py: whole paths."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"].startswith("/api/jobs/")
        await jobs(scope, receive, send)

    return app


@pytest.mark.parametrize(
    "mount",
    [in_fastapi, behind_a_proxy, behind_another_proxy, in_starlette, in_litestar, dispatched],
    ids=lambda mount: mount.__name__,
)
async def test_it_works_where_it_is_mounted(
    mount: Callable[[JobsApp], Any], service: AsyncJobQueueService, open_client: Any
) -> None:
    jobs = jobs_app(service, authorize=anything, allow_add=["sms"], prefix="/api/jobs")
    client: httpx.AsyncClient = await open_client(mount(jobs))
    added = await client.post("/api/jobs/sms", json={"n": 1})
    assert added.status_code == 202
    job_id = added.json()["jobId"]
    proxy = "/service" if mount in (behind_a_proxy, behind_another_proxy) else ""
    assert added.json()["checkStatusAt"] == proxy + jobs.status_url("sms", job_id)
    found = await client.get(jobs.status_url("sms", job_id))
    assert (found.status_code, found.json()["jobId"]) == (200, job_id)
    known = {"If-None-Match": found.headers["etag"]}
    assert (await client.get(jobs.status_url("sms", job_id), headers=known)).status_code == 304
    assert (await client.get(jobs.status_url("sms", job_id) + "?wait=0.05", headers=known)).status_code == 304
    assert (await client.get("/api/jobs/sms/stats")).json()["waiting"] == 1
    assert (await client.get("/api/jobs/sms/health")).status_code == 503
    assert (await client.get("/api/jobs/job-status.js")).headers["content-type"].startswith("text/javascript")
    for path, status in (("/api/jobs/sms/nobody/status", 404), ("/api/jobs/-x/stats", 422), ("/api/jobs/x/y/z", 404)):
        problem = await client.get(path)
        assert (problem.status_code, problem.headers["content-type"]) == (status, "application/problem+json")
    assert (await client.post("/api/jobs/sms", data={"n": "1"})).status_code == 415


async def test_without_a_prefix_it_finds_its_mount(service: AsyncJobQueueService, open_client: Any) -> None:
    client: httpx.AsyncClient = await open_client(
        Starlette(routes=[Mount("/queue", jobs_app(service, authorize=anything, allow_add=["sms"]))])
    )
    where = (await client.post("/queue/sms", json=1)).json()["checkStatusAt"]
    assert where.startswith("/queue/sms/")
    assert (await client.get(where)).status_code == 200


async def test_a_type_may_be_called_like_the_prefix(service: AsyncJobQueueService, open_client: Any) -> None:
    jobs = jobs_app(service, authorize=anything, prefix="/jobs")
    for app, path in ((Starlette(routes=[Mount("/jobs", jobs)]), "/jobs/jobs/stats"), (jobs, "/jobs/jobs/stats")):
        assert (await (await open_client(app)).get(path)).json()["waiting"] == 0


DJANGO = """
import asyncio, os, sys
import django, httpx
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=["django.middleware.common.CommonMiddleware"]
)
urlpatterns = [path("", lambda request: HttpResponse("django"))]

from django.core.asgi import get_asgi_application

from redqueue import AsyncJobQueueService
from redqueue.web import jobs_app

service = AsyncJobQueueService(sys.argv[1])
jobs = jobs_app(service, authorize=lambda request, action, type, status: True, prefix="/api/jobs")
site = get_asgi_application()


async def application(scope, receive, send):
    ours = scope["type"] == "http" and scope["path"].startswith(f"{jobs.prefix}/")
    await (jobs if ours else site)(scope, receive, send)


async def main():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://app") as client, service:
        job_id = await service.add_job("sms", 1)
        print((await client.get("/")).text)
        print((await client.get(jobs.status_url("sms", job_id))).json()["status"])
        print((await client.get("/api/jobs/sms/nobody/status")).status_code)


asyncio.run(main())
"""


def test_it_is_routed_in_djangos_asgi(real_url: str) -> None:
    """In a process of its own: Django is configured once."""
    ran = subprocess.run([sys.executable, "-c", DJANGO, real_url], capture_output=True, text=True, timeout=60)
    assert (ran.stdout.split(), ran.stderr) == (["django", "pending", "404"], "")


@pytest.mark.parametrize("whole", [False, True], ids=["taken off", "left in"])
@pytest.mark.parametrize("prefix", ["", "/sms"])
async def test_a_job_type_can_have_the_mounts_name(service: AsyncJobQueueService, whole: bool, prefix: str) -> None:
    jobs = jobs_app(service, authorize=anything, allow_add=["sms"], prefix=prefix)
    transport = httpx.ASGITransport(jobs, root_path="/sms")
    mount = "/sms" if whole else ""
    async with httpx.AsyncClient(transport=transport, base_url="https://app.example") as client:
        job_id = (await client.post(f"{mount}/sms", json=1)).json()["jobId"]
        assert (await client.get(f"{mount}/sms/{job_id}/status")).json()["jobId"] == job_id
        assert (await client.get(f"{mount}/sms/stats")).json()["waiting"] == 1
        assert (await client.get(f"{mount}/job-status.js")).status_code == 200
        assert (await client.get(f"{mount}/sms")).status_code == 405
