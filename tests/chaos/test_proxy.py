"""The proxy between redqueue and Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from chaos.proxy import Proxy
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redqueue.embedded import PrivateServer


@pytest.fixture
def proxy(server: PrivateServer) -> Iterator[Proxy]:
    with Proxy(server.socket, seed=3) as proxy:
        yield proxy


@pytest.fixture
def through(proxy: Proxy, client: Any) -> Iterator[Any]:
    """A client that takes the way through the proxy, of an empty server, and asks once."""
    with redis.Redis.from_url(proxy.url, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=0.3) as through:
        yield through


def test_it_passes_on(through: Any, proxy: Proxy) -> None:
    value = b"x" * 1_000_000
    assert through.set("key", value)
    assert through.get("key") == value
    assert proxy.lost == 0


def test_a_lost_reply_is_of_a_call_that_was_carried_out(through: Any, proxy: Proxy, client: Any) -> None:
    through.ping()
    proxy.loss = 1
    with pytest.raises((ConnectionError, TimeoutError)):
        through.incr("key")
    proxy.loss = 0
    assert client.get("key") == b"1"
    assert through.incr("key") == 2
    assert proxy.lost == 1


def test_it_loses_the_share_that_it_should(through: Any, proxy: Proxy) -> None:
    through.ping()
    proxy.loss = 0.3
    lost = 0
    for _ in range(100):
        try:
            through.ping()
        except (ConnectionError, TimeoutError):
            lost += 1
    assert 10 < proxy.lost < 60
    assert lost == proxy.lost


def test_nobody_gets_through_while_it_is_cut(through: Any, proxy: Proxy) -> None:
    through.ping()
    proxy.cut()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            through.ping()
    assert proxy.cut_off == 1
    proxy.mend()
    assert through.ping()
