"""What an add waits for, asked and read without a server."""

from __future__ import annotations

from typing import Any

import pytest

from redqueue.core.add import NewJob, add
from redqueue.core.durability import Confirmation, is_given, strongest
from redqueue.core.keys import Keys
from redqueue.errors import InvalidOption, NotConfirmed, RedisRefused
from redqueue.options import Durability, check_queue_defaults, plan_job

KEYS = Keys("q", "redqueue")


def job(name: str, durability: Durability = "memory") -> NewJob:
    return NewJob(name, "t", "0", b"{}\nnull", durability=durability)


@pytest.mark.parametrize("value", ["disk", "", "FSYNC", None, 1, ["fsync"]], ids=repr)
def test_an_unknown_durability_is_refused(value: Any) -> None:
    if value is None:  # as if absent
        assert plan_job({"durability": None}, {}).durability == "memory"
        return
    with pytest.raises(InvalidOption, match=r"^durability must be one of 'memory', 'replica', 'fsync', not ") as no:
        plan_job({"durability": value}, {})
    assert no.value.option == "durability"
    with pytest.raises(InvalidOption, match=r"^durability must be"):
        check_queue_defaults({"durability": value})


def test_a_jobs_durability_wins_over_its_queues() -> None:
    assert plan_job({}, {"durability": "fsync"}).durability == "fsync"
    assert plan_job({"durability": "memory"}, {"durability": "fsync"}).durability == "memory"
    assert plan_job({"durability": "replica"}, {}).durability == "replica"


def test_a_call_waits_for_the_most_that_one_of_its_jobs_asks_for() -> None:
    assert strongest({"memory"}) == "memory"
    assert strongest({"memory", "replica"}) == "replica"
    assert strongest({"memory", "replica", "fsync"}) == "fsync"
    assert add(KEYS, [job("a"), job("b")]).durability == "memory"
    call = add(KEYS, [job("a"), job("b", "replica")])
    assert call.durability == "replica"
    assert call.on("record", 7).durability == "replica"


@pytest.mark.parametrize(
    ("reply", "given"),
    [(0, False), (1, True), (2, True), ([0, 0], False), ([1, 0], True), ([0, 1], False)],
    ids=repr,
)
def test_a_reply_says_whether_it_is_safe(reply: Any, given: bool) -> None:
    assert is_given(reply) is given


def test_what_was_confirmed_is_told() -> None:
    read = add(KEYS, [job("a", "fsync"), job("b")]).read
    assert [one.confirmed for one in read(Confirmation([b"cd 1-1"], True))] == ["fsync", "fsync"]
    assert add(KEYS, [job("a")]).read([b"c 1-1"])[0].confirmed == "memory"


def test_what_was_not_confirmed_is_an_error_that_names_the_jobs_that_asked() -> None:
    read = add(KEYS, [job("a", "fsync"), job("b"), *(job(f"c{n}", "fsync") for n in range(9))]).read
    with pytest.raises(NotConfirmed, match=r"^stored, and durability='fsync' was not confirmed") as no:
        read(Confirmation([b"c" * 11 + b" 1-1"], False))
    assert (no.value.sent, no.value.durability) == (True, "fsync")
    assert no.value.job_ids == ("a", *(f"c{n}" for n in range(9)))
    assert "(a, c0, c1 and 7 more)" in str(no.value)
    with pytest.raises(NotConfirmed, match="Redis refused to tell: no permission"):
        read(Confirmation([b"c" * 11 + b" 1-1"], False, "no permission"))


def test_a_refused_call_is_refused_and_not_called_stored() -> None:
    with pytest.raises(RedisRefused, match="another format"):
        add(KEYS, [job("a", "replica")]).read(Confirmation([b"format"], False))
