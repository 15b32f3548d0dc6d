"""What the worker of test_notification.py runs: it stops at the third recipient, once, until it is killed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redqueue import ServiceRegistry
from redqueue.tasks import builtin_tasks
from redqueue.tasks.notifier import Notifier

FOLDER = Path(os.environ["TOLD"])


async def tell(user_id: str, message: str, context: Mapping[str, Any]) -> None:
    with (FOLDER / "told").open("a") as file:
        file.write(f"{user_id} {context['idempotency_key']}\n")
    if user_id == "u2" and not (FOLDER / "stopped").exists():
        (FOLDER / "stopped").touch()
        await asyncio.sleep(60)


registry = ServiceRegistry()
registry.use(builtin_tasks(notifier=Notifier(in_app=tell)))
