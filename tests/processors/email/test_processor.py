"""Jobs: what is sent, to whom, once; and what is refused before anything is."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from redqueue import AsyncQueue, BadInput, Discard, JobContext, JobStatus, ServiceRegistry, Worker
from redqueue.processors.email import EmailProcessor, MailUnavailable, Templates
from redqueue.processors.storage import Storage
from redqueue.shapes import Attachment, EmailJobData, EmailResult
from redqueue.testing import job_context, run_until_idle_async

from .conftest import MakeServer
from .servers import Folder, RealServer, ScriptedServer, scripted, sender_to

TEMPLATES = {
    "welcome": {"html": "<p>Hello <b>{{ name }}</b></p>", "text": "Hello {{ name }}"},
    "big": {"text": "{% for a in rows %}{% for b in rows %}{{ b }}{% endfor %}{% endfor %}"},
}


@pytest.fixture
async def queue(real_url: str) -> AsyncIterator[AsyncQueue]:
    async with AsyncQueue("email", real_url, backoff=60) as opened:
        yield opened


class Post:
    """Runs jobs with one processor; time passes at once."""

    def __init__(self, queue: AsyncQueue, url: str) -> None:
        self.queue = queue
        self._url = url

    async def run(self, processor: EmailProcessor, *jobs: EmailJobData, **options: Any) -> list[JobStatus]:
        added = [await self.queue.add(job, **options) for job in jobs]
        await self.work(processor)
        return [status for job in added if (status := await job.status()) is not None]

    async def work(self, processor: EmailProcessor) -> None:
        registry = ServiceRegistry()
        registry.register_processor("email", processor)
        await run_until_idle_async(Worker(["email"], self._url, registry=registry))


@pytest.fixture
def post(queue: AsyncQueue, real_url: str) -> Post:
    return Post(queue, real_url)


def processor_to(server: RealServer | ScriptedServer, storage: Folder | None = None, **options: Any) -> EmailProcessor:
    return EmailProcessor(sender_to(server, **options), TEMPLATES, storage=storage)


def job(**fields: Any) -> EmailJobData:
    given = {"to": ["ada@example.com"], "subject": "Welcome", "template": "welcome", "template_data": {"name": "Ada"}}
    return EmailJobData(sub_account_id="sub_1", **(given | fields))


def result_of(status: JobStatus) -> EmailResult:
    assert status.state == "completed", status
    return msgspec.convert(status.result, EmailResult)


async def test_a_message_with_text_html_and_attachments(post: Post, plain_server: RealServer, folder: Folder) -> None:
    data = job(
        to="Ada <ada@example.com>",
        cc=["bob@example.com"],
        bcc=["eve@example.com"],
        reply_to="Help <help@example.com>",
        subject="Grüße, {{ name }}",
        template_data={"name": "<Ada>"},
        attachments=[Attachment(key="reports/june.csv", name="Übersicht.csv"), Attachment(key="terms.pdf")],
    )
    (status,) = await post.run(processor_to(plain_server, folder), data)
    (mail,) = plain_server.mails
    message, everybody = mail.message, ["ada@example.com", "bob@example.com", "eve@example.com"]
    assert (mail.sender, mail.recipients) == ("shop@example.com", everybody)
    assert (message["To"], message["Cc"], message["Bcc"]) == ("Ada <ada@example.com>", "bob@example.com", None)
    assert b"eve" not in mail.raw
    assert (message["From"], message["Reply-To"]) == ("Shop <shop@example.com>", "Help <help@example.com>")
    assert (message["Subject"], message["Auto-Submitted"]) == ("Grüße, {{ name }}", "auto-generated")
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None and text.get_content() == "Hello <Ada>\r\n"
    assert html is not None and html.get_content() == "<p>Hello <b>&lt;Ada&gt;</b></p>\r\n"
    files = [(one.get_filename(), one.get_content_type(), one.get_content()) for one in message.iter_attachments()]
    assert files[0] == ("Übersicht.csv", "text/csv", "a;b\r\n1;2\r\n")
    assert files[1] == ("terms.pdf", "application/pdf", bytes(range(256)) * 40)
    result = result_of(status)
    assert (result.total, result.successful, result.failed) == (3, 3, 0)
    assert [one.to for one in result.results] == everybody
    assert result.message_id == message["Message-ID"]


async def test_bad_and_refused_recipients_are_failed_results(post: Post, plain_server: RealServer) -> None:
    plain_server.refused = {"gone@example.com": "550 5.1.1 no such user"}
    data = job(to=["nobody", "ada@EXAMPLE.com", "gone@example.com"], cc=["Ada <ada@example.com>"], bcc=["x@[1.2.3.4]"])
    (status,) = await post.run(processor_to(plain_server), data)
    result = result_of(status)
    assert (result.total, result.successful, result.failed) == (5, 2, 3)
    assert [(one.to, one.status, one.error) for one in result.results] == [
        ("nobody", "failed", "no address: it has no @"),
        ("ada@example.com", "sent", None),
        ("gone@example.com", "failed", "550 5.1.1 no such user"),
        ("ada@example.com", "sent", None),
        ("x@[1.2.3.4]", "failed", "no address: its domain has characters that it can't have"),
    ]
    (mail,) = plain_server.mails
    assert mail.recipients == ["ada@example.com"]
    assert mail.message["To"] == "ada@example.com, gone@example.com"


async def test_when_all_are_refused_the_job_completes_with_failures(post: Post, plain_server: RealServer) -> None:
    plain_server.refused = {"gone@example.com": "550 no such user"}
    gone, bad = await post.run(processor_to(plain_server), job(to=["gone@example.com"]), job(to=["bad", "worse"]))
    assert (result_of(gone).successful, result_of(gone).failed) == (0, 1)
    assert (result_of(bad).successful, result_of(bad).failed) == (0, 2)
    assert plain_server.mails == [] and plain_server.connections == 1


async def test_only_who_was_put_off_is_sent_to_again(post: Post) -> None:
    async with scripted(RCPT=["250 ok", "451 greylisted", "550 gone", "250 ok"]) as server:
        data = job(to=["a@example.com", "b@example.com", "c@example.com"])
        (status,) = await post.run(processor_to(server), data)
        assert [one.status for one in result_of(status).results] == ["sent", "sent", "failed"]
        recipients = [command for command in server.commands if command.startswith("RCPT")]
        assert recipients == [f"RCPT TO:<{name}@example.com>" for name in "abcb"]
        assert status.attempts == 2 and len(server.messages) == 2
        assert len({line for one in server.messages for line in one.splitlines() if b"Message-ID" in line}) == 1
        assert b"b@example.com" in server.messages[0] and b"a@example.com" in server.messages[1]


async def test_who_is_put_off_at_the_last_attempt_is_a_failed_result(post: Post, plain_server: RealServer) -> None:
    plain_server.refused = {"b@example.com": "450 busy"}
    some, none = await post.run(
        processor_to(plain_server),
        job(to=["a@example.com", "b@example.com"]),
        job(to=["b@example.com"]),
        retries=1,
    )
    assert [(one.status, one.error) for one in result_of(some).results] == [("sent", None), ("failed", "450 busy")]
    assert some.attempts == 2 and len(plain_server.mails) == 1
    assert none.state == "failed" and none.attempts == 2 and none.error is not None
    assert none.error == "MailUnavailable: the server put off 1 of 1 recipients: 450 busy"


async def test_a_server_that_hangs_up_after_the_message_is_sent_the_same_one_again(post: Post) -> None:
    async with scripted(end=[None, "250 ok"]) as server:
        (status,) = await post.run(processor_to(server), job())
        assert result_of(status).successful == 1 and status.attempts == 2
        ids = [line for one in server.messages for line in one.splitlines() if line.startswith(b"Message-ID")]
        assert len(ids) == 2 and len(set(ids)) == 1


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ({"MAIL": "550 5.7.1 not from you"}, "MAIL FROM: 550 5.7.1 not from you"),
        ({"end": "554 5.7.1 spam"}, "DATA: 554 5.7.1 spam"),
        ({"AUTH": "535 bad"}, "refused the login (535): check username and password"),
    ],
)
async def test_what_the_server_refuses_fails_the_job_at_once(post: Post, replies: dict[str, Any], reason: str) -> None:
    async with scripted(**replies) as server:
        processor = processor_to(server, username="shop", password="pass-word", insecure_login=True)
        (status,) = await post.run(processor, job(to=["a@example.com", "b@example.com"]))
        assert status.state == "failed" and status.attempts == 1 and status.error is not None
        assert status.error.startswith("Discard: ") and status.error.endswith(reason)
        assert "pass-word" not in repr(status) and len([one for one in server.commands if one[:4] == "EHLO"]) == 1


async def test_a_failed_job_that_is_retried_by_hand_is_sent_to_the_others(post: Post) -> None:
    async with scripted(end=["250 ok", "554 blocked", "250 ok"]) as server:
        processor = processor_to(server, most=1)
        (status,) = await post.run(processor, job(to=["a@example.com", "b@example.com"]))
        assert status.state == "failed" and status.error is not None and "554 blocked" in status.error
        assert await post.queue.retry(status.job_id)
        await post.work(processor)
        again = await post.queue.get_status(status.job_id)
        assert again is not None and result_of(again).successful == 2
        recipients = [command for command in server.commands if command.startswith("RCPT")]
        assert recipients == [f"RCPT TO:<{name}@example.com>" for name in "abb"]


async def test_an_outage_is_retried_and_ends_as_a_failed_job(post: Post) -> None:
    async with scripted() as server:
        pass
    (status,) = await post.run(processor_to(server), job(), retries=1)
    assert status.state == "failed" and status.attempts == 2 and status.error is not None
    assert status.error.startswith("MailUnavailable: ") and "can't be reached" in status.error


async def test_a_run_that_fails_after_the_send_sends_nothing_again(post: Post, plain_server: RealServer) -> None:
    class Stumbles(EmailProcessor):
        def on_completed(self, data: EmailJobData, result: EmailResult, context: JobContext, /) -> None:
            if context.attempt == 1:
                raise ConnectionError("the audit log is away")

    (status,) = await post.run(Stumbles(sender_to(plain_server), TEMPLATES), job(to=["ada@example.com", "nobody"]))
    assert status.attempts == 2 and len(plain_server.mails) == 1 and plain_server.connections == 1
    assert [one.status for one in result_of(status).results] == ["sent", "failed"]


async def test_a_killed_worker_sent_to_nobody_twice_whom_it_had_noted(
    post: Post, real_url: str, tmp_path: Path
) -> None:
    recipients = [f"a{n}@example.com" for n in range(120)]
    async with scripted(end=["250 ok", "", "250 ok"]) as server:
        added = await post.queue.add(job(to=recipients[:100], cc=recipients[100:]))
        command = [
            sys.executable,
            "-m",
            "redqueue.worker",
            "email_jobs:registry",
            "--app-dir",
            str(Path(__file__).parent),
        ]
        settings = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(server.port), "SMTP_SECURITY": "none"}
        environment = {**os.environ, **settings, "SMTP_FROM": "shop@example.com"}
        quiet = asyncio.subprocess.DEVNULL
        killed = await asyncio.create_subprocess_exec(*command, "--url", real_url, env=environment, stderr=quiet)
        await asyncio.wait_for(server.silent.wait(), 30)  # the second transaction's message is on its way
        killed.kill()
        await killed.wait()
        await post.work(processor_to(server))
        status = await added.status()
        assert status is not None and result_of(status).successful == 120
        asked = [command for command in server.commands if command.startswith("RCPT")]
        assert asked == [f"RCPT TO:<{one}>" for one in [*recipients, *recipients[100:]]]
        ids = {line for one in server.messages for line in one.splitlines() if line.startswith(b"Message-ID")}
        assert len(server.messages) == 3 and len(ids) == 1


async def test_a_run_that_lost_its_job_sends_no_further() -> None:
    context = job_context()
    async with scripted(end=["250 ok", "250 ok"]) as server:
        processor = processor_to(server, most=1)

        def refuse(state: object) -> Any:
            raise ConnectionError("no checkpoint")

        object.__setattr__(context, "_run", type("Run", (), {"note_state": staticmethod(refuse), "restored": None})())
        with pytest.raises(ConnectionError, match="no checkpoint"):
            await processor.process(job(to=["a@example.com", "b@example.com"]), context)
        assert len(server.messages) == 1


FORGED = "a@b\r\nBcc: x@example.com"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"to": FORGED}, r"to\[0\]: the address has a line break"),
        ({"to": ["ada@example.com", FORGED]}, r"to\[1\]: the address has a line break"),
        ({"cc": [FORGED]}, r"cc\[0\]: the address has a line break"),
        ({"bcc": [FORGED]}, r"bcc\[0\]: the address has a line break"),
        ({"bcc": ["=?utf-8?q?a=0D=0ABcc=3A_x?= <a@b>"]}, r"bcc\[0\]: the address has an encoded word"),
        ({"reply_to": FORGED}, "replyTo: the address has a line break"),
        ({"reply_to": "nobody"}, "replyTo: no address"),
        ({"subject": "Hi\r\nBcc: x@example.com"}, "the subject has a line break"),
        ({"subject": "Hi =?utf-8?q?a=0D=0ABcc=3A_x@example.com?="}, "the subject has an encoded word"),
        ({"attachments": [Attachment(key="terms.pdf", name='x"\r\nX: y')]}, "an attachment's name has a line break"),
        ({"attachments": [Attachment(key="terms.pdf", type="text/html\n")]}, "no type for an attachment"),
        ({"attachments": [Attachment(key="missing.pdf")]}, "the attachment 'missing.pdf' isn't in the storage"),
        ({"attachments": [Attachment(key="../../etc/passwd")]}, "no key of the storage"),
        ({"template": "other"}, "no template 'other' here; there are: big, welcome"),
        ({"template": "../welcome"}, "no template's name"),
        ({"template_data": {}}, "'name' isn't in the data"),
        ({"template": "big", "template_data": {"rows": ["x" * 1000] * 500}}, "more than 1,048,576 characters"),
    ],
)
async def test_bad_data_fails_the_job_before_anything_is_sent(
    post: Post, plain_server: RealServer, folder: Folder, fields: dict[str, Any], reason: str
) -> None:
    (status,) = await post.run(processor_to(plain_server, folder), job(**fields))
    assert status.state == "failed" and status.attempts == 1 and status.error is not None
    assert re.search(f"^Discard: .*{reason}", status.error), status.error
    assert "x@example.com" not in status.error + (status.traceback or "")
    assert plain_server.connections == 0


@pytest.mark.parametrize("fields", [{"subject": "x" * 999}, {"to": "a" * 321}, {"bcc": ["a@b"] * 101}, {"to": []}])
async def test_data_that_is_too_long_is_not_added(queue: AsyncQueue, fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        await queue.add(job(**fields))


async def test_files_come_from_a_storage(plain_server: RealServer, tmp_path: Path) -> None:
    storage = Storage(tmp_path.as_uri())
    with storage.writing("bills/june.csv") as file:
        file.write(b"a;b")
    processor = EmailProcessor(sender_to(plain_server), TEMPLATES, storage=storage)
    await processor.process(job(attachments=[Attachment(key="bills/june.csv")]), job_context())
    (attached,) = plain_server.mails[0].message.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("june.csv", "a;b")
    for key, reason in (("missing.csv", "isn't in the storage"), ("../x", "no key of the storage")):
        with pytest.raises(Discard, match=reason):
            await processor.process(job(attachments=[Attachment(key=key)]), job_context())


async def test_attachments_are_bounded(plain_server: RealServer, folder: Folder) -> None:
    processor = EmailProcessor(sender_to(plain_server), TEMPLATES, storage=folder, most_attached=10_000)
    with pytest.raises(Discard, match=r"too large: 'terms.pdf' has more than the"):
        await processor.process(job(attachments=[Attachment(key="terms.pdf")]), job_context())
    assert folder.read == []


async def test_the_longest_data_fits(post: Post, plain_server: RealServer) -> None:
    reason = "550 " + "\\" * 400
    fields: dict[str, list[str]] = {}
    for place, name in enumerate(("to", "cc", "bcc")):
        fields[name] = [f"{'ü' * 80} <{'b' * 60}{place}{n:02}@{'d' * 60}.example>" for n in range(100)]
    plain_server.refused = {f"{'b' * 60}0{n:02}@{'d' * 60}.example": reason for n in range(1, 100)}
    (status,) = await post.run(processor_to(plain_server), job(subject="ü" * 998, **fields))
    result = result_of(status)
    assert (result.total, result.successful, result.failed) == (300, 201, 99)
    assert len(msgspec.json.encode(result)) < 1 << 20
    assert [len(mail.recipients) for mail in plain_server.mails] == [1, 100, 100]
    message = plain_server.mails[0].message
    assert message["Subject"] == "ü" * 998
    names = [one.display_name.replace(" ", "") for one in message["To"].addresses]  # Python puts blanks between words
    assert names == ["ü" * 80] * 100
    assert max(len(line) for line in plain_server.mails[0].raw.split(b"\r\n")) <= 998


async def test_what_is_checkpointed_fits() -> None:
    context, bad = job_context(), ["é" * 320] * 99
    async with scripted(RCPT=["250 ok", "550 " + 'é"' * 2000]) as server:
        data = job(to=["a@example.com"], cc=[f"c{n}@example.com" for n in range(100)], bcc=bad)
        result = await processor_to(server).process(data, context)
    assert len(msgspec.json.encode(context.checkpoints[-1])) < 1 << 18
    assert len(msgspec.json.encode(result)) < 1 << 18
    again = await processor_to(server).process(
        data, job_context(restored=context.checkpoints[-1], created_at=context.created_at)
    )
    assert again == result  # nobody listens any more: nothing had to be sent


async def test_addresses_in_any_script(make_server: MakeServer) -> None:
    data = job(to=["Zoë <zoë@example.com>", "ada@bücher.example"], cc=["漢@example.com"])
    plain, able = make_server(), make_server(enable_SMTPUTF8=True)
    result = await processor_to(plain).process(data, job_context())
    assert [(one.status, one.error) for one in result.results] == [
        ("failed", "the server takes only ASCII before the @"),
        ("sent", None),
        ("failed", "the server takes only ASCII before the @"),
    ]
    (mail,) = plain.mails
    assert mail.recipients == ["ada@xn--bcher-kva.example"] and mail.raw.isascii()
    assert (mail.message["To"], mail.message["Cc"]) == ("ada@xn--bcher-kva.example", None)
    assert (await processor_to(able).process(data, job_context())).successful == 3
    (mail,) = able.mails
    assert able.utf8 == [True] and "<zoë@example.com>".encode() in mail.raw
    await processor_to(able).process(job(), job_context())
    assert able.utf8 == [True, False]
    with pytest.raises(Discard, match="replyTo: the server takes only ASCII"):
        await processor_to(plain).process(job(reply_to="zoë@example.com"), job_context())
    only = await processor_to(plain).process(job(to=["zoë@example.com"]), job_context())
    assert (only.successful, only.failed, len(plain.mails)) == (0, 1, 1)


async def test_the_message_id_is_the_jobs(plain_server: RealServer) -> None:
    processor, context = processor_to(plain_server), job_context(job_id="welcome-1")
    first = await processor.process(job(), context)
    again = await processor.process(job(), context)
    other = await processor.process(job(), job_context(job_id="welcome-1"))  # the same id, added another time
    assert first.message_id == again.message_id != other.message_id
    assert [mail.message["Message-ID"] for mail in plain_server.mails] == [
        first.message_id,
        again.message_id,
        other.message_id,
    ]


async def test_a_cancelled_run_leaves_no_connection() -> None:
    async with scripted(end="") as server:
        running = asyncio.create_task(processor_to(server).process(job(), job_context()))
        await asyncio.wait_for(server.silent.wait(), 5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert server.open == 0


async def test_a_storage_that_is_away_is_tried_again(plain_server: RealServer, tmp_path: Path) -> None:
    class Away(Folder):
        def size(self, key: str, /) -> int:
            raise ConnectionError("the bucket is away")

    data = job(attachments=[Attachment(key="terms.pdf")])
    with pytest.raises(ConnectionError):
        await processor_to(plain_server, Away(tmp_path)).process(data, job_context())
    with pytest.raises(Discard, match="no storage"):
        await processor_to(plain_server).process(data, job_context())


async def test_put_off_alone_is_a_clear_error(plain_server: RealServer) -> None:
    plain_server.refused = {"ada@example.com": "451 4.7.1 greylisted"}
    with pytest.raises(MailUnavailable, match=r"put off 1 of 1 recipients: 451 4\.7\.1 greylisted"):
        await processor_to(plain_server).process(job(), job_context(attempt=4, retries=3))


def test_without_the_packages_the_extra_is_named() -> None:
    for package in ("aiosmtplib", "jinja2"):
        code = (
            f"import sys; sys.modules[{package!r}] = None; import redqueue.shapes, redqueue.processors\n"
            "try: import redqueue.processors.email\nexcept Exception as error: print(error)"
        )
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert "pip install 'redqueue-jobs[email]'" in told.stdout


def test_templates_can_be_given_ready_made(plain_server: RealServer) -> None:
    EmailProcessor(sender_to(plain_server), Templates(TEMPLATES)).validate(job())
