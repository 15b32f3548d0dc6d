"""A genuine server, left empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redqueue.embedded import PrivateServer


@pytest.fixture
def client(server: PrivateServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("FLUSHALL", "SYNC")
        yield client
        client.flushall()
