"""examples/django_project, with a worker in a burst after each request."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from redqueue import JobQueueService, ServiceRegistry, Worker

PROJECT = Path(__file__).parents[2] / "examples" / "django_project"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceRegistry]:
    """Django, set up with the project's settings and a database of its own: once, as Django allows no more."""
    import django

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE", str(tmp_path_factory.mktemp("django") / "db.sqlite3"))
        patch.setenv("DJANGO_SETTINGS_MODULE", "project.settings")
        patch.setattr(ServiceRegistry, "_instance", None)
        patch.syspath_prepend(str(PROJECT))
        django.setup()
        from django.core.management import call_command

        call_command("migrate", run_syncdb=True, verbosity=0)
        yield ServiceRegistry.get_instance()


@pytest.fixture
def client(project: ServiceRegistry, redqueue_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from django.test import Client

    views = importlib.import_module("shop.views")
    with JobQueueService(redqueue_url) as service:
        monkeypatch.setattr(views, "jobs", service)
        yield Client()


@pytest.fixture
def work(project: ServiceRegistry, redqueue_url: str) -> Callable[[], None]:
    """Run what is there to run."""
    return lambda: Worker(url=redqueue_url, registry=project, burst=True).run()


@pytest.fixture
def outbox() -> Iterator[list[Any]]:
    """The mails that were sent."""
    import django
    from django.core import mail
    from django.test.utils import override_settings

    backend = "django.core.mail.backends.locmem.EmailBackend"
    memory = {"MAILERS": {"default": {"BACKEND": backend}}} if django.VERSION >= (6, 1) else {"EMAIL_BACKEND": backend}
    mail.outbox = []
    with override_settings(**memory):
        yield mail.outbox


def test_the_app_registers_its_jobs_when_it_is_ready(project: ServiceRegistry) -> None:
    assert project.get_registered_services() == ["ReceiptService"]
    assert project.get_service_methods("ReceiptService") == ["send"]
    assert project.tasks() == ["close_day"]


def test_an_order_has_its_receipt_sent_by_a_job(client: Any, work: Callable[[], None], outbox: list[Any]) -> None:
    answer = client.post("/orders", {"email": "ada@example.org"})
    assert answer.status_code == 202
    order = answer.json()["order"]
    assert client.get(f"/orders/{order}").json()["job"]["status"] == "pending"
    work()
    shown = client.get(f"/orders/{order}").json()
    assert shown["receiptSentAt"]
    assert (shown["job"]["status"], shown["job"]["result"]) == ("completed", True)
    assert [mail.to for mail in outbox] == [["ada@example.org"]]
    job_id = client.post("/close-day").json()["job"]
    work()
    status = sys.modules["shop.views"].jobs.get_job_status("generic-task", job_id)
    assert status.result == 1


def test_an_order_that_is_rolled_back_has_no_job(client: Any, redqueue_url: str) -> None:
    from django.db import transaction

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert client.post("/orders", {"email": "ada@example.org"}).status_code == 202
        raise ZeroDivisionError
    with JobQueueService(redqueue_url) as service:
        assert service.get_queue_stats("generic-task").waiting == 0
