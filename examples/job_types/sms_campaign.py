"""One text to a thousand numbers: `python examples/job_types/sms_campaign.py`.

It needs `pip install 'redqueue-jobs[embedded,sms]'`. Every fortieth number is none, and becomes a failed entry of the
result; the job completes all the same. The messages go to a file instead of a gateway: put `TwilioProvider.from_env()`
or a `GatewayProvider` in its place.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import msgspec

from redqueue import Job, Queue, ServiceRegistry, Worker, embedded
from redqueue.processors.sms import FileProvider, SmsProcessor, SmsProvider
from redqueue.shapes import SmsJobData, SmsResult

TEXT = "Open until 8 tonight. Reply STOP to get no more of these."
MOST = 1_000


def register(registry: ServiceRegistry, provider: SmsProvider, rate: float | None = None) -> None:
    """What a worker's module does; numbers without a country code are German ones."""
    processor = SmsProcessor(provider, rate=rate, concurrency=50, default_region="DE")
    registry.register_processor("sms", processor, retries=10)


def contacts(count: int) -> list[str]:
    """Numbers that Germany's regulator keeps for films; every fortieth is what people write into forms."""
    return ["ask at the desk" if n % 40 == 39 else f"030 23125-{n:03d}" for n in range(count)]


def follow(queue: Queue, job: Job[SmsResult]) -> SmsResult:
    """Print how far the job is, by the queue's events, until it has ended; its result, or a `JobFailed`."""
    shown = 0.0
    for event in queue.events(since="0", kinds={"progress", "completed", "failed"}):
        if event.job_id != job.id:
            continue
        if event.kind != "progress":
            break
        done = event.facts["progress"]
        if done >= shown + 0.1 or shown < done == 1:
            shown = done
            print(f"  {shown:4.0%}  {event.facts['message']}")
    return job.result(30)


def main(url: str, outbox: Path, count: int, rate: float) -> int:
    """Send, and compare what the result says with what went out."""
    registry = ServiceRegistry()
    register(registry, FileProvider(outbox), rate)
    data = SmsJobData(sub_account_id="sub_123", phone_numbers=contacts(count), message=TEXT, campaign_id="tonight")
    with Queue("sms", url) as queue, Worker(["sms"], url, registry=registry).in_thread():
        job = queue.add(data, job_id="campaign-tonight")
        print(f"campaign of {count:,} contacts, {rate:g} messages a second at most")
        result = follow(queue, job)
    lines = [msgspec.json.decode(line) for line in outbox.read_bytes().splitlines()]
    failed = [one for one in result.results if one.status == "failed"]
    print(f"sent {result.successful:,}, failed {result.failed:,}, segments a message {result.segments}")
    if failed:
        print(f"first failed: {failed[0].to!r}: {failed[0].error}")
    print(f"in the outbox {len(lines):,}, with {len({line['key'] for line in lines}):,} idempotency keys")
    return 0 if len(lines) == result.successful == count - count // 40 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One text to many numbers.")
    parser.add_argument("--contacts", type=int, default=1_000, choices=range(1, MOST + 1), metavar=f"1..{MOST}")
    parser.add_argument("--rate", type=float, default=1_000, help="messages a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            code = main(f"embedded://{folder}/data", Path(folder, "outbox.jsonl"), options.contacts, options.rate)
        finally:
            embedded.stop(f"{folder}/data")
    raise SystemExit(code)
