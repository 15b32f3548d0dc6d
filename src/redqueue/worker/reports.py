"""What running jobs tell of themselves, gathered from all threads until a trip takes it along."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Any, Final, TypeAlias

from redqueue.core.lease import MOST_A_CALL, MOST_BYTES, Claimed, Reports
from redqueue.core.report import LINE, Kind
from redqueue.defaults import MAX_LOG_LINES
from redqueue.errors import LeaseLost, Seconds
from redqueue.units import to_ms

FLUSH_WITHIN: Final = 0.25
"""Seconds for which a report waits for company, unless somebody waits for it."""


class Noted:
    """The receipt of one report, or of several that a later one replaced before they left."""

    __slots__ = ("_desk", "_future")

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._future: Future[None] = Future()

    def wait(self, timeout: Seconds | None = None) -> None:
        """Block until Redis has it, in a thread."""
        if self._desk.is_on_loop() and not self._future.done():
            raise RuntimeError("this is the event loop, which wait() would block: await the receipt instead")
        self._desk.hurry()
        self._future.result(None if timeout is None else to_ms("timeout", timeout) / 1000)

    def __await__(self) -> Generator[Any, None, None]:
        self._desk.hurry()
        answer = asyncio.wrap_future(self._future)
        answer.add_done_callback(_seen)
        # Shielded: a later report may have this very receipt, and is not cancelled along with who awaits this one.
        return asyncio.shield(answer).__await__()

    def answer(self, error: Exception | None) -> None:
        """Redis has it, or refused it."""
        if error is None:
            self._future.set_result(None)
        else:
            self._future.set_exception(error)


_Key: TypeAlias = tuple[Claimed, Kind, int]


class _Entry:
    __slots__ = ("kind", "receipt", "run", "text")

    def __init__(self, run: Claimed, kind: Kind, text: bytes, receipt: Noted) -> None:
        self.run = run
        self.kind: Kind = kind
        self.text = text
        self.receipt = receipt


class Desk:
    """The reports of one queue's runs, on their way.

    Reports of one run leave one trip after the other: two trips at once could overtake each other, and an older
    checkpoint would replace a newer one.

    Attributes:
        busy: runs whose reports are in a trip; neither more of them nor their outcomes leave meanwhile.
        behind: runs of which the last trip left reports here; their outcomes, which end them, wait for these.
    """

    def __init__(self, on_noted: Callable[[], None]) -> None:
        self.busy: set[Claimed] = set()
        self.behind: frozenset[Claimed] = frozenset()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._on_noted = on_noted
        self._lock = threading.Lock()
        self._entries: dict[_Key, _Entry] = {}
        self._lines: dict[Claimed, deque[_Key]] = {}
        self._numbers = count(1)
        self._flush_by: float | None = None
        self._closed = False

    def note(self, run: Claimed, kind: Kind, text: bytes) -> Noted:
        """Take a report, from any thread. Of lines as many wait as Redis keeps; of the others the latest."""
        with self._lock:
            key = (run, kind, next(self._numbers) if kind == LINE else 0)
            if kind == LINE:
                self._make_room(key)
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(run, kind, text, Noted(self))
            else:
                entry.text = text
            first = self._flush_by is None
            if first:
                self._flush_by = monotonic() + FLUSH_WITHIN
            crowded = len(self._entries) >= MAX_LOG_LINES
        if self._closed:
            self.forget(run)
        elif crowded:
            self.hurry()
        elif first:
            self._tell()
        return entry.receipt

    def hurry(self) -> None:
        """Somebody waits for what was noted."""
        with self._lock:
            late = self._flush_by is None or self._flush_by == 0
            if not late:
                self._flush_by = 0.0
        if not late:
            self._tell()

    def is_on_loop(self) -> bool:
        """Whether this is the thread of the worker's event loop."""
        return threading.get_ident() == self._thread

    def due_in(self) -> float | None:
        """Seconds until a trip should leave for what waits; None: nothing does, or its run's last trip is still out."""
        flush_by = self._flush_by
        if flush_by is None or (self.busy and all(entry.run in self.busy for entry in list(self._entries.values()))):
            return None
        return max(flush_by - monotonic(), 0)

    def take(self, first: Iterable[Claimed]) -> list[_Entry]:
        """What a trip carries, about 4 MiB of at most 1,000: those of the runs that it settles before others."""
        self.behind = frozenset()
        if not self._entries:
            return []
        settled = set(first)
        with self._lock:
            ready = [item for item in self._entries.items() if item[1].run not in self.busy]
            ready.sort(key=lambda item: item[1].run not in settled)
            taken: list[_Entry] = []
            size = 0
            for key, entry in ready[:MOST_A_CALL]:
                size += len(entry.text)
                if taken and size > MOST_BYTES:
                    break
                taken.append(self._remove(key))
            self.behind = frozenset(entry.run for entry in self._entries.values())
            if not self._entries:
                self._flush_by = None
            elif len(taken) == len(ready) and self._flush_by:
                self._flush_by = monotonic() + FLUSH_WITHIN  # what is left waits for a trip that is out
        self.busy.update(entry.run for entry in taken)
        return taken

    def answer(self, taken: list[_Entry], letters: str) -> None:
        """The trip is back."""
        for entry, letter in zip(taken, letters, strict=True):
            entry.receipt.answer(None if letter == "o" else _lost(entry.run))
        self.busy.difference_update(entry.run for entry in taken)

    def forget(self, run: Claimed | None = None) -> None:
        """Let go of what that run told, or all: its lease is lost, or the worker has left."""
        with self._lock:
            gone = [key for key in self._entries if run is None or key[0] is run]
            entries = [self._remove(key) for key in gone]
            if not self._entries:
                self._flush_by = None
        for entry in entries:
            entry.receipt.answer(_lost(entry.run))

    def close(self) -> None:
        """No trip leaves any more."""
        self._closed = True
        self.forget()

    def _make_room(self, key: _Key) -> None:
        lines = self._lines.setdefault(key[0], deque())
        if len(lines) >= MAX_LOG_LINES:
            self._remove(lines[0]).receipt.answer(None)
        self._lines.setdefault(key[0], lines).append(key)

    def _remove(self, key: _Key) -> _Entry:
        run, kind, _ = key
        if kind == LINE:
            lines = self._lines[run]
            lines.popleft()  # they leave in order
            if not lines:
                del self._lines[run]
        return self._entries.pop(key)

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._on_noted)


def columns_of(taken: list[_Entry]) -> Reports:
    """As the script takes them."""
    kinds: list[Kind] = [one.kind for one in taken]
    return Reports([one.run for one in taken], kinds, [one.text for one in taken])


def _seen(answer: asyncio.Future[None]) -> None:
    """So that asyncio doesn't report the refusal of a receipt whose waiter was cancelled."""
    if not answer.cancelled():
        answer.exception()


def _lost(run: Claimed) -> LeaseLost:
    return LeaseLost(f"job {run.id}: its lease was lost before this was noted; another run may have it")
