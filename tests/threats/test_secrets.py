"""What is secret is in no log, no error and no repr; what is hostile forges no line."""

from __future__ import annotations

import logging
from typing import Any, Final

import pytest
import redis

from redqueue import INJECTED, JobContext, JobQueueService, Queue, ServiceRegistry, Settings, Signed, Worker
from redqueue.core.keys import Keys

CANARY: Final = "canary-7f3a9"
KEYS: Final = Keys("q", "redqueue")


@pytest.fixture
def protected(client: redis.Redis, real_url: str) -> Any:
    """The URL of the server with a user whose password is a canary."""
    ask: Any = client.execute_command
    ask("ACL SETUSER", "me", "on", f">{CANARY}", "~*", "&*", "+@all")
    yield real_url.replace("://", f"://me:{CANARY}@")
    ask("ACL DELUSER", "me")


async def test_a_canary_is_found_nowhere(
    protected: str,
    registry: ServiceRegistry,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """X15: in the URL, data, results, exception, environment, checkpoint: no log tells, at any level."""
    monkeypatch.setenv("MY_TOKEN", CANARY)
    caplog.set_level(logging.DEBUG)

    @registry.processor("leaks")
    async def leaks(data: Any, context: JobContext = INJECTED) -> None:
        local_secret = data["password"]
        await context.checkpoint({"secret": local_secret})
        await context.log(local_secret)
        raise ValueError(f"no {local_secret}")

    seal = Signed({"k": CANARY.encode() * 4})
    with (
        Queue("q", protected, seal=seal) as queue,
        JobQueueService(protected, registry=registry, seal=seal) as service,
    ):
        queue.add("leaks", {"password": CANARY})
        queue.add("echo", {"password": CANARY})
        queue.add("no-such-type", {"password": CANARY})
        service.execute_task("label", "note", [{"password": CANARY}])
        service.execute_task("label", "note", [CANARY, "too", "many"])
        worker = Worker(
            ["q", "generic-task"], protected, registry=registry, burst=True, retries=0, unknown_grace=0, seal=seal
        )
        await worker.serve()
        client.client_kill_filter(_type="normal", skipme=True)
        queue.get_stats()
        shown = [
            repr(one) for one in (queue, service, worker, worker._config, seal, Settings(url=protected, seal=seal))
        ]
        names = client.client_list()
    logs = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "failed" in logs
    for text in (logs, caplog.text, *shown, repr(names)):
        assert CANARY not in text
    # Nor in Redis, but for data, results and what the job itself told.
    for key in client.scan_iter():
        assert CANARY.encode() not in key
        if client.type(key) in (b"zset", b"list") and b":log:" not in key:
            assert CANARY.encode() not in repr(client.dump(key)).encode()


async def test_a_traceback_shows_no_locals(queue: Queue, registry: ServiceRegistry, real_url: str) -> None:
    """X15: only lines of code."""

    @registry.processor("raises")
    async def raises(data: Any) -> None:
        secret = data + data
        raise ValueError(len(secret))

    job = queue.add("raises", CANARY)
    await Worker(["q"], real_url, registry=registry, burst=True, retries=0).serve()
    status = queue.get_status(job.id)
    assert status is not None
    assert "len(secret)" in (status.traceback or "")
    assert CANARY not in (status.traceback or "")


@pytest.mark.no_audit
async def test_hostile_text_forges_no_line_of_a_log(
    queue: Queue, registry: ServiceRegistry, client: redis.Redis, real_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """X14: ids, job types and labels that were written to Redis by hand, in a worker's log."""
    from redqueue.worker.logs import set_up_logging

    hostile = "a\nERROR forged \x1b[31m\u202e\x9b\r"
    client.set(KEYS.job(hostile), f'["{CANARY}\\n\\u001b[31m\\u202e","\\nforged",1]\nnull')
    client.set(KEYS.job("b"), b"not\x1b[31m json\r\nforged")
    client.set(KEYS.job("").encode() + b"\xff\xfe", b'["echo","",1]\nnull')
    waiting: dict[Any, float] = {hostile: 1, "b": 2, b"\xff\xfe": 3}
    client.zadd(KEYS["waiting"], waiting)
    root, level = list(logging.getLogger().handlers), logging.getLogger().level
    set_up_logging("text")
    try:
        queue.add("echo", 1)
        await Worker(["q"], real_url, registry=registry, burst=True, retries=0, unknown_grace=0).serve()
    finally:
        logging.getLogger().handlers[:] = root
        logging.getLogger().setLevel(level)
    err = capsys.readouterr().err
    assert "failed without being run" in err
    assert not set(err) & set("\x1b\u202e\x9b\r")
    assert not [line for line in err.splitlines() if line.startswith(("ERROR forged", "forged"))]
