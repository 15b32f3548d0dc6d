"""Who is told that an export is ready, and how."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from redqueue.context import JobContext
from redqueue.errors import Discard, JobCancelled, LeaseLost, Snooze
from redqueue.processors.notifying import Notifies
from redqueue.registry.names import quoted
from redqueue.shapes import DataExportJobData, ExportResult, Notice

Wording: TypeAlias = Callable[[DataExportJobData, ExportResult], str]

IN_APP = "in_app"


def ready_message(data: DataExportJobData, result: ExportResult) -> str:
    """What a person reads; with the link, where there is one."""
    rows = f"{result.rows:,} {'row' if result.rows == 1 else 'rows'}"
    return f"Your export of {data.export_type} is ready: {rows}." + (f" {result.link}" if result.link else "")


def notices_of(data: DataExportJobData, notifier: Notifies | None) -> Sequence[Notice]:
    """Those of the job; when it says nothing, its user in the application, where the notifier can."""
    if data.notify is not None:
        return data.notify
    if notifier is not None and data.user_id is not None and IN_APP in notifier.kinds:
        return (Notice(kind=IN_APP, recipients=[data.user_id]),)
    return ()


def check_notices(data: DataExportJobData, notifier: Notifies | None) -> None:
    """Refuse what nobody could send.

    Raises:
        Discard: there is no notifier, or it hasn't the kind.
    """
    for notice in data.notify or ():
        if notifier is None:
            raise Discard(f"the job asks for a notice by {quoted(notice.kind)}, and this worker has no notifier")
        if notice.kind not in notifier.kinds:
            there = ", ".join(sorted(notifier.kinds)) or "none"
            raise Discard(f"this worker's notifier has no kind {quoted(notice.kind)}; it has {there}")


def tell(
    notifier: Notifies, notice: Notice, number: int, message: str, facts: dict[str, Any], context: JobContext
) -> bool:
    """Send one notice; False: it could not be sent and never will.

    While the job has attempts left, an error is one failed attempt, so that it is tried again. An export that is there
    must not be lost by a notice, so in the last attempt, and when the notifier gives up by `Discard`, an error becomes
    a line of the job's log.
    """
    key = f"{_key_of(context)}:ready:{number}"
    try:
        asyncio.run(notifier.send(notice.kind, notice.recipients, message, facts, idempotency_key=key))
    except (Snooze, JobCancelled, LeaseLost):
        raise
    except Exception as error:
        if context.attempt <= context.retries and not isinstance(error, Discard):
            raise
        context.log(f"the notice by {notice.kind} was not sent: {type(error).__name__}")
        return False
    return True


def _key_of(context: JobContext) -> str:
    # With the time of the add: an id may be used again for another export, and people want to know of that one, too.
    job = f"{context.idempotency_key} {context.created_at.isoformat()}"
    return hashlib.sha256(job.encode()).hexdigest()[:32]
