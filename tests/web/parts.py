"""What the tests of the app share."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import httpx

from redqueue.web import Authorize


class Ask(Protocol):
    """Makes clients of the app, with its options; by default all is allowed."""

    async def __call__(self, authorize: Authorize = ..., **options: Any) -> httpx.AsyncClient: ...


def anything(*asked: object) -> bool:
    return True


class Steps:
    """A job that stands still until the test lets it go on."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.told = asyncio.Event()
        self.end = asyncio.Event()
