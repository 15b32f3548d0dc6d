"""The body of a POST that adds a job: read within bounds, and only when no other site can have sent it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request

from redqueue.defaults import MAX_PAYLOAD
from redqueue.web.problems import Problem

_OUR_OWN: Final = ("same-origin", "none")


async def read_data(request: Request) -> tuple[Any, Request]:
    """The job's data, and the request as `authorize` gets it: with its body, to be read again.

    Raises:
        Problem: 403, 400, 413 or 415.
    """
    refuse_other_sites(request)
    _refuse_other_media(request)
    body = await _read_body(request)
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "the body is not JSON") from error
    return data, Request(request.scope, _again(body, request.receive))


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
