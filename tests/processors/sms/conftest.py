"""Providers that do as they are told, and an HTTP server that answers what a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from redqueue.processors.sms import SmsMessage
from redqueue.shapes import SmsJobData


def numbers(count: int) -> list[str]:
    """So many numbers that exist, in E.164."""
    return [f"+49151{23000000 + n}" for n in range(count)]


def job_data(phone_numbers: list[str], message: str = "Hello") -> SmsJobData:
    return SmsJobData(sub_account_id="sub_1", phone_numbers=phone_numbers, message=message)


class Told:
    """A provider whose sends are a function of the test's; it keeps what it was given."""

    def __init__(self, send: Callable[[SmsMessage], Awaitable[str | None]] | None = None) -> None:
        self.messages: list[SmsMessage] = []
        self.opened = 0
        self.closed = 0
        self._send = send

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Told]:
        self.opened += 1
        try:
            yield self
        finally:
            self.closed += 1

    async def send(self, message: SmsMessage, /) -> str | None:
        self.messages.append(message)
        return f"id-{message.to}" if self._send is None else await self._send(message)

    @property
    def sent_to(self) -> list[str]:
        return [message.to for message in self.messages]


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What the server says; a status of 0 hangs up instead."""

    status: int = 200
    body: object = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class HttpServer(ThreadingHTTPServer):
    """On loopback, a thread a connection. It keeps the requests, in order."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Reply] = lambda request: Reply()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed break their connections."""


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        server = self.server
        assert isinstance(server, HttpServer)
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if len(body) < length:  # its client was killed while it wrote
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        with server.lock:
            server.requests.append(request)
        reply = server.answer(request)
        if not reply.status:
            self.close_connection = True
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET = do_PUT = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def http() -> Iterator[HttpServer]:
    with HttpServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
