"""Any gateway by template: what goes out, and how its answers are read."""

from __future__ import annotations

import pickle
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from redqueue.errors import InvalidOption
from redqueue.processors.sms import (
    GatewayProvider,
    NumberRefused,
    ProviderBusy,
    ProviderDown,
    ProviderMisconfigured,
    SmsMessage,
)
from redqueue.processors.sms.gateway import found_at
from redqueue.processors.sms.web import open_wire

from .conftest import HttpServer, Reply, Request

NASTY = 'a","to":"+666"}&to=+666#?/../%2e\r\nX: {to} {sender} é'
MESSAGE = SmsMessage("+4915123456789", NASTY, "sms:job:7", campaign_id="c 1")


async def send(http: HttpServer, message: SmsMessage = MESSAGE, path: str = "", **template: Any) -> str | None:
    settings: dict[str, Any] = {"query": {"to": "{to}"}, **template}
    async with GatewayProvider(http.url + path, **settings).open() as session:
        return await session.send(message)


async def sent(http: HttpServer, message: SmsMessage = MESSAGE, path: str = "", **template: Any) -> Request:
    await send(http, message, path, **template)
    return http.requests[-1]


async def test_a_text_stays_a_text_in_a_json_body(http: HttpServer) -> None:
    template = {
        "messages": [{"to": "{digits}", "body": "From {sender}: {text}", "ref": "{campaign_id}", "n": 1, "x": None}]
    }
    request = await sent(http, json=template, sender="Shop")
    assert request.json() == {
        "messages": [{"to": "4915123456789", "body": f"From Shop: {NASTY}", "ref": "c 1", "n": 1, "x": None}]
    }
    assert request.headers["content-type"] == "application/json"
    assert template["messages"][0]["to"] == "{digits}"


async def test_a_text_stays_a_text_in_a_form(http: HttpServer) -> None:
    request = await sent(http, form={"to": "{to}", "text": "{text}"})
    assert parse_qs(request.body.decode()) == {"to": ["+4915123456789"], "text": [NASTY]}


async def test_a_text_stays_a_text_in_a_query(http: HttpServer) -> None:
    request = await sent(http, path="/send?key=k", method="GET", query={"to": "{to}", "text": "{text}"})
    assert request.method == "GET"
    assert parse_qs(urlsplit(request.path).query) == {"key": ["k"], "to": ["+4915123456789"], "text": [NASTY]}


async def test_a_text_stays_within_its_place_of_the_path(http: HttpServer) -> None:
    message = SmsMessage("+4915123456789", "../admin?x=/#", "k", campaign_id="..")
    request = await sent(http, message, "/v1/{campaign_id}/to/{to}/{text}", method="PUT", query={})
    assert request.path == "/v1/%2E%2E/to/%2B4915123456789/%2E%2E%2Fadmin%3Fx%3D%2F%23"


async def test_headers_carry_the_key_and_secrets(http: HttpServer) -> None:
    request = await sent(http, headers={"Idempotency-Key": "{idempotency_key}", "Authorization": "Bearer s3cret"})
    assert request.headers["idempotency-key"] == "sms:job:7"
    assert request.headers["authorization"] == "Bearer s3cret"


async def test_the_id_is_where_the_template_says(http: HttpServer) -> None:
    http.answer = lambda request: Reply(202, {"messages": [{"id": 17}]})
    assert await send(http, message_id="messages.0.id") == "17"
    assert await send(http, message_id="messages.1.id") is None
    http.answer = lambda request: Reply(200, b"[" * 60_000)
    assert await send(http, message_id="messages.0.id") is None  # accepted, though the answer can't be read
    assert await send(http) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, NumberRefused),
        (422, NumberRefused),
        (429, ProviderBusy),
        (401, ProviderMisconfigured),
        (403, ProviderMisconfigured),
        (404, ProviderMisconfigured),
        (302, ProviderDown),
        (500, ProviderDown),
        (503, ProviderDown),
    ],
)
async def test_statuses_mean_what_they_usually_do(http: HttpServer, status: int, kind: type[Exception]) -> None:
    http.answer = lambda request: Reply(status, {}, {"Location": "/elsewhere"})
    with pytest.raises(kind, match=str(status)):
        await send(http)
    assert len(http.requests) == 1


async def test_statuses_mean_what_the_template_says(http: HttpServer) -> None:
    http.answer = lambda request: Reply(503, {}, {"Retry-After": "30"})
    with pytest.raises(ProviderBusy) as raised:
        await send(http, busy=(429, 503))
    assert raised.value.after == 30
    http.answer = lambda request: Reply(404)
    with pytest.raises(NumberRefused):
        await send(http, refused=(404,))


async def test_an_answer_that_says_no_with_200_is_a_refusal(http: HttpServer) -> None:
    expects = {"messages.0.status": "0"}
    http.answer = lambda request: Reply(200, {"messages": [{"status": 0, "id": "m"}]})
    assert await send(http, expects=expects, message_id="messages.0.id") == "m"
    http.answer = lambda request: Reply(200, {"messages": [{"status": "6\n"}]})
    with pytest.raises(NumberRefused, match=r"messages\.0\.status = 6\\n$"):
        await send(http, expects=expects)
    http.answer = lambda request: Reply(200, b"oops")
    with pytest.raises(ProviderDown, match=r"without messages\.0\.status"):
        await send(http, expects=expects)


async def test_a_hang_up_is_an_outage(http: HttpServer) -> None:
    http.answer = lambda request: Reply(0)
    with pytest.raises(ProviderDown, match=r"^127\.0\.0\.1: RemoteProtocolError$"):
        await send(http)


async def test_a_request_that_http_has_not_is_no_outage(http: HttpServer) -> None:
    async with open_wire(5) as wire:
        for request in (
            httpx.Request("GET", http.url, headers={"Authorization": "Bearer s3cret\n"}),
            httpx.Request("GET", "gopher://127.0.0.1/s3cret"),
        ):
            with pytest.raises(ProviderMisconfigured, match=r"^127\.0\.0\.1: not a request") as raised:
                await wire.ask(request)
            assert "s3cret" not in str(raised.value) and raised.value.__cause__ is None
    long = SmsMessage("+4915123456789", "s3cret" * 12_000, "k")
    with pytest.raises(ProviderMisconfigured, match=r"GatewayProvider\(127\.0\.0\.1\)") as raised:
        await send(http, long, query={"to": "{to}", "text": "{text}"})
    assert "s3cret" not in str(raised.value)
    assert http.requests == []


@pytest.mark.parametrize(
    "template",
    [
        {"url": "https://sms.example.com/{digits}"},
        {"url": "https://sms.example.com/?to={to}"},
        {"headers": {"X-To": "for {to}"}},
        {"json": {"messages": [{"to": ["{digits}"]}]}},
        {"form": {"to": "{to}"}},
        {"query": {"to": "{to}"}},
    ],
)
def test_the_recipient_may_be_anywhere(template: dict[str, Any]) -> None:
    GatewayProvider(**{"url": "https://sms.example.com", **template})


def test_paths_into_answers() -> None:
    answer = {"a": [{"b": True}, 5], "c": {"d": None}}
    assert found_at(answer, "a.0.b") == "true"
    assert found_at(answer, "a.1") == "5"
    for nowhere in ("a", "c.d", "a.2", "a.-1", "a.x", "c", "z.z", "a.1.x"):
        assert found_at(answer, nowhere) is None


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        ("url", {"url": "sms.example.com/s3cret"}),
        ("url", {"url": "file:///s3cret"}),
        ("url", {"url": "https://s3cret:s3cret@sms.example.com"}),
        ("url", {"url": "https://{to}.example.com/s3cret"}),
        ("url", {"url": "https://sms.example.com:{digits}/s3cret"}),
        ("url", {"url": "https://sms.example.com/{nobody}"}),
        ("json", {"json": {"a": ["{txt}"]}}),
        ("json", {"json": {"a": object()}}),
        ("form", {"json": {}, "form": {}}),
        ("form", {"form": {"a": "{txt}"}}),
        ("query", {"query": {"a": "{txt}"}}),
        ("headers", {"headers": {"X": "{text}"}}),
        ("headers", {"headers": {"X": "s3cret\r\nY: 1"}}),
        ("headers", {"headers": {"X": "{sender}"}, "sender": "a\nb"}),
        ("headers", {"headers": {"X: y": "1"}}),
        ("headers", {"headers": {"Authorization": "s3cret "}}),
        ("headers", {"headers": {"Authorization": " s3cret"}}),
        ("headers", {"headers": {"X": "{to} from {sender}"}}),
        ("to", {"json": {"{to}": "s3cret", "text": "{text}"}, "headers": {"Idempotency-Key": "{idempotency_key}"}}),
        ("to", {"url": "https://sms.example.com/{campaign_id}?k=s3cret"}),
        ("method", {"method": "GET /"}),
        ("timeout", {"timeout": -1}),
    ],
)
def test_a_template_that_cannot_work_is_refused_and_not_shown(option: str, changed: dict[str, Any]) -> None:
    to = {} if option == "to" else {"query": {"to": "{to}"}}
    settings: dict[str, Any] = {"url": "https://sms.example.com", **to, **changed}
    with pytest.raises(InvalidOption) as raised:
        GatewayProvider(**settings)
    assert raised.value.option == option
    assert "s3cret" not in str(raised.value)


def test_its_repr_names_the_host_only_and_it_can_be_sent_to_a_child_process() -> None:
    provider = GatewayProvider(
        "https://sms.example.com/s3cret/{to}?key=s3cret",
        headers={"X": "s3cret"},
        json={"key": "s3cret"},
        query={"key": "s3cret"},
    )
    assert repr(pickle.loads(pickle.dumps(provider))) == "GatewayProvider(sms.example.com)"
