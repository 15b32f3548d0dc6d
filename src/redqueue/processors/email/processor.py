"""The `email` job: one message from a template, to all recipients that haven't got it yet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Final

from redqueue.context import JobContext
from redqueue.errors import Discard
from redqueue.processors.base import BaseProcessor
from redqueue.processors.email.addresses import check_line
from redqueue.processors.email.errors import MailRefused, MailUnavailable, UnsafeText
from redqueue.processors.email.message import Attachments, File, check_attachment, compose, flatten, read_files
from redqueue.processors.email.recipients import Recipients
from redqueue.processors.email.sender import NEEDS_UTF8, SmtpSender
from redqueue.processors.email.session import Sent, Session
from redqueue.processors.email.templates import Templates
from redqueue.processors.threads import in_thread
from redqueue.shapes import EmailJobData, EmailResult

MOST_ATTACHED: Final = 25_000_000


@dataclass(frozen=True, slots=True)
class _Content:
    text: str
    html: str | None
    files: list[File]


class EmailProcessor(BaseProcessor[EmailJobData, EmailResult]):
    """Sends messages: ``registry.register_processor("email", EmailProcessor(SmtpSender.from_env(), "templates"))``.

    What the server accepted is checkpointed at once, so a later run sends only to the others. Between the server's
    answer and the checkpoint, and when the server hangs up after the message, a run can die and a later one send the
    message again: all runs of a job send the same Message-ID, by which servers and readers may know it.

    A recipient that the server refuses is a failed result; so is one that it puts off (4xx) until the last attempt,
    when somebody else was accepted. A message, sender or login that it refuses fails the job at once.

    Args:
        sender: where mail is handed over, and as whom.
        templates: what the jobs name; or what `Templates` takes.
        storage: where attachments are, a `Storage`; None: jobs with attachments fail.
        most_attached: bytes of all attachments as they are sent, in base64. A job needs about six times as much
            memory, and many servers take no more than 25 MB.
    """

    def __init__(
        self,
        sender: SmtpSender,
        templates: Templates | str | Path | Mapping[str, Mapping[str, str]],
        *,
        storage: Attachments | None = None,
        most_attached: int = MOST_ATTACHED,
    ) -> None:
        self._sender = sender
        self._templates = templates if isinstance(templates, Templates) else Templates(templates)
        self._storage = storage
        self._most_attached = most_attached

    def validate(self, data: EmailJobData, /) -> None:
        """Refuse what could forge a header, and what isn't there, before anybody is connected to."""
        Recipients(data)
        try:
            check_line("the subject", data.subject)
            for attachment in data.attachments:
                check_attachment(attachment)
        except UnsafeText as error:
            raise Discard(str(error)) from None
        self._templates.check(data.template)

    async def process(self, data: EmailJobData, context: JobContext, /) -> EmailResult:
        """Render, attach, send; what became of each recipient is the result."""
        recipients = Recipients(data, context.restored)
        message_id = self._message_id(context)
        if recipients.pending:
            try:
                await self._send(data, recipients, message_id, context)
            except (MailRefused, UnsafeText) as error:
                raise Discard(str(error)) from None
        if (reasons := recipients.put_off) and not (recipients.any_accepted and context.attempt > context.retries):
            raise MailUnavailable(f"the server put off {len(reasons)} of {recipients.total} recipients: {reasons[0]}")
        return recipients.result(message_id)

    async def _send(self, data: EmailJobData, recipients: Recipients, message_id: str, context: JobContext) -> None:
        content = await in_thread(self._content, data)

        async def note(sent: Sent) -> None:
            recipients.note(sent)
            await context.checkpoint(recipients.settled())

        async with self._sender.connected() as session:
            utf8 = _needs_utf8(recipients, session)
            if not recipients.pending:
                return
            message = partial(self._message, data.subject, content, recipients, message_id)
            raw = await in_thread(lambda: flatten(message(), utf8=utf8))
            await self._sender.deliver(session, raw, [one.spec for one in recipients.pending], note, utf8=utf8)

    def _content(self, data: EmailJobData) -> _Content:
        text, html = self._templates.render(data.template, {"subject": data.subject, **(data.template_data or {})})
        return _Content(text, html, read_files(data.attachments, self._storage, self._most_attached))

    def _message(self, subject: str, content: _Content, recipients: Recipients, message_id: str) -> EmailMessage:
        return compose(
            self._sender.sender,
            subject,
            content.text,
            content.html,
            to=recipients.to,
            cc=recipients.cc,
            reply_to=recipients.reply_to,
            message_id=message_id,
            files=content.files,
        )

    def _message_id(self, context: JobContext) -> str:
        # With the time of the add: an id may be used again for another message, once its job isn't kept any more.
        job = f"{context.idempotency_key} {context.created_at.isoformat()}"
        return f"<{hashlib.sha256(job.encode()).hexdigest()[:32]}@{self._sender.sender.domain}>"


def _needs_utf8(recipients: Recipients, session: Session) -> bool:
    if not session.takes_utf8:
        recipients.refuse_utf8(NEEDS_UTF8)
        if recipients.reply_to is not None and recipients.reply_to.needs_utf8:
            raise Discard(f"replyTo: {NEEDS_UTF8.reason}")
        return False
    named = [*recipients.to, *recipients.cc, *recipients.pending]
    return any(one.needs_utf8 for one in (*named, *([recipients.reply_to] if recipients.reply_to else ())))
