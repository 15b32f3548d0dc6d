"""Who sends jobs or writes to Redis runs no code of their own."""

from __future__ import annotations

import ast
import base64
import pickle
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import redis

from redqueue import JobFailed, JobQueueService, Queue, ServiceRegistry
from redqueue.core import script
from redqueue.core.keys import Keys

from .conftest import Look, Work

KEYS: Final = Keys("q", "redqueue")
SRC: Final = Path(__file__).parents[2] / "src" / "redqueue"


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.no_audit
async def test_no_pickle_is_ever_opened(
    tmp_path: Path, queue: Queue, work: Work, look: Look, client: redis.Redis, registry: ServiceRegistry, real_url: str
) -> None:
    """X01: in data, result, error, checkpoint, progress, log, events and schedule: the file never appears."""
    bomb = pickle.dumps(Touch(tmp_path / "owned"))
    texts = [bomb.decode("latin-1"), base64.b64encode(bomb).decode()]
    for text in texts:
        for job_type in ("echo", "tells", "fail"):
            queue.add(job_type, text)
    with JobQueueService(real_url, registry=registry) as service:
        service.execute_task("bomb", "note", [texts[0]])
    for id, head in (("raw", b'["echo","",1]\n'), ("whole", b"")):
        client.set(KEYS.job(id), head + bomb)
        client.zadd(KEYS["waiting"], {id: 1})
    restored = queue.add("tells", "x")
    for name in ("states", "progress", "notes", "tries"):
        client.hset(KEYS[name], restored.id, bomb)
    await work()
    assert (await look("raw")).state == "failed"
    assert "CorruptEnvelope" in ((await look("whole")).error or "")
    for status in queue.jobs("completed"):
        queue.get_logs(status.job_id)
        for field in ("result", "error", "progress", "state"):
            client.hset(KEYS.family("outcome") + status.job_id, field, bomb)
        client.rpush(KEYS.log(status.job_id), bomb)
        queue.get_status(status.job_id)
        queue.get_logs(status.job_id)
    client.xadd(KEYS["events"], {"completed": "z", ":z": bomb})
    events = queue.events(since="0")
    while next(events).job_id != "z":
        pass
    events.close()
    assert not (tmp_path / "owned").exists()
    pickle.loads(bomb)
    assert (tmp_path / "owned").exists()  # it would have worked


NAMES: Final = [
    "os.system",
    "eval",
    "builtins.eval",
    "note.__globals__",
    "note\x00",
    "\uff4eote",
    "NOTE",
    "",
    "n" * 10**5,
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
async def test_only_registered_names_run(
    name: str, work: Work, ran: list[Any], client: redis.Redis, real_url: str
) -> None:
    """X02: written to Redis by hand, past all checks of a producer; the job fails and is not retried for ever."""
    keys = Keys("generic-task", "redqueue")
    modules = set(sys.modules)
    for id, named in (("task", {"function": name}), ("method", {"service": "S", "method": name})):
        data = msgspec.json.encode({"label": "", "parameters": ["touch owned"], **named})
        client.set(keys.job(id), b'["generic-task","",1]\n' + data)
        client.zadd(keys["waiting"], {id: 1})
    await work(retries=5)
    assert ran == []
    assert {one for one in sys.modules if not one.startswith("redqueue.")} <= modules
    with Queue("generic-task", real_url) as queue:
        assert [one.state for one in queue.jobs("failed")] == ["failed", "failed"]


@pytest.mark.no_audit
async def test_an_error_from_redis_is_data(queue: Queue, work: Work, client: redis.Redis, tmp_path: Path) -> None:
    """X04: its class is a text, whatever the text is; no class is looked up or made."""
    job = queue.add("fail", "x")
    await work()
    forged = {"type": "os.system", "message": f"touch {tmp_path / 'owned'}", "args": [1], "traceback": "t"}
    client.hset(KEYS.family("outcome") + job.id, "error", msgspec.json.encode(forged))
    with pytest.raises(JobFailed) as caught:
        queue.job(job.id).result(0)
    assert type(caught.value) is JobFailed
    assert (caught.value.type, caught.value.traceback) == ("os.system", "t")
    assert not (tmp_path / "owned").exists()


HOSTILE: Final = "x' \r\n+OK\r\n$-1\r\n\"); redis.call('FLUSHALL') -- \x00 %s {0} ]]"


async def test_scripts_are_constant(
    queue: Queue, work: Work, client: redis.Redis, registry: ServiceRegistry, real_url: str
) -> None:
    """X06: no text of a user's becomes part of one: the server never has more scripts than there are files."""
    client.script_flush()
    ids = [queue.add(job_type, HOSTILE).id for job_type in ("echo", "fail", "tells") for _ in range(3)]
    waits = queue.add("echo", HOSTILE, delay=100)
    with JobQueueService(real_url, registry=registry) as service:
        service.execute_task(HOSTILE.encode("ascii", "replace").decode(), "note", [HOSTILE], context={"a": HOSTILE})
    await work()
    for id in ids:
        queue.get_status(id)
        queue.get_logs(id)
    assert queue.cancel(waits.id, HOSTILE) == "cancelled"
    assert queue.retry(waits.id) and queue.remove(waits.id)
    assert queue.jobs("completed")
    queue.drain()
    assert client.info("memory")["number_of_cached_scripts"] <= len(script.names())
    assert client.ping()


def test_no_script_is_made_of_pieces_at_run_time() -> None:
    """X06: what is sent is composed from files alone, once, when it is loaded."""
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "redis.call" in node.value:
                raise AssertionError(f"{path.name}:{node.lineno} holds a piece of Lua")
