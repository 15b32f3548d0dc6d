"""fakeredis as a server on a port, so that clients and workers reach it by a plain URL."""

from __future__ import annotations

import threading
from importlib.util import find_spec
from typing import Self

from redqueue.core import script
from redqueue.errors import MissingExtra


class FakeServer:
    """A context manager: fakeredis behind a port of 127.0.0.1 that the system chose, served by daemon threads.

    Attributes:
        url: for a client.
    Raises:
        MissingExtra: fakeredis, or the Lua that it runs scripts by, is not installed.
    """

    def __init__(self) -> None:
        try:
            from fakeredis import FakeRedis, TcpFakeServer
        except ImportError:
            raise MissingExtra("test", "the fake server (redqueue_fake_url)") from None
        if find_spec("lupa") is None:  # fakeredis does without it, and then runs no scripts
            raise MissingExtra("test", "the fake server (redqueue_fake_url)")
        self._server = TcpFakeServer(("127.0.0.1", 0))
        # Its own settings would wait, at the interpreter's end, for clients that are still connected.
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._client = FakeRedis(server=self._server.fake_server)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), name="redqueue-fake-server", daemon=True
        )
        self.url = f"redis://127.0.0.1:{self._server.server_address[1]}/0"

    def flush(self) -> None:
        """Empty all of its databases."""
        self._client.flushall()

    def __enter__(self) -> Self:
        # It closes a connection after each error, so a NOSCRIPT could never be answered with the script.
        for name in script.names():
            self._client.script_load(script.load(name).text)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._client.close()
