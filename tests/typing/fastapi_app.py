"""A FastAPI application: handles for tasks, and a worker beside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, assert_type

from fastapi import Depends, FastAPI, HTTPException, Request
from tests.typing.jobs import BusinessFinder, SmsJobData, SmsResult, process_invoice, registry, send_sms

from redqueue import AsyncJob, AsyncJobQueueService, AsyncQueue, JobFailed, JobStatus, QueueStats, ResultTimeout, Worker

finder = BusinessFinder()
registry.register_service("BusinessFinderService", finder, [finder.search_businesses, "get_search_result"])


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    worker = Worker(["sms", "generic-task"], registry=registry, concurrency=20)
    async with AsyncJobQueueService.from_env() as service, worker:
        app.state.jobs = service
        yield


app = FastAPI(lifespan=lifespan)


def jobs(request: Request) -> AsyncJobQueueService:
    service: AsyncJobQueueService = request.app.state.jobs
    return service


Jobs = Annotated[AsyncJobQueueService, Depends(jobs)]


@app.post("/campaigns", status_code=202)
async def campaign(body: dict[str, Any], service: Jobs) -> dict[str, str]:
    data = {"subAccountId": "sub_123", "phoneNumbers": body["to"], "message": "Hi"}
    job_id = await service.add_job("sms", data, retries=3, delay=5)
    assert_type(job_id, str)
    return {"jobId": job_id, "status": "processing"}


@app.get("/jobs/{job_type}/{job_id}/status")
async def status(job_type: str, job_id: str, service: Jobs) -> JobStatus:
    found = await service.get_job_status(job_type, job_id)
    if found is None:
        raise HTTPException(404, "never added, or finished and no longer kept")
    return found


@app.get("/jobs/{job_type}/stats")
async def stats(job_type: str, service: Jobs) -> QueueStats:
    return await service.get_queue_stats(job_type)


@app.post("/search")
async def search(q: str, service: Jobs) -> list[str]:
    a = await service.execute(finder.search_businesses, {"q": q}, "user_1")
    b = await service.with_options(retries=3, delay=2, sub_account_id="s").execute(finder.get_search_result, 7)
    c = await service.with_options(context={"source": "upload"}).execute(process_invoice, 17)
    assert_type(a, AsyncJob[list[str]])
    assert_type(b, AsyncJob[str])
    assert_type(c, AsyncJob[str])
    parameters = [{"q": q}, "u"]
    d = await service.execute_service_method("Search", "BusinessFinderService", "search_businesses", parameters)
    e = await service.execute_task("Data", "process_data", {"rows": [1, 2]}, user_id="u", context={"source": "x"})
    text: str = await b.result(timeout=5) + await c.result(5)
    try:
        return [*await a.result(timeout=10), text, d, e]
    except (ResultTimeout, JobFailed) as error:
        raise HTTPException(502, str(error)) from error


async def typed() -> None:
    async with AsyncQueue("sms", retries=5) as queue:
        data = SmsJobData(sub_account_id="s", phone_numbers=[], message="")
        assert_type(await queue.add(send_sms, data, retries=3), AsyncJob[SmsResult])
        assert_type(await queue.add(data, delay=5), AsyncJob[SmsResult])
        untyped = await queue.add("sms", {"message": ""}, backoff=0.1)
        assert_type(await untyped.cancel("enough") in ("cancelled", "requested"), bool)
        many = await queue.add_many([("sms", {"s": 0}) for _ in range(2000)], retries=1)
        assert_type(many, Sequence[AsyncJob[Any]])
        await queue.add_many([data, ("sms", {"s": 1}, {"priority": 3})])
        assert_type(await queue.get_data(untyped.id, SmsJobData), SmsJobData | None)
        for found in await queue.jobs("failed", count=10):
            await queue.retry(found.job_id, fresh=False)
