"""One tree, each error with what its catcher needs."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta

import pytest

from redqueue import errors
from redqueue.errors import (
    BadInput,
    ConfigurationError,
    Discard,
    InvalidArguments,
    InvalidOption,
    JobCancelled,
    JobError,
    JobFailed,
    MissingExtra,
    NotRegistered,
    PayloadNotSerializable,
    PayloadTooLarge,
    RedisUnavailable,
    RedQueueError,
    ResultGone,
    ResultTimeout,
    Retry,
    Snooze,
    Steering,
)

CLASSES = [one for _, one in inspect.getmembers(errors, inspect.isclass) if one.__module__ == "redqueue.errors"]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_in_exactly_one_tree(error: type[Exception]) -> None:
    assert issubclass(error, RedQueueError) != issubclass(error, Steering)
    assert error.__doc__


def test_the_tree_in_the_docstring_names_every_class() -> None:
    named = set(re.findall(r"\b[A-Z][A-Za-z]+\b", errors.__doc__ or ""))
    assert {one.__name__ for one in CLASSES} <= named


def test_steering_is_not_swallowed_by_who_catches_redqueues_errors() -> None:
    for steer in (Retry(5), Snooze(5), Discard("no")):
        assert not isinstance(steer, RedQueueError)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (BadInput, ValueError),
        (InvalidArguments, ValueError),
        (NotRegistered, LookupError),
        (ResultTimeout, TimeoutError),
        (ResultGone, LookupError),
    ],
)
def test_errors_are_also_the_builtin_ones_that_people_catch(error: type, builtin: type) -> None:
    assert issubclass(error, builtin)


def test_errors_carry_what_their_catcher_needs() -> None:
    assert InvalidOption("delay", "delay must ...").option == "delay"
    large = PayloadTooLarge("too large", size=5, limit=4)
    assert (large.size, large.limit, str(large)) == (5, 4, "too large")
    assert PayloadNotSerializable("no", path="$.a").path == "$.a"
    assert PayloadNotSerializable("no").path == "$"
    assert RedisUnavailable("away", sent=True).sent is True


def test_a_missing_extra_says_what_to_install() -> None:
    error = MissingExtra("embedded", "embedded:// URLs")
    assert error.extra == "embedded"
    assert isinstance(error, ConfigurationError)
    assert str(error) == "embedded:// URLs needs the extra 'embedded': pip install 'redqueue-jobs[embedded]'"


def test_a_failed_job_is_data() -> None:
    error = JobFailed("j-1", "ValueError", "no", "Traceback", 4)
    assert (error.job_id, error.type, error.message, error.traceback, error.attempts) == (
        "j-1",
        "ValueError",
        "no",
        "Traceback",
        4,
    )
    assert str(error) == "job j-1 failed: ValueError: no"
    assert isinstance(error, JobError)


def test_a_cancelled_job_says_why_when_somebody_did() -> None:
    assert str(JobCancelled("j-1", "too late")) == "job j-1 was cancelled: too late"
    assert str(JobCancelled("j-1", "")) == "job j-1 was cancelled"


def test_steering_carries_its_wait_and_its_reason() -> None:
    assert (Retry().after, Retry().reason, bool(str(Retry()))) == (None, "", True)
    assert (Retry(timedelta(seconds=5), "busy").after, str(Retry(5, "busy"))) == (timedelta(seconds=5), "busy")
    assert (Snooze(5).after, Snooze(5, "closed").reason) == (5, "closed")
    assert (Discard("no").reason, str(Discard("no"))) == ("no", "no")
