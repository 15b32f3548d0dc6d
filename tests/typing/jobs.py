"""An application's jobs: the module that its workers load."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import ClassVar

import httpx
import msgspec

from redqueue import (
    INJECTED,
    BaseProcessor,
    Discard,
    Exponential,
    JobContext,
    JobData,
    Retry,
    ServiceRegistry,
    Snooze,
    job_method,
)

registry = ServiceRegistry.get_instance()


class SmsResult(msgspec.Struct):
    total: int
    successful: int


class SmsJobData(JobData[SmsResult]):
    job_type: ClassVar[str] = "sms"
    sub_account_id: str
    phone_numbers: list[str]
    message: str


@registry.resource
async def gateway() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@registry.processor("sms", timeout=timedelta(minutes=10), backoff=Exponential(1, cap=60), give_up_on=(ValueError,))
async def send_sms(data: SmsJobData, context: JobContext, client: httpx.AsyncClient = INJECTED) -> SmsResult:
    start: int = context.restored or 0
    for n, number in enumerate(data.phone_numbers[start:], start):
        answer = await client.post(
            "https://sms.example/send",
            json={"to": number},
            headers={"Idempotency-Key": f"{context.idempotency_key}:{n}"},
        )
        if answer.status_code == 429:
            raise Snooze(float(answer.headers["Retry-After"]))
        if answer.status_code >= 500:
            raise Retry(after=timedelta(seconds=5), reason="gateway down")
        if answer.status_code == 401:
            raise Discard("credentials refused")
        await context.checkpoint(n + 1)
        context.progress((n + 1) / len(data.phone_numbers), f"sent to {number}")
    return SmsResult(total=len(data.phone_numbers), successful=len(data.phone_numbers))


@registry.processor("resize", execution="process", timeout=60)
def resize(data: dict[str, str], context: JobContext) -> list[str]:
    context.progress(0.5, "half").wait()
    context.raise_if_cancelled()
    return [data["key"]]


class Export(BaseProcessor[dict[str, str], int]):
    async def process(self, data: dict[str, str], context: JobContext, /) -> int:
        return len(data) + context.attempt


registry.register_processor("export", Export())


@registry.service("BusinessFinderService")
class BusinessFinder:
    @job_method()
    async def search_businesses(self, search: dict[str, str], user_id: str) -> list[str]:
        JobContext.current().log(f"searching for {user_id}")
        return [search["q"]]

    @job_method(timeout=5, retries=1)
    def get_search_result(self, number: int, *, context: JobContext = INJECTED) -> str:
        return f"{number} {context.attempt}"

    def secret(self) -> str:
        return ""


@registry.task()
def calculate(numbers: list[float]) -> float:
    return sum(numbers)


@registry.task("process_invoice", retries=5)
async def process_invoice(invoice: int, context: JobContext = INJECTED) -> str:
    return f"{invoice} for {context.sub_account_id} from {context.given['source']}"
