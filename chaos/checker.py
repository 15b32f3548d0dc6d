"""What the ledger and Redis prove together. Knows nothing of how redqueue works, but for what it promises."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import msgspec
from chaos.ledger import EVERYBODY, Facts, Fault, Run
from chaos.stored import CRASHED, FINISHED, Stored

FORGETS_US: Final = 2_000_000
"""For so long Redis puts a write off while its disk is busy, by everysec, and answers nevertheless."""
SHOWN: Final = 5
"""Findings of one kind that are spelled out; the others are counted."""


class Rules(msgspec.Struct, frozen=True):
    """What a scenario allows.

    Attributes:
        explains: faults for which a run that they hit may be run again.
        settle_us: for how long after its end a run's outcome may still be on its way.
        forgets: faults after which Redis may lack what it acknowledged in the two seconds before.
        kills: a fault that ends workers, so that a job may have crashed too often.
    """

    explains: frozenset[str] = frozenset()
    settle_us: int = 2_000_000
    forgets: frozenset[str] = frozenset()
    kills: bool = False


class Verdict(msgspec.Struct):
    """What was found.

    Attributes:
        lost: accepted jobs without a recorded outcome.
        forgotten: jobs that are nowhere because Redis forgot their add; they are not among the lost.
        twice: outcomes recorded beyond one a job.
        extra: runs of jobs that had run before and had not asked for another run.
        explained: of those, by the fault that hit the run before.
        findings: whatever breaks a promise, by kind.
    """

    accepted: int
    recorded: int
    runs: int
    lost: int
    forgotten: int
    twice: int
    extra: int
    explained: dict[str, int]
    findings: dict[str, list[str]]

    @property
    def sound(self) -> bool:
        """Whether every promise was kept."""
        return not self.findings

    def lines(self) -> list[str]:
        """The findings, for people."""
        shown = []
        for kind, found in sorted(self.findings.items()):
            shown += [f"{kind}: {line}" for line in found[:SHOWN]]
            if len(found) > SHOWN:
                shown.append(f"{kind}: and {len(found) - SHOWN:,} more")
        return shown


def check(facts: Facts, stored: Stored, rules: Rules) -> Verdict:
    """Compare what was seen outside of Redis with what Redis says."""
    return _Check(facts, stored, rules).verdict()


class _Check:
    def __init__(self, facts: Facts, stored: Stored, rules: Rules) -> None:
        self._facts = facts
        self._stored = stored
        self._rules = rules
        self._findings: defaultdict[str, list[str]] = defaultdict(list)
        self._explained: Counter[str] = Counter()
        self._extra = 0
        self._forgotten = 0
        self._faults: defaultdict[str, list[Fault]] = defaultdict(list)
        for fault in facts.faults:
            self._faults[fault.target].append(fault)

    def verdict(self) -> Verdict:
        lost = self._check_nothing_is_lost()
        twice = self._check_one_outcome_each()
        for job, runs in self._facts.runs.items():
            self._check_runs(job, runs)
        self._check_fences_have_one_holder()
        self._check_outcomes()
        self._check_limits()
        if self._stored.findings:
            self._findings["audit"] = list(self._stored.findings)
        return Verdict(
            accepted=len(self._facts.accepted),
            recorded=self._stored.recorded,
            runs=sum(map(len, self._facts.runs.values())),
            lost=lost,
            forgotten=self._forgotten,
            twice=twice,
            extra=self._extra,
            explained=dict(self._explained),
            findings=dict(self._findings),
        )

    # -- jobs

    def _check_nothing_is_lost(self) -> int:
        """Accepted and finished, or accepted and trimmed after a run that ended."""
        states, lost = self._stored.states, 0
        for job, at in self._facts.accepted.items():
            state = states.get(job)
            if state in FINISHED or (state is None and self._may_be_trimmed(job)):
                continue
            if state is None and self._may_be_forgotten(at):
                self._forgotten += 1
                continue
            lost += 1
            where = "it is nowhere" if state is None else f"it is {state} for ever"
            self._findings["lost"].append(f"{job} was accepted, and {where}; {self._life_of(job)}")
        return lost

    def _may_be_forgotten(self, at: int) -> bool:
        return any(
            fault.kind in self._rules.forgets and fault.since - FORGETS_US <= at <= fault.until
            for fault in self._facts.faults
        )

    def _may_be_trimmed(self, job: str) -> bool:
        if self._stored.kept_all:
            return False
        ended = any(run.verdict in ("ok", "failed") for run in self._facts.runs.get(job, ()))
        return ended or job in self._facts.cancelled or job in self._facts.asked_to_stop

    def _check_one_outcome_each(self) -> int:
        states = self._stored.states
        finished = {job for job, state in states.items() if state in FINISHED}
        if not self._stored.kept_all:
            known = self._facts.accepted.keys() | self._facts.runs.keys()
            finished |= {job for job in known if job not in states}
        excess = self._stored.recorded - len(finished)
        if excess > 0:
            self._findings["recorded twice"].append(
                f"{self._stored.recorded:,} outcomes were recorded of {len(finished):,} jobs"
            )
        if excess < 0:
            self._findings["not recorded"].append(
                f"{len(finished):,} jobs have ended, and only {self._stored.recorded:,} outcomes were recorded"
            )
        return max(excess, 0)

    def _check_outcomes(self) -> None:
        for job, state in self._stored.states.items():
            runs = self._facts.runs.get(job, [])
            if state == "completed":
                self._check_completed(job, runs)
            elif state == "failed" and not any(run.verdict == "failed" for run in runs):
                error = self._stored.errors.get(job, "nothing")
                if error != CRASHED or not self._rules.kills:
                    self._findings["outcome"].append(f"{job} has failed with {error}, and no run of it did")
            elif state == "cancelled" and job not in self._facts.cancelled and job not in self._facts.asked_to_stop:
                self._findings["outcome"].append(f"{job} was cancelled, and nobody asked for it")
        for job, at in self._facts.cancelled.items():
            self._check_cancelled(job, at)

    def _check_completed(self, job: str, runs: list[Run]) -> None:
        recorded = self._stored.fences.get(job)
        newest = max((run.fence for run in runs), default=None)
        if not any(run.verdict == "ok" and run.fence == recorded for run in runs):
            self._findings["outcome"].append(f"{job} has completed by fence {recorded}, and no such run has ended well")
        elif recorded != newest:
            self._findings["outcome"].append(
                f"{job} has the outcome of fence {recorded}, but {newest} had begun by then"
            )

    def _check_cancelled(self, job: str, at: int) -> None:
        state = self._stored.states.get(job)
        if state != "cancelled" and (state is not None or self._stored.kept_all):
            self._findings["outcome"].append(f"{job} was cancelled, and it is {state or 'nowhere'}")
        if any(run.started > at for run in self._facts.runs.get(job, ())):
            self._findings["outcome"].append(f"{job} was run after it had been cancelled")

    # -- runs

    def _check_runs(self, job: str, runs: list[Run]) -> None:
        fences = [run.fence for run in runs]
        if len(set(fences)) < len(fences):
            self._findings["fence"].append(
                f"{job}: one claim was run twice, or two had one fence; {self._life_of(job)}"
            )
        for before, after in pairwise(runs):
            if after.fence < before.fence and not self._was_late(before, after):
                self._findings["fence"].append(f"{job}: it does not grow; {self._life_of(job)}")
            if before.verdict == "retry" and after.attempt == before.attempt + 1:
                continue
            self._extra += 1
            kind = self._explanation(before, after)
            if kind is None:
                self._findings["extra run"].append(f"{job}: no fault explains it; {self._life_of(job)}")
            else:
                self._explained[kind] += 1

    def _explanation(self, before: Run, after: Run) -> str | None:
        """What hit the first run, or its worker while the outcome was on its way."""
        last = after.started if before.ended is None else min(after.started, before.ended + self._rules.settle_us)
        kinds = [
            fault.kind
            for fault in self._faults_of(before.worker)
            if fault.kind in self._rules.explains and fault.since <= last and fault.until >= before.started
        ]
        return min(kinds, default=None)

    def _was_late(self, before: Run, after: Run) -> bool:
        """Whether the run with the lower fence was held up between its claim and its first line."""
        return any(
            fault.since <= after.started and fault.until >= before.started for fault in self._faults_of(after.worker)
        )

    def _faults_of(self, worker: str) -> Iterator[Fault]:
        yield from self._faults.get(worker, ())
        yield from self._faults.get(EVERYBODY, ())

    def _check_fences_have_one_holder(self) -> None:
        holders: dict[int, str] = {}
        for runs in self._facts.runs.values():
            for run in runs:
                holder = holders.setdefault(run.fence, run.worker)
                if holder != run.worker:
                    self._findings["fence"].append(f"{run.fence} was given to {holder} and to {run.worker}")

    def _check_limits(self) -> None:
        moments: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for runs in self._facts.runs.values():
            for run in runs:
                moments[run.worker].append((run.started, 1))
                if run.ended is not None:
                    moments[run.worker].append((run.ended, -1))
        for worker, limit in self._facts.limits.items():
            most = _most_at_once(moments[worker])
            if most > limit:
                self._findings["limit"].append(f"{worker} ran {most} at once, and {limit} were allowed")

    def _life_of(self, job: str) -> str:
        runs = self._facts.runs.get(job, [])
        if not runs:
            return "it never ran"
        told = [
            f"fence {run.fence} attempt {run.attempt} on {run.worker} from {run.started} "
            + (f"to {run.ended} ({run.verdict})" if run.ended is not None else "without an end")
            for run in runs[:SHOWN]
        ]
        return ", ".join(told) + (f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else "")


def _most_at_once(moments: list[tuple[int, int]]) -> int:
    running = most = 0
    for _, change in sorted(moments):  # of two at one moment the end comes first
        running += change
        most = max(most, running)
    return most
