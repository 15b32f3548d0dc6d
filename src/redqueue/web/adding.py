"""A POST that adds a job: its body, read within bounds, only when no other site can have sent it; and the job's id."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec
from starlette.requests import Request

from redqueue.core.bombs import decode
from redqueue.defaults import MAX_PAYLOAD
from redqueue.web.problems import Problem

KEPT: Final[Mapping[str, timedelta]] = {
    "keep_completed": timedelta(minutes=10),
    "keep_failed": timedelta(minutes=10),
}
"""Of jobs that are added over HTTP: long enough for whoever asks now and then what became of them."""

_OUR_OWN: Final = ("same-origin", "none")
_ACCOUNT: Final = "subAccountId"
_RESPELLED: Final[Mapping[str, str]] = {"sub_account_id": _ACCOUNT, "user_id": "userId"}


async def read_data(request: Request) -> tuple[Any, Request]:
    """The job's data, and the request as `authorize` gets it: with its body, to be read again.

    Raises:
        Problem: 403, 400, 413, 415 or 422.
    """
    refuse_other_sites(request)
    _refuse_other_media(request)
    body = await _read_body(request)
    try:
        data = decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"the body can't be read: {error}") from error
    _refuse_respelled(data)
    return data, Request(request.scope, _again(body, request.receive))


def id_of(key: str, data: object) -> str:
    """The job's id for an Idempotency-Key: the key itself, or a hash of it and the account that the data names.

    So two accounts that use one key get a job each.
    """
    account = data.get(_ACCOUNT) if isinstance(data, dict) else None
    if not isinstance(account, str) or not account:
        return key
    return hashlib.blake2b(msgspec.json.encode([account, key]), digest_size=16).hexdigest()


def _refuse_respelled(data: object) -> None:
    """Who asks is said in one spelling, so that `authorize` looks at what the job will say."""
    if not isinstance(data, dict):
        return
    for name, wire in _RESPELLED.items():
        if name in data:
            raise Problem(422, f"the body has {name}: write {wire}")


def refuse_other_sites(request: Request) -> None:
    """Raise a Problem for a request that a browser sent on behalf of a page of another site.

    Where a browser doesn't say (on plain http), the type application/json makes it ask first, and no answer of this
    app allows it.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in _OUR_OWN:
        raise Problem(403, "jobs are added from pages of this origin only")


def _refuse_other_media(request: Request) -> None:
    media_type, _, parameter = request.headers.get("content-type", "").lower().partition(";")
    charset = parameter.strip().removeprefix("charset=").strip('"')
    if media_type.strip() != "application/json" or charset not in ("", "utf-8"):
        raise Problem(415, "the body must be sent as application/json, in UTF-8")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "the body must be sent as it is, not compressed")


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_PAYLOAD:
            raise _too_large()
    return bytes(body)


def _too_large() -> Problem:
    return Problem(413, f"the body may have {MAX_PAYLOAD:,} bytes: store the rest elsewhere and pass its key")


def _again(body: bytes, receive: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """A body that was read, for one who reads it again."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Any:
        return messages.pop() if messages else await receive()

    return next_message
