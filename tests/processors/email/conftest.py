"""Mail servers of the tests' own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import trustme
from aiosmtpd.controller import Controller

from .servers import Folder, RealServer


class AnyPort(Controller):
    """A controller that takes the port which the system gives it."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


class MakeServer(Protocol):
    def __call__(self, **options: Any) -> RealServer: ...


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, str]:
    """Who signs the certificates, and the file by which it is trusted."""
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return authority, str(path)


@pytest.fixture(scope="session")
def ca_file(authority: tuple[trustme.CA, str]) -> str:
    return authority[1]


@pytest.fixture(scope="session")
def server_tls(authority: tuple[trustme.CA, str]) -> ssl.SSLContext:
    """For a server at 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """Starts real servers, which end with the test."""
    controllers: list[Controller] = []

    def make(**options: Any) -> RealServer:
        server = RealServer()
        settings: dict[str, Any] = {"enable_SMTPUTF8": False}
        controller = AnyPort(server, hostname="127.0.0.1", port=0, **(settings | options))
        controllers.append(controller)
        controller.start()
        server.port = controller.port
        return server

    yield make
    for controller in controllers:
        controller.stop()


@pytest.fixture
def plain_server(make_server: MakeServer) -> RealServer:
    return make_server()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A storage with two files."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "june.csv").write_bytes(b"a;b\r\n1;2\r\n")
    (tmp_path / "terms.pdf").write_bytes(bytes(range(256)) * 40)
    return Folder(tmp_path)
