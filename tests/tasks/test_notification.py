"""send_notification tells each recipient once, by e-mail, text message, in the application and through Apprise."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from redqueue import Queue, ServiceRegistry, Worker
from redqueue.context import JobContext
from redqueue.errors import ConfigurationError, Discard, InvalidOption, JobCancelled, Snooze
from redqueue.processors.data_export import AskedBy, DataExportProcessor, ExportSource, Filters
from redqueue.processors.email import SmtpSender
from redqueue.processors.sms import NumberRefused, ProviderBusy, ProviderMisconfigured, SmsMessage
from redqueue.processors.storage import Storage
from redqueue.tasks import RecipientRefused
from redqueue.tasks.channels import NotNow
from redqueue.tasks.notification import SendNotification
from redqueue.tasks.notifier import Notifier
from redqueue.testing import job_context, run_until_idle

from .conftest import GUARD, Tasks

HERE = Path(__file__).parent
TEMPLATES = {"ready": {"html": "<p>{{ message }}, {{ name }}</p>", "text": "{{ message }}, {{ name }}"}}


@dataclass
class Users:
    """The application's own way; the users in `away` can't be told so many times."""

    away: dict[str, int] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)
    contexts: list[Mapping[str, Any]] = field(default_factory=list)

    async def notify(self, user_id: str, message: str, context: Mapping[str, Any]) -> None:
        if self.away.get(user_id, 0):
            self.away[user_id] -= 1
            raise ConnectionError("no connection")
        self.told.append((user_id, message))
        self.contexts.append(context)


@dataclass
class Provider:
    """Refuses some numbers, and raises an error for others as often as it has one."""

    errors: dict[str, list[Exception]] = field(default_factory=dict)
    sent: list[SmsMessage] = field(default_factory=list)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Provider]:
        yield self

    async def send(self, message: SmsMessage, /) -> str | None:
        if self.errors.get(message.to):
            raise self.errors[message.to].pop(0)
        self.sent.append(message)
        return f"id-{len(self.sent)}"


def sender(port: int, **options: Any) -> SmtpSender:
    return SmtpSender("127.0.0.1", "Shop <shop@example.com>", security="none", port=port, timeout=GUARD, **options)


def entries(result: Any) -> list[tuple[str, str]]:
    return [(entry["to"], entry.get("status", "sent")) for entry in result["results"]]


# -- the application itself


@pytest.mark.parametrize("name", ["send_notification", "sendNotification"])
def test_users_are_told_in_the_application(tasks: Tasks, name: str) -> None:
    users = Users()
    result = tasks.result(
        {"notifier": Notifier(in_app=users.notify)}, name, "in_app", ["u1", "u2", "u1"], "Hi", context={"about": 7}
    )
    assert result == {
        "kind": "in_app", "total": 2, "successful": 2, "failed": 0, "results": [{"to": "u1"}, {"to": "u2"}]
    }  # fmt: skip
    assert users.told == [("u1", "Hi"), ("u2", "Hi")]
    assert [context["about"] for context in users.contexts] == [7, 7]
    first, second = (context["idempotency_key"].partition(":") for context in users.contexts)
    assert first[0] == second[0] and first[2] != second[2]


def test_a_plain_function_runs_in_a_thread_and_knows_its_job() -> None:
    found: list[Any] = []

    def notify(user_id: str, message: str, context: Mapping[str, Any]) -> None:
        found.append((user_id, threading.current_thread().name.rpartition("_")[0], JobContext.current().job_id))

    async def run() -> None:
        with job_context(job_id="j") as context:
            await SendNotification(Notifier(in_app=notify))("in_app", ["u"], "Hi", context)

    asyncio.run(run())
    assert found == [("u", "redqueue-beside", "j")]


def test_a_retry_tells_only_those_who_were_not_told(tasks: Tasks) -> None:
    users = Users(away={"u2": 2})
    parts = {"notifier": Notifier(in_app=users.notify)}
    result = tasks.result(parts, "send_notification", "in_app", ["u1", "u2", "u3"], "Hi", retries=2)
    assert [user for user, _ in users.told] == ["u1", "u3", "u2"], "the others don't wait for one"
    assert entries(result) == [("u1", "sent"), ("u2", "sent"), ("u3", "sent")]


def test_after_a_kill_at_most_one_recipient_is_told_twice(real_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "redqueue.worker", "crash_jobs:registry", "--app-dir", str(HERE)]
    command += ["-q", "generic-task", "--lease", "1", "--url", real_url]

    def start() -> subprocess.Popen[bytes]:
        environment = {**os.environ, "TOLD": str(tmp_path)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    with Queue("generic-task", real_url) as queue:
        users = [f"u{n}" for n in range(5)]
        data = {"label": "l", "function": "sendNotification", "parameters": ["in_app", users, "Hi"]}
        job = queue.add("generic-task", data, job_id="j")
        workers = [start()]
        try:
            ends = time.monotonic() + GUARD
            while not (tmp_path / "stopped").exists():  # another process makes it
                assert time.monotonic() < ends
                time.sleep(0.01)
            workers[0].kill()
            workers[0].wait(GUARD)
            workers.append(start())
            result = job.result(GUARD)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait(GUARD)
    assert result["successful"] == 5
    told = [line.split() for line in (tmp_path / "told").read_text().splitlines()]
    assert sorted(user for user, _ in told) == ["u0", "u1", "u2", "u2", "u3", "u4"]
    assert len({key for _, key in told}) == 5, "who is told twice is told with the same key"


def test_a_job_with_the_id_of_an_earlier_one_has_other_keys(tasks: Tasks) -> None:
    users, provider = Users(), Provider()
    parts = {"notifier": Notifier(in_app=users.notify, sms=provider)}
    for kind, to in (("in_app", "u1"), ("sms", "+4915123456789")):
        for _ in range(2):
            tasks.result(parts, "send_notification", kind, [to], "Hi", job_id="again")
            assert tasks.queue.remove("again")
    keys = [
        *(context["idempotency_key"] for context in users.contexts),
        *(one.idempotency_key for one in provider.sent),
    ]
    assert len(keys) == len(set(keys)) == 4


async def test_settings_that_change_between_attempts_drop_nobody() -> None:
    """With a region two notations are one number; without it they are two targets."""
    numbers = ["+4915123456789", "0151 23456789", "+4915123456780", "+4915123456781"]
    first = job_context()
    last = Provider(errors={"+4915123456781": [ConnectionError("no connection")]})
    with pytest.raises(ConnectionError):
        await SendNotification(Notifier(sms=last, default_region="DE"))("sms", numbers, "Hi", first)
    assert [message.to for message in last.sent] == ["+4915123456789", "+4915123456780"]
    provider, restored = Provider(), first.checkpoints[-1]
    result = await SendNotification(Notifier(sms=provider))("sms", numbers, "Hi", job_context(restored=restored))
    assert [message.to for message in provider.sent] == ["+4915123456781"]
    assert [(one.to, one.status) for one in result.results] == [
        ("+4915123456789", "sent"),
        ("0151 23456789", "failed"),
        ("+4915123456780", "sent"),
        ("+4915123456781", "sent"),
    ]


async def test_one_bad_user_keeps_nobody_from_being_told() -> None:
    told: list[str] = []

    def notify(user_id: str, message: str, context: Mapping[str, Any]) -> None:
        if user_id == "gone":
            raise RecipientRefused("no such user")
        if user_id == "bad":
            raise KeyError("canary")
        told.append(user_id)

    send = SendNotification(Notifier(in_app=notify))
    first = job_context(attempt=1, retries=1)
    with pytest.raises(NotNow, match="1 of 4 could not be told: the in_app function raised KeyError") as put_off:
        await send("in_app", ["bad", "gone", "a", "b"], "Hi", first)
    assert told == ["a", "b"] and isinstance(put_off.value.__cause__, KeyError)
    last = job_context(attempt=2, retries=1, restored=first.checkpoints[-1])
    result = await send("in_app", ["bad", "gone", "a", "b"], "Hi", last)
    assert told == ["a", "b"] and [one.status for one in result.results] == ["failed", "failed", "sent", "sent"]
    assert [one.error for one in result.results[:2]] == ["the in_app function raised KeyError", "no such user"]


@pytest.mark.parametrize("error", [Discard("never"), Snooze(5, "later"), JobCancelled("j", "stop")])
async def test_what_steers_the_job_is_not_of_one_recipient(error: Exception) -> None:
    asked: list[str] = []

    def notify(user_id: str, message: str, context: Mapping[str, Any]) -> None:
        asked.append(user_id)
        raise error

    with pytest.raises(type(error)):
        await SendNotification(Notifier(in_app=notify))("in_app", ["a", "b"], "Hi", job_context())
    assert asked == ["a"]


# -- e-mail


def test_each_gets_a_mail_of_their_own(tasks: Tasks, plain_server: Any) -> None:
    plain_server.refused["bob@example.com"] = "550 no such user"
    notifier = Notifier(email=sender(plain_server.port), templates=TEMPLATES)
    result = tasks.result(
        {"notifier": notifier},
        "sendNotification",
        "email",
        ["Ada <ada@example.com>", "nobody", "bob@example.com", "eve@example.com"],
        "Ready",
        context={"subject": "Your export", "template": "ready", "template_data": {"name": "<you>"}},
    )
    assert entries(result) == [
        ("ada@example.com", "sent"),
        ("nobody", "failed"),
        ("bob@example.com", "failed"),
        ("eve@example.com", "sent"),
    ]
    assert (result["total"], result["successful"], result["failed"]) == (4, 2, 2)
    assert "550 no such user" in result["results"][2]["error"]
    assert [mail.recipients for mail in plain_server.mails] == [["ada@example.com"], ["eve@example.com"]]
    assert plain_server.connections == 1
    message = plain_server.mails[0].message
    assert (message["Subject"], message["To"]) == ("Your export", "Ada <ada@example.com>")
    assert "Ready, &lt;you&gt;" in message.get_body(("html",)).get_content()
    assert "Ready, <you>" in message.get_body(("plain",)).get_content()
    assert message["Message-ID"] == result["results"][0]["messageId"]
    assert len({mail.message["Message-ID"] for mail in plain_server.mails}) == 2


def test_one_address_is_told_once_however_it_is_written(tasks: Tasks, plain_server: Any) -> None:
    parts = {"notifier": Notifier(email=sender(plain_server.port))}
    recipients = ["Ada <ada@example.com>", "ada@example.com", " ada@EXAMPLE.com", "Ada@example.com"]
    result = tasks.result(parts, "send_notification", "email", recipients, "Hi")
    assert entries(result) == [("ada@example.com", "sent"), ("Ada@example.com", "sent")]
    assert len(plain_server.mails) == 2


def test_mail_without_a_template_is_plain_text(tasks: Tasks, plain_server: Any) -> None:
    notifier = Notifier(email=sender(plain_server.port), subject="News")
    tasks.result({"notifier": notifier}, "send_notification", "email", ["ada@example.com"], "<b>Hi</b>")
    message = plain_server.mails[0].message
    assert message["Subject"] == "News" and message.get_content_type() == "text/plain"
    assert message.get_content() == "<b>Hi</b>\r\n" or message.get_content() == "<b>Hi</b>\n"


def test_who_is_put_off_is_told_by_a_retry_and_nobody_twice(tasks: Tasks, plain_server: Any) -> None:
    plain_server.refused["bob@example.com"] = "451 later"
    notifier = Notifier(email=sender(plain_server.port))
    parts, recipients = {"notifier": notifier}, ["bob@example.com", "ada@example.com"]
    result = tasks.result(parts, "send_notification", "email", recipients, "Hi", retries=1)
    assert plain_server.connections == 2
    assert [mail.recipients for mail in plain_server.mails] == [["ada@example.com"]]
    assert entries(result) == [("bob@example.com", "failed"), ("ada@example.com", "sent")]
    status = tasks.run(parts, tasks.add("send_notification", "email", ["bob@example.com"], "Hi", retries=0))
    assert status.status == "failed" and "1 of 1 could not be told: 451 later" in str(status.error)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"subject": "Hi\r\nBcc: all@example.com"}, "the subject has a line break"),
        ({"subject": 7}, "subject in the job's context must be text"),
        ({"template": "welcome"}, "there is no template 'welcome' here; there are: ready"),
        ({"template": "ready"}, "'name' isn't in the data"),
        ({"template": "ready", "template_data": [1]}, "template_data in the job's context must be a mapping"),
    ],
)
def test_a_message_that_will_never_do_fails_before_anybody_is_connected_to(
    tasks: Tasks, plain_server: Any, given: Mapping[str, Any], why: str
) -> None:
    parts = {"notifier": Notifier(email=sender(plain_server.port), templates=TEMPLATES)}
    assert why in tasks.error(parts, "send_notification", "email", ["ada@example.com"], "Hi", context=given)
    assert not plain_server.connections


def test_an_address_that_forges_a_header_fails_the_job(tasks: Tasks, plain_server: Any) -> None:
    parts = {"notifier": Notifier(email=sender(plain_server.port))}
    recipients = ["ada@example.com", "eve@example.com\r\nBcc: all@example.com"]
    assert "line break" in tasks.error(parts, "send_notification", "email", recipients, "Hi")
    assert not plain_server.mails


# -- text messages


def test_numbers_are_read_and_told_once(tasks: Tasks) -> None:
    provider = Provider(errors={"+4915123456780": [NumberRefused("unsubscribed")]})
    parts = {"notifier": Notifier(sms=provider, default_region="DE")}
    numbers = ["0151 23456789", "+49 151 23456789", "nobody", "0151 23456780"]
    result = tasks.result(parts, "sendNotification", "sms", numbers, "Hi", job_id="j")
    assert entries(result) == [("+4915123456789", "sent"), ("nobody", "failed"), ("+4915123456780", "failed")]
    assert result["results"][0]["messageId"] == "id-1" and result["results"][2]["error"] == "unsubscribed"


def test_a_busy_provider_is_asked_later_and_a_wrong_setting_fails_at_once(tasks: Tasks) -> None:
    first, second = "+4915123456789", "+4915123456780"
    provider = Provider(errors={second: [ProviderBusy(5)]})
    parts = {"notifier": Notifier(sms=provider)}
    job_id = tasks.add("send_notification", "sms", [first, second], "Hi", retries=0)
    status = tasks.run(parts, job_id)
    assert (status.status, status.attempts) == ("completed", 1)
    assert [message.to for message in provider.sent] == [first, second]
    provider.errors[first] = [ProviderMisconfigured("check the token")]
    assert "check the token" in tasks.error(parts, "send_notification", "sms", [first], "Hi")
    assert "neither blank nor longer" in tasks.error(parts, "send_notification", "sms", [first], "x" * 1_601)


# -- services, through Apprise


class Hook(ThreadingHTTPServer):
    """A service of Apprise's json:// kind; it answers what it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[int] = []

    def url(self, path: str) -> str:
        return f"json://user:canary-password@127.0.0.1:{self.server_port}/{path}"


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Hook)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.bodies.append((self.path, body))
        self.send_response(server.answers.pop(0) if server.answers else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(GUARD)


def test_services_are_told_once_whoever_is_named(tasks: Tasks, hook: Hook) -> None:
    notifier = Notifier(services={"team": [hook.url("a"), hook.url("b")], "boss": hook.url("c")})
    parts = {"notifier": notifier}
    result = tasks.result(parts, "sendNotification", "team", ["x", "y", "z"], "Hi", context={"subject": "News"})
    assert entries(result) == [("team 1", "sent"), ("team 2", "sent")]
    assert [path for path, _ in hook.bodies] == ["/a", "/b"]
    assert (hook.bodies[0][1]["title"], hook.bodies[0][1]["message"]) == ("News", "Hi")
    assert entries(tasks.result(parts, "sendNotification", "boss", ["x"], "Hi")) == [("boss", "sent")]


def test_a_place_for_the_recipient_in_the_url(tasks: Tasks, hook: Hook) -> None:
    notifier = Notifier(services={"chat": hook.url("room-{to}")})
    recipients = ["@ada", "1,json://127.0.0.1/x", "../admin", "a b", "#general"]
    result = tasks.result({"notifier": notifier}, "send_notification", "chat", recipients, "Hi")
    assert [status for _, status in entries(result)] == ["sent", "failed", "failed", "failed", "sent"]
    assert [path for path, _ in hook.bodies] == ["/room-%40ada", "/room-%23general"] or [
        path for path, _ in hook.bodies
    ] == ["/room-@ada", "/room-%23general"]


def test_a_service_that_fails_is_told_by_a_retry_and_the_others_are_not(tasks: Tasks, hook: Hook) -> None:
    hook.answers = [500]
    notifier = Notifier(services={"team": [hook.url("a"), hook.url("b")]})
    result = tasks.result({"notifier": notifier}, "send_notification", "team", ["x"], "Hi", retries=1)
    assert [path for path, _ in hook.bodies] == ["/a", "/b", "/a"] and result["successful"] == 2


def test_urls_are_nowhere(tasks: Tasks, hook: Hook, caplog: pytest.LogCaptureFixture, unused_tcp_port: int) -> None:
    caplog.set_level(1)
    logging.getLogger("apprise").setLevel(1)
    dead = f"json://canary-user:canary-password@127.0.0.1:{unused_tcp_port}/canary-path"
    notifier = Notifier(services={"good": hook.url("canary-path"), "dead": dead})
    parts = {"notifier": notifier}
    ids = [tasks.add("send_notification", kind, ["x"], "Hi", retries=0) for kind in ("good", "dead")]
    statuses = [tasks.run(parts, job_id) for job_id in ids]
    assert [status.status for status in statuses] == ["completed", "failed"]
    with pytest.raises(ConfigurationError) as refused:
        Notifier(services={"wrong": ["nothing://canary-token"]})
    assert "URL 1 of 1" in str(refused.value)
    for text in (*map(repr, statuses), repr(notifier), repr(notifier.channel("dead")), str(refused.value), caplog.text):
        assert "canary" not in text
    logging.getLogger("apprise").warning("of the application's own")
    assert "of the application's own" in caplog.text


# -- all of them


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        (["fax", ["u"], "Hi"], "no kind 'fax'; it has in_app"),
        (["in_app", [], "Hi"], "InvalidArguments"),
        (["in_app", ["u"] * 101, "Hi"], "InvalidArguments"),
        (["in_app", ["u" * 321], "Hi"], "InvalidArguments"),
        (["in_app", "u", "Hi"], "InvalidArguments"),
        (["in_app", ["u"], ""], "InvalidArguments"),
        (["in_app", ["u"], "x" * 10_001], "InvalidArguments"),
    ],
)
def test_what_can_not_be_sent_fails_at_once(tasks: Tasks, parameters: list[Any], why: str) -> None:
    users = Users()
    assert why in tasks.error({"notifier": Notifier(in_app=users.notify)}, "sendNotification", *parameters)
    assert not users.told


async def test_the_longest_result_and_checkpoint_fit() -> None:
    users, context = Users(), job_context()
    longest = [f"{n:03}" + "\U000e0001" * 317 for n in range(100)]
    result = await SendNotification(Notifier(in_app=users.notify))("in_app", longest, "Hi", context)
    assert result.successful == 100 and len(context.checkpoints) == 100


async def test_a_checkpoint_of_another_function_tells_nobody() -> None:
    users = Users()
    with pytest.raises(Discard, match="another function"):
        await SendNotification(Notifier(in_app=users.notify))("in_app", ["u"], "Hi", job_context(restored={"a": 1}))
    assert not users.told


class Own:
    """A notifier of the application's."""

    kinds = frozenset({"pager"})

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.sent: list[tuple[list[str], str]] = []

    async def send(
        self, kind: str, recipients: Sequence[str], message: str, context: Mapping[str, Any], *, idempotency_key: str
    ) -> None:
        if list(recipients) == ["b"] and self.failures:
            self.failures -= 1
            raise ConnectionError("the pager is down")
        self.sent.append((list(recipients), idempotency_key))


def test_a_notifier_of_your_own_is_asked_for_each_recipient_alone(tasks: Tasks) -> None:
    own = Own(failures=1)
    tasks.result({"notifier": own}, "send_notification", "pager", ["a", "b", "c"], "Hi", retries=1, job_id="j")
    assert [recipients for recipients, _ in own.sent] == [["a"], ["b"], ["c"]]
    assert len({key for _, key in own.sent}) == 3


def test_the_same_notifier_tells_of_an_export(real_url: str, storage: Storage) -> None:
    class Empty(ExportSource):
        columns = ("id",)

        def rows(self, columns: Sequence[str], filters: Filters, asker: AskedBy) -> Iterator[Sequence[object]]:
            return iter([[1]])

    told: list[str] = []
    notifier = Notifier(in_app=lambda user_id, message, context: told.append(f"{user_id}: {message}"))
    registry = ServiceRegistry()
    registry.register_processor("data-export", DataExportProcessor({"leads": Empty()}, storage, notifier=notifier))
    with Queue("data-export", real_url) as queue:
        data = {"subAccountId": "s", "exportType": "leads", "format": "csv", "userId": "u"}
        job = queue.add("data-export", data, job_id="j")
        run_until_idle(Worker(["data-export"], real_url, registry=registry), raise_failed=True, timeout=GUARD)
        link = job.result()["link"]
    assert told == [f"u: Your export of leads is ready: 1 row. {link}"]


async def test_the_notifier_sends_without_a_job(plain_server: Any) -> None:
    users = Users(away={"u2": 1})
    notifier = Notifier(email=sender(plain_server.port), in_app=users.notify)
    assert notifier.kinds == {"email", "in_app"}
    result = await notifier.send("email", ["ada@example.com", "x"], "Hi", {}, idempotency_key="k")
    assert (result.successful, result.failed) == (1, 1)
    plain_server.refused["ada@example.com"] = "451 later"
    with pytest.raises(NotNow, match="451 later"):
        await notifier.send("email", ["ada@example.com"], "Hi", {}, idempotency_key="k")
    with pytest.raises(NotNow, match="ConnectionError"):
        await notifier.send("in_app", ["u2"], "Hi", {}, idempotency_key="k")
    users.away["u2"] = 1
    result = await notifier.send("in_app", ["u2", "u3"], "Hi", {}, idempotency_key="k")
    assert [one.status for one in result.results] == ["failed", "sent"]
    with pytest.raises(Discard, match="no kind 'sms'; it has email, in_app"):
        await notifier.send("sms", ["u2"], "Hi", {}, idempotency_key="k")


def test_settings_that_can_not_work_are_refused() -> None:
    with pytest.raises(InvalidOption, match="has no kind"):
        Notifier()
    with pytest.raises(InvalidOption, match="templates are of e-mail"):
        Notifier(in_app=print, templates=TEMPLATES)
    with pytest.raises(InvalidOption, match="given by its own argument"):
        Notifier(services={"email": "json://127.0.0.1"})
    with pytest.raises(ConfigurationError, match="one alone where it has"):
        Notifier(services={"team": ["json://127.0.0.1/{to}", "json://127.0.0.1"]})
    with pytest.raises(InvalidOption, match="default_region"):
        Notifier(sms=Provider(), default_region="Germany")
