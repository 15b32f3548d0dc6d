"""No text that a user chooses changes which keys are touched."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue import InvalidName, Queue, ServiceRegistry, Worker
from redqueue.core.keys import Keys

PREFIX: Final = "tenant-a"
PART: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
KEYLESS: Final = frozenset(
    ("PING", "HELLO", "CLIENT", "SELECT", "AUTH", "INFO", "TIME", "SCRIPT", "COMMAND", "ECHO", "MULTI", "EXEC")
)
NEVER: Final = frozenset(("KEYS", "FLUSHALL", "FLUSHDB", "CONFIG", "DEBUG", "SWAPDB", "RANDOMKEY", "SHUTDOWN", "ACL"))
END: Final = "the end of what is watched"


@contextmanager
def watched(url: str) -> Iterator[list[list[str]]]:
    """All commands that reach the server meanwhile, those of scripts included."""
    seen: list[list[str]] = []
    with redis.Redis.from_url(url, protocol=2) as client, client.monitor() as monitor:

        def listen() -> None:
            while True:
                line = monitor.connection.read_response()
                text = line.decode("latin-1") if isinstance(line, bytes) else str(line)
                words = [part.encode().decode("unicode_escape") for part in PART.findall(text)]
                if words == ["ECHO", END]:
                    return
                seen.append(words)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            client.echo(END)
            thread.join(30)
            assert not thread.is_alive()


async def test_every_key_begins_with_prefix_and_queue(
    real_url: str, registry: ServiceRegistry, client: redis.Redis, ran: list[Any]
) -> None:
    """X08, X20: whatever ids, labels, reasons and data say; and no command reaches beyond the queue's keys."""
    hostile = "}:{other}:job:*\r\nDEL x\x00[?]"
    ids = ["a:b:c", "a@b.c-d_e", "-", ":", "job:x", "x" * 128]
    client.set("tenant-b:{q}:waiting", "another tenant's")
    ask: Any = client.execute_command
    with watched(real_url) as seen, Queue("q", real_url, prefix=PREFIX) as queue:
        for id in ids:
            queue.add("echo", hostile, job_id=id)
        queue.add("tells", hostile)
        queue.add("fail", hostile)
        queue.add("no such type \x7f".strip("\x7f "), hostile, delay=100, job_id="later")
        await Worker(["q"], real_url, registry=registry, prefix=PREFIX, retries=0, burst=True).serve()
        for id in ids:
            queue.get_status(id)
            queue.get_logs(id)
        queue.cancel("later", hostile)
        queue.retry("later")
        queue.pause()
        queue.resume()
        queue.get_stats()
        queue.audit()
        queue.clean("completed")
        queue.drain()
        queue.obliterate(force=True)
    assert len(ran) == 8
    commands = {words[0].upper() for words in seen if words}
    assert {"EVALSHA", "ZADD", "HSET", "SCAN"} <= commands
    assert not commands & NEVER
    for words in seen:
        name = words[0].upper() if words else "PING"
        if name == "SCAN":
            assert "MATCH" in [word.upper() for word in words]
            assert any(word.startswith(f"{PREFIX}:{{q}}:") for word in words)
        elif name not in KEYLESS:
            keys = ask("COMMAND GETKEYS", *(word.encode("latin-1") for word in words))
            assert all(str(key).startswith(f"{PREFIX}:{{q}}:") for key in keys), words[:4]
    assert client.get("tenant-b:{q}:waiting") == b"another tenant's"
    client.delete("tenant-b:{q}:waiting")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=70) | st.text(alphabet="aZ09_.-{}:*[]\n\x00 ", max_size=10), st.text(max_size=10))
def test_a_name_is_refused_or_stays_within_its_braces(name: str, prefix: str) -> None:
    """X08: any text."""
    try:
        keys = Keys(name, "redqueue")
    except InvalidName as refused:
        assert str(refused).isprintable()
    else:
        assert re.fullmatch(r"redqueue:\{[A-Za-z0-9_.-]{1,64}\}:", keys.base)
    try:
        keys = Keys("q", prefix)
    except InvalidName:
        return
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}:\{q\}:", keys.base)


@pytest.mark.parametrize("id", ["a b", "a\n", "{a}", "a*", "a?", "[a]", "", "x" * 129, "ä", "a/b", "a\x00"])
def test_an_id_that_could_be_a_pattern_or_another_key_is_refused(id: str, queue: Queue) -> None:
    """X08: before anything is sent, by every method that takes one."""
    for call in (queue.job, queue.get_status, queue.get_data, queue.get_logs, queue.cancel, queue.retry, queue.remove):
        with pytest.raises(InvalidName):
            call(id)
    with pytest.raises(InvalidName):
        queue.add("echo", None, job_id=id)
