"""Connections that stay at hand between the calls of threads."""

from __future__ import annotations

from typing import Any

import pytest
from redis import exceptions
from tests.client.test_transport import ours

from redqueue import NotConfirmed, Queue
from redqueue.client import kept
from redqueue.client.shares import Pool
from redqueue.client.urls import parse
from redqueue.embedded import PrivateServer


@pytest.fixture
def pool(server: PrivateServer) -> Any:
    pool = Pool.connected(parse(server.url))
    yield pool
    pool.close()


def test_a_thread_uses_one_connection_again_and_again(pool: Pool, admin: Any) -> None:
    assert pool.kept is not None
    assert [pool.kept.execute("ECHO", str(n)) for n in range(10)] == [b"%d" % n for n in range(10)]
    assert ours(admin, 1) == 1


def test_an_error_that_the_server_answers_with_keeps_the_connection(pool: Pool, admin: Any) -> None:
    assert pool.kept is not None
    pool.kept.execute("PING")
    before = admin.client_list()
    with pytest.raises(exceptions.NoScriptError):
        pool.kept.execute("EVALSHA", "0" * 40, 0)
    assert pool.kept.execute("PING") == b"PONG"
    assert [one["id"] for one in admin.client_list()] == [one["id"] for one in before]


def test_a_lost_connection_is_given_up(pool: Pool, admin: Any) -> None:
    assert pool.kept is not None
    pool.kept.execute("PING")
    admin.execute_command("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal")
    with pytest.raises(exceptions.ConnectionError):
        pool.kept.execute("PING")
    assert pool.kept.execute("PING") == b"PONG"
    assert ours(admin, 1) == 1


def test_one_that_has_rested_is_looked_at_before_it_is_used(
    pool: Pool, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool.kept is not None
    pool.kept.execute("PING")
    admin.execute_command("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal")
    monkeypatch.setattr(kept, "RESTED_S", 0)
    assert pool.kept.execute("PING") == b"PONG"


def test_the_pools_limit_holds(server: PrivateServer) -> None:
    pool = Pool.connected(parse(f"{server.url}&max_connections=1"))
    assert pool.kept is not None
    connection = pool.kept._take()
    with pytest.raises(exceptions.MaxConnectionsError):
        pool.kept.execute("PING")
    connection.disconnect()
    pool.kept._pool.release(connection)
    assert pool.kept.execute("PING") == b"PONG"
    pool.close()


def test_those_at_hand_go_back_to_the_pool_when_somebody_else_wants_one(server: PrivateServer, admin: Any) -> None:
    with Queue("q", f"{server.url}&max_connections=1") as queue:
        queue.add("t")
        with pytest.raises(NotConfirmed):  # there is no replica; but there is a connection to ask by
            queue.add("t", durability="replica")
        assert ours(admin, 1) == 1
