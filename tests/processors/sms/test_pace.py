"""The rate of a worker, on the loop's own clock."""

from __future__ import annotations

import asyncio
import pickle

from redqueue.processors.sms.pace import Pace


async def test_a_tenth_of_a_second_goes_at_once_and_the_rest_by_the_rate() -> None:
    pace, loop = Pace(100), asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*[pace.wait() for _ in range(60)])
    assert loop.time() - began >= (60 - 10) / 100 - 0.001


async def test_jobs_of_one_worker_share_the_rate() -> None:
    pace, loop = Pace(100), asyncio.get_running_loop()
    began = loop.time()

    async def job() -> None:
        for _ in range(15):
            await pace.wait()

    await asyncio.gather(job(), job(), job())
    assert loop.time() - began >= (45 - 10) / 100 - 0.001


async def test_a_slow_rate_spaces_messages() -> None:
    pace, loop = Pace(0.000_1), asyncio.get_running_loop()
    began = loop.time()
    await pace.wait()
    assert loop.time() - began < 1
    second = asyncio.create_task(pace.wait())
    await asyncio.sleep(0)
    assert not second.done()
    second.cancel()


async def test_without_a_rate_nothing_waits() -> None:
    await asyncio.wait_for(asyncio.gather(*[Pace(None).wait() for _ in range(10_000)]), 10)


def test_each_event_loop_has_a_bucket_of_its_own_and_ended_ones_are_forgotten() -> None:
    pace = Pace(5)
    for _ in range(3):
        asyncio.run(pace.wait())
    assert len(pace._limiters) == 1


def test_it_can_be_sent_to_a_child_process() -> None:
    assert pickle.loads(pickle.dumps(Pace(5))).rate == 5
