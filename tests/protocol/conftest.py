"""A queue whose clock the test sets, audited after each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.protocol.driver import Producer, Session, Wire

from redqueue.core.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redqueue.embedded import PrivateServer


@pytest.fixture
def client(server: PrivateServer) -> Iterator[redis.Redis]:
    """A client of an empty server, which is left empty."""
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("FLUSHALL", "SYNC")
        yield client
        client.flushall()


@pytest.fixture
def wire(client: redis.Redis) -> Iterator[Wire]:
    """A fresh queue; what an audit finds in it afterwards fails the test."""
    wire = Wire(client, Keys("q", "redqueue"))
    yield wire
    assert wire.audit() == wire.expected_findings


@pytest.fixture
def producer(wire: Wire) -> Producer:
    return Producer(wire)


@pytest.fixture
def session(wire: Wire) -> Session:
    """A worker that has just entered."""
    session = Session(wire)
    session.enter()
    return session


@pytest.fixture
def other(wire: Wire) -> Session:
    """Another one, by the same lease."""
    other = Session(wire, "t")
    other.enter()
    return other
