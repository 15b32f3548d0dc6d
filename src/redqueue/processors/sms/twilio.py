"""Texts by Twilio's REST API: the Message resource, https://www.twilio.com/docs/messaging/api/message-resource."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from redqueue.errors import ConfigurationError, InvalidOption, MissingExtra
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
    raise MissingExtra("sms", "sending through Twilio") from error

QUEUE_PAUSE: Final = 60.0
"""Seconds to wait for Twilio's own queue, which holds hours of messages."""

TOO_FAST: Final = frozenset({14107, 20429})
QUEUE_FULL: Final = 21611
WRONG_SETTINGS: Final = frozenset({21603, 21660, 21661, 21701, 21703})
"""No sender, one of another account, one that can't send texts, no such messaging service, one without senders.

https://www.twilio.com/docs/api/errors. Codes that can depend on the recipient's country (21212, 21606, 21659) are
left out: they fail that contact.
"""

_SID: Final = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}")
_LABEL: Final = re.compile(r"[a-z0-9-]{1,63}")


class TwilioProvider:
    """Sends by Twilio, from a number, an alphanumeric sender or a messaging service.

    Args:
        account_sid: "AC" and 32 hex digits.
        auth_token: shown by no repr, log or error.
        sender: Twilio's From.
        messaging_service_sid: "MG" and 32 hex digits, instead of a sender.
        region, edge: as Twilio names them, "ie1", "dublin"; None: the default.
        base_url: another server that speaks this API.
        timeout: seconds for one request.
    Raises:
        InvalidOption: one is missing, or has another form.
    """

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        *,
        sender: str | None = None,
        messaging_service_sid: str | None = None,
        region: str | None = None,
        edge: str | None = None,
        base_url: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        if not auth_token or not auth_token.isprintable() or not auth_token.isascii():
            raise InvalidOption("auth_token", "auth_token must be the token of the account, which is not shown here")
        if bool(sender) == bool(messaging_service_sid):
            raise InvalidOption("sender", "give either a sender or a messaging_service_sid")
        self.account_sid = _checked_sid("account_sid", account_sid, "AC")
        self._token = auth_token
        if messaging_service_sid:
            self._sender = {"MessagingServiceSid": _checked_sid("messaging_service_sid", messaging_service_sid, "MG")}
        else:
            self._sender = {"From": sender or ""}
        server = checked_url("base_url", base_url) if base_url is not None else _host(region, edge)
        self._url = str(server).rstrip("/") + f"/2010-04-01/Accounts/{account_sid}/Messages.json"
        self._timeout = checked_timeout(timeout)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> TwilioProvider:
        """By TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_FROM or TWILIO_MESSAGING_SERVICE_SID.

        Also TWILIO_REGION and TWILIO_EDGE, where they are set.

        Raises:
            ConfigurationError: one is missing.
            InvalidOption: one has another form.
        """
        found = os.environ if environ is None else environ
        needed = ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]
        missing = [name for name in needed if not found.get(name)]
        if not found.get("TWILIO_FROM") and not found.get("TWILIO_MESSAGING_SERVICE_SID"):
            missing.append("TWILIO_FROM or TWILIO_MESSAGING_SERVICE_SID")
        if missing:
            raise ConfigurationError(f"to send by Twilio, set {', '.join(missing)}")
        return cls(
            found["TWILIO_ACCOUNT_SID"],
            found["TWILIO_AUTH_TOKEN"],
            sender=found.get("TWILIO_FROM") or None,
            messaging_service_sid=found.get("TWILIO_MESSAGING_SERVICE_SID") or None,
            region=found.get("TWILIO_REGION") or None,
            edge=found.get("TWILIO_EDGE") or None,
        )

    def __repr__(self) -> str:
        return f"TwilioProvider({self.account_sid})"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[_Session]:
        """Connections for one job."""
        async with open_wire(self._timeout) as wire:
            yield _Session(wire, self._url, f"{self.account_sid}:{self._token}", self._sender)


class _Session:
    def __init__(self, wire: Wire, url: str, user: str, sender: Mapping[str, str]) -> None:
        self._wire = wire
        self._url = url
        self._authorization = "Basic " + base64.b64encode(user.encode()).decode()
        self._sender = sender

    async def send(self, message: SmsMessage, /) -> str | None:
        """Create a message; answer its SID."""
        request = httpx.Request(
            "POST",
            self._url,
            data={"To": message.to, "Body": message.text, **self._sender},
            headers={"Authorization": self._authorization, "I-Twilio-Idempotency-Token": message.idempotency_key},
        )
        answer = await self._wire.ask(request)
        said = answer.read()
        said = said if isinstance(said, dict) else {}
        if 200 <= answer.status < 300:
            sid = said.get("sid")
            return sid if isinstance(sid, str) else None
        code = said.get("code")
        raise _error_of(answer, code if isinstance(code, int) else 0, legible(str(said.get("message", ""))))


def _error_of(answer: Answer, code: int, words: str) -> Exception:
    status = answer.status
    shown = f"Twilio {status}/{code}: {words}" if code else f"Twilio {status}"
    if status == 429 or code in TOO_FAST:
        return ProviderBusy(answer.pause, shown)
    if code == QUEUE_FULL:
        return ProviderBusy(max(answer.pause, QUEUE_PAUSE), shown)
    if code in WRONG_SETTINGS:
        return ProviderMisconfigured(f"{shown}: check the sender in TWILIO_FROM or TWILIO_MESSAGING_SERVICE_SID")
    if 400 <= status < 500 and 21000 <= code < 100_000:
        return NumberRefused(f"{code} {words}".strip())
    if status in (401, 403, 404) or (400 <= status < 500 and code):
        return ProviderMisconfigured(f"{shown}: check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN")
    return ProviderDown(shown)


def _checked_sid(option: str, sid: str, prefix: str) -> str:
    if not _SID.fullmatch(sid) or not sid.startswith(prefix):
        # Not shown: the token may have been put in its place.
        raise InvalidOption(option, f"{option} must be {prefix} and 32 hex digits, as the console shows it")
    return sid


def _host(region: str | None, edge: str | None) -> httpx.URL:
    """As https://www.twilio.com/docs/global-infrastructure says: an edge alone is of region us1."""
    for option, label in (("region", region), ("edge", edge)):
        if label is not None and not _LABEL.fullmatch(label):
            raise InvalidOption(option, f"{option} must be a name as Twilio gives it: letters, digits, dashes")
    if edge is not None and region is None:
        region = "us1"
    return httpx.URL("https://" + ".".join(["api", *filter(None, (edge, region)), "twilio.com"]))
