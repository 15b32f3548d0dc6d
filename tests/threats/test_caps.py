"""What a job says of itself is believed within bounds."""

from __future__ import annotations

from typing import Any, Final

import pytest
import redis

from redqueue import Queue, ServiceRegistry
from redqueue.core.codec import open_envelope
from redqueue.core.keys import Keys
from redqueue.errors import CorruptEnvelope

from .conftest import Look, Work

KEYS: Final = Keys("q", "redqueue")
OPTIONS: Final = [
    '{"retries":1000000000}',
    '{"retries":-1}',
    '{"to":1e18}',
    '{"to":0}',
    '{"to":-5}',
    '{"to":999999999999999}',
    '{"backoff":[-5]}',
    '{"backoff":[999999999999999]}',
    '{"backoff":{"first":1,"cap":600,"jitter":5}}',
    '{"kc":[99999999999,-1]}',
    '{"kf":[0,-5]}',
    '{"d":-1}',
    '{"at":99999999999999999}',
]


@pytest.mark.parametrize("options", OPTIONS)
async def test_options_beyond_their_bounds_are_refused(
    options: str, queue: Queue, work: Work, look: Look, client: redis.Redis, ran: list[Any]
) -> None:
    """X17: whoever wrote them: the job fails without being run, and its neighbours' outcomes are recorded."""
    envelope = f'["fail","",1,null,null,{options}]\n"x"'.encode()
    with pytest.raises(CorruptEnvelope):
        open_envelope("a", envelope)
    client.set(KEYS.job("bad"), envelope)
    client.zadd(KEYS["waiting"], {"bad": 1})
    good = queue.add("echo", "good")
    await work()
    assert ran == ["good"]
    assert good.result(0) == "good"
    assert ((await look("bad")).error or "").startswith("CorruptEnvelope: ")


@pytest.mark.parametrize(
    "options", ['{"backoff":{"first":-1,"cap":1}}', '{"backoff":[]}', '{"backoff":{"first":1e300}}']
)
async def test_a_backoff_that_is_none_is_replaced(
    options: str, queue: Queue, work: Work, look: Look, client: redis.Redis
) -> None:
    """X17: the job waits by the default, and nothing else is touched."""
    client.set(KEYS.job("bad"), f'["fail","",1,null,null,{options}]\n"x"'.encode())
    client.zadd(KEYS["waiting"], {"bad": 1})
    good = queue.add("echo", "good")
    await work(retries=1000)
    assert good.result(0) == "good"
    assert (await look("bad")).attempts >= 1  # by chance its wait is over within the burst
    assert queue.remove("bad") or (await look("bad")).state != "active"


async def test_a_processors_timeout_caps_the_jobs(
    queue: Queue, work: Work, registry: ServiceRegistry, client: redis.Redis
) -> None:
    """X17: a job can't ask for more time than its processor allows."""
    seen: list[float] = []

    @registry.processor("timed", timeout=60)
    async def timed(data: Any, context: Any = None) -> None:
        from redqueue import JobContext

        deadline = JobContext.current().deadline
        assert deadline is not None
        seen.append((deadline - JobContext.current().created_at).total_seconds())

    queue.add("timed", timeout=86_400)
    await work()
    assert len(seen) == 1
    assert seen[0] < 3600
