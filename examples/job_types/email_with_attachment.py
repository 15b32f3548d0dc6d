"""A bill as an email: `python examples/job_types/email_with_attachment.py`.

It needs `pip install 'redqueue-jobs[embedded,email]' aiosmtpd`. The message comes from a folder of templates, the bill
from a storage. The mail server is a stand-in on this machine, which doesn't know one of the recipients: put
`SmtpSender.from_env()` in its place.
"""

from __future__ import annotations

import asyncio
import email
import email.message
import email.policy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    from aiosmtpd.controller import Controller
except ImportError:
    raise SystemExit("the stand-in for a mail server needs aiosmtpd: pip install aiosmtpd") from None

from redqueue import Exponential, Queue, ServiceRegistry, Worker, embedded
from redqueue.processors.email import EmailProcessor, SmtpSender
from redqueue.processors.storage import Storage
from redqueue.shapes import Attachment, EmailJobData

TEMPLATES = Path(__file__).parent / "templates"
BILL = "bills/2026-06.csv"


def register(registry: ServiceRegistry, sender: SmtpSender, storage: Storage) -> None:
    """What a worker's module does."""
    processor = EmailProcessor(sender, TEMPLATES, storage=storage)
    registry.register_processor("email", processor, retries=6, backoff=Exponential(first=60, cap=3600))


class StandInMailServer(Controller):
    """STAND-IN for a mail server: it keeps what it is sent, and knows nobody whose address begins with "gone"."""

    def __init__(self) -> None:
        self.messages: list[tuple[list[str], email.message.EmailMessage]] = []
        super().__init__(self, hostname="127.0.0.1", port=0, enable_SMTPUTF8=False)

    def _trigger_server(self) -> None:
        """Learn the port that the system gave it, before the controller looks whether it answers."""
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if address.startswith("gone"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.messages.append((list(envelope.rcpt_tos), message))
        return "250 OK"


@contextmanager
def stand_in_mail_server() -> Iterator[StandInMailServer]:
    """The server, as long as it is needed."""
    server = StandInMailServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def sender_to(server: StandInMailServer) -> SmtpSender:
    """In the clear, which only does on one's own machine."""
    return SmtpSender("127.0.0.1", "Shop <shop@example.com>", port=server.port, security="none")


def main(url: str, files: Path) -> int:
    """Send one message, and look at what the server has."""
    storage = Storage(files)
    with storage.writing(BILL) as file:
        file.write(b"what,sum\r\nflowers,12.50\r\n")
    data = EmailJobData(
        sub_account_id="sub_123",
        to=["Ada <ada@example.com>", "gone@example.com"],
        bcc=["archive@example.com"],
        subject="Your bill for June",
        template="bill",
        template_data={"name": "Ada & Co", "amount": "12.50 EUR", "month": "June"},
        attachments=[Attachment(key=BILL, name="Bill.csv")],
    )
    with stand_in_mail_server() as server:
        registry = ServiceRegistry()
        register(registry, sender_to(server), storage)
        with Queue("email", url) as queue, Worker(["email"], url, registry=registry).in_thread():
            result = queue.add(data).result(30)
        print(f"sent to {result.successful} of {result.total} recipients")
        for one in result.results:
            print(f"  {one.to:<22}{one.status}{f': {one.error}' if one.error else ''}")
        for recipients, message in server.messages:
            show(recipients, message)
    return 0 if (result.successful, result.failed, len(server.messages)) == (2, 1, 1) else 1


def show(recipients: list[str], message: email.message.EmailMessage) -> None:
    """What the server was sent."""
    text = message.get_body(("plain",))
    html = message.get_body(("html",))
    assert text is not None
    assert html is not None
    print(f"the server has {message['Subject']!r} for {', '.join(recipients)}")
    print(f"  text  {text.get_content().splitlines()[0]}")
    print(f"  html  {html.get_content().splitlines()[0]}")
    for part in message.iter_attachments():
        content = part.get_content()
        print(f"  file  {part.get_filename()}, {part.get_content_type()}, {len(content)} characters")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            code = main(f"embedded://{folder}/data", Path(folder, "files"))
        finally:
            embedded.stop(f"{folder}/data")
    raise SystemExit(code)
