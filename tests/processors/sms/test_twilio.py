"""Twilio's API, spoken by a local server."""

from __future__ import annotations

import base64
import pickle
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme

from redqueue.errors import ConfigurationError, InvalidOption
from redqueue.processors.sms import (
    NumberRefused,
    ProviderBusy,
    ProviderDown,
    ProviderError,
    ProviderMisconfigured,
    SmsMessage,
    TwilioProvider,
)

from .conftest import HttpServer, Reply

SID = "AC" + "0123456789abcdef" * 2
SERVICE = "MG" + "0123456789abcdef" * 2
TOKEN = "t0ken-canary"
MESSAGE = SmsMessage("+4915123456789", "Grüße & mehr €", "sms:job:7")


def twilio(http: HttpServer, **options: Any) -> TwilioProvider:
    if "messaging_service_sid" not in options:
        options.setdefault("sender", "+12025550100")
    return TwilioProvider(SID, TOKEN, base_url=http.url, **options)


async def send(provider: TwilioProvider, message: SmsMessage = MESSAGE) -> str | None:
    async with provider.open() as session:
        return await session.send(message)


async def refused(http: HttpServer, reply: Reply, **options: Any) -> ProviderError:
    http.answer = lambda request: reply
    with pytest.raises(ProviderError) as raised:
        await send(twilio(http, **options))
    assert TOKEN not in str(raised.value)
    return raised.value


async def test_a_message_is_created_as_the_api_wants_it(http: HttpServer) -> None:
    http.answer = lambda request: Reply(201, {"sid": "SM1", "status": "queued"})
    assert await send(twilio(http)) == "SM1"
    (request,) = http.requests
    assert (request.method, request.path) == ("POST", f"/2010-04-01/Accounts/{SID}/Messages.json")
    assert parse_qs(request.body.decode()) == {
        "To": ["+4915123456789"],
        "Body": ["Grüße & mehr €"],
        "From": ["+12025550100"],
    }
    assert base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode() == f"{SID}:{TOKEN}"
    assert request.headers["i-twilio-idempotency-token"] == "sms:job:7"


async def test_a_messaging_service_stands_for_the_sender(http: HttpServer) -> None:
    await send(twilio(http, messaging_service_sid=SERVICE))
    fields = parse_qs(http.requests[0].body.decode())
    assert fields["MessagingServiceSid"] == [SERVICE]
    assert "From" not in fields


@pytest.mark.parametrize("code", [21211, 21268, 21408, 21610, 21612, 21614, 21635, 99_999])
async def test_a_number_that_twilio_does_not_take_is_refused(http: HttpServer, code: int) -> None:
    error = await refused(http, Reply(400, {"code": code, "message": "No\nway", "status": 400}))
    assert isinstance(error, NumberRefused)
    assert str(error) == f"{code} No\\nway"


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"Retry-After": "7"}, 7),
        ({}, 5),
        ({"Retry-After": "soon"}, 5),
        ({"Retry-After": ""}, 5),
        ({"Retry-After": f"Wed, 21 Oct 2026 07:28:00 +{'9' * 24}"}, 5),
    ],
)
async def test_429_is_busy_for_as_long_as_it_says(http: HttpServer, headers: dict[str, str], after: float) -> None:
    error = await refused(http, Reply(429, {"code": 20429, "message": "Too Many Requests"}, headers))
    assert isinstance(error, ProviderBusy)
    assert error.after == after


async def test_429_until_a_date_is_busy_until_then(http: HttpServer) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    error = await refused(http, Reply(429, b"", {"Retry-After": until}))
    assert isinstance(error, ProviderBusy)
    assert 95 < error.after <= 100


async def test_a_full_queue_of_twilios_is_busy(http: HttpServer) -> None:
    error = await refused(http, Reply(400, {"code": 21611, "message": "exceeded"}))
    assert isinstance(error, ProviderBusy)
    assert error.after == 60


@pytest.mark.parametrize("status", [301, 302, 418, 500, 502, 503, 504])
async def test_an_answer_that_is_not_of_the_api_is_an_outage(http: HttpServer, status: int) -> None:
    error = await refused(http, Reply(status, b"<html>", {"Location": "http://127.0.0.1:9/"}))
    assert isinstance(error, ProviderDown)
    assert len(http.requests) == 1, "no redirect is followed: it would carry the token elsewhere"


async def test_a_connection_that_breaks_is_an_outage(http: HttpServer) -> None:
    error = await refused(http, Reply(0))
    assert str(error) == "127.0.0.1: RemoteProtocolError"


async def test_no_connection_is_an_outage(http: HttpServer) -> None:
    provider = TwilioProvider(SID, TOKEN, sender="+1", base_url="http://127.0.0.1:1")
    with pytest.raises(ProviderDown, match=r"^127\.0\.0\.1: not connected: All connection attempts failed$"):
        await send(provider)


async def test_a_certificate_that_nobody_vouches_for_is_an_outage(http: HttpServer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    url = http.url.replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(ProviderDown, match="CERTIFICATE_VERIFY_FAILED"):
        await send(TwilioProvider(SID, TOKEN, sender="+1", base_url=url))
    assert not http.requests


async def test_no_answer_in_time_is_an_outage(http: HttpServer) -> None:
    go_on = threading.Event()

    def answer(request: object) -> Reply:
        go_on.wait(10)
        return Reply()

    http.answer = answer
    try:
        with pytest.raises(ProviderDown, match=r"no answer within 0\.05 s"):
            await send(twilio(http, timeout=0.05))
    finally:
        go_on.set()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"code": 20003, "message": "Authenticate"}),
        (401, b""),
        (403, b""),
        (404, {"code": 20404, "message": "not found"}),
        (400, {"code": 20001, "message": "unknown parameters"}),
        (400, {"code": 21603, "message": "no From"}),
        (400, {"code": 21660, "message": "not yours"}),
    ],
)
async def test_wrong_settings_say_what_to_check(http: HttpServer, status: int, body: object) -> None:
    error = await refused(http, Reply(status, body))
    assert isinstance(error, ProviderMisconfigured)
    assert "check" in str(error) and "TWILIO_" in str(error)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"sid": 4}', b"x" * 100_000])
async def test_an_accepted_message_without_an_id_is_sent_all_the_same(http: HttpServer, body: bytes) -> None:
    http.answer = lambda request: Reply(201, body)
    assert await send(twilio(http)) is None


async def test_an_answer_that_breaks_off_after_its_status_is_an_answer(http: HttpServer) -> None:
    http.answer = lambda request: Reply(201, b'{"sid"', {"Content-Length": "100", "Connection": "close"})
    assert await send(twilio(http)) is None


def test_it_is_set_up_from_the_environment() -> None:
    environ = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": TOKEN, "TWILIO_FROM": "+1"}
    assert TwilioProvider.from_env(environ)._url == f"https://api.twilio.com/2010-04-01/Accounts/{SID}/Messages.json"
    environ |= {"TWILIO_REGION": "ie1", "TWILIO_EDGE": "dublin"}
    assert TwilioProvider.from_env(environ)._url.startswith("https://api.dublin.ie1.twilio.com/")
    del environ["TWILIO_REGION"]
    assert TwilioProvider.from_env(environ)._url.startswith("https://api.dublin.us1.twilio.com/")


@pytest.mark.parametrize(
    "missing", ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM or TWILIO_MESSAGING_SERVICE_SID"]
)
def test_what_the_environment_lacks_is_named(missing: str) -> None:
    environ = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": TOKEN, "TWILIO_FROM": "+1"}
    del environ[missing.split()[0]]
    with pytest.raises(ConfigurationError, match=rf"^to send by Twilio, set {missing}$"):
        TwilioProvider.from_env(environ)


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        ("account_sid", {"account_sid": TOKEN}),
        ("auth_token", {"auth_token": ""}),
        ("auth_token", {"auth_token": "a\r\nb"}),
        ("sender", {"sender": None}),
        ("sender", {"sender": ""}),
        ("sender", {"messaging_service_sid": SERVICE}),
        ("messaging_service_sid", {"sender": None, "messaging_service_sid": SID}),
        ("region", {"region": "evil.example/"}),
        ("edge", {"edge": "EVIL"}),
        ("base_url", {"base_url": "ftp://x"}),
        ("base_url", {"base_url": f"https://{TOKEN}@x"}),
        ("timeout", {"timeout": 0}),
    ],
)
def test_wrong_options_are_named_and_not_shown(option: str, changed: dict[str, Any]) -> None:
    options: dict[str, Any] = {"account_sid": SID, "auth_token": TOKEN, "sender": "+1"} | changed
    with pytest.raises(InvalidOption) as raised:
        TwilioProvider(**options)
    assert raised.value.option == option
    assert TOKEN not in str(raised.value)


def test_it_can_be_sent_to_a_child_process_and_shows_no_token() -> None:
    provider: TwilioProvider = pickle.loads(pickle.dumps(TwilioProvider(SID, TOKEN, sender="+1")))
    assert repr(provider) == f"TwilioProvider({SID})"
