"""What goes wrong, as a client is told of it: problem details by RFC 9457."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from redqueue.errors import BadInput, PayloadTooLarge, RedisFull, RedisRefused, RedisUnavailable
from redqueue.web.answers import json_response

RETRY_AFTER_S: Final = 5

MISSING: Final = "never added, or finished and no longer kept"
GONE: Final = "finished and no longer kept"
_log: Final = logging.getLogger("redqueue.web")


class Problem(Exception):
    """An answer that is a refusal.

    Args:
        status: of HTTP.
        detail: for whoever wrote the client; nothing secret.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    def response(self) -> Response:
        """Problem details of type about:blank, whose title is the status in words."""
        wire = {"type": "about:blank", "title": _phrase(self.status), "status": self.status, "detail": self.detail}
        return json_response(wire, self.status, media_type="application/problem+json", headers=self.headers)


def missing() -> Problem:
    """There is no such job; told of another one's job in the same words."""
    return Problem(404, MISSING)


def response_of(error: Exception) -> Response:
    """The answer for what was raised. Of what nobody foresaw the client learns nothing, and the log all."""
    match error:
        case Problem():
            return error.response()
        case HTTPException() if error.status_code < 400:  # authorize sends the client elsewhere
            return Response(status_code=error.status_code, headers=error.headers)
        case HTTPException():
            detail = error.detail if isinstance(error.detail, str) else _phrase(error.status_code)
            return Problem(error.status_code, detail, error.headers).response()
        case ClientDisconnect():
            return Problem(400, "the body ended early").response()
        case PayloadTooLarge():
            return Problem(413, str(error)).response()
        case BadInput():
            return Problem(422, str(error)).response()
        case RedisUnavailable() | RedisFull() | RedisRefused():
            return _away(error).response()
        case _:
            _log.error("an answer over HTTP failed", exc_info=error)
            return Problem(500, "something went wrong; the server's log has more").response()


def _away(error: RedisUnavailable | RedisFull | RedisRefused) -> Problem:
    """Redis in the way. The addresses and words of its errors are for the log."""
    _log.warning("Redis stood in the way of an answer over HTTP: %s", error)
    if isinstance(error, RedisFull):
        detail = "the queue is full: nothing was added; try again later"
    elif isinstance(error, RedisUnavailable) and error.sent:
        detail = "the queue did not answer in time: try again, a POST with the same Idempotency-Key"
    else:
        detail = "the queue can't be reached: try again later"
    return Problem(503, detail, {"Retry-After": str(RETRY_AFTER_S)})


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
