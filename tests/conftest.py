"""The servers of our own tests. What a test leaves behind on them is audited when it ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis

from redqueue.client.sync.queue import Queue
from redqueue.core.keys import FIXED
from redqueue.embedded import PrivateServer

PERMANENT: Final = frozenset({"job", "log", "outcome"})
"""Families that live as long as their job is kept, which the audit checks; the others must have a TTL."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "no_audit: the test breaks what is stored on purpose; nobody looks at it")
    config.addinivalue_line("markers", "not_by(way, reason): the test can't apply to this way to a server")


@pytest.fixture(scope="session")
def server(redqueue_server: PrivateServer) -> PrivateServer:
    """A genuine server, for all tests of the session."""
    return redqueue_server


@pytest.fixture
def redqueue_url(redqueue_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    yield redqueue_url
    audit_server(redqueue_url, request)


@pytest.fixture
def redqueue_fake_url(redqueue_fake_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    yield redqueue_fake_url
    audit_server(redqueue_fake_url, request)


@pytest.fixture
def real_url(redqueue_url: str) -> str:
    """The URL of the genuine server, empty."""
    return redqueue_url


@pytest.fixture(params=["genuine", "fakeredis"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of each server, empty."""
    found: str = request.getfixturevalue("redqueue_url" if request.param == "genuine" else "redqueue_fake_url")
    return found


def audit_server(url: str, request: pytest.FixtureRequest) -> None:
    """Fail the test when a queue on its server is inconsistent, or a key was left behind."""
    with redis.Redis.from_url(url, protocol=2) as client:
        audit_stored(client, request)


def audit_stored(client: Any, request: pytest.FixtureRequest) -> None:
    """The same by a client that sees all keys."""
    if request.node.get_closest_marker("no_audit"):
        return
    findings: list[str] = []
    for key in client.scan_iter("*:{*}:meta", count=1000):
        prefix, name = re.fullmatch(r"(.+):\{(.+)\}:meta", key.decode()).groups()  # type: ignore[union-attr]
        with Queue(name, client=client, prefix=prefix) as queue:
            findings += [f"{name}: {finding}" for finding in queue.audit()]
    findings += [f"{key.decode()}: it stays for ever" for key in client.scan_iter(count=1000) if _leaks(client, key)]
    if findings:
        pytest.fail("\n".join(["the test left behind:", *findings]), pytrace=False)


def _leaks(client: Any, key: bytes) -> bool:
    """Whether a key neither is permanent by declaration nor has a life."""
    found = re.fullmatch(r".+:\{.+\}:([a-z]+)(:.+)?", key.decode())
    declared = found is not None and found[1] in (FIXED if found[2] is None else PERMANENT)
    return not declared and client.pttl(key) == -1
