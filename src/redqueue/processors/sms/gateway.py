"""Texts by any gateway that takes one HTTP request a message."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any, Final, Literal
from urllib.parse import quote

from redqueue.errors import InvalidOption, MissingExtra
from redqueue.processors.sms.legible import legible
from redqueue.processors.sms.provider import (
    NumberRefused,
    ProviderBusy,
    ProviderDown,
    ProviderMisconfigured,
    SmsMessage,
)
from redqueue.processors.sms.web import TIMEOUT, Answer, Wire, checked_timeout, checked_url, open_wire

try:
    import httpx
except ImportError as error:
    raise MissingExtra("sms", "sending through an HTTP gateway") from error

PLACES: Final = ("to", "digits", "text", "idempotency_key", "sender", "campaign_id")
IN_HEADERS: Final = ("to", "digits", "idempotency_key", "sender")
"""What can't hold a line break: the text and the campaign are a job's."""

ACCEPTED: Final = range(200, 300)
REFUSED: Final = (400, 422)
BUSY: Final = (429,)
MISCONFIGURED: Final = (401, 402, 403, 404, 405, 415)

_PLACE: Final = re.compile(r"\{(\w+)\}")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class GatewayProvider:
    """Sends by a gateway whose request is described by a template.

    These stand for the message's own wherever they are in a value: ``{to}`` (E.164), ``{digits}`` (the same without
    its plus), ``{text}``, ``{idempotency_key}``, ``{sender}``, ``{campaign_id}`` (empty where the job has none). They
    are put into the values of a structure, which is encoded afterwards: a text can't become anything but text. One of
    them must have ``{to}`` or ``{digits}``.

    Args:
        url: https, or http; placeholders in its path or query are percent-encoded.
        method: as the gateway wants it.
        headers: shown by no repr, log or error. No ``{text}`` and no ``{campaign_id}``, and no white space at the ends
            of a value (RFC 9110, 5.5).
        json: a structure to send as JSON.
        form: fields to send as a form, instead.
        query: fields to add to the URL.
        sender: what ``{sender}`` stands for.
        message_id: where the id is in a JSON answer, as in "messages.0.id"; None: nowhere.
        expects: by place in a JSON answer, the value of an accepted message, as in ``{"messages.0.status": "0"}``:
            another one is a refused number. For gateways that say 200 to everything.
        accepted, refused, busy, misconfigured: statuses by what they mean; all others are an outage. They are looked
            up in this order.
        timeout: seconds for one request.
    Raises:
        InvalidOption: one can't work; no text shows a value.
    """

    def __init__(
        self,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        json: object = None,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        sender: str = "",
        message_id: str | None = None,
        expects: Mapping[str, str] | None = None,
        accepted: Collection[int] = ACCEPTED,
        refused: Collection[int] = REFUSED,
        busy: Collection[int] = BUSY,
        misconfigured: Collection[int] = MISCONFIGURED,
        timeout: float = TIMEOUT,
    ) -> None:
        if json is not None and form is not None:
            raise InvalidOption("form", "give either json or form")
        if not _TOKEN.fullmatch(method):
            raise InvalidOption("method", "method must be one of HTTP's, as in POST")
        self._url = _checked_template(url)
        self._method = method
        self._headers = _checked_headers(headers or {}, sender)
        self._json, self._form, self._query = deepcopy(json), dict(form or {}), dict(query or {})
        self._sender = sender
        self._message_id = message_id
        self._expects = dict(expects or {})
        self._meanings: tuple[tuple[str, Collection[int]], ...] = (
            ("accepted", accepted),
            ("refused", refused),
            ("busy", busy),
            ("misconfigured", misconfigured),
        )
        self._timeout = checked_timeout(timeout)
        self._check_request()

    def __repr__(self) -> str:
        return f"GatewayProvider({self.host})"

    @property
    def host(self) -> str:
        """Where it sends to; all of the URL that may be shown."""
        return httpx.URL(_PLACE.sub("", self._url)).host

    @asynccontextmanager
    async def open(self) -> AsyncIterator[_Session]:
        """Connections for one job."""
        async with open_wire(self._timeout) as wire:
            yield _Session(self, wire)

    def request(self, message: SmsMessage) -> httpx.Request:
        """The template with a message in it."""
        values = {
            "to": message.to,
            "digits": message.to.removeprefix("+"),
            "text": message.text,
            "idempotency_key": message.idempotency_key,
            "sender": self._sender,
            "campaign_id": message.campaign_id or "",
        }
        # A dot too: a text ".." must not lead to another path.
        quoted = {name: quote(value, safe="").replace(".", "%2E") for name, value in values.items()}
        url = httpx.URL(_put(self._url, quoted))
        if self._query:
            url = url.copy_merge_params(filled(self._query, values, "query"))
        return httpx.Request(
            self._method,
            url,
            headers=filled(self._headers, values, "headers"),
            json=filled(self._json, values, "json"),
            data=filled(self._form, values, "form") or None,
        )

    def read(self, answer: Answer) -> str | None:
        """The message's id; None where it isn't said.

        Raises:
            ProviderError: it was not accepted.
        """
        shown = f"{self.host} answered {answer.status}"
        match self._meaning(answer.status):
            case "accepted":
                return self._accepted(answer, shown)
            case "refused":
                raise NumberRefused(f"the gateway answered {answer.status}")
            case "busy":
                raise ProviderBusy(answer.pause, shown)
            case "misconfigured":
                raise ProviderMisconfigured(f"{shown}: check the URL and the credentials that its GatewayProvider has")
            case _:
                raise ProviderDown(shown)

    def _check_request(self) -> None:
        try:
            one, other = (self.request(SmsMessage(to, "text", "key")) for to in ("+10", "+20"))
        except InvalidOption:
            raise
        except (TypeError, ValueError, httpx.InvalidURL):
            raise InvalidOption("json", "json, form and query must hold what JSON, a form and a URL can") from None
        if (one.url, one.headers, one.content) == (other.url, other.headers, other.content):
            raise InvalidOption("to", "no value has {to} or {digits}: the gateway would not know whom to send to")

    def _meaning(self, status: int) -> Literal["accepted", "refused", "busy", "misconfigured", "down"]:
        for meaning, statuses in self._meanings:
            if status in statuses:
                return meaning  # type: ignore[return-value]
        return "down"

    def _accepted(self, answer: Answer, shown: str) -> str | None:
        if self._message_id is None and not self._expects:
            return None
        said = answer.read()
        for path, wanted in self._expects.items():
            found = found_at(said, path)
            if found is None:
                raise ProviderDown(f"{shown} without {path}")
            if found != wanted:
                raise NumberRefused(f"the gateway answered {path} = {legible(found, 64)}")
        return None if self._message_id is None else found_at(said, self._message_id)


class _Session:
    def __init__(self, provider: GatewayProvider, wire: Wire) -> None:
        self._provider = provider
        self._wire = wire

    async def send(self, message: SmsMessage, /) -> str | None:
        """One request."""
        try:
            request = self._provider.request(message)
        except httpx.InvalidURL:
            raise ProviderMisconfigured(f"the URL of {self._provider!r} becomes none with this message") from None
        return self._provider.read(await self._wire.ask(request))


def filled(template: Any, values: Mapping[str, str], option: str) -> Any:
    """A copy of a structure with the values in all of its texts; its keys stay.

    Raises:
        InvalidOption: a text names a value that there isn't.
    """
    match template:
        case str():
            return _put(template, values, option)
        case Mapping():
            return {key: filled(item, values, option) for key, item in template.items()}
        case list() | tuple():
            return [filled(item, values, option) for item in template]
        case _:
            return template


def found_at(answer: Any, path: str) -> str | None:
    """What a JSON answer says at a path of keys and indexes; None when it says nothing there."""
    for step in path.split("."):
        if isinstance(answer, Mapping):
            answer = answer.get(step)
        elif isinstance(answer, list) and step.isdecimal() and int(step) < len(answer):
            answer = answer[int(step)]
        else:
            return None
    if isinstance(answer, bool):
        return "true" if answer else "false"
    return str(answer) if isinstance(answer, str | int | float) else None


def _put(template: str, values: Mapping[str, str], option: str = "url") -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            there = ", ".join(f"{{{name}}}" for name in values)
            raise InvalidOption(option, f"{option} has {{{found[1]}}}, and the placeholders there are {there}")
        return values[found[1]]

    return _PLACE.sub(value, template)


def _checked_template(url: str) -> str:
    checked_url("url", _put(url, dict.fromkeys(PLACES, "x")))
    host = re.split(r"[/?#\\]", url.split("://", 1)[-1], maxsplit=1)[0]
    if _PLACE.search(host):
        raise InvalidOption("url", "url has a placeholder in its host: a job must not say where its message is sent")
    return url


def _checked_headers(headers: Mapping[str, str], sender: str) -> dict[str, str]:
    shown = filled(dict(headers), {name: sender if name == "sender" else "x" for name in IN_HEADERS}, "headers")
    for name, value in shown.items():
        if not _TOKEN.fullmatch(name):
            raise InvalidOption("headers", "headers has a name that HTTP doesn't allow")
        if not isinstance(value, str) or not value.isascii() or not (value.isprintable() or not value):
            raise InvalidOption("headers", f"the header {name} must be printable ASCII; its value is not shown here")
        if value != value.strip():
            raise InvalidOption(
                "headers",
                f"the header {name} begins or ends with white space: is what comes there empty? It is not shown here",
            )
    return dict(headers)
