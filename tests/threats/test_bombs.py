"""What is built to break its reader breaks neither worker nor reader."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Final

import pytest
import redis

from redqueue import CorruptEnvelope, Queue
from redqueue.core.keys import Keys

from .conftest import Look, Work

KEYS: Final = Keys("q", "redqueue")
BOMBS: Final = {"arrays": b"[" * 100_000, "objects": b'{"a":' * 100_000, "digits": b"9" * 5000}

each_bomb = pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())


@each_bomb
async def test_a_payload_that_is_a_bomb_fails_alone(
    bomb: bytes, queue: Queue, work: Work, look: Look, client: redis.Redis, ran: list[Any]
) -> None:
    """X10, X11: 100,000 levels, 5,000 digits: the job fails at once, and the next one runs."""
    client.set(KEYS.job("bomb"), b'["echo","",1]\n' + bomb)
    client.set(KEYS.job("head"), b'["echo","",1,null,null,' + bomb[:8000] + b"]\nnull")
    client.zadd(KEYS["waiting"], {"bomb": 1, "head": 2})
    good = queue.add("echo", "good")
    await work(retries=5)
    assert ran == ["good"]
    assert ((await look("bomb")).error or "").startswith("InvalidArguments: ")
    assert ((await look("head")).error or "").startswith("CorruptEnvelope: ")
    assert good.result(0) == "good"
    with pytest.raises(CorruptEnvelope):
        queue.get_data("bomb")


@pytest.mark.no_audit
@each_bomb
async def test_a_stored_bomb_hides_no_other_job(bomb: bytes, queue: Queue, work: Work, client: redis.Redis) -> None:
    """X10, X11: in results, errors, progress, checkpoints and events."""
    first, second = queue.add("echo", 1), queue.add("echo", 2)
    await work()
    fields = ("result", "error", "progress", "state", "attempt", "started", "finished", "reason", "worker")
    client.hset(KEYS.family("outcome") + first.id, mapping=dict.fromkeys(fields, bomb))
    client.xadd(KEYS["events"], {"completed": "z", ":z": bomb, "failed": "y", ":y": bomb, "progress": "x", ":x": bomb})
    client.xadd(KEYS["events"], {"cancelled": "last"})
    assert {job.job_id: job.result for job in queue.jobs("completed")} == {first.id: None, second.id: 2}
    with pytest.raises(CorruptEnvelope):
        queue.job(first.id).result(0)
    events = queue.events(since="0")
    while next(events).job_id != "last":
        pass
    events.close()


def test_a_reader_on_a_small_stack_lives() -> None:
    """X10: a decoder would run a thread of 128 KiB out of stack before Python notices, and end the process."""
    program = """
import threading
from redqueue.core import codec, events, inspect, results
from redqueue.errors import JobError
bombs = [b"[" * 10**6, b'{"a":' * 10**5, b'["a","",1,null,null,{},' + b"[" * 8000, b"[" * 256 + b"]" * 256]
reads = [
    lambda text: results.value_of("a", results.Ending("completed", text)),
    lambda text: results.value_of("a", results.Ending("failed", text)),
    lambda text: codec.open_envelope("a", text + b"\\nnull"),
    lambda text: inspect._decode("a", text, dict),
    inspect.read_progress,
    inspect.read_head,
    lambda text: events.read_entry("q", events.Entry(events.EntryId(1, 1), [b"completed", b"a", b":a", text])),
]
def read_all():
    for bomb in bombs:
        for read in reads:
            try:
                read(bomb)
            except JobError:
                pass
    print("alive")
threading.stack_size(128 * 1024)
thread = threading.Thread(target=read_all)
thread.start()
thread.join()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr
