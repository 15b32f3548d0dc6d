"""Built-in functions as jobs of a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.processors.data_export.conftest import database as database
from tests.processors.data_export.conftest import postgres as postgres
from tests.processors.email.conftest import AnyPort as AnyPort
from tests.processors.email.conftest import make_server as make_server
from tests.processors.email.conftest import plain_server as plain_server

from redqueue import JobStatus, Queue, ServiceRegistry, Worker
from redqueue.processors.storage import Storage
from redqueue.tasks import builtin_tasks
from redqueue.testing import run_until_idle

GUARD = 30


class Tasks:
    """Adds one job, runs it to its end, and says what became of it."""

    def __init__(self, queue: Queue, url: str) -> None:
        self.queue = queue
        self._url = url

    def worker(self, **parts: Any) -> Worker:
        registry = ServiceRegistry()
        registry.use(builtin_tasks(**parts))
        return Worker(["generic-task"], self._url, registry=registry)

    def add(self, function: str, *parameters: Any, context: Any = None, **options: Any) -> str:
        """As a producer in another language writes it."""
        data: dict[str, Any] = {"label": "l", "function": function, "parameters": parameters, "context": context}
        for name in ("subAccountId", "userId"):
            if name in options:
                data[name] = options.pop(name)
        return self.queue.add("generic-task", data, **options).id

    def run(self, parts: dict[str, Any], job_id: str) -> JobStatus:
        run_until_idle(self.worker(**parts), timeout=GUARD)
        status = self.queue.get_status(job_id)
        assert status is not None
        return status

    def result(self, parts: dict[str, Any], function: str, *parameters: Any, **options: Any) -> Any:
        status = self.run(parts, self.add(function, *parameters, **options))
        assert status.status == "completed", status.error
        return status.result

    def error(self, parts: dict[str, Any], function: str, *parameters: Any, **options: Any) -> str:
        """Of a job that must fail without being retried."""
        status = self.run(parts, self.add(function, *parameters, **options))
        assert status.status == "failed" and status.attempts == 1, status
        assert status.error is not None
        return status.error


@pytest.fixture
def tasks(real_url: str) -> Iterator[Tasks]:
    with Queue("generic-task", real_url, backoff=0) as queue:
        yield Tasks(queue, real_url)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "files", link="https://files.example/{key}")
