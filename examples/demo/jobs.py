"""The demo's registry module: what `python -m redqueue.worker jobs` may run. `run.py` starts it; `make demo` runs that.

The gateway is a pretend one. It writes each message into a file instead of sending it, and refuses one in twenty the
first time. It takes a message before it answers, as a real one does: a worker that dies in between has sent it and
could not say so.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Literal

import msgspec

from redqueue import Exponential, JobContext, ServiceRegistry, job_method

ANSWERS_AFTER = 0.04
REFUSES_ONE_IN = 20

registry = ServiceRegistry.get_instance()


class Sms(msgspec.Struct, forbid_unknown_fields=True):
    """One text message, as its job carries it."""

    contact: int
    phone: str
    text: str


class GatewayBusy(Exception):
    """The gateway refused a message: try again later."""


async def hand_over(sms: Sms, context: JobContext) -> None:
    """Give a message to the gateway, under a key by which it could tell a second copy from the first."""
    if context.attempt == 1 and sms.contact % REFUSES_ONE_IN == 0:
        note("refused", sms, context)
        raise GatewayBusy(f"contact {sms.contact}: too many messages at once")
    note("sent", sms, context)
    await asyncio.sleep(ANSWERS_AFTER)


def note(what: Literal["sent", "refused"], sms: Sms, context: JobContext) -> None:
    """One line in the gateway's file. Appended by one write, so that lines never mix and what is written stays."""
    facts = {"what": what, "contact": sms.contact, "phone": sms.phone, "text": sms.text, "attempt": context.attempt}
    facts |= {"key": context.idempotency_key, "worker": os.getpid()}
    file = os.open(os.environ["DEMO_OUTBOX"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, msgspec.json.encode(facts) + b"\n")
    finally:
        os.close(file)


@registry.processor("sms", retries=3, backoff=Exponential(first=0.5, cap=5))
async def send_sms(sms: Sms, context: JobContext) -> str:
    """Send one message; what it raises is retried, up to three times."""
    await hand_over(sms, context)
    return f"sent to {sms.phone}"


@registry.service("BusinessFinderService")
class BusinessFinder:
    """A service: of its methods, jobs may call the marked ones."""

    @job_method()
    async def search_businesses(self, term: str, city: str, limit: int = 3) -> list[str]:
        """Names of businesses, made up."""
        return [f"{city} {term.title()} {number}" for number in range(1, limit + 1)]


@registry.task()
def count_by_country(countries: list[str]) -> dict[str, int]:
    """How many contacts each country has. A plain function: it runs in a thread."""
    return dict(Counter(countries))
