"""What the shop keeps."""

from __future__ import annotations

from datetime import datetime

from django.db import models


class Order(models.Model):
    """One order; its receipt is sent by a job."""

    email: models.EmailField[str, str] = models.EmailField()
    receipt_sent_at: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(null=True)
