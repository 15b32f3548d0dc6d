"""Views that add jobs."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from redqueue import JobQueueService

from .models import Order

jobs = JobQueueService.from_env()  # opens nothing until it is used


@csrf_exempt
@require_POST
def create(request: HttpRequest) -> JsonResponse:
    """Keep an order, and add the job for its receipt once the order is there for a worker to see.

    The job's id is made of the order's: should this be repeated, no second receipt is added.
    """
    with transaction.atomic():
        order = Order.objects.create(email=request.POST["email"])
        job_id = f"receipt-{order.pk}"
        transaction.on_commit(lambda: add_receipt(order.pk, job_id))
    return JsonResponse({"order": order.pk, "job": job_id}, status=202)


def add_receipt(order_id: int, job_id: str) -> None:
    """Called after the commit; an order that is rolled back has no job."""
    jobs.execute_service_method("Receipt", "ReceiptService", "send", [order_id], job_id=job_id, retries=5)


@csrf_exempt
@require_POST
def close_day(request: HttpRequest) -> JsonResponse:
    """Add a task by its name."""
    return JsonResponse({"job": jobs.execute_task("Close the day", "close_day")}, status=202)


@require_GET
def show(request: HttpRequest, order_id: int) -> JsonResponse:
    """An order, and what its job is doing."""
    order = get_object_or_404(Order, pk=order_id)
    status = jobs.get_job_status("generic-task", f"receipt-{order_id}")
    receipt = order.receipt_sent_at.isoformat() if order.receipt_sent_at else None
    return JsonResponse({"order": order_id, "receiptSentAt": receipt, "job": status.to_wire() if status else None})
