"""examples/flask_app.py, with its worker in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from redqueue import Worker


@pytest.fixture
def client(load: Callable[[str], Any]) -> Iterator[FlaskClient]:
    module = load("examples.flask_app")
    with Worker(registry=module.registry).in_thread(), module.app.test_client() as client:
        yield client
    module.jobs.close()


@pytest.fixture
def outcome(client: FlaskClient, until: Callable[..., Any]) -> Callable[[str], Any]:
    """What became of a job, by the URL of its status."""
    return lambda url: until(lambda: client.get(url).json, lambda one: one["status"] in ("completed", "failed"))


def test_a_search_is_run_in_the_workers_thread(client: FlaskClient, outcome: Callable[[str], Any]) -> None:
    answer = client.post("/searches", json={"term": "bakery", "city": "Bonn", "user_id": "user_456"})
    assert answer.status_code == 202
    url = answer.json["statusUrl"]  # type: ignore[index]
    status = outcome(url)
    assert (status["status"], status["jobType"], status["attempts"]) == ("completed", "generic-task", 1)
    assert status["completedAt"].endswith("Z")
    table = client.get(f"{url}/export.csv")
    assert table.mimetype == "text/csv"
    assert table.text.splitlines()[:2] == ["name,city,rating,source", "Corner Bakery,Bonn,4.4,google"]


def test_a_delayed_task_is_run_when_it_is_due(client: FlaskClient, outcome: Callable[[str], Any]) -> None:
    url = client.post("/sums", json={"numbers": [0.1, 0.2, 0.3]}).json["statusUrl"]  # type: ignore[index]
    assert outcome(url)["result"] == 0.6
    assert client.get("/queues/generic-task").json["succeeded"] == 1  # type: ignore[index]


def test_the_app_tells_what_it_does_not_have_and_what_it_refuses(client: FlaskClient) -> None:
    assert client.get("/jobs/generic-task/nobody").status_code == 404
    assert client.get("/jobs/generic-task/nobody/export.csv").status_code == 409
    refused = client.get("/queues/no queue")
    assert refused.status_code == 400
    assert "a queue name is" in refused.json["error"]  # type: ignore[index]
