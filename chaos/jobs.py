"""What the workers under test run: jobs that write down that they began and how they ended."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

import msgspec
from chaos.ledger import Ledger, now_us

from redqueue import Discard, JobContext, Retry, ServiceRegistry

JOB_TYPE: Final = "order"
Fate = Literal["ok", "flaky", "broken"]


class Order(msgspec.Struct):
    """How long a job takes, and what becomes of it: flaky asks once for another try, broken fails for good."""

    ms: float = 0
    does: Fate = "ok"


def registry_of(ledger: Ledger) -> ServiceRegistry:
    """A registry whose runs are noted in this ledger."""
    registry = ServiceRegistry()

    @registry.processor(JOB_TYPE)
    async def order(data: Order, context: JobContext) -> int:
        """Take a while; the result is the fence, so that Redis tells whose outcome it recorded."""
        ledger.note("start", context.job_id, context.fence, context.attempt, now_us())
        verdict = "cancelled"
        try:
            await asyncio.sleep(data.ms / 1000)
            if data.does == "flaky" and context.attempt == 1:
                verdict = "retry"
                raise Retry(after=0.05)
            if data.does == "broken":
                verdict = "failed"
                raise Discard("as it was told")
            verdict = "ok"
            return context.fence
        finally:
            ledger.note("end", context.job_id, context.fence, verdict, now_us())

    return registry
