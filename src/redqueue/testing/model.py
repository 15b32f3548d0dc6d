"""The queue in plain Python: the specification of what each call changes and answers, without keys or hashes.

A job is one object, so that it is in one place and is forgotten as a whole. The test-suite plays the same random
programs on it and on real servers. Limits of a single call, 1,000 jobs of a trim and 100 of a scan's clamp, are not
here: a test has a dozen jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from redqueue.core.lease import NO_REPORTS, Claimed, ListRule, Recovery, Renewal, Reports, Settles, Trip
from redqueue.testing.model_parts import SPAN, Job, Lane, Lease, Run, Session, as_claimed, order_of, parked_priority
from redqueue.testing.model_stored import HOUR, Stored

CLOSED: Final = 2**53
FINISHED: Final = ("completed", "failed", "cancelled")
EXPIRED: Final = '{"type":"JobExpired","message":"nobody started it in time: its expires_in is over"}'
STATES: Final = ("waiting", "delayed", "active", *FINISHED)


class Model(Stored):
    """One queue. Its methods are the scripts, and answer with what their calls read; its clock is the test's."""

    # Producers

    def numbered(self, lane: str, number: int, act: Callable[[], str]) -> str:
        """Carry a call out once; a resend gets the same word, a late copy none."""
        last, word = self.producers.get(lane, (0, ""))
        if number < last:
            return "stale"
        if number > last:
            word = act()
            self.producers[lane] = (number, word)
        return word

    def add(self, jobs: Sequence[tuple[str, bytes, str]]) -> str:
        """Jobs as id, envelope and place."""
        fresh: dict[str, tuple[bytes, str]] = {}
        letters = ""
        for id, envelope, place in jobs:
            letters += "d" if self._visible(id) or id in fresh else "c"
            if letters[-1] == "c":
                fresh[id] = (envelope, place)
        if fresh and not self.meta.get("seq"):
            self.meta.setdefault("format", 1)
            self.meta["born"] = self.now
        earliest = self._next_due()
        for id, (envelope, place) in fresh.items():
            self._place_new(id, envelope, *place.split(" "))
        if any(self.jobs[id].state == "waiting" for id in fresh):
            self._wake()
        self._wake_if_earlier_than(earliest)
        return letters

    def _place_new(self, id: str, envelope: bytes, priority: str, *words: str) -> None:
        sequence = self._sequence()
        how = next((word for word in words if word[0] in "lda"), "")
        within = next((int(word[1:]) for word in words if word[0] == "e"), None)
        due = {"d": self.now, "a": 0}.get(how[:1], 0) + int(how[1:] or 0)
        start_by = None if within is None else max(self.now, due) + within
        job = self.jobs[id] = Job(id, envelope, self.now, "waiting", 0, start_by=start_by)
        if due > self.now:
            job.move("delayed", due, parked="" if priority == "0" else f"p{priority}")
        else:
            job.score = order_of(int(priority), -sequence if how == "l" else sequence)

    def cancel(self, id: str, reason: str) -> str:
        """End a job that waits; one that runs is flagged, and ends with its next settle, release or recovery."""
        job = self._visible(id)
        if job is None:
            return "missing"
        if job.state in FINISHED:
            return "finished"
        if job.state == "active":
            job.cancel = reason if job.cancel is None else job.cancel
            return "requested"
        priority = job.score // SPAN if job.state == "waiting" else parked_priority(job.parked)
        self._end(job, "cancelled", {"reason": reason, "attempt": job.failed, "priority": priority})
        _, _, *failed = self._keep()
        self._trim("cancelled", *failed)
        return "cancelled"

    def retry(self, id: str, fresh: bool) -> str:
        """A finished job waits again, at the end of its priority."""
        job = self._visible(id)
        if job is None or job.state not in FINISHED:
            return "no"
        failed = 0 if fresh else int(job.outcome["attempt"])
        old = job.outcome if failed and "error" in job.outcome else {}
        forgotten = ("result", "reason", "finished", "progress", "state")
        kept = {name: told for name, told in old.items() if name not in forgotten}
        order = order_of(int(job.outcome["priority"]), self._sequence())
        again = self.jobs[id] = Job(id, job.envelope, job.created, "waiting", order, failed=failed, outcome=kept)
        again.saved, again.lines = job.outcome.get("state"), job.lines
        again.note = (self.now, "retried by hand")
        self._wake()
        return "done"

    def promote(self, id: str) -> str:
        """A delayed job joins the line now."""
        job = self.jobs.get(id)
        if job is None or job.state != "delayed":
            return "no"
        self._line_up([job])
        self._wake()
        return "done"

    def remove(self, ids: Sequence[str], force: bool) -> str:
        """Forget jobs, those that run by force only. Answers how many."""
        found = [job for job in map(self._visible, ids) if job and (force or job.state != "active")]
        self._drop(found)
        return str(len(found))

    def pause(self, paused: bool) -> str:
        """Hand out no jobs, or do so again."""
        self.meta.pop("paused", None)
        if paused:
            self.meta["paused"] = 1
        else:
            self.token |= bool(self.jobs_in("waiting") or self.jobs_in("delayed"))
        return "done"

    def sweep(self, state: str, older: int, n: int) -> str:
        """Forget up to n of a state that are so old, in ms, the first of their place first."""
        found = [job for job in self.jobs_in(state) if not older or job.score <= self.now - older][:n]
        self._drop(found)
        return str(len(found))

    def obliterate(self, force: bool) -> str:
        """Pause and forget all jobs; called again when there is none, forget the rest."""
        if not force and self.jobs_in("active"):
            return "active"
        self.meta["paused"] = 1
        if count := len(self.jobs):
            self.jobs.clear()
            return str(count)
        self.meta.clear()
        self.seen.clear()
        self.token = False
        return "gone"

    # Workers

    def enter(self, session: str, worker: str, wanted: int) -> int:
        """Make a session known. Answers the lease: the longest that a living worker asked for."""
        current = self.meta.get("lease", 0)
        if "left" in self.sessions.setdefault(session, Session()).facts:
            return int(current)
        longest = max(current, wanted)
        living = any(at >= self.now - 2 * longest for at in self.seen.values())
        self.meta["format"] = 1
        self.meta["lease"] = lease = longest if living else wanted
        facts = {"worker": worker, "host": "host", "pid": "7", "lease": wanted, "seen": self.now}
        self.sessions[session].facts.update(facts)
        self.seen[session] = self.now
        self._touch()
        return int(lease)

    def pump(
        self,
        session: str,
        worker: str,
        lane: str,
        number: int,
        settles: Settles,
        n: int,
        unstarted: Sequence[Claimed],
        rule: ListRule,
        reports: Reports = NO_REPORTS,
    ) -> Trip:
        """Note what jobs tell, settle what they became, then claim up to n, in order."""
        kept = self.sessions.setdefault(session, Session())
        last = kept.lanes.get(lane, Lane())
        if number < last.number:
            return Trip(True, "", "", [], self.now, self.lease, -1, False, self.paused)
        if number == last.number:
            still = [self.jobs[id] for id in last.ids if self._held(id, session, number) == "."]
            return self._answer(last, still)
        told = self._take_reports(session, reports)
        words = self._settle(session, worker, settles, rule)
        self._line_up(job for job in self.jobs_in("delayed") if job.score <= self.now)
        popped = [] if self.paused else self.jobs_in("waiting")[:n]
        claimed = [job for job in popped if job.start_by is None or job.start_by > self.now]
        for position, job in enumerate(claimed, 1):
            lease = Lease(session, number, job.score, self.now, position)
            job.move("active", self.now + self.lease, lease=lease)
        self._expire([job for job in popped if job not in claimed], rule)
        fence = max(self.meta.get("fence", 0) + 1, self.now * 1000) if claimed else 0
        if fence:
            self.meta["fence"] = fence
        done = kept.lanes[lane] = Lane(number, words, told, fence, [job.id for job in claimed])
        answer = self._answer(done, claimed)
        if len(popped) == n and (answer.more or (n > 0 and 0 <= answer.next_due_ms <= 5000)):
            self.token = True
        self.meta["keep"] = " ".join(str(limit) for limit in (*rule.completed, *rule.failed))
        if kept.unstarted is None or kept.unstarted[0] < number:
            kept.unstarted = (number, [(one.number, one.position) for one in unstarted])
        return answer

    def _take_reports(self, session: str, reports: Reports) -> str:
        letters = ""
        for run, kind, text in zip(reports.runs, reports.kinds, reports.texts, strict=True):
            held = self._held(run.id, session, run.number) is not None
            letters += "o" if held else "l"
            if held:
                self.jobs[run.id].tell(kind, text.decode())
        return letters

    def _expire(self, jobs: list[Job], rule: ListRule) -> None:
        """What nobody started in time fails when it would be claimed; the list's rule keeps the last ones."""
        for spare, job in enumerate(reversed(jobs)):
            self._end(job, "failed", {"error": EXPIRED, "attempt": 0, "priority": job.score // SPAN})
            if spare >= rule.failed[0] >= 0:
                del self.jobs[job.id]
        if jobs:
            self._trim("failed", *rule.failed)

    def _answer(self, done: Lane, jobs: list[Job]) -> Trip:
        due = self._next_due()
        return Trip(
            False,
            done.words,
            done.told,
            [as_claimed(job, done.fence) for job in jobs],
            self.now,
            self.lease,
            -1 if due is None else max(due - self.now, 0),
            bool(self.jobs_in("waiting")) and not self.paused,
            self.paused,
        )

    def _settle(self, session: str, worker: str, settles: Settles, rule: ListRule) -> str:
        words = ""
        runs: list[Run] = []
        for run, verdict, outcome in zip(settles.runs, settles.verdicts, settles.outcomes, strict=True):
            mark = self._held(run.id, session, run.number)
            if mark is None or any(run.id == other.job.id for other in runs):
                words += "l"
                continue
            runs.append(Run.of(self.jobs[run.id], verdict, outcome, worker))
            words += "x" if runs[-1].verb == "x" else "o"
            self.jobs[run.id].forgive(mark)
        self._finish("completed", [run for run in runs if run.verb == "c"], *rule.completed)
        self._finish("failed", [run for run in runs if run.verb == "f"], *rule.failed)
        self._finish("cancelled", [run for run in runs if run.verb == "x"], *rule.failed)
        earliest = self._next_due()
        for back in sorted(runs, key=lambda run: "rslk".find(run.verb)):
            if back.verb in "rslk":
                self._bring_back(back)
        self._wake_if_earlier_than(earliest)
        return words

    def _finish(self, state: str, runs: list[Run], count: int, age: int) -> None:
        """Of one call's runs the list's rule keeps the last ones; then it trims those of earlier calls."""
        spare = count
        for run in reversed(runs):
            drop = run.keep == "0" or (run.keep == "-" and spare == 0)
            spare -= run.keep == "-" and spare > 0
            told = dict(run.told)
            if run.job.progress is not None:
                told["progress"] = run.job.progress
            self._end(run.job, state, told, run.keep)
            if drop:
                del self.jobs[run.job.id]
        if runs:
            self._trim(state, count, age)

    def _bring_back(self, run: Run) -> None:
        job, order, due = run.job, run.job.order, self.now + run.ms
        if run.verb != "l" or run.told["note"]:
            job.start_by = None  # it was started
        if run.verb == "k":
            job.crashes += 1
            job.recoveries += 1
            job.note = None
        if run.verb == "l" and run.told["note"]:
            job.take_note(self.now, run.told["note"])
        if run.verb in "lk":
            job.move("waiting", order)
        elif run.verb == "s":
            job.take_note(self.now, run.told["note"])
            job.move("delayed", due, parked=f"o{order}")
        else:
            job.failed += 1
            job.note = None
            job.outcome |= {**run.told, "finished": self.now}
            priority, sequence = order // SPAN, self._sequence()
            if run.ms:
                job.move("delayed", due, parked=f"p{priority}" if priority else "")
            else:
                job.move("waiting", order_of(priority, sequence))

    def renew(self, session: str, runs: Sequence[Claimed]) -> Renewal:
        """Prolong leases, also of jobs that were taken back and not claimed again."""
        kept = self.sessions.setdefault(session, Session())
        left = "left" in kept.facts
        lease = self._touch(0 if left else kept.facts.get("lease", 0))
        words = ""
        for run in runs:
            mark = self._held(run.id, session, run.number)
            if mark is None or left:
                words += "l"
                continue
            job = self.jobs[run.id]
            assert job.lease is not None
            job.forgive(mark)
            job.lease.mark = "."
            job.move("active", self.now + lease, lease=job.lease)
            words += "k" if job.cancel is None else "c"
        if not left:
            self.seen[session] = self.now
        self.seen = {one: at for one, at in self.seen.items() if at > self.now - HOUR}
        kept.facts["seen"] = self.now
        return Renewal(words, lease)

    def recover(self, max_crashes: int, error: str) -> Recovery:
        """Take back the jobs whose lease ended, unless no worker could renew of late; sweep what is too old."""
        lease = self._touch()
        for job in self.jobs_in("active"):
            if job.score >= self.now + 2 * lease:
                job.score = self.now + lease
        self._drop(job for job in self.jobs.values() if job.expires is not None and job.expires <= self.now)
        completed_count, completed_age, failed_count, failed_age = self._keep()
        self._trim("completed", completed_count, completed_age)
        self._trim("failed", failed_count, failed_age)
        self._trim("cancelled", failed_count, failed_age)
        hold = max(self.meta["hold"] - self.now, 0)
        over = [job for job in self.jobs_in("active") if job.score <= (0 if hold else self.now)][:100]
        crashed = [job.id for job in over if self._take_back(job, max_crashes, error)]
        self._wake()  # who took the token may have died with it
        return Recovery(len(over), hold, crashed)

    def _take_back(self, job: Job, max_crashes: int, error: str) -> bool:
        """Of one job whose lease ended: whether it crashed too often."""
        assert job.lease is not None
        told = {"attempt": job.failed, "priority": job.order // SPAN}
        crash = job.recoveries >= 5 or self._started(job.lease)
        if job.cancel is not None:
            self._end(job, "cancelled", {"reason": job.cancel, **told})
        elif crash and job.crashes + 1 >= max_crashes:
            self._end(job, "failed", {"error": error, **told})
            return True
        else:
            job.crashes += crash
            if crash:
                job.start_by = job.note = None
            job.recoveries += 1
            job.lease.mark = "C" if crash else "R"
            job.move("waiting", job.order, lease=job.lease)
        return False

    def _started(self, lease: Lease) -> bool:
        """Whether its holder may have begun to run it."""
        _, listed = self.sessions[lease.session].unstarted or (0, [])
        return (lease.number, lease.position) not in listed

    def leave(self, session: str, lanes: Iterable[str], runs: Sequence[Claimed]) -> int:
        """Close a session and give back what it still holds."""
        held = {run.id: self.jobs[run.id] for run in runs if self._held(run.id, session, run.number) == "."}
        for job in held.values():
            if job.cancel is None:
                job.move("waiting", job.order)
            else:
                told = {"reason": job.cancel, "attempt": job.failed, "priority": job.order // SPAN}
                self._end(job, "cancelled", told)
        kept = self.sessions.setdefault(session, Session())
        kept.lanes.update((lane, Lane(CLOSED)) for lane in lanes)
        kept.unstarted = None
        kept.facts["left"] = "1"
        self.seen.pop(session, None)
        self._wake()
        return len(held)
