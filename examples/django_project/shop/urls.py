"""The shop's addresses."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("orders", views.create),
    path("orders/<int:order_id>", views.show),
    path("close-day", views.close_day),
]
