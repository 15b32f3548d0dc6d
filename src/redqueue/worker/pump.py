"""One queue's round trips: each settles what was run and claims what can run next.

Two lanes take turns, so that Redis works on one trip while Python runs the jobs of the other. Under load a trip carries
hundreds of jobs; idle, one lane blocks on the queue's wake list until there is work or a delayed job is due.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from itertools import count
from time import monotonic
from typing import Final

from redqueue.core import lease
from redqueue.core.keys import Keys
from redqueue.core.lease import NO_REPORTS, Claimed, Settles, Trip
from redqueue.core.lifecycle import Release, RunRules, Settlement, words_of
from redqueue.errors import RedisRefused
from redqueue.worker.backlog import Backlog
from redqueue.worker.config import SessionName, WorkerConfig
from redqueue.worker.link import Link
from redqueue.worker.prefetch import Prefetch
from redqueue.worker.reports import Desk, columns_of
from redqueue.worker.slots import Slots

LANES: Final = ("0", "1")
FLUSH_AT: Final = 64
FLUSH_AFTER: Final = 0.005
LONGEST_BLOCK: Final = 4.2
"""Seconds; on a connection that died without a word a job waits that long and `link.LATE` more: below 5 s."""
LOOK_EVERY: Final = 12.0
"""Seconds after which an idle queue is looked at though nobody said a word: who took the token may have died."""

logger = logging.getLogger("redqueue.worker")


class Pump:
    """The traffic of one queue.

    Attributes:
        backlog: claimed, not started; in order.
        held: every lease that this session has and has not seen settled; the heartbeat renews them.
        holding: set while there may be some.
        desk: what its runs tell of themselves.
        claimed: how many jobs it got so far.
        answered_at: the monotonic time of the last trip that Redis answered; 0 before the first.
        ran_for: told how long a run took.
        dry: set in a burst when nothing is held and the last look found nothing.
    """

    def __init__(
        self,
        keys: Keys,
        limit: int,
        config: WorkerConfig,
        session: SessionName,
        link: Link,
        slots: Slots,
        start: Callable[[Pump, Claimed], None],
        on_stop: Callable[[Pump, Claimed, str], None],
    ) -> None:
        self.keys = keys
        self.limit = limit
        self.running = 0
        self.reserved = 0
        self.backlog = Backlog(self._return_stale)
        self.held: set[Claimed] = set()
        self.holding = asyncio.Event()
        self.desk = Desk(self._expect_reports)
        self.claimed = 0
        self.keep = config.keep
        self.lease_ms = config.lease_ms
        self.stopping = False
        self._ended = False
        self._config = config
        self._session = session
        self._link = link
        self._slots = slots
        self._start = start
        self._on_stop = on_stop
        self._numbers: Iterator[int] = count(1)
        self._outbox = Settles([], [], [])
        self._flush_by: float | None = None
        self._in_flight = 0
        self._asked = 0
        self._more = True
        self._owed = False
        self._due_at: float | None = None
        self._due_timer: asyncio.TimerHandle | None = None
        self._looked_at = 0.0
        self._prefetch = Prefetch(config.prefetch, limit)
        self.ran_for = self._prefetch.ran_for
        self._clock_ms = 0
        self.answered_at = 0.0
        self._changed = asyncio.Event()
        self._departed = 0
        self._answered = 0
        self._answer = asyncio.Event()
        self._watch: asyncio.Future[None] | None = None
        self._renewing: set[asyncio.Task[None]] = set()
        self._cancelled_early: dict[str, int] = {}
        self.dry = asyncio.Event()

    # -- what the runner tells it

    def settle(self, run: Claimed, settlement: Settlement, attempt: int, rules: RunRules) -> None:
        """Hand an outcome back with the next trip."""
        verdict, outcome = words_of(settlement, attempt=attempt, rules=rules)
        if self.keys.seal is not None:
            outcome = self.keys.seal.close_outcome(run, verdict, outcome)
        self._outbox.add(run, verdict, outcome)
        if self._flush_by is None:
            self._flush_by = monotonic() + FLUSH_AFTER
        self._changed.set()

    def release(self, run: Claimed) -> None:
        """Give a job back that did not run: uncounted, to its place in line."""
        self.settle(run, Release(), 0, self._config.rules)

    def drop(self, run: Claimed) -> None:
        """Forget a lease that is lost."""
        self.held.discard(run)
        self.desk.forget(run)
        self._changed.set()

    def stop_by_id(self, job_id: str) -> None:
        """Somebody cancelled that job, perhaps before the answer came that this session has it."""
        found = [run for run in self.held if run.id == job_id]
        for run in found:
            self._on_stop(self, run, "c")
        if not found and self._in_flight:
            self._cancelled_early[job_id] = self._departed

    def withdraw(self, run: Claimed) -> bool:
        """Take a job back that was claimed and not started. False: it was started, or is not here."""
        if self._slots.withdraw(self, run):
            return True
        if run in self.backlog:
            self.backlog.remove(run)
            return True
        return False

    def redis_now_ms(self) -> float:
        """Redis's clock, as far as the last answer tells."""
        return self._clock_ms + (monotonic() - self.answered_at) * 1000

    # -- what the slots tell it

    def start_next(self) -> None:
        """Take the first of the backlog, and run it unless its lease may be over or it is a suspect."""
        run = self.backlog.popleft()
        if run.crashes >= self._config.max_crashes - 1:
            self._slots.run_alone(self, run)
        else:
            self.start(run)

    def start(self, run: Claimed) -> None:
        """Run a claimed job in a free slot."""
        if self.stopping:
            self.release(run)
            return
        self._slots.take(self)
        if monotonic() > run.fresh_until:
            renewing = asyncio.get_running_loop().create_task(self._start_if_renewed(run))
            self._renewing.add(renewing)
            renewing.add_done_callback(self._renewing.discard)
        else:
            self._start(self, run)

    def notice_free_slot(self) -> None:
        """Look whether there is one to ask for."""
        self._changed.set()

    def return_backlog(self) -> None:
        """Give back what has not started: uncounted, to its place in line."""
        while self.backlog:
            self.release(self.backlog.popleft())

    async def announce(self) -> None:
        """Return when a trip that leaves from now on has told Redis what is not started."""
        leaving = self._departed
        self._owed = True
        self._changed.set()
        while self._answered <= leaving and not (self.finished or self._ended):
            self._answer.clear()
            await self._answer.wait()

    # -- the loops

    async def serve(self) -> None:
        """Pump until stopped and everything is handed back.

        Raises:
            RedisRefused: Redis will never take these calls.
        """
        try:
            async with asyncio.TaskGroup() as lanes:
                for lane in LANES:
                    lanes.create_task(self._serve_lane(lane))
        finally:
            self.backlog.close()
            self._expect_due(None)

    def stop_claiming(self) -> None:
        """Give back what has not started, and ask for nothing more."""
        self.stopping = True
        self.return_backlog()
        for run in self._slots.waiting(self):
            self._slots.withdraw(self, run)
            self.release(run)
        self.look_again()

    def look_again(self) -> None:
        """End a block on the wake list: something changed that the list doesn't tell."""
        if self._watch is not None and not self._watch.done():
            self._watch.set_result(None)
        self._owed = True
        self.dry.clear()
        self._changed.set()

    def end(self) -> None:
        """Make no more trips, whatever is left to hand back."""
        self._ended = True
        for renewing in self._renewing:
            renewing.cancel()
        self.desk.close()
        self._changed.set()
        self._answer.set()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to hand back."""
        return self.stopping and not self.held and not self._in_flight and not self._outbox.runs

    async def _serve_lane(self, lane: str) -> None:
        while not (self.finished or self._ended):
            self._changed.clear()
            wanted = self._wanted()
            crowded = not wanted and self._is_crowded_out()
            work = self._more or self._is_due()
            if crowded or not work:
                # With a slot and work it keeps its turn until its trip has reserved the slot.
                self._slots.set_hungry(self, crowded and work)
            if self._should_go(wanted):
                await self._make_trip(lane, wanted)
            elif self._may_watch(wanted, crowded):
                await self._watch_for_work()
            else:
                await self._wait_for_change()
        self._changed.set()
        self._answer.set()

    def _may_watch(self, wanted: int, crowded: bool) -> bool:
        """Whether to block on the wake list: with a free slot; or crowded out, when no answer may yet tell of work.

        A crowded queue that took a token on while its own trip is out would hand it on and take it again for ever.
        """
        if self._watch is not None or self._config.burst:
            return False
        return wanted > 0 or (crowded and not self._more and not self._in_flight)

    def _wanted(self) -> int:
        """How many jobs to ask for: the free slots, and what may be prefetched."""
        if self.stopping or self._slots.closed:
            return 0
        ahead = len(self.backlog) + self._asked - self.reserved
        return max(0, min(lease.MOST_A_CALL, self._slots.free(self) + self._prefetch.ahead() - ahead))

    def _is_crowded_out(self) -> bool:
        """Whether other queues of the worker have all the slots: none of its own jobs ends to free one."""
        return not self.stopping and not self.backlog and not self._asked and self._slots.own_share(self) > 0

    def _should_go(self, wanted: int) -> bool:
        if self.desk.due_in() == 0:
            return True
        busy = self.desk.busy
        waiting = sum(run not in busy for run in self._outbox.runs) if busy else len(self._outbox)
        if waiting and (not self._in_flight or waiting >= FLUSH_AT or monotonic() >= (self._flush_by or 0)):
            return True
        return self._owed or (wanted > 0 and (self._more or self._is_due()))

    def _is_due(self) -> bool:
        return self._due_at is not None and monotonic() >= self._due_at

    async def _wait_for_change(self) -> None:
        if self._config.burst and not (self.held or self._in_flight or self._more):
            self.dry.set()
        if self._outbox.runs:
            # Another trip is out; what waits here leaves when it is back, or now if that takes long.
            asyncio.get_running_loop().call_later(FLUSH_AFTER, self._changed.set)
        await self._changed.wait()

    async def _make_trip(self, lane: str, wanted: int) -> None:
        out = frozenset(self.desk.busy)
        reports = self.desk.take(self._outbox.runs)
        settles = self._outbox.take(lease.MOST_A_CALL, out | self.desk.behind)
        self._flush_by = monotonic() + FLUSH_AFTER if self._outbox.runs else None
        self._owed = self._more = False
        self._in_flight += 1
        self._departed += 1
        index = self._departed
        reserved = max(min(wanted, self._slots.free(self)), 0)
        self._asked += wanted
        self._slots.reserve(self, reserved)
        sent_at = self._looked_at = monotonic()
        try:
            trip = await self._link.deliver(
                lease.pump(
                    self.keys,
                    self._session.id,
                    self._session.worker,
                    lane,
                    next(self._numbers),
                    settles,
                    wanted,
                    [*self.backlog, *self._slots.waiting(self)],
                    self.keep,
                    columns_of(reports) if reports else NO_REPORTS,
                )
            )
            self.desk.answer(reports, trip.told or "l" * len(reports))
            if self.desk.due_in() is not None:  # noted meanwhile
                self._expect_reports()
        except BaseException:
            self.desk.answer(reports, "l" * len(reports))
            raise
        finally:
            self._in_flight -= 1
            self._asked -= wanted
            self._slots.reserve(self, -reserved)
        self._answered = max(self._answered, index)
        self._answer.set()
        self._receive(trip, settles, sent_at)

    def _receive(self, trip: Trip, settles: Settles, sent_at: float) -> None:
        self._clock_ms, self.answered_at = trip.now_ms, monotonic()
        self.lease_ms = trip.lease_ms
        self.held.difference_update(settles.runs)
        if "l" in trip.words:
            for run, word in zip(settles.runs, trip.words, strict=False):
                if word == "l":
                    logger.warning("job %s: its lease was lost, so this run's outcome is not recorded", run.id)
        self._more = self._more or (trip.more and not trip.paused)
        self._expect_due(None if trip.next_due_ms < 0 or trip.paused else trip.next_due_ms / 1000)
        fresh_until = sent_at + trip.lease_ms / 1500
        for run in trip.claimed:
            run.fresh_until = fresh_until
        self.claimed += len(trip.claimed)
        self.held.update(trip.claimed)
        if self.held:
            self.holding.set()
        else:
            self.holding.clear()
        if self.stopping or self._slots.closed:
            for run in trip.claimed:
                self.release(run)
        else:
            self.backlog.extend(trip.claimed)
            if self._cancelled_early:
                self._stop_early(trip.claimed)
            self._slots.fill()
            self.backlog.watch()
        self._changed.set()

    def _stop_early(self, claimed: list[Claimed]) -> None:
        for run in claimed:
            if run.id in self._cancelled_early:
                self._on_stop(self, run, "c")
        # The trips that were out when it came are back.
        recent = self._answered - len(LANES)
        self._cancelled_early = {job_id: at for job_id, at in self._cancelled_early.items() if at > recent}

    def _expect_due(self, seconds: float | None) -> None:
        """Look again when the next delayed job is due: one timer a queue, also while a lane blocks on the wake list."""
        if self._due_timer is not None:
            self._due_timer.cancel()
            self._due_timer = None
        self._due_at = None if seconds is None else monotonic() + seconds
        if seconds is not None:
            self._due_timer = asyncio.get_running_loop().call_later(seconds + 0.001, self._changed.set)

    def _expect_reports(self) -> None:
        """Something was noted: a trip leaves for it in time."""
        due_in = self.desk.due_in()
        if due_in:
            asyncio.get_running_loop().call_later(due_in + 0.001, self._changed.set)
        else:
            self._changed.set()

    async def _watch_for_work(self) -> None:
        """Block on the wake list. A trip follows, so that a lost token, which has no data, loses nothing.

        None does when Redis says that no token came, and the last trip was a moment ago.
        """
        quiet = False
        self._watch = asyncio.get_running_loop().create_future()
        try:
            quiet = await self._link.block_on(self.keys["wake"], LONGEST_BLOCK, self._watch)
            quiet = quiet and monotonic() - self._looked_at < LOOK_EVERY
        finally:
            self._watch = None
            if not quiet:
                self._owed = self._more = True
            self._changed.set()

    async def _start_if_renewed(self, run: Claimed) -> None:
        """A lease that may have ended since it was read is renewed first: another worker may have the job."""
        sent_at = monotonic()
        try:
            renewal = await self._link.deliver(lease.renew(self.keys, self._session.id, [run]))
        except RedisRefused:
            self._slots.give_back(self)  # the trips are refused, too, and end the worker
            return
        except Exception:
            # Nobody waits for this task: a job that it left would be renewed, and not run, for ever.
            logger.exception("job %s: its lease could not be renewed before its run, so it is given back", run.id)
            self._slots.give_back(self)
            self.release(run)
            return
        if renewal.words == "k" and not self.stopping:
            run.fresh_until = sent_at + renewal.lease_ms / 1500
            self._start(self, run)
            return
        self._slots.give_back(self)
        if renewal.words == "l":
            self.drop(run)
        else:
            self.release(run)

    def _return_stale(self, stale: list[Claimed]) -> None:
        self._prefetch.hold_up()
        for run in stale:
            self.release(run)
