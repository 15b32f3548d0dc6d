"""What happened, in files outside of Redis: one line a fact, written by whoever did it, never changed.

Each process appends to a file of its own. A line is written by one call before the process goes on, so a kill -9 leaves
it whole. Nothing is forced to disk: the machine itself stays up. Times are microseconds of the machine's monotonic
clock, which all of its processes share.

    accepted <job> <us>                     a producer's add returned: the job is stored
    refused  <us>                           an add was refused or not answered; the producer asks again
    cancel   <job> <answer> <us>            asked, before it is asked for; then what it was answered
    limit    <runs at once>                 of this worker
    start    <job> <fence> <attempt> <us>   a run begins
    end      <job> <fence> <verdict> <us>   it ends: ok, retry, failed, or cancelled (it was told to stop)
    fault    <kind> <worker or *> <us> <us> what was done to a worker or to all, from when to when
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import msgspec

EVERYBODY: Final = "*"
STALLED: Final = "stalled"
"""The fault that a worker finds out itself: the machine gave it no time for most of a lease."""


def now_us() -> int:
    """The time, as all lines tell it."""
    return time.monotonic_ns() // 1000


class Ledger:
    """One process's file, to append to."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._file = os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, *words: object) -> None:
        """Append one line."""
        self.note_all([" ".join(map(str, words))])

    def note_all(self, lines: list[str]) -> None:
        """Append several lines by one write."""
        os.write(self._file, ("\n".join(lines) + "\n").encode())

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Run(msgspec.Struct):
    """One run of a job. `ended` is None when its worker never said so."""

    worker: str
    fence: int
    attempt: int
    started: int
    ended: int | None = None
    verdict: str = ""


class Fault(msgspec.Struct, frozen=True):
    """What was done to a worker, or to all of them."""

    kind: str
    target: str
    since: int
    until: int


class Facts(msgspec.Struct):
    """All that the ledger says.

    Attributes:
        accepted: jobs whose add returned, and when.
        cancelled: jobs that were cancelled before they ran, and when that was answered.
        asked_to_stop: jobs that somebody tried to cancel; whether that came in time is another matter.
        runs: by job, in the order in which they began.
        limits: of each worker, how many runs it may have at once.
        refused: when adds were not taken at first.
    """

    accepted: dict[str, int] = msgspec.field(default_factory=dict)
    cancelled: dict[str, int] = msgspec.field(default_factory=dict)
    asked_to_stop: set[str] = msgspec.field(default_factory=set)
    runs: dict[str, list[Run]] = msgspec.field(default_factory=dict)
    faults: list[Fault] = msgspec.field(default_factory=list)
    limits: dict[str, int] = msgspec.field(default_factory=dict)
    refused: list[int] = msgspec.field(default_factory=list)

    def count(self, kind: str) -> int:
        """How often that fault happened."""
        return sum(fault.kind == kind for fault in self.faults)


def read(folder: Path) -> Facts:
    """Everything that all processes wrote.

    Raises:
        ValueError: a line that is none, with its file and number.
    """
    facts = Facts()
    for path in sorted(folder.iterdir()):
        open_runs: dict[tuple[str, str], Run] = {}
        for number, words in enumerate(_lines(path), 1):
            try:
                _take(facts, path.name, words, open_runs)
            except (ValueError, IndexError, KeyError) as error:
                raise ValueError(f"{path}:{number}: {' '.join(words)!r} is no line of a ledger: {error}") from error
    for runs in facts.runs.values():
        if len(runs) > 1:
            runs.sort(key=lambda run: run.started)
    return facts


def _lines(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):  # what was cut off by the end of its process says nothing
                yield line.split()


def _take(facts: Facts, worker: str, words: list[str], open_runs: dict[tuple[str, str], Run]) -> None:
    match words:
        case ["start", job, fence, attempt, at]:
            run = Run(worker, int(fence), int(attempt), int(at))
            facts.runs.setdefault(job, []).append(run)
            open_runs[job, fence] = run
        case ["end", job, fence, verdict, at]:
            run = open_runs.pop((job, fence))
            run.ended, run.verdict = int(at), verdict
        case ["accepted", job, at]:
            facts.accepted[job] = int(at)
        case ["cancel", job, "cancelled", at]:
            facts.cancelled[job] = int(at)
        case ["cancel", job, answer, at]:
            if answer in ("asked", "requested"):
                facts.asked_to_stop.add(job)
        case ["fault", kind, target, since, until]:
            facts.faults.append(Fault(kind, target, int(since), int(until)))
        case ["limit", most]:
            facts.limits[worker] = int(most)
        case ["refused", at]:
            facts.refused.append(int(at))
        case _:
            raise ValueError("nobody knows this word, or it has too many or too few")
