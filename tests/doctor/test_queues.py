"""A queue is judged by its numbers, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from redqueue.core.codec import FORMAT
from redqueue.doctor.facts import Facts, Level, QueueFacts
from redqueue.doctor.queues import judge, strangers
from redqueue.records import QueueStats


def stats(**numbers: Any) -> QueueStats:
    quiet = dict.fromkeys(("waiting", "active", "succeeded", "failed", "delayed", "cancelled"), 0)
    kept: dict[str, Any] = {"kept_completed": 0, "kept_failed": 0, "paused": False, "oldest_waiting_s": None}
    return QueueStats(**{**quiet, **kept, "workers": 1, **numbers})


def found(**facts: Any) -> dict[str, tuple[Level, str, str]]:
    given = {"format": FORMAT, "stats": stats(), "late": 0, "due": 0, "audit": [], **facts}
    return {one.check: (one.level, one.says, one.do) for one in judge(QueueFacts("sms", **given))}


def test_a_quiet_queue_is_well() -> None:
    assert {level for level, _, _ in found().values()} == {"ok"}
    assert set(found()) == {"workers", "stuck", "audit"}


@pytest.mark.parametrize(
    ("numbers", "check", "level", "says", "do"),
    [
        ({"waiting": 3, "oldest_waiting_s": 5, "workers": 0}, "workers", "warning", "no worker was seen", "start a"),
        ({"waiting": 3, "oldest_waiting_s": 61, "workers": 0}, "workers", "error", "waited 61 s", "-q sms"),
        ({"waiting": 3, "oldest_waiting_s": 1200}, "workers", "warning", "waited 20 min", "run more workers"),
        ({"waiting": 3, "oldest_waiting_s": 30}, "workers", "ok", "3 waiting", ""),
        ({"workers": 0}, "workers", "ok", "0 workers", ""),
        ({"paused": True, "waiting": 1}, "paused", "warning", "it is paused", "queue.resume()"),
        ({"paused": True}, "paused", "hint", "it is paused", "queue.resume()"),
    ],
)
def test_a_queue_that_does_not_move_says_why(
    numbers: dict[str, Any], check: str, level: Level, says: str, do: str
) -> None:
    what, said, to_do = found(stats=stats(**numbers))[check]
    assert what == level
    assert says in said
    assert do in to_do


def test_stuck_jobs_are_errors() -> None:
    assert found(late=2)["stuck"][0] == "error"
    assert "2 running jobs whose lease ended" in found(late=2)["stuck"][1]
    assert "4 delayed jobs are due" in found(due=4)["stuck"][1]
    assert "stuck" not in found(due=4, stats=stats(paused=True))


def test_findings_of_the_audit_are_errors_and_a_flood_is_cut() -> None:
    flood = list(judge(QueueFacts("sms", FORMAT, stats=stats(), audit=[f"x{n}" for n in range(25)])))
    audit = [one for one in flood if one.check == "audit"]
    assert {one.level for one in audit} == {"error"}
    assert len(audit) == 11
    assert audit[-1].says == "15 more findings of the audit"
    assert found(audit=None)["audit"][:2] == ("hint", "not looked at")


def test_another_format_is_all_there_is_to_say() -> None:
    assert set(found(format="99")) == {"format"}
    assert found(format="99")["format"][0] == "error"


def test_a_queue_that_may_not_be_looked_at_says_so() -> None:
    (one,) = judge(QueueFacts("sms", refused="its ACL forbids it"))
    assert (one.level, one.says, one.denied) == ("hint", "not allowed to look: its ACL forbids it", True)


def test_what_was_not_looked_at_is_not_called_well() -> None:
    assert found(late=None)["stuck"][:2] == ("hint", "not allowed to look (denied: ZCOUNT)")
    assert found(audit=None, audit_denied=True)["audit"][:2] == ("hint", "not allowed to look")


def test_a_queue_of_which_nothing_is_stored_is_a_warning() -> None:
    level, says, do = found(format="", stats=stats(workers=0))["queue"]
    assert level == "warning"
    assert "nothing is stored under that name" in says
    assert do.startswith("compare name")
    paused, failed = stats(workers=0, paused=True), stats(workers=0, failed=1)
    traces: list[dict[str, Any]] = [{"format": None}, {"stats": paused}, {"stats": failed}]
    for known in traces:
        assert "queue" not in found(**{"format": "", "stats": stats(workers=0), **known})


def test_strangers_under_the_prefix_are_named() -> None:
    many = Facts([], [QueueFacts("sms")], [f"redqueue:x{n}" for n in range(100)], 1234)
    (one,) = strangers(many)
    assert one.level == "warning"
    assert "1,234: redqueue:x0, redqueue:x1" in one.says
    assert one.says.endswith("and 1,224 more")
    assert [one.level for one in strangers(Facts([], [], searched=None))] == ["hint"]
    assert [one.level for one in strangers(Facts([], [QueueFacts("sms")]))] == ["ok"]
    assert [one.says for one in strangers(Facts([], []))][-1] == "there is no queue"
    assert list(strangers(Facts([], [QueueFacts("sms")], searched=False))) == []
