"""A worker's life: starting, working until told to stop, leaving."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
import redis

from redqueue import AsyncQueue, ConfigurationError, JobContext, Queue, RegistrationError, ServiceRegistry, Worker
from redqueue.worker import shift as shift_module

from .conftest import MakeWorker, Work, echo


class Held:
    """Jobs of type "hold" stay until told to go on; what happened to each is noted."""

    def __init__(self, registry: ServiceRegistry) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.ended: list[str] = []
        registry.register_processor("hold", self.hold)

    async def hold(self, data: Any) -> str:
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("finished")
        return "finished"


@pytest.fixture
def held(registry: ServiceRegistry) -> Held:
    return Held(registry)


async def state_of(queue: AsyncQueue, job_id: str) -> str | None:
    status = await queue.get_status(job_id)
    return None if status is None else status.state


# -- bursts


async def test_a_burst_ends_when_nothing_is_left(registry: ServiceRegistry, queue: AsyncQueue, work: Work) -> None:
    @registry.processor("chain")
    async def chain(data: int) -> None:
        if data:
            await queue.add("chain", data - 1)

    await work()
    await queue.add("chain", 20)
    await work()
    stats = await queue.get_stats()
    assert (stats.succeeded, stats.waiting, stats.active, stats.workers) == (21, 0, 0, 0)


async def test_a_burst_leaves_what_is_not_due(registry: ServiceRegistry, queue: AsyncQueue, work: Work) -> None:
    registry.register_processor("ok", echo)
    await queue.add("ok", delay=60)
    await work()
    assert (await queue.get_stats()).delayed == 1


async def test_a_burst_over_several_queues_sees_what_one_adds_to_the_other(
    registry: ServiceRegistry, real_url: str, make_worker: MakeWorker
) -> None:
    queues = {name: AsyncQueue(name, real_url) for name in ("a", "b")}

    @registry.processor("bounce")
    async def bounce(data: int) -> None:
        if data:
            await queues["ab"[data % 2]].add("bounce", data - 1)

    await queues["a"].add("bounce", 20)
    await asyncio.wait_for(make_worker("a", "b", burst=True).serve(), 20)
    assert [(await one.get_stats()).succeeded for one in queues.values()] == [11, 10]
    for one in queues.values():
        await one.close()


async def test_a_worker_can_work_again(registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker) -> None:
    registry.register_processor("ok", echo)
    worker = make_worker(burst=True)
    for _ in range(3):
        await queue.add("ok")
        await worker.serve()
    assert (await queue.get_stats()).succeeded == 3


# -- starting


async def test_a_worker_at_work_is_seen_and_a_worker_that_left_is_not(
    held: Held, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    async with make_worker():
        assert (await queue.get_stats()).workers == 1
        async with make_worker():
            assert (await queue.get_stats()).workers == 2
    assert (await queue.get_stats()).workers == 0


async def test_a_worker_cannot_work_twice_at_once(held: Held, make_worker: MakeWorker) -> None:
    worker = make_worker()
    async with worker:
        with pytest.raises(ConfigurationError, match="works already"):
            await worker.serve()


async def test_a_registry_that_cannot_work_is_an_error_at_the_start(
    registry: ServiceRegistry, make_worker: MakeWorker
) -> None:
    @registry.processor("bad")
    async def bad(data: NotThere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for start in (make_worker().serve, make_worker().__aenter__):
        with pytest.raises(RegistrationError, match="'data'"):
            await start()
    with pytest.raises(RegistrationError, match="'data'"), make_worker().in_thread():
        raise AssertionError("entered")


async def test_an_empty_registry_has_no_queues_to_work_on(real_url: str) -> None:
    with pytest.raises(ConfigurationError, match="names no processor"):
        await Worker(None, real_url, registry=ServiceRegistry(), burst=True).serve()


async def test_a_stored_format_of_another_release_is_refused(
    held: Held, queue: AsyncQueue, real_url: str, make_worker: MakeWorker
) -> None:
    from redqueue import RedisRefused

    with redis.Redis.from_url(real_url) as client:
        await queue.add("hold")
        client.hset("redqueue:{q}:meta", "format", "99")
        try:
            with pytest.raises(RedisRefused, match="another format"):
                await asyncio.wait_for(make_worker().serve(), 5)
            assert client.keys("redqueue:{q}:session:*") == []  # it left nothing there, not even by leaving
            with pytest.raises(RedisRefused, match="another format"):
                await queue.add("hold")
        finally:
            client.hset("redqueue:{q}:meta", "format", "1")


def test_a_worker_in_a_thread_works_between_enter_and_exit(real_url: str, registry: ServiceRegistry) -> None:
    ran, names = threading.Event(), []

    @registry.processor("note")
    async def note(data: Any) -> None:
        names.append(threading.current_thread().name)
        ran.set()

    with Queue("q", real_url) as queue:
        worker = Worker(["q"], real_url, registry=registry)
        for _ in range(2):
            ran.clear()
            with worker.in_thread() as entered:
                assert entered is worker
                queue.add("note")
                assert ran.wait(5)
        assert names == ["redqueue-worker"] * 2
        assert queue.get_stats().workers == 0


def test_a_burst_can_be_run_without_a_loop(real_url: str, registry: ServiceRegistry) -> None:
    registry.register_processor("ok", echo)
    with Queue("q", real_url) as queue:
        job = queue.add("ok", 7)
        Worker(["q"], real_url, registry=registry, burst=True).run()
        status = job.status()
    assert status is not None
    assert status.result == 7


# -- stopping


async def test_stopping_waits_for_running_jobs_and_starts_no_more(
    held: Held, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    await queue.add("hold", job_id="running")
    worker = make_worker(concurrency=1, prefetch=3)
    async with worker:
        await asyncio.wait_for(held.started.wait(), 5)
        await queue.add("hold", job_id="next")
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0.05)
        assert not stopping.done()
        assert await state_of(queue, "running") == "active"
        held.go.set()
        await asyncio.wait_for(stopping, 5)
    assert await state_of(queue, "running") == "completed"
    assert await state_of(queue, "next") == "waiting"
    assert held.ended == ["finished"]


async def test_a_job_that_fails_while_the_worker_stops_is_recorded(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    @registry.processor("fail")
    async def fail(data: Any) -> None:
        started.set()
        await go.wait()
        raise ValueError("late")

    await queue.add("fail", job_id="x", retries=0)
    worker = make_worker()
    async with worker:
        await asyncio.wait_for(started.wait(), 5)
        worker.request_stop()
        await asyncio.sleep(0.02)
        go.set()
    assert await state_of(queue, "x") == "failed"


async def test_when_the_grace_is_over_running_jobs_are_cancelled_and_given_back_uncounted(
    held: Held, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    await queue.add("hold", job_id="x")
    await queue.add("hold", job_id="behind")
    async with make_worker(grace=0.05, concurrency=1):
        await asyncio.wait_for(held.started.wait(), 5)
    assert held.ended == ["cancelled"]
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.attempts, status.position, status.error) == ("waiting", 0, 0, None)


async def test_a_second_stop_skips_the_grace(held: Held, queue: AsyncQueue, make_worker: MakeWorker) -> None:
    await queue.add("hold", job_id="x")
    worker = make_worker(grace=3600)
    async with worker:
        await asyncio.wait_for(held.started.wait(), 5)
        worker.request_stop()
        worker.request_stop()
        await asyncio.wait_for(worker.stop(), 5)
    assert held.ended == ["cancelled"]
    assert await state_of(queue, "x") == "waiting"


async def test_stop_can_say_how_long_to_wait(held: Held, queue: AsyncQueue, make_worker: MakeWorker) -> None:
    await queue.add("hold", job_id="x")
    worker = make_worker(grace=3600)
    async with worker:
        await asyncio.wait_for(held.started.wait(), 5)
        await asyncio.wait_for(worker.stop(grace=0), 5)
    assert held.ended == ["cancelled"]


async def test_stopping_before_the_start_and_after_the_end_does_nothing(
    held: Held, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    worker = make_worker()
    worker.request_stop()
    await worker.stop()
    async with worker:
        assert (await queue.get_stats()).workers == 1
        await worker.stop()
        await worker.stop()
    worker.request_stop()
    await worker.stop()


async def test_stopping_while_redis_is_not_there_yet_ends_the_start(registry: ServiceRegistry) -> None:
    registry.register_processor("ok", echo)
    worker = Worker(["q"], "redis://127.0.0.1:1/0", registry=registry)
    serving = asyncio.create_task(worker.serve())
    await asyncio.sleep(0.05)
    assert not serving.done()
    worker.request_stop()
    await asyncio.wait_for(serving, 5)


def test_a_stop_may_be_asked_for_in_any_thread(real_url: str, registry: ServiceRegistry) -> None:
    registry.register_processor("ok", echo)
    worker = Worker(["q"], real_url, registry=registry)
    ended = threading.Event()

    def work() -> None:
        worker.run()
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    while worker._shift is None:
        pass
    threading.Thread(target=worker.request_stop).start()
    assert ended.wait(5)
    thread.join()


async def test_a_plain_function_sees_that_it_should_stop(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    started = threading.Event()

    @registry.processor("spin")
    def spin(data: Any, context: JobContext) -> None:
        started.set()
        while True:
            context.raise_if_cancelled()

    await queue.add("spin", job_id="x")
    async with make_worker(grace=0.05):
        assert await asyncio.to_thread(started.wait, 5)
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.attempts) == ("waiting", 0)


async def test_a_job_that_ignores_the_stop_is_given_back_over_its_head(
    registry: ServiceRegistry,
    queue: AsyncQueue,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(shift_module, "CANCEL_WITHIN", 0.1)
    started, go = threading.Event(), threading.Event()

    @registry.processor("deaf")
    def deaf(data: Any) -> str:
        started.set()
        go.wait(10)
        return "too late"

    await queue.add("deaf", job_id="x")
    async with make_worker(grace=0):
        assert await asyncio.to_thread(started.wait, 5)
    go.set()
    assert "job x did not stop; it is given back" in caplog.text
    assert await state_of(queue, "x") == "waiting"


async def test_a_coroutine_that_swallows_its_cancellation_may_still_finish(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    started = asyncio.Event()

    @registry.processor("stubborn")
    async def stubborn(data: Any) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
        return "done after all"

    await queue.add("stubborn", job_id="x")
    async with make_worker(grace=0):
        await asyncio.wait_for(started.wait(), 5)
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.result) == ("completed", "done after all")


async def test_an_error_that_is_raised_while_stopping_is_a_failed_attempt(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    started = asyncio.Event()

    @registry.processor("untidy")
    async def untidy(data: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("untidy")

    await queue.add("untidy", job_id="x", retries=3)
    async with make_worker(grace=0):
        await asyncio.wait_for(started.wait(), 5)
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.attempts, status.error) == ("waiting", 1, "ValueError: untidy")


async def test_prefetched_jobs_go_back_uncounted_to_their_places(
    held: Held, queue: AsyncQueue, make_worker: MakeWorker, until: Any
) -> None:
    ids = [job.id for job in await queue.add_many([("hold", n) for n in range(10)])]

    async def claimed() -> bool:
        return (await queue.get_stats()).active >= 5

    async with make_worker(concurrency=1, prefetch=5, grace=0):
        await until(claimed)
    line = await queue.jobs("waiting", newest=False)
    assert [status.job_id for status in line] == ids
    assert {status.attempts for status in line} == {0}


async def test_no_thread_or_task_is_left_behind(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    registry.register_processor("ok", echo)
    await queue.add("ok")
    before = set(asyncio.all_tasks())
    await make_worker(burst=True).serve()
    await asyncio.sleep(0.05)
    assert set(asyncio.all_tasks()) == before
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("redqueue-")]
    assert [name for name in left if name != "redqueue-fake-server"] == []


async def test_an_embedded_worker_takes_no_signals(held: Held, make_worker: MakeWorker) -> None:
    """Faults: A08."""
    import signal

    before = signal.getsignal(signal.SIGTERM)
    async with make_worker():
        assert signal.getsignal(signal.SIGTERM) is before


async def test_options_out_of_bounds_are_refused_by_their_names(real_url: str) -> None:
    from redqueue import InvalidName, InvalidOption

    bad: list[tuple[str, dict[str, Any]]] = [
        ("concurrency", {"concurrency": 0}),
        ("concurrency", {"concurrency": 2.5}),
        ("lease", {"lease": 0.1}),
        ("lease", {"lease": float("nan")}),
        ("grace", {"grace": -1}),
        ("prefetch", {"prefetch": -1}),
        ("unknown_grace", {"unknown_grace": "1h"}),
        ("retries", {"retries": -1}),
        ("timeout", {"timeout": 0}),
    ]
    for option, options in bad:
        with pytest.raises(InvalidOption, match=option) as raised:
            Worker(["q"], real_url, **options)
        assert raised.value.option == option
    with pytest.raises(InvalidOption, match="queues"):
        Worker("q", real_url)
    with pytest.raises(InvalidOption, match="queues"):
        Worker({"q": 0}, real_url)
    with pytest.raises(InvalidName):
        Worker(["no queue"], real_url)
    with pytest.raises(ConfigurationError):
        await Worker(["q"], "http://x").serve()


async def test_a_stop_is_logged_when_jobs_have_to_be_cancelled(
    held: Held, queue: AsyncQueue, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    await queue.add("hold")
    with caplog.at_level(logging.INFO, "redqueue"):
        async with make_worker(grace=0):
            await asyncio.wait_for(held.started.wait(), 5)
    assert "works on q:10" in caplog.text
    assert "the grace of 0 s is over" in caplog.text
