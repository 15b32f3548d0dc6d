"""Answers and their headers: what a browser may do with them, and how a client is told that nothing changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

NOTHING_RUNS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Were an answer opened as a page of its own, nothing in it would run, and no other site may embed it."""

_NOT_STORED: Final = {"Cache-Control": "no-store"}
_ASKED_AGAIN: Final = {"Cache-Control": "private, no-cache"}


def json_bytes(wire: object) -> bytes:
    """JSON without the characters that mean something in HTML, should a page paste it into itself."""
    encoded = msgspec.json.encode(wire)
    return encoded.replace(b"<", rb"\u003c").replace(b">", rb"\u003e").replace(b"&", rb"\u0026")


def json_response(
    wire: object,
    status: int = 200,
    *,
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer that nobody stores."""
    given = {**NOTHING_RUNS, **_NOT_STORED, **(headers or {})}
    return Response(json_bytes(wire), status, headers=given, media_type=media_type)


def etag_of(body: bytes) -> str:
    """The entity tag of an answer: a weak one, as a proxy may compress it (RFC 9110, 8.8.3)."""
    return f'W/"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def known_to(request: Request, etag: str) -> bool:
    """Whether the client has that answer already, by If-None-Match. Tags are compared weakly (RFC 9110, 13.1.2)."""
    for value in request.headers.getlist("if-none-match"):
        tags = [tag.strip().removeprefix("W/") for tag in value.split(",")]
        if etag.removeprefix("W/") in tags or "*" in tags:
            return True
    return False


def cached_response(request: Request, body: bytes, etag: str, **options: Any) -> Response:
    """An answer that the client may keep and must ask for again each time; 304 when it has it already."""
    headers = {**NOTHING_RUNS, **_ASKED_AGAIN, "ETag": etag}
    if known_to(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, **options)
