"""Telling people by e-mail: a message for each, so that nobody sees the others."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from redqueue.errors import Discard
from redqueue.processors.email import (
    BadAddress,
    Mailbox,
    MailRefused,
    Refusal,
    Sent,
    SmtpSender,
    Templates,
    UnsafeText,
    compose,
    parse_address,
)
from redqueue.processors.email.addresses import check_line
from redqueue.processors.email.message import flatten
from redqueue.processors.email.sender import NEEDS_UTF8
from redqueue.processors.email.session import Session
from redqueue.processors.threads import in_thread
from redqueue.shapes import Delivery
from redqueue.tasks.channels import Message, NotNow, TellingSession, failed, text_in, told


class MailChannel:
    """Sends plain text, or what a job's template makes of its data; the text itself is the template's ``message``."""

    def __init__(self, sender: SmtpSender, templates: Templates | None, subject: str) -> None:
        self._sender = sender
        self._templates = templates
        self._subject = subject

    def targets(self, recipients: Sequence[str], /) -> Sequence[str]:
        """Addresses. With and without a name, one address is one target."""
        addresses: dict[str, str] = {}
        for text in recipients:
            addresses.setdefault(_spec(text), text)
        return list(addresses.values())

    @asynccontextmanager
    async def open(self, targets: Iterable[str], message: Message, /) -> AsyncIterator[TellingSession]:
        """Read the addresses and write the message; then connect, unless none of the addresses is one."""
        try:
            mailboxes = {to: _mailbox(to) for to in targets}
            content = await in_thread(self._content, message)
            if not any(isinstance(one, Mailbox) for one in mailboxes.values()):
                yield _Refusing(mailboxes)
                return
            async with self._sender.connected() as session:
                yield _MailSession(self._sender, session, mailboxes, content)
        except (MailRefused, UnsafeText) as error:
            raise Discard(str(error)) from None

    def _content(self, message: Message) -> _Content:
        subject = check_line("the subject", text_in(message.context, "subject", 998) or self._subject)
        template = text_in(message.context, "template", 128)
        if template is None:
            return _Content(subject, message.text, None)
        if self._templates is None:
            raise Discard("the job names a template, and this worker's notifier has none: Notifier(templates=...)")
        data = message.context.get("template_data") or {}
        if not isinstance(data, Mapping):
            raise Discard("template_data in the job's context must be a mapping")
        text, html = self._templates.render(template, {"subject": subject, "message": message.text, **data})
        return _Content(subject, text, html)


@dataclass(frozen=True, slots=True)
class _Content:
    subject: str
    text: str = field(repr=False)
    html: str | None = field(repr=False)


class _Refusing:
    """For addresses of which none is one."""

    def __init__(self, mailboxes: Mapping[str, Mailbox | str]) -> None:
        self._mailboxes = mailboxes

    async def tell(self, to: str, idempotency_key: str, /) -> Delivery:
        """Why not."""
        return failed(to, str(self._mailboxes[to]))


class _MailSession:
    def __init__(
        self, sender: SmtpSender, session: Session, mailboxes: Mapping[str, Mailbox | str], content: _Content
    ) -> None:
        self._sender = sender
        self._session = session
        self._mailboxes = mailboxes
        self._content = content

    async def tell(self, to: str, idempotency_key: str, /) -> Delivery:
        """One transaction. All runs of a job give a recipient's message the same Message-ID."""
        mailbox = self._mailboxes[to]
        if isinstance(mailbox, str):
            return failed(to, mailbox)
        if mailbox.needs_utf8 and not self._session.takes_utf8:
            return failed(mailbox.spec, NEEDS_UTF8.reason)
        message_id = self._message_id(idempotency_key)
        refused: dict[str, Refusal] = {}

        async def note(sent: Sent) -> None:
            refused.update(sent.refused)

        raw = await in_thread(self._raw, mailbox, message_id)
        await self._sender.deliver(self._session, raw, [mailbox.spec], note, utf8=mailbox.needs_utf8)
        if (refusal := refused.get(mailbox.spec)) is None:
            return told(mailbox.spec, message_id)
        if refusal.passing:
            raise NotNow(refusal.reason)
        return failed(mailbox.spec, refusal.reason)

    def _raw(self, mailbox: Mailbox, message_id: str) -> bytes:
        content = self._content
        message = compose(
            self._sender.sender, content.subject, content.text, content.html, to=[mailbox], message_id=message_id
        )
        return flatten(message, utf8=mailbox.needs_utf8)

    def _message_id(self, key: str) -> str:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return f"<{digest[:32]}@{self._sender.sender.domain}>"


def _spec(text: str) -> str:
    try:
        return parse_address(text).spec
    except (BadAddress, UnsafeText):  # what it means for the job is said when it is told
        return text


def _mailbox(text: str) -> Mailbox | str:
    """The address, or why it is none."""
    try:
        return parse_address(text)
    except BadAddress as error:
        return str(error)
