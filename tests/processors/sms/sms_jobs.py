"""The module of the workers that are killed."""

from __future__ import annotations

import os

from redqueue import ServiceRegistry
from redqueue.processors.sms import GatewayProvider, SmsProcessor

registry = ServiceRegistry()
registry.register_processor(
    "sms",
    SmsProcessor(
        GatewayProvider(
            os.environ["SMS_GATEWAY"],
            json={"to": "{to}", "text": "{text}"},
            headers={"Idempotency-Key": "{idempotency_key}"},
            message_id="id",
        ),
        concurrency=20,
    ),
)
