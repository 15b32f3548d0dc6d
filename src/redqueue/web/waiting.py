"""Long polling: how long a client wants to wait, and waiting no longer than it stays."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from starlette.requests import Request

from redqueue.web.problems import Problem

LONGEST_S: Final = 60
_SECONDS: Final = re.compile(r"\d{1,2}(\.\d{1,3})?", re.ASCII)

T = TypeVar("T")


class ClientLeft(Exception):
    """The client hung up while it waited: nobody gets the answer."""


def wait_of(request: Request) -> float:
    """The seconds of ``?wait=``, 0 without.

    Raises:
        Problem: 422, no number from 0 to 60.
    """
    given = request.query_params.getlist("wait")
    if not given:
        return 0
    found = _SECONDS.fullmatch(given[0])
    if len(given) > 1 or found is None or float(given[0]) > LONGEST_S:
        raise Problem(422, f"wait must be a number of seconds from 0 to {LONGEST_S}")
    return float(given[0])


async def while_connected(request: Request, waiting: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns; it is cancelled when the client hangs up.

    Raises:
        ClientLeft: it did.
        Exception: what the coroutine raised.
    """
    answer = asyncio.create_task(waiting)
    left = asyncio.create_task(_left(request))
    try:
        await asyncio.wait((answer, left), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientLeft
        return answer.result()
    finally:
        for task in (answer, left):
            task.cancel()
        await asyncio.gather(answer, left, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
