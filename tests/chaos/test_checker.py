"""What the checker says of ledgers that are written by hand."""

from __future__ import annotations

from typing import Any, Final

import pytest
from chaos.checker import Rules, Verdict, check
from chaos.ledger import EVERYBODY, Facts, Fault, Run
from chaos.stored import Stored

SECOND: Final = 1_000_000
KILLS: Final = Rules(explains=frozenset({"killed"}), kills=True)


def ran(
    worker: str, fence: int, started: float, ended: float | None = None, verdict: str = "ok", attempt: int = 1
) -> Run:
    """One run; times in seconds."""
    end = None if ended is None else int(ended * SECOND)
    return Run(worker, fence, attempt, int(started * SECOND), end, verdict if ended is not None else "")


def fault(kind: str, target: str, since: float, until: float | None = None) -> Fault:
    return Fault(kind, target, int(since * SECOND), int((since if until is None else until) * SECOND))


def judge(
    *runs: Run,
    faults: tuple[Fault, ...] = (),
    state: str | None = "completed",
    fence: int | None = None,
    recorded: int = 1,
    rules: Rules = KILLS,
    kept_all: bool = True,
    **facts: Any,
) -> Verdict:
    """The verdict on one accepted job with these runs, recorded by the fence of the last one."""
    newest = fence if fence is not None else max((run.fence for run in runs), default=None)
    return check(
        Facts(accepted={"a": 0}, runs={"a": list(runs)} if runs else {}, faults=list(faults), **facts),
        Stored(
            states={} if state is None else {"a": state},
            fences={"a": newest} if state == "completed" and newest is not None else {},
            errors={"a": "WorkerCrashed"} if state == "failed" else {},
            recorded=recorded,
            findings=[],
            kept_all=kept_all,
        ),
        rules,
    )


def kinds(verdict: Verdict) -> list[str]:
    return sorted(verdict.findings)


def test_one_run_and_one_outcome_are_sound() -> None:
    verdict = judge(ran("w", 1, 1, 2))
    assert verdict.sound
    assert (verdict.accepted, verdict.recorded, verdict.runs, verdict.lost, verdict.extra) == (1, 1, 1, 0, 0)


@pytest.mark.parametrize("state", [None, "waiting", "delayed", "active"])
def test_an_accepted_job_without_an_outcome_is_lost(state: str | None) -> None:
    verdict = judge(ran("w", 1, 1, 2), state=state, recorded=0)
    assert verdict.lost == 1
    assert "lost" in verdict.findings


def test_where_few_are_kept_a_job_that_ended_may_be_gone_and_one_that_did_not_is_lost() -> None:
    assert judge(ran("w", 1, 1, 2), state=None, kept_all=False).sound
    assert judge(ran("w", 1, 1), state=None, kept_all=False).lost == 1
    assert judge(state=None, kept_all=False).lost == 1


def test_an_add_that_redis_forgot_is_told_apart_from_a_lost_job() -> None:
    killed = fault("killed", EVERYBODY, 1.5)
    forgets = Rules(forgets=frozenset({"killed"}))
    verdict = judge(faults=(killed,), state=None, recorded=0, rules=forgets)
    assert (verdict.lost, verdict.forgotten, verdict.sound) == (0, 1, True)
    assert judge(faults=(killed,), state=None, recorded=0).lost == 1
    assert judge(faults=(killed,), state="waiting", recorded=0, rules=forgets).lost == 1
    assert judge(faults=(fault("killed", EVERYBODY, 5),), state=None, recorded=0, rules=forgets).lost == 1


def test_two_outcomes_of_one_job_are_counted() -> None:
    verdict = judge(ran("w", 1, 1, 2), recorded=2)
    assert verdict.twice == 1
    assert kinds(verdict) == ["recorded twice"]


def test_an_outcome_less_than_there_are_finished_jobs_is_found() -> None:
    assert kinds(judge(ran("w", 1, 1, 2), recorded=0)) == ["not recorded"]


@pytest.mark.parametrize(
    ("first", "hit", "explained"),
    [
        pytest.param(ran("w", 1, 1), fault("killed", "w", 1.5), True, id="killed while it ran"),
        pytest.param(ran("w", 1, 1, 2), fault("killed", "w", 2.5), True, id="killed while its outcome was on its way"),
        pytest.param(ran("w", 1, 1, 2), fault("killed", "w", 8), False, id="killed long after it ended"),
        pytest.param(ran("w", 1, 1), fault("killed", "w", 0.5), False, id="killed before it began"),
        pytest.param(ran("w", 1, 1), fault("killed", "w", 10.5), False, id="killed when another one had begun"),
        pytest.param(ran("w", 1, 1), fault("killed", "v", 1.5), False, id="another worker was killed"),
        pytest.param(ran("w", 1, 1), fault("stopped", "w", 1.5), False, id="a fault that explains nothing here"),
        pytest.param(ran("w", 1, 1), fault("killed", EVERYBODY, 1.5), True, id="everybody was hit"),
    ],
)
def test_an_extra_run_is_explained_by_a_fault_that_hit_its_worker_in_that_time(
    first: Run, hit: Fault, explained: bool
) -> None:
    verdict = judge(first, ran("v", 2, 10, 11), faults=(hit,))
    assert verdict.extra == 1
    assert verdict.explained == ({"killed": 1} if explained else {})
    assert kinds(verdict) == ([] if explained else ["extra run"])


def test_a_run_that_the_job_had_asked_for_is_not_extra() -> None:
    assert judge(ran("w", 1, 1, 2, "retry"), ran("w", 2, 3, 4, attempt=2)).extra == 0
    assert judge(ran("w", 1, 1, 2, "retry"), ran("w", 2, 3, 4, attempt=1)).extra == 1


def test_one_claim_is_run_once() -> None:
    first, second = ran("w", 1, 1), ran("w", 1, 3, 4)
    assert kinds(judge(first, second, faults=(fault("killed", "w", 2),))) == ["fence"]


def test_a_fence_grows_unless_its_worker_was_held_up_before_its_first_line() -> None:
    newer, older = ran("w", 2, 1, 2), ran("v", 1, 5, 6)
    killed = fault("killed", "w", 1.5)
    assert "fence" in judge(newer, older, faults=(killed,), fence=2).findings
    assert judge(newer, older, faults=(killed, fault("stopped", "v", 0, 4.9)), fence=2).sound


def test_a_fence_has_one_holder() -> None:
    verdict = judge(ran("w", 1, 1), ran("v", 1, 3, 4), faults=(fault("killed", "w", 2),))
    assert any("was given to w and to v" in line for line in verdict.findings["fence"])


def test_the_outcome_of_an_older_run_is_found() -> None:
    first, second = ran("w", 1, 1, 12), ran("v", 2, 10, 11)
    verdict = judge(first, second, faults=(fault("killed", "w", 5),), fence=1)
    assert kinds(verdict) == ["outcome"]


def test_a_completed_job_that_nobody_ran_to_its_end_is_found() -> None:
    assert kinds(judge(fence=1)) == ["outcome"]
    assert kinds(judge(ran("w", 1, 1))) == ["outcome"]
    assert kinds(judge(ran("w", 1, 1, 2, "cancelled"))) == ["outcome"]


def test_a_job_fails_by_a_run_of_its_own_or_by_killed_workers() -> None:
    assert judge(ran("w", 1, 1, 2, "failed"), state="failed", rules=Rules()).sound
    assert judge(ran("w", 1, 1), state="failed").sound
    assert kinds(judge(ran("w", 1, 1), state="failed", rules=Rules())) == ["outcome"]


def test_a_cancelled_job_was_cancelled_by_somebody_and_runs_no_more() -> None:
    assert judge(state="cancelled", cancelled={"a": 5}).sound
    assert judge(ran("w", 1, 1, 2, "cancelled"), state="cancelled", asked_to_stop={"a"}).sound
    assert kinds(judge(state="cancelled")) == ["outcome"]
    assert kinds(judge(ran("w", 1, 1, 2), state="cancelled", cancelled={"a": 5})) == ["outcome"]
    assert kinds(judge(ran("w", 1, 0, 2), cancelled={"a": 5})) == ["outcome"]


def test_more_runs_at_once_than_allowed_are_found() -> None:
    runs = [ran("w", 1, 1, 3), ran("w", 2, 2, 4)]
    facts = Facts(accepted={"a": 0, "b": 0}, runs={"a": runs[:1], "b": runs[1:]}, limits={"w": 1})
    stored = Stored({"a": "completed", "b": "completed"}, {"a": 1, "b": 2}, {}, 2, [], True)
    assert kinds(check(facts, stored, KILLS)) == ["limit"]
    facts.limits["w"] = 2
    assert check(facts, stored, KILLS).sound


def test_a_run_may_begin_in_the_moment_in_which_another_one_ends() -> None:
    runs = [ran("w", 1, 1, 3), ran("w", 2, 3, 4)]
    facts = Facts(accepted={"a": 0, "b": 0}, runs={"a": runs[:1], "b": runs[1:]}, limits={"w": 1})
    stored = Stored({"a": "completed", "b": "completed"}, {"a": 1, "b": 2}, {}, 2, [], True)
    assert check(facts, stored, KILLS).sound


def test_findings_of_the_audit_are_findings() -> None:
    stored = Stored({"a": "completed"}, {"a": 1}, {}, 1, ["waiting a: it is in completed, too"], True)
    verdict = check(Facts(accepted={"a": 0}, runs={"a": [ran("w", 1, 1, 2)]}), stored, KILLS)
    assert verdict.lines() == ["audit: waiting a: it is in completed, too"]


def test_many_findings_of_a_kind_are_counted() -> None:
    jobs = {f"j{n}": 0 for n in range(9)}
    verdict = check(Facts(accepted=jobs), Stored({}, {}, {}, 0, [], True), KILLS)
    assert verdict.lost == 9
    assert verdict.lines()[-1] == "lost: and 4 more"
