"""Each line of these functions must be refused by both checkers; a test takes the comments away."""

from __future__ import annotations

import redis
import redis.asyncio
from tests.typing.jobs import BusinessFinder, SmsJobData, SmsResult, send_sms

import redqueue
from redqueue import AsyncJob, AsyncJobQueueService, AsyncQueue, JobContext, Queue, Worker


async def for_tasks(q: AsyncQueue, s: AsyncJobQueueService, f: BusinessFinder, data: SmsJobData) -> None:
    await q.add("sms", {}, retrys=3)  # type: ignore[call-overload]
    await q.add("sms", {}, timeout="3")  # type: ignore[call-overload]
    await q.add("sms", {}, on_conflict="kep")  # type: ignore[call-overload]
    await q.add("sms", {}, group="sub_123")  # type: ignore[call-overload]
    await q.add("sms", {}, retries="3")  # type: ignore[call-overload]
    await q.add(send_sms, {"message": ""})  # type: ignore[arg-type]
    await q.add(send_sms)  # type: ignore[call-overload]
    await q.add_many(["sms"])  # type: ignore[list-item]
    await q.clean("blocked")  # type: ignore[arg-type]
    await q.pause(group="x")  # type: ignore[call-arg]
    await s.add({"message": ""})  # type: ignore[arg-type]
    await s.execute(f.search_businesses, {"q": "x"})  # type: ignore[call-overload]
    await s.execute(f.search_businesses, {"q": "x"}, 7)  # type: ignore[call-overload]
    await s.execute(f.get_search_result, 1, retries=3)  # type: ignore[arg-type,call-arg]
    await s.execute_task("x", "process_data", "abc")  # type: ignore[arg-type]
    await s.execute_service_method("x", "service", "method", [], contxt={})  # type: ignore[call-arg]
    await (await q.add(data)).result("5")  # type: ignore[arg-type]
    takes(await q.add(data))  # type: ignore[arg-type]
    s.add(SmsJobData(sub_account_id="", phone_numbers=[], message="", nope=1))  # type: ignore[call-arg,unused-coroutine]


def for_threads(q: Queue, c: JobContext, job: AsyncJob[SmsResult]) -> None:
    Queue("x", retry=3)  # type: ignore[call-arg]
    Queue("x", client=redis.asyncio.Redis())  # type: ignore[arg-type]
    AsyncQueue("x", client=redis.Redis())  # type: ignore[arg-type]
    Worker(["x"], conc=3)  # type: ignore[call-arg]
    q.events(kinds={"done"})  # type: ignore[arg-type]
    q.add("sms").result("5")  # type: ignore[arg-type]
    c.progress("half")  # type: ignore[arg-type]
    print(q.schedules)  # type: ignore[attr-defined]
    print(redqueue.Qeue)  # type: ignore[attr-defined]
    takes(job)  # type: ignore[arg-type]


def takes(job: AsyncJob[int]) -> None:
    print(job)
