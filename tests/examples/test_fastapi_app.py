"""examples/fastapi_app.py, with its worker in the app's own event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from redqueue import AsyncJobQueueService, ServiceRegistry


@pytest.fixture
async def client(load: Callable[[str], Any]) -> AsyncIterator[httpx.AsyncClient]:
    app = load("examples.fastapi_app").app
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        yield client


async def outcome(client: httpx.AsyncClient, url: str) -> Any:
    """What became of a job, by the URL of its status: asked for as a page does."""
    async with asyncio.timeout(10):
        while (status := (await client.get(url)).json())["status"] in ("pending", "processing"):
            await asyncio.sleep(0.005)
    return status


async def test_a_search_is_run_by_the_apps_own_worker(client: httpx.AsyncClient) -> None:
    answer = await client.post("/searches", json={"term": "bakery", "city": "Bonn", "user_id": "user_456"})
    assert answer.status_code == 202
    status = await outcome(client, answer.json()["status_url"])
    assert status["status"] == "completed"
    assert status["label"] == "BusinessFinderService.search_businesses"
    assert status["attempts"] == 1
    assert [one["name"] for one in status["result"]] == [
        "Corner Bakery",
        "Old Town Bakery",
        "Sunny Bakery",
        "Station Bakery",
    ]


async def test_an_export_is_added_once_however_often_it_is_asked_for(client: httpx.AsyncClient) -> None:
    url = (await client.post("/searches", json={"term": "bakery", "city": "Bonn"})).json()["status_url"]
    await outcome(client, url)
    first = await client.post(f"{url}/export")
    second = await client.post(f"{url}/export")
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    table = (await outcome(client, first.json()["status_url"]))["result"]
    assert table.splitlines()[:2] == ["name,city,rating,source", "Corner Bakery,Bonn,4.4,google"]
    stats = (await client.get("/queues/generic-task")).json()
    assert (stats["succeeded"], stats["failed"], stats["workers"]) == (2, 0, 1)


async def test_the_app_tells_what_it_does_not_have(client: httpx.AsyncClient) -> None:
    assert (await client.get("/jobs/generic-task/nobody")).status_code == 404
    assert (await client.post("/jobs/generic-task/nobody/export")).status_code == 409
    assert (await client.get("/health")).json()["healthy"] is True


@pytest.mark.parametrize("url", ["/queues/-x", "/jobs/-x/17", "/jobs/generic-task/{17}", f"/queues/{'x' * 65}"])
async def test_what_no_queue_or_job_is_called_is_the_clients_mistake(client: httpx.AsyncClient, url: str) -> None:
    answer = await client.get(url)
    assert answer.status_code == 422
    assert "characters of A-Z a-z 0-9" in answer.json()["detail"]


async def test_a_method_that_is_not_named_is_not_run(client: httpx.AsyncClient, redqueue_url: str) -> None:
    async with AsyncJobQueueService(redqueue_url) as service:
        job_id = await service.execute_service_method("Theft", "BusinessFinderService", "api_key")
    status = await outcome(client, f"/jobs/generic-task/{job_id}")
    assert status["status"] == "failed"
    assert "Service method 'BusinessFinderService.api_key' not found in registry" in status["error"]


def test_the_services_are_those_of_the_example(load: Callable[[str], Any], caplog: pytest.LogCaptureFixture) -> None:
    services = load("examples.services")
    assert services.registry.get_registered_services() == [
        "BusinessFinderService",
        "ExportService",
        "GooglePlacesService",
        "OpenStreetMapService",
        "YelpService",
    ]
    with caplog.at_level(logging.WARNING, "redqueue.registry"):
        ServiceRegistry().register_service("ExportService", services.exports, ["exportToCSV"])
    assert caplog.messages == ["Method exportToCSV not found on service ExportService"]
