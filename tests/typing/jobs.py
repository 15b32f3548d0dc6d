"""An application's jobs: the module that its workers load."""

from __future__ import annotations

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
    Keep,
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


@registry.processor("sms", backoff=Exponential(1, cap=60), give_up_on=(ValueError,), keep_failed=Keep(age=3600))
async def send_sms(data: SmsJobData, context: JobContext) -> SmsResult:
    headers = {"Idempotency-Key": context.idempotency_key}
    async with httpx.AsyncClient() as client:
        answer = await client.post("https://sms.example/send", json={"to": data.phone_numbers}, headers=headers)
    if answer.status_code == 429:
        raise Snooze(float(answer.headers["Retry-After"]))
    if answer.status_code >= 500:
        raise Retry(after=timedelta(seconds=5), reason="gateway down")
    if answer.status_code == 401:
        raise Discard("credentials refused")
    return SmsResult(total=len(data.phone_numbers), successful=len(data.phone_numbers))


@registry.processor("resize", execution="thread", retries=1)
def resize(data: dict[str, str], context: JobContext) -> list[str]:
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
        return [search["q"], user_id, JobContext.current().job_id]

    @job_method(retries=1, backoff=0.5)
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
