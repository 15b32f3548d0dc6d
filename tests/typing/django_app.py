"""A Django application: a job added once its transaction is done."""

from __future__ import annotations

from django.apps import AppConfig
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse

from redqueue import JobQueueService, ServiceRegistry

service = JobQueueService.from_env()


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self) -> None:
        from tests.typing.jobs import BusinessFinder

        ServiceRegistry.get_instance().register_service("BusinessFinderService", BusinessFinder())


def export(request: HttpRequest) -> HttpResponse:
    ids: list[str] = []
    data = {"exportType": "leads", "format": "csv"}
    transaction.on_commit(lambda: ids.append(service.add_job("data-export", data, retries=1)))
    return JsonResponse({"ids": ids}, status=202)
