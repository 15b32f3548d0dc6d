"""2,000 text messages by a worker that is killed midway: `make demo`, or `python examples/demo/run.py --help`.

It starts an embedded server, adds a job for each contact of contacts.csv plus a service method and a task, starts a
worker process, kills it with SIGKILL when 40 % is done, starts another one and counts what became of every message.
The count is taken outside of Redis, from the file that the pretend gateway of jobs.py writes. Exit code 1 when
anything is lost.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NoReturn, Self

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from redqueue import JobOptions, JobQueueService, QueueStats, RedQueueError, embedded

HERE = Path(__file__).parent
SMS = "sms"
GENERIC = "generic-task"
KILL_AT = 0.4
LEASE = 2
CONCURRENCY = 10
PATIENCE = 30
"""Seconds without any progress after which the demo gives up."""

console = Console(highlight=False)


class Contact(msgspec.Struct, frozen=True):
    """A row of contacts.csv."""

    id: int
    name: str
    phone: str
    city: str
    country: str

    @property
    def job_id(self) -> str:
        """Adding a contact's message again under the same id would change nothing."""
        return f"contact-{self.id}"


class Line(msgspec.Struct, frozen=True):
    """A line of the gateway's file."""

    what: Literal["sent", "refused"]
    contact: int
    key: str
    worker: int


class Added(msgspec.Struct, frozen=True):
    """The jobs that were added, and when."""

    contacts: list[Contact]
    search_id: str
    count_id: str
    began: float

    @property
    def total(self) -> int:
        return len(self.contacts) + 2


class Outcome(msgspec.Struct, frozen=True):
    """What became of them: from the gateway's file, and from Redis."""

    added: int
    completed: int
    retried: int
    recovered: int
    lost: int
    sent_twice: int
    unexplained: int
    keys: int
    seconds: float
    findings: list[str]


class DemoFailed(Exception):
    """The demo can't go on; its text says why."""


def main() -> int:
    """Run the demo; answers the exit code."""
    options = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    contacts = read_contacts(HERE / "contacts.csv")[: options.contacts]
    try:
        with demo_folder(keep=options.keep) as folder:
            return demonstrate(contacts, folder)
    except (DemoFailed, RedQueueError) as error:
        console.print(f"[bold red]The demo failed:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; nothing of the demo is left behind.")
        return 130


def demonstrate(contacts: list[Contact], folder: Path) -> int:
    """The demo itself, from the first job to the table."""
    url = f"embedded://{folder / 'data'}"
    with embedded_server(folder / "data") as version, JobQueueService(url) as service:
        console.print(f"[bold]redqueue demo[/]: one text message for each of {len(contacts):,} contacts\n")
        console.print(f"  server      {version}, embedded: there is nothing to install")
        added = add_jobs(service, contacts)
        console.print(f"  added       {added.total:,} jobs in {time.monotonic() - added.began:.2f} s")
        held, seconds = work_through(service, url, added, folder)
        outcome = count_up(service, added, held, seconds, folder / "outbox.jsonl")
        show(service, added, outcome)
    return 0 if outcome.lost == 0 and not outcome.findings else 1


def add_jobs(service: JobQueueService, contacts: list[Contact]) -> Added:
    """A message for each contact, by one call; and a service method and a task, by name."""
    began = time.monotonic()
    messages: list[tuple[str, object, JobOptions]] = [
        (
            SMS,
            {"contact": contact.id, "phone": contact.phone, "text": f"Hello {contact.name}, we are open until 8!"},
            {"job_id": contact.job_id},
        )
        for contact in contacts
    ]
    service.queue(SMS).add_many(messages)
    search_id = service.execute_service_method(
        "Business Search",
        "BusinessFinderService",
        "search_businesses",
        {"term": "bakery", "city": contacts[0].city, "limit": 2},
    )
    countries = [contact.country for contact in contacts]
    count_id = service.execute_task("Contacts by country", "count_by_country", [countries])
    return Added(contacts, search_id, count_id, began)


def work_through(service: JobQueueService, url: str, added: Added, folder: Path) -> tuple[set[str], float]:
    """Two workers, of which the first is killed. Answers the jobs that it held, and the seconds until all were done."""
    kill_at = int(len(added.contacts) * KILL_AT)
    with Display(len(added.contacts)) as display:
        with worker(url, folder) as first:
            display.say(f"worker 1    process {first.pid}, {CONCURRENCY} jobs at once, a lease of {LEASE} s")
            watch(service, first, folder, display, lambda sms, _: sms.succeeded >= kill_at)
            first.kill()
            first.wait()
        held = {job.job_id for queue in (SMS, GENERIC) for job in service.queue(queue).jobs("active", count=1000)}
        done = service.get_queue_stats(SMS).succeeded
        display.say(f"[bold red]SIGKILL[/]     to worker 1 at {done:,} messages; it held {len(held)} jobs")
        with worker(url, folder) as second:
            display.say(f"worker 2    process {second.pid}; what worker 1 held is due again within {LEASE + 1} s")
            watch(service, second, folder, display, lambda sms, generic: ended(sms) + ended(generic) >= added.total)
            seconds = time.monotonic() - added.began
            second.terminate()
            code = second.wait(timeout=30)
            display.say(f"worker 2    stopped by SIGTERM, exit code {code}")
    return held, seconds


def ended(stats: QueueStats) -> int:
    """How many jobs of a queue have their outcome."""
    return stats.succeeded + stats.failed + stats.cancelled


def watch(
    service: JobQueueService,
    process: subprocess.Popen[bytes],
    folder: Path,
    display: Display,
    is_over: Callable[[QueueStats, QueueStats], bool],
) -> None:
    """Show how far the jobs are until it is over; DemoFailed when the worker ends, or nothing moves any more."""
    seen, moved_at = -1, time.monotonic()
    while True:
        sms, generic = service.get_queue_stats(SMS), service.get_queue_stats(GENERIC)
        display.show(sms.succeeded)
        if is_over(sms, generic):
            return
        if ended(sms) + ended(generic) > seen:
            seen, moved_at = ended(sms) + ended(generic), time.monotonic()
        if process.poll() is not None:
            give_up(f"the worker ended with exit code {process.returncode}", folder)
        if time.monotonic() - moved_at > PATIENCE:
            give_up(f"no job was finished for {PATIENCE} s: {sms}", folder)
        time.sleep(0.05)


def count_up(service: JobQueueService, added: Added, held: set[str], seconds: float, outbox: Path) -> Outcome:
    """Compare what was to be sent with what the gateway has, and with what Redis says."""
    lines = [msgspec.json.decode(line, type=Line) for line in outbox.read_bytes().splitlines()]
    sent = Counter(line.contact for line in lines if line.what == "sent")
    refused = {line.contact for line in lines if line.what == "refused"}
    by_id = {contact.id: contact for contact in added.contacts}
    completed = sum(service.get_queue_stats(queue).succeeded for queue in (SMS, GENERIC))
    findings = [f"contact {contact} got no message" for contact in by_id.keys() - sent.keys()]
    findings += [finding for queue in (SMS, GENERIC) for finding in service.queue(queue).audit()]
    stalled = (times - 1 for contact, times in sent.items() if by_id[contact].job_id not in held)
    return Outcome(
        added=added.total,
        completed=completed,
        retried=len(refused & sent.keys()),
        recovered=len(held),
        lost=max(len(by_id.keys() - sent.keys()), added.total - completed),
        sent_twice=sum(times - 1 for times in sent.values()),
        unexplained=sum(stalled),
        keys=len({line.key for line in lines if line.what == "sent"}),
        seconds=seconds,
        findings=findings,
    )


def show(service: JobQueueService, added: Added, outcome: Outcome) -> None:
    """The table, and what it can't say."""
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    colour = "green" if outcome.lost == 0 else "bold red"
    for name, value, why in (
        ("added", f"{outcome.added:,}", f"{len(added.contacts):,} messages, a service method, a task"),
        ("completed", f"{outcome.completed:,}", "with one recorded outcome each"),
        ("retried", f"{outcome.retried:,}", "refused by the gateway at first, as 1 in 20 are"),
        ("recovered", f"{outcome.recovered:,}", "held by worker 1 when it was killed, run by worker 2"),
        ("lost", f"[{colour}]{outcome.lost:,}[/]", "counted in the gateway's file, outside of Redis"),
        ("sent twice", f"{outcome.sent_twice:,}", "sent by worker 1, killed before it could say so"),
        ("seconds", f"{outcome.seconds:.1f}", "from the first add to the last outcome"),
        ("jobs/s", f"{outcome.completed / outcome.seconds:,.0f}", "the pretend gateway takes at most 250"),
    ):
        table.add_row(name, value, why)
    console.print()
    for name, job_id in (("service", added.search_id), ("task", added.count_id)):
        status = service.get_job_status(GENERIC, job_id)
        console.print(f"  {name:<11} {escape(f'{status.label}: {status.result}') if status else 'not kept any more'}")
    console.print()
    console.print(table)
    if outcome.unexplained:
        console.print(
            f"  {outcome.unexplained} of those sent twice were not worker 1's: this machine stalled for {LEASE} s"
        )
    for finding in outcome.findings[:10]:
        console.print(f"  [bold red]wrong[/]       {escape(finding)}")
    console.print()
    console.print(verdict(outcome))


def verdict(outcome: Outcome) -> str:
    """What to make of it, in words."""
    if outcome.lost:
        return f"[bold red]{outcome.lost:,} jobs were lost.[/]"
    twice = f"{outcome.sent_twice} message{'s' if outcome.sent_twice != 1 else ''} went out twice"
    return (
        f"[bold]At least once; one recorded outcome.[/] Nothing was lost. {twice}: the gateway had them when the "
        "worker died. Every run of a job has the same context.idempotency_key, so a gateway that knows keys would have "
        f"sent {outcome.keys:,}."
    )


class Display:
    """Progress for people: a live bar on a terminal, else a line at every tenth."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._said = 0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        if console.is_terminal:
            columns = (TextColumn("  messages   "), BarColumn(bar_width=40), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task("", total=self._total)
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        console.print(f"  {text}")

    def show(self, done: int) -> None:
        """How many messages are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
        elif done * 10 // self._total > self._said:
            self._said = done * 10 // self._total
            console.print(f"  messages    {done:,} of {self._total:,}")


@contextmanager
def worker(url: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process of its own; it never outlives the block."""
    command = [sys.executable, "-m", "redqueue.worker", "jobs", "--app-dir", str(HERE), "--url", url]
    command += ["--queues", f"{SMS}:{CONCURRENCY},{GENERIC}:2", "--lease", str(LEASE)]
    ours = ("REDQUEUE_", "REDIS_", "QUEUE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment["DEMO_OUTBOX"] = str(folder / "outbox.jsonl")
    if "REDQUEUE_SERVER" in os.environ:
        environment["REDQUEUE_SERVER"] = os.environ["REDQUEUE_SERVER"]
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def embedded_server(folder: Path) -> Iterator[str]:
    """The embedded server of a folder; its kind and version. It would go on after this process: so it is stopped."""
    embedded.ensure(folder)
    try:
        status = embedded.status(folder)
        assert status is not None
        yield status.version
    finally:
        embedded.stop(folder)


@contextmanager
def demo_folder(*, keep: bool) -> Iterator[Path]:
    """Where server, worker log and the gateway's file are: a temporary folder, or one that stays."""
    if not keep:
        with tempfile.TemporaryDirectory(prefix="redqueue-demo-") as name:
            yield Path(name)
        return
    folder = Path(tempfile.mkdtemp(prefix="redqueue-demo-"))
    yield folder
    console.print(f"\nKept in {folder}: outbox.jsonl (the gateway's file), worker.log and the server's data.")


def read_contacts(file: Path) -> list[Contact]:
    """The rows of contacts.csv."""
    with file.open(encoding="utf-8", newline="") as rows:
        return msgspec.convert(list(csv.DictReader(rows)), list[Contact], strict=False)


def give_up(why: str, folder: Path) -> NoReturn:
    """End with the worker's last words."""
    words = (folder / "worker.log").read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    raise DemoFailed("\n".join([f"{why}. Its log ends:", *words]))


def leave(number: int, frame: object) -> NoReturn:
    """On a signal: end as by Ctrl-C, so that server and worker end too."""
    raise KeyboardInterrupt


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="2,000 text messages by a worker that is killed midway.")
    parser.add_argument(
        "--contacts", type=int, default=2000, metavar="N", help="only the first N contacts (at least 100)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with the gateway's file and the logs")
    options = parser.parse_args()
    if options.contacts < 100:
        parser.error("--contacts: fewer than 100 are done before the worker can be killed")
    return options


if __name__ == "__main__":
    sys.exit(main())
