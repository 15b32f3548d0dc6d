"""The shop's jobs. They are plain functions, so they run in threads and may use the ORM."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.core.mail import send_mail
from django.db import close_old_connections
from django.utils import timezone

from .models import Order

P = ParamSpec("P")
R = TypeVar("R")


def with_fresh_connection(function: Callable[P, R]) -> Callable[P, R]:
    """What a request does at its start and end: a worker's thread lives long, and its connection may have died."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return run


class Receipts:
    """A service: jobs call its method `send` by name."""

    @with_fresh_connection
    def send(self, order_id: int) -> bool:
        """Send an order's receipt; False when it was sent before. A job may run twice, so it looks first."""
        order = Order.objects.get(pk=order_id)
        if order.receipt_sent_at is not None:
            return False
        send_mail("Your receipt", f"Thank you for order {order_id}.", None, [order.email])
        order.receipt_sent_at = timezone.now()
        order.save(update_fields=["receipt_sent_at"])
        return True


@with_fresh_connection
def close_day() -> int:
    """How many receipts were sent so far: a task."""
    return Order.objects.filter(receipt_sent_at__isnull=False).count()
