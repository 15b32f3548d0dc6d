"""All job types behind one FastAPI app: `python -m examples.job_types.app`, from the repository's root.

It needs `pip install 'redqueue-jobs[embedded,sms,email,export,files,web]' aiosmtpd fastapi httpx uvicorn`. Jobs run in
the app's own process, beside its requests, with an embedded server; mail server and language model are the stand-ins of
the other examples. Open http://127.0.0.1:8000/, or:

    curl -X POST localhost:8000/exports -H 'X-Sub-Account: sub_123' -H 'content-type: application/json' -d '{}'
    curl 'localhost:8000/api/jobs/data-export/JOB_ID/status?wait=20' -H 'X-Sub-Account: sub_123'
"""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

import uvicorn
from examples.job_types import (
    email_with_attachment,
    image_thumbnails,
    million_row_export,
    report_and_cleanup,
    sms_campaign,
    streamed_text,
)
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from redqueue import (
    AsyncJobQueueService,
    AsyncQueue,
    BadInput,
    JobData,
    JobStatus,
    RedisError,
    ServiceRegistry,
    Worker,
    embedded,
)
from redqueue.processors.sms import FileProvider
from redqueue.processors.storage import InvalidKey, Storage
from redqueue.shapes import Attachment, DataExportJobData, EmailJobData, SmsJobData
from redqueue.tasks.notifier import Notifier
from redqueue.web import Action, jobs_app

HERE = Path(__file__).parent
LARGEST_UPLOAD = 10_000_000
LEADS = 5_000
GENERIC = "generic-task"

Account = Annotated[str, Header(alias="X-Sub-Account", pattern=r"^[A-Za-z0-9_]{1,64}$")]
"""STAND-IN for a login: who asks. An application takes it from its session or token."""

Seconds = Annotated[float, Field(ge=0, le=86_400)]
FileName = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9]{1,8}$")]


class Jobs:
    """What the app adds jobs by, and where their files are.

    Attributes:
        told: by user, what they were told in the application.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.service = AsyncJobQueueService(url)
        self.status = jobs_app(self.service, authorize=authorize, prefix="/api/jobs")
        self.storage = Storage(folder / "files", link="/files/{key}")
        self.told: dict[str, list[str]] = {}

    def tell(self, user: str, message: str, context: Mapping[str, Any]) -> None:
        """The kind "in_app"."""
        self.told.setdefault(user, []).append(message)

    async def add(self, data: JobData[Any], message: str) -> Accepted:
        """Add a job, and say where to ask for it."""
        job = await self.service.add(data)
        return self.accepted(job.queue, job.id, message)

    def accepted(self, job_type: str, job_id: str, message: str) -> Accepted:
        """What a request that added a job answers."""
        return Accepted(message=message, job_id=job_id, check_status_at=self.status.status_url(job_type, job_id))

    def write_bill(self, account: str) -> str:
        """Store a bill; its key."""
        key = f"bills/{account}/{uuid4().hex}.csv"
        with self.storage.writing(key) as file:
            file.write(b"what,sum\r\nflowers,12.50\r\n")
        return key

    def register(self, stack: ExitStack) -> ServiceRegistry:
        """All that may run, with stand-ins that end with the stack."""
        mail_server = stack.enter_context(email_with_attachment.stand_in_mail_server())
        model = stack.enter_context(streamed_text.stand_in_model(pace=0.01))
        database = self.folder / "app.db"
        million_row_export.fill(database, LEADS)
        report_and_cleanup.fill(database)
        notifier = Notifier(in_app=self.tell)
        registry = ServiceRegistry()
        sms_campaign.register(registry, FileProvider(self.folder / "outbox.jsonl"), rate=100)
        email_with_attachment.register(registry, email_with_attachment.sender_to(mail_server), self.storage)
        million_row_export.register(registry, database, self.storage, notifier)
        image_thumbnails.register(registry, self.storage)
        streamed_text.register(registry, f"http://127.0.0.1:{model.server_port}/v1", "stand-in", "")
        report_and_cleanup.register(registry, database, self.storage)
        return registry


async def authorize(request: Request, action: Action, job_type: str, status: JobStatus | None) -> bool:
    """A sub-account sees its own jobs; the queues' numbers are for nobody here."""
    return action == "status" and status is not None and status.sub_account_id == request.headers.get("x-sub-account")


class Wire(BaseModel):
    """camelCase outside, snake_case inside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Accepted(Wire):
    """What became of a request: a job, and where to ask for its outcome."""

    message: str
    job_id: str
    status: Literal["processing"] = "processing"
    check_status_at: str


def get_jobs(request: Request) -> Jobs:
    """The app's one."""
    jobs: Jobs = request.app.state.jobs
    return jobs


Here = Annotated[Jobs, Depends(get_jobs)]
router = APIRouter()


class SmsCampaign(Wire):
    """One text to many numbers."""

    phone_numbers: list[str]
    message: str


class Email(Wire):
    """A bill to somebody."""

    to: str
    month: str


class Export(Wire):
    """The account's leads."""

    format: Literal["csv", "excel", "pdf", "json"] = "csv"
    filters: dict[str, Any] | None = None


class Text(Wire):
    """What a language model shall write."""

    topic: str
    sections: list[str]


class Report(Wire):
    """A report of the account's orders, now or later."""

    type: Literal["monthly", "daily", "summary"] = "monthly"
    filters: dict[str, Any] | None = None
    format: Literal["csv", "excel", "pdf", "json"] | None = None
    delay: Seconds = 0


class Cleanup(Wire):
    """Logins that are older shall go, now or later."""

    days_old: int
    dry_run: bool = False
    delay: Seconds = 0


@router.get("/")
async def page() -> FileResponse:
    """A button for each job type, and the status of the jobs."""
    return FileResponse(HERE / "page.html")


@router.post("/sms-campaigns", status_code=202)
async def send_campaign(body: SmsCampaign, account: Account, jobs: Here) -> Accepted:
    """Bad numbers are failed entries of the job's result. What no job can be is a 422 of `refused`."""
    data = SmsJobData(sub_account_id=account, phone_numbers=body.phone_numbers, message=body.message)
    return await jobs.add(data, f"Sending to {len(body.phone_numbers)} numbers")


@router.post("/emails", status_code=202)
async def send_bill(body: Email, account: Account, jobs: Here) -> Accepted:
    """The bill is made here, and attached by its key: no job carries a file."""
    bill = await run_in_threadpool(jobs.write_bill, account)
    data = EmailJobData(
        sub_account_id=account,
        to=body.to,
        subject=f"Your bill for {body.month}",
        template="bill",
        template_data={"name": account, "amount": "12.50 EUR", "month": body.month},
        attachments=[Attachment(key=bill, name="Bill.csv")],
    )
    return await jobs.add(data, "Sending the bill")


@router.post("/exports", status_code=202)
async def export(body: Export, account: Account, jobs: Here) -> Accepted:
    """The link is in the result; the user, who is the account itself here, is told in the application, too."""
    data = DataExportJobData(
        sub_account_id=account, user_id=account, export_type="leads", format=body.format, filters=body.filters
    )
    return await jobs.add(data, "Exporting the leads")


@router.post("/uploads/{name}", status_code=202)
async def upload(name: FileName, request: Request, account: Account, jobs: Here) -> Accepted:
    """Store the body, and have a thumbnail made of it."""
    content = bytearray()
    async for block in request.stream():
        content += block
        if len(content) > LARGEST_UPLOAD:
            raise HTTPException(413, f"at most {LARGEST_UPLOAD:,} bytes")
    unique = f"{uuid4().hex}-{name}"  # a second cat.jpg must not replace the first one while its job waits
    data = await run_in_threadpool(image_thumbnails.upload, jobs.storage, account, unique, bytes(content))
    return await jobs.add(data, "Making a thumbnail")


@router.post("/texts", status_code=202)
async def write(body: Text, account: Account, jobs: Here) -> Accepted:
    """What is written meanwhile is at /texts/JOB_ID."""
    data = streamed_text.TextJobData(sub_account_id=account, topic=body.topic, sections=body.sections)
    return await jobs.add(data, "Writing")


@router.get("/texts/{job_id}")
async def read_along(job_id: str, account: Account, jobs: Here) -> StreamingResponse:
    """The text's end again and again while it is written, as server-sent events."""
    queue = jobs.service.queue("ai-text")
    status = await queue.get_status(job_id)
    if status is None or status.sub_account_id != account:
        raise HTTPException(404, "never added, or finished and no longer kept")
    return StreamingResponse(tails(queue, status), media_type="text/event-stream")


async def tails(queue: AsyncQueue, status: JobStatus) -> AsyncIterator[str]:
    """An event for each progress of the job, until it has ended."""
    if status.status not in ("pending", "processing"):
        yield f"event: {status.status}\ndata: \n\n"
        return
    async with aclosing(queue.events(since="0")) as events:
        async for event in events:
            if event.kind == "missed":
                return  # the browser's EventSource asks again
            if event.job_id != status.job_id:
                continue
            if event.kind == "progress":
                yield f"data: {json.dumps(event.facts.get('data'))}\n\n"
            elif event.kind in ("completed", "failed", "cancelled", "removed"):
                yield f"event: {event.kind}\ndata: \n\n"
                return


@router.post("/reports", status_code=202)
async def report(body: Report, account: Account, jobs: Here) -> Accepted:
    """Figures of the account's orders as data, or as a file with a link; by a built-in function."""
    context: dict[str, Any] = {"sums": ["cents"], "group_by": ["status"]}
    job_id = await jobs.service.execute_task(
        "Report",
        "generate_report",
        {"type": body.type, "filters": body.filters},
        context=context if body.format is None else {**context, "format": body.format},
        sub_account_id=account,
        delay=body.delay,
    )
    return jobs.accepted(GENERIC, job_id, "Making the report")


@router.post("/cleanups", status_code=202)
async def clean_up(body: Cleanup, account: Account, jobs: Here) -> Accepted:
    """Delete old logins, or only count them. Who may ask for that is for your login to say."""
    job_id = await jobs.service.execute_task(
        "Cleanup",
        "cleanup_old_data",
        {"table_name": "logins", "days_old": body.days_old},
        context={"dry_run": body.dry_run},
        sub_account_id=account,
        delay=body.delay,
    )
    return jobs.accepted(GENERIC, job_id, "Cleaning up")


@router.get("/files/{key:path}")
def download(key: str, account: Account, jobs: Here) -> StreamingResponse:
    """A file of the account's own: the second part of a key is whose it is."""
    try:
        if key.split("/")[1:2] != [account] or not jobs.storage.exists(key):
            raise HTTPException(404)
    except InvalidKey:
        raise HTTPException(404) from None
    return StreamingResponse(blocks(jobs.storage, key), media_type="application/octet-stream")


def blocks(storage: Storage, key: str) -> Iterator[bytes]:
    """A file, piece by piece."""
    with storage.reading(key) as file:
        while block := file.read(1 << 16):
            yield block


@router.get("/notifications")
async def notifications(account: Account, jobs: Here) -> list[str]:
    """What the account was told in the application."""
    return jobs.told.get(account, [])


async def refused(request: Request, error: Exception) -> JSONResponse:
    """Data that no job can have: the client's mistake, and nothing was sent."""
    return JSONResponse({"detail": str(error)}, 422)


async def without_redis(request: Request, error: Exception) -> JSONResponse:
    """Redis is away or full: the client may come again."""
    return JSONResponse({"detail": "come again later"}, 503, headers={"Retry-After": "5"})


def create_app(url: str, folder: Path) -> FastAPI:
    """The app, with its files in a folder."""
    jobs = Jobs(url, folder)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        """The stand-ins and a worker, as long as the app runs. Leaving waits for the jobs that run."""
        with ExitStack() as stack:
            registry = await run_in_threadpool(jobs.register, stack)
            async with jobs.service, Worker(url=url, registry=registry, concurrency=10):
                yield

    app = FastAPI(lifespan=lifespan)
    app.state.jobs = jobs
    app.include_router(router)
    app.mount(jobs.status.prefix, jobs.status)
    app.add_exception_handler(BadInput, refused)
    app.add_exception_handler(RedisError, without_redis)
    return app


def serve(port: int) -> None:
    """The app on loopback, with a folder and an embedded server that go with it."""
    # After its shutdown uvicorn raises the signal again: without this SIGTERM would end the process there.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        try:
            uvicorn.run(create_app(f"embedded://{folder}/data", Path(folder)), port=port, timeout_graceful_shutdown=5)
        finally:
            embedded.stop(f"{folder}/data")


if __name__ == "__main__":  # child processes import this file, too
    serve(8000)
