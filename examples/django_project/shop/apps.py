"""The app, which tells redqueue's registry what jobs may run."""

from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """Registers the app's jobs in every process that sets Django up: web servers, workers, management commands."""

    name = "shop"

    def ready(self) -> None:
        """Models are loaded now, so the jobs' module may import them."""
        from redqueue import ServiceRegistry

        from .jobs import Receipts, close_day

        registry = ServiceRegistry.get_instance()
        registry.register_service("ReceiptService", Receipts(), ["send"], strict=True)
        registry.register_task("close_day", close_day, retries=1)
