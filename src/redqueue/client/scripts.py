"""Giving servers all scripts, by one who may, for users who may not send them."""

from __future__ import annotations

from typing import Any

from redqueue.client.faults import CAUGHT, classify, to_error
from redqueue.client.transport import Transport
from redqueue.client.urls import parse
from redqueue.core import script


def load_all(url: str) -> dict[str, int]:
    """Load every script into the server, or into each node of a cluster; how many, by server.

    A server forgets them when it is started, and a replica that becomes the primary has none of them.

    Raises:
        RedisUnavailable, RedisRefused: not all have all of them.
    """
    location = parse(url)
    transport = Transport(location)
    texts = [script.load(name).text for name in script.names()]
    try:
        client = transport.client()
        return {place: _load(each, texts) for place, each in _servers(client, str(location))}
    except CAUGHT as error:
        raise to_error(classify(error), error, str(location), sent=False) from error
    finally:
        transport.close()


def _servers(client: Any, target: str) -> list[tuple[str, Any]]:
    if not hasattr(client, "get_nodes"):
        return [(target, client)]
    return [(str(node.name), client.get_redis_connection(node)) for node in client.get_nodes()]


def _load(client: Any, texts: list[str]) -> int:
    for text in texts:
        client.execute_command("SCRIPT LOAD", text)
    return len(texts)
