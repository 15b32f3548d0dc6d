"""From what a run ended in to what becomes of its job, without a worker."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from redqueue.backoff import Exponential
from redqueue.core.bombs import READ_DEPTH
from redqueue.core.keys import Keys
from redqueue.core.lease import Claimed, ErrorFacts
from redqueue.core.lifecycle import (
    INTERRUPTED,
    Complete,
    Crash,
    Died,
    Fail,
    Interrupted,
    Raised,
    Release,
    RetryIn,
    Returned,
    RunRules,
    Snoozed,
    SnoozeFor,
)
from redqueue.defaults import MAX_ERROR_TEXT, MAX_PAYLOAD, MAX_TRACEBACK
from redqueue.errors import Discard, InvalidArguments, JobCancelled, Retry, Snooze
from redqueue.worker.executors.child_process import ChildNotStarted
from redqueue.worker.judge import EndedInChild, accept, attempt_ended, cause_of, in_child, judge, settle, stopped
from redqueue.worker.verdict import facts_of, raised, returned

if TYPE_CHECKING:
    from collections.abc import Callable

    from redqueue.core.lifecycle import Outcome, Settlement


def run_of(
    stopped: str = "",
    *,
    attempt: int = 1,
    retries: int = 3,
    backoff: Any = 2,
    crashes: int = 0,
    over: bool = False,
    **options: Any,
) -> Any:
    """A run as far as its judges look at it."""
    facts = SimpleNamespace(queue="q", job_id="a", job_type="sms", label="Send it")
    return SimpleNamespace(
        stopped=stopped,
        attempt=attempt,
        over=over,
        rules=RunRules(retries=retries, backoff=backoff, timeout_ms=1500),
        claimed=Claimed("a", 1, 1, b"", crashes=crashes),
        prepared=SimpleNamespace(binding=SimpleNamespace(options=options, name="sms")),
        pump=SimpleNamespace(keys=Keys("q", "redqueue")),
        facts=facts,
    )


def told(settlement: object) -> ErrorFacts:
    """The error that a settlement carries."""
    error: bytes = getattr(settlement, "error")  # noqa: B009 - only some settlements have one
    return msgspec.json.decode(error, type=ErrorFacts)


def child_error(kind: str = "ValueError") -> bytes:
    return msgspec.json.encode(ErrorFacts(kind, "no such number", "Traceback ..."))


# What was raised


@pytest.mark.parametrize("error", [asyncio.CancelledError(), JobCancelled("a", "no")])
@pytest.mark.parametrize("why", ["cancelled", "lost", "leaving"])
def test_a_run_that_was_told_to_stop_and_does_is_released_uncounted(why: str, error: BaseException) -> None:
    assert judge(run_of(why), error) == Release(INTERRUPTED)


def test_a_run_that_ran_out_of_time_has_failed_by_a_time_out_that_names_it() -> None:
    settlement = judge(run_of("timeout"), asyncio.CancelledError())
    assert isinstance(settlement, RetryIn)
    assert (told(settlement).type, told(settlement).message) == (
        "TimeoutError",
        "the run took longer than its timeout of 1.5 s",
    )


def test_a_time_out_may_be_what_its_processor_gives_up_on() -> None:
    assert isinstance(stopped(run_of("timeout", give_up_on=(TimeoutError,))), Fail)


def test_another_error_of_a_stopped_run_is_a_failed_attempt() -> None:
    assert told(judge(run_of("cancelled"), ValueError("x"))).type == "ValueError"


def test_a_cancellation_that_nobody_asked_for_is_a_failed_attempt() -> None:
    assert told(judge(run_of(), asyncio.CancelledError())).type == "CancelledError"


def test_what_a_child_ended_in_is_what_is_recorded() -> None:
    run = run_of()
    outcome = Raised(child_error(), after_ms=7)
    error = EndedInChild(run, outcome, "ValueError")
    assert (error.job_id, error.type, error.message, error.traceback, error.attempts) == (
        *("a", "ValueError", "no such number", "Traceback ...", 1),
    )
    assert judge(run, error) == RetryIn(7, child_error())


def test_what_a_child_ended_in_without_an_error_is_named_by_its_class_only() -> None:
    error = EndedInChild(run_of(), Interrupted(), "JobCancelled")
    assert (error.type, error.message, error.traceback) == ("JobCancelled", "", "")


# What was returned


def test_a_value_completes_its_job_and_one_that_can_not_be_stored_fails_it(caplog: pytest.LogCaptureFixture) -> None:
    assert accept(run_of(), returned({"sent": 2})) == Complete(b'{"sent":2}')
    with caplog.at_level(logging.ERROR, "redqueue.worker"):
        failed = accept(run_of(), returned(object()))
    assert isinstance(failed, Fail) and told(failed).type == "ResultNotSerializable"
    assert told(failed).message.startswith("the result ")
    assert caplog.records[-1].__dict__["error"] == "ResultNotSerializable"


def test_nothing_is_returned_as_nothing() -> None:
    assert returned(None) == Returned(b"")


def test_a_result_of_just_the_limit_is_stored_and_one_byte_more_is_not() -> None:
    assert returned("x" * (MAX_PAYLOAD - 2)) == Returned(b'"' + b"x" * (MAX_PAYLOAD - 2) + b'"')
    refused = returned("x" * (MAX_PAYLOAD - 1))
    assert isinstance(refused, Raised) and refused.final
    assert told(refused).message == (
        "the result is 1,048,577 bytes as JSON, more than 1,048,576: store it elsewhere and return its key"
    )


def test_a_result_that_nobody_could_read_is_refused() -> None:
    deepest = b"[" * READ_DEPTH + b"]" * READ_DEPTH
    assert returned(msgspec.Raw(deepest)) == Returned(deepest)
    refused = returned(msgspec.Raw(b"[" * 400 + b"]" * 400))
    assert isinstance(refused, Raised) and refused.final
    assert told(refused).message.startswith("the result is nested")


# In a child process


def ends(outcome: Outcome, error: str = "", *, told_to_stop: bool = False) -> Callable[[], Any]:
    return lambda: SimpleNamespace(outcome=outcome, error_type=error, told_to_stop=told_to_stop)


def breaks(error: Exception) -> Callable[[], Any]:
    def carry() -> Any:
        raise error

    return carry


def test_a_childs_ending_is_handed_on() -> None:
    outcome = Raised(child_error())
    assert in_child(run_of(), ends(outcome, "ValueError"), 3) == (outcome, "ValueError")


@pytest.mark.parametrize(("why", "obeyed", "expected"), [("cancelled", True, True), ("cancelled", False, False)])
def test_a_child_that_was_told_to_stop_is_interrupted_only_if_it_did(why: str, obeyed: bool, expected: bool) -> None:
    outcome, _ = in_child(run_of(why), ends(Returned(b"1"), told_to_stop=obeyed), 3)
    assert (outcome == Interrupted()) is expected


def test_a_child_that_ended_by_a_stop_that_nobody_asked_for_keeps_its_outcome() -> None:
    outcome = Raised(child_error("JobCancelled"))
    assert in_child(run_of(), ends(outcome, "JobCancelled", told_to_stop=True), 3) == (outcome, "JobCancelled")


def test_a_child_that_was_killed_because_it_did_not_stop_is_interrupted_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert in_child(run_of("cancelled"), breaks(EOFError("gone")), 3) == (Interrupted(), "")
    outcome, error = in_child(run_of("timeout"), breaks(EOFError("gone")), 3)
    assert isinstance(outcome, Raised) and error == "TimeoutError"
    assert not caplog.records


@pytest.mark.parametrize(("crashes", "last"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_child_that_died_is_a_crash_and_the_last_one_that_is_allowed_ends_the_job(crashes: int, last: bool) -> None:
    outcome, error = in_child(run_of(crashes=crashes), breaks(EOFError("gone")), 3)
    assert isinstance(outcome, Died) and outcome.last is last
    assert (error, told(outcome).type, told(outcome).message) == ("EOFError", "EOFError", "gone")
    assert isinstance(settle(run_of(), outcome, error), Fail if last else Crash)


def test_a_child_that_could_not_be_started_costs_its_job_a_second_and_no_attempt() -> None:
    outcome, error = in_child(run_of(), breaks(ChildNotStarted("no memory")), 3)
    assert outcome == Snoozed(1000, "its worker could start no child process")
    assert error == ""


# The reason, for on_failed


def test_on_failed_gets_the_error_itself_or_what_says_why() -> None:
    error = ValueError("x")
    assert cause_of(run_of(), error) is error
    out_of_time = cause_of(run_of("timeout"), asyncio.CancelledError())
    assert isinstance(out_of_time, TimeoutError) and "1.5 s" in str(out_of_time)
    assert cause_of(run_of("timeout"), error) is error
    odd = cause_of(run_of("cancelled"), SystemExit(3))
    assert (type(odd), str(odd)) == (RuntimeError, "the function raised SystemExit")


# By the rules of the run


def test_a_backoff_of_the_users_own_that_breaks_is_replaced_by_the_default(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def delay(self, attempt: int) -> Any:
            raise ZeroDivisionError("oops")

    monkeypatch.setattr("redqueue.worker.judge.random.random", lambda: 0.25)
    settlement = settle(run_of(backoff=Broken(), attempt=3), Raised(b"{}"), "ValueError")
    assert settlement == RetryIn(3000, b"{}")
    assert "a" in caplog.text and "oops" in caplog.text


def test_chance_takes_part_in_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redqueue.worker.judge.random.random", lambda: 0.25)
    run = run_of(backoff=Exponential(first=10, cap=600, jitter=1))
    assert settle(run, Raised(b"{}"), "ValueError") == RetryIn(7500, b"{}")


@pytest.mark.parametrize(("attempt", "level", "words"), [(1, "INFO", "is run again after"), (4, "ERROR", "failed at")])
def test_a_failure_is_logged_by_the_name_of_its_error(
    caplog: pytest.LogCaptureFixture, attempt: int, level: str, words: str
) -> None:
    with caplog.at_level(logging.INFO, "redqueue.worker"):
        settle(run_of(attempt=attempt), Raised(child_error()), "ValueError")
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        level,
        f"job a of queue q (sms) {words} attempt {attempt}: ValueError",
    )
    facts = {name: record.__dict__[name] for name in ("queue", "job_id", "attempt", "error")}
    assert facts == {"queue": "q", "job_id": "a", "attempt": attempt, "error": "ValueError"}


@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        (run_of(over=True), Raised(child_error())),
        (run_of(), Snoozed(5, "busy")),
        (run_of(), Interrupted()),
        (run_of(), Died(child_error(), last=False)),
    ],
    ids=["given up", "snoozed", "interrupted", "crashed"],
)
def test_what_is_no_failure_is_not_logged_as_one(caplog: pytest.LogCaptureFixture, run: Any, outcome: Outcome) -> None:
    with caplog.at_level(logging.INFO, "redqueue.worker"):
        settle(run, outcome, "ValueError")
    assert not caplog.records


@pytest.mark.parametrize(
    ("settlement", "why", "word", "error"),
    [
        (Complete(b"1"), "", "completed", None),
        (Fail(child_error()), "", "failed", "ValueError"),
        (RetryIn(5, child_error()), "", "retrying", "ValueError"),
        (SnoozeFor(5, "busy"), "", "snoozed", None),
        (Crash(), "", "released", None),
        (Crash(), "cancelled", "released", None),
        (Release(), "leaving", "released", None),
        (Release(), "cancelled", "cancelled", None),
    ],
)
def test_hooks_are_told_how_an_attempt_ended(settlement: Settlement, why: str, word: str, error: str | None) -> None:
    fact = attempt_ended(run_of(why, attempt=2), settlement, 12.5)
    assert (fact.queue, fact.job_id, fact.job_type, fact.label) == ("q", "a", "sms", "Send it")
    assert (fact.attempt, fact.run_ms, fact.outcome, fact.error_type) == (2, 12.5, word, error)


# An exception as an outcome


def test_steering_is_taken_at_its_word() -> None:
    assert raised(Snooze(0.5, reason="busy"), {}) == Snoozed(500, "busy")
    later, plain = raised(Retry(after=2), {}), raised(Retry(), {})
    assert isinstance(later, Raised) and (later.after_ms, later.final) == (2000, False)
    assert isinstance(plain, Raised) and (plain.after_ms, plain.final) == (None, False)


@pytest.mark.parametrize(("error", "option"), [(Snooze(-1), "Snooze.after"), (Retry(after=-1), "Retry.after")])
def test_steering_that_is_no_wait_is_a_failed_attempt_that_names_it(error: Exception, option: str) -> None:
    outcome = raised(error, {})
    assert isinstance(outcome, Raised) and not outcome.final
    assert told(outcome).type == "InvalidOption" and option in told(outcome).message


@pytest.mark.parametrize(
    ("error", "options", "final"),
    [
        (ValueError(), {}, False),
        (Discard("no"), {}, True),
        (InvalidArguments("no"), {"retry_on": (InvalidArguments,)}, True),
        (ValueError(), {"give_up_on": (ValueError,)}, True),
        (KeyError(), {"give_up_on": (ValueError,)}, False),
        (ValueError(), {"retry_on": (ValueError,)}, False),
        (KeyError(), {"retry_on": (ValueError,)}, True),
    ],
)
def test_what_another_attempt_can_not_mend_is_final(error: Exception, options: dict[str, Any], final: bool) -> None:
    outcome = raised(error, options)
    assert isinstance(outcome, Raised) and outcome.final is final


# An error as data


def test_an_error_is_its_class_its_text_and_its_traceback() -> None:
    def deep() -> None:
        raise ValueError("no such number")

    with pytest.raises(ValueError, match="no such number") as caught:
        deep()
    facts = msgspec.json.decode(facts_of(caught.value), type=ErrorFacts)
    assert (facts.type, facts.message) == ("ValueError", "no such number")
    assert facts.traceback.startswith("Traceback (most recent call last):\n")
    assert facts.traceback.endswith('in deep\n    raise ValueError("no such number")\nValueError: no such number\n')


def test_an_error_of_ours_needs_no_traceback() -> None:
    assert told(raised(InvalidArguments("no"), {})).traceback == ""


def test_an_error_that_can_not_say_what_it_is_is_named_all_the_same() -> None:
    class Speechless(Exception):
        def __str__(self) -> str:
            raise KeyError("no words")

    facts = msgspec.json.decode(facts_of(Speechless()), type=ErrorFacts)
    assert (facts.type, facts.message) == ("Speechless", "<its __str__ raised KeyError>")


def test_a_text_of_just_the_limit_is_whole_and_a_longer_one_is_cut_and_says_so() -> None:
    whole = told(raised(ValueError("x" * MAX_ERROR_TEXT), {}))
    assert whole.message == "x" * MAX_ERROR_TEXT
    cut = told(raised(ValueError("x" * (MAX_ERROR_TEXT + 1)), {}))
    assert cut.message == "x" * (MAX_ERROR_TEXT - 20) + " ... (cut)"
    assert len(told(raised(ValueError("x" * (2 * MAX_TRACEBACK)), {})).traceback) <= MAX_TRACEBACK


def test_half_a_character_at_the_cut_and_half_a_surrogate_are_text_that_can_be_shown() -> None:
    cut = told(raised(ValueError("é" * MAX_ERROR_TEXT), {})).message
    assert cut.removesuffix(" ... (cut)").strip("é") == ""
    assert told(raised(ValueError("\ud800"), {})).message == "\\ud800"
    odd = told(raised(ValueError("x" + "é" * MAX_ERROR_TEXT), {})).message
    assert odd.removesuffix(" ... (cut)").strip("é") == "x"


def test_of_a_deep_recursion_thirty_frames_are_told() -> None:
    def fall(depth: int) -> None:
        if depth == 0:
            raise ValueError("bottom")
        fall(depth - 1)

    with pytest.raises(ValueError, match="bottom") as caught:
        fall(100)
    stack = told(raised(caught.value, {})).traceback
    assert "bottom" in stack
    assert "test_of_a_deep_recursion" not in stack
