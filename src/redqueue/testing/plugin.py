"""A pytest plugin: two servers that are there when a test asks for them, each empty when the test begins.

Installed with redqueue, so a project's tests just name the fixtures. A server is started by the first test that uses
it, once a process, so once a worker process under pytest-xdist.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from redqueue.embedded import PrivateServer
    from redqueue.testing.fake import FakeServer


@pytest.fixture(scope="session")
def redqueue_server() -> Iterator[PrivateServer]:
    """The genuine server behind `redqueue_url`, for tests that pause or kill it; they start it again themselves."""
    from redqueue.embedded import PrivateServer

    with PrivateServer() as server:
        yield server


@pytest.fixture(scope="session")
def redqueue_fake_server() -> Iterator[FakeServer]:
    """The server behind `redqueue_fake_url`."""
    from redqueue.testing.fake import FakeServer

    with FakeServer() as server:
        yield server


@pytest.fixture
def redqueue_url(redqueue_server: PrivateServer) -> str:
    """The URL of a genuine, empty server: Valkey, from the extra ``embedded``."""
    from redqueue.embedded import wire

    wire.ask(redqueue_server.socket, "FLUSHALL")
    return redqueue_server.url


@pytest.fixture
def redqueue_fake_url(redqueue_fake_server: FakeServer) -> str:
    """The URL of an empty server of fakeredis, from the extra ``test``: no program, and slower than a genuine one."""
    redqueue_fake_server.flush()
    return redqueue_fake_server.url
