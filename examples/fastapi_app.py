"""A FastAPI app that adds jobs and runs them in its own process, beside its requests.

From the repository's root, without a Redis on the machine (pip install fastapi uvicorn):

    REDIS_URL=embedded:// uvicorn examples.fastapi_app:app

    curl -X POST localhost:8000/searches -H 'content-type: application/json' -d '{"term": "bakery", "city": "Bonn"}'
    curl localhost:8000/jobs/generic-task/JOB_ID

For workers of their own, leave the `Worker` out of `lifespan` and start `python -m redqueue.worker examples.services`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from examples.services import Search, exports, finder, registry
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from redqueue import AsyncJobQueueService, BadInput, JobStatus, QueueHealth, QueueStats, RedisError, Worker


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """The service and a worker, as long as the app runs. Leaving waits for the jobs that run."""
    async with AsyncJobQueueService.from_env() as service, Worker(registry=registry, concurrency=20):
        app.state.jobs = service
        yield


app = FastAPI(lifespan=lifespan)


def get_jobs(request: Request) -> AsyncJobQueueService:
    """The app's one service."""
    service: AsyncJobQueueService = request.app.state.jobs
    return service


Jobs = Annotated[AsyncJobQueueService, Depends(get_jobs)]


class SearchRequest(BaseModel):
    """What a client sends."""

    term: str
    city: str
    user_id: str = "guest"


class Accepted(BaseModel):
    """Where to ask for the outcome."""

    job_id: str
    status_url: str


@app.post("/searches", status_code=202)
async def search(body: SearchRequest, jobs: Jobs) -> Accepted:
    """Add a job for a service's method: typed, so a wrong argument is an error of mypy's."""
    job = await jobs.with_options(retries=3, user_id=body.user_id).execute(
        finder.search_businesses, Search(body.term, body.city), body.user_id
    )
    return Accepted(job_id=job.id, status_url=f"/jobs/{job.queue}/{job.id}")


@app.post("/jobs/{job_type}/{job_id}/export", status_code=202)
async def export(job_type: str, job_id: str, jobs: Jobs) -> Accepted:
    """Add a job by names, with what another one found. Adding it twice is safe: its id is that of the search."""
    status = await jobs.get_job_status(job_type, job_id)
    if status is None or status.status != "completed":
        raise HTTPException(409, "not completed, or no longer kept")
    new_id = await jobs.execute_service_method(
        "Export", "ExportService", exports.export_to_csv.__name__, [status.result], job_id=f"export-{job_id}"
    )
    return Accepted(job_id=new_id, status_url=f"/jobs/generic-task/{new_id}")


@app.get("/jobs/{job_type}/{job_id}")
async def job_status(job_type: str, job_id: str, jobs: Jobs) -> JobStatus:
    """State, attempts, result and times: redqueue's records are dataclasses, which FastAPI serialises as they are."""
    status = await jobs.get_job_status(job_type, job_id)
    if status is None:
        raise HTTPException(404, "never added, or finished and no longer kept")
    return status


@app.get("/queues/{job_type}")
async def stats(job_type: str, jobs: Jobs) -> QueueStats:
    """One queue in numbers."""
    return await jobs.get_queue_stats(job_type)


@app.get("/health")
async def health(jobs: Jobs) -> QueueHealth:
    """Whether jobs move: Redis answers, nobody paused the queue, and a worker is there."""
    return await jobs.get_queue_health("generic-task")


@app.exception_handler(BadInput)
async def refused(request: Request, error: BadInput) -> JSONResponse:
    """What no queue or job can be called, data that is too large: the client's mistake, and nothing was sent."""
    return JSONResponse({"detail": str(error)}, 422)


@app.exception_handler(RedisError)
async def without_redis(request: Request, error: RedisError) -> JSONResponse:
    """Redis is away or full: the client may come again."""
    content: dict[str, Any] = {"detail": str(error)}
    return JSONResponse(content, 503, headers={"Retry-After": "5"})
