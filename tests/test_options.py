"""What users pass is checked once, and the error names the option."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.backoff import Exponential
from redqueue.errors import InvalidName, InvalidOption
from redqueue.options import (
    NOTHING_GIVEN,
    Given,
    JobOptions,
    ProcessorOptions,
    check_job_id,
    check_known,
    check_prefix,
    check_queue_defaults,
    check_queue_name,
    check_run_options,
    plan_job,
)
from redqueue.rules import Keep
from redqueue.units import shown

NO_INTEGERS: list[object] = [True, False, 1.0, math.nan, math.inf, "1", [], 10**5000]
NO_WAITS: list[object] = [-1, math.nan, math.inf, -math.inf, True, False, "5", [], 10**5000, timedelta(days=4000)]
AT = datetime(2030, 1, 1, tzinfo=UTC)


def refuse(options: dict[str, Any], match: str, defaults: dict[str, Any] | None = None) -> InvalidOption:
    with pytest.raises(InvalidOption, match=match) as caught:
        plan_job(options, defaults or {})
    assert len(str(caught.value)) < 400
    return caught.value


def test_no_options_are_a_plain_place_at_the_end_of_the_line() -> None:
    plan = plan_job({}, {})
    assert (plan.job_id, plan.place, plan.given) == (None, "0", NOTHING_GIVEN)


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"priority": -1000}, "-1000"),
        ({"priority": 1000, "lifo": True}, "1000 l"),
        ({"lifo": False}, "0"),
        ({"delay": 0}, "0"),
        ({"delay": 1.5}, "0 d1500"),
        ({"delay": timedelta(minutes=1), "priority": 3}, "3 d60000"),
        ({"at": AT}, "0 a1893456000000"),
        ({"lifo": True, "delay": 0}, "0 l"),
        ({"delay": 5, "lifo": False}, "0 d5000"),
    ],
)
def test_places_are_in_the_words_of_the_add_script(options: dict[str, Any], place: str) -> None:
    assert plan_job(options, {}).place == place


@pytest.mark.parametrize("name", ["job_id", "delay", "at", "priority", "lifo", "retries", "backoff", "keep_completed"])
def test_none_is_as_if_absent(name: str) -> None:
    assert plan_job({name: None}, {}) == plan_job({}, {})


@pytest.mark.parametrize("value", [*NO_INTEGERS, -1001, 1001], ids=shown)
def test_a_bad_priority_is_refused(value: object) -> None:
    assert refuse({"priority": value}, "^priority must be a whole number from -1,000 to 1,000").option == "priority"


@pytest.mark.parametrize("value", [*NO_INTEGERS, -1, 10_001], ids=shown)
def test_bad_retries_are_refused(value: object) -> None:
    assert refuse({"retries": value}, "^retries must be a whole number from 0 to 10,000").option == "retries"


@pytest.mark.parametrize("value", NO_WAITS, ids=shown)
def test_a_bad_delay_is_refused(value: object) -> None:
    assert refuse({"delay": value}, "^delay must be").option == "delay"


@pytest.mark.parametrize("value", NO_WAITS, ids=shown)
def test_a_bad_backoff_is_refused(value: object) -> None:
    assert refuse({"backoff": value}, "^backoff must be").option == "backoff"


@pytest.mark.parametrize("value", [0, 1893456000, "2030-01-01", datetime(2030, 1, 1), datetime(1960, 1, 1, tzinfo=UTC)])
def test_a_bad_time_is_refused(value: object) -> None:
    assert refuse({"at": value}, "^at must").option == "at"


@pytest.mark.parametrize("value", [0, 1, "yes", []])
def test_lifo_is_a_bool(value: object) -> None:
    assert refuse({"lifo": value}, "^lifo must be True or False").option == "lifo"


def test_contradictions_are_refused() -> None:
    refuse({"delay": 5, "at": AT}, "delay and at contradict each other")
    refuse({"delay": 5, "lifo": True}, "lifo places a job at the front now")
    refuse({"at": AT, "lifo": True}, "lifo places a job at the front now")


@pytest.mark.parametrize("option", ["unique", "group", "on_conflict", "retry", "Delay", ""])
def test_an_unknown_option_or_one_that_is_not_built_is_refused_with_those_that_are(option: str) -> None:
    error = refuse(
        {option: None},
        "there are: at, backoff, delay, durability, expires_in, job_id, keep_completed, keep_failed, lifo, priority",
    )
    assert error.option == option


def test_a_job_may_be_dropped_at_once_or_have_an_age_of_its_own() -> None:
    plan = plan_job({"keep_completed": 0, "keep_failed": timedelta(days=7)}, {})
    assert plan.given == Given(keep_completed=(0, -1), keep_failed=(-1, 604_800_000))


@pytest.mark.parametrize("value", [5, Keep(count=5), Keep(count=5, age=60)])
def test_a_count_on_a_single_job_is_refused_with_where_it_belongs(value: object) -> None:
    refuse({"keep_failed": value}, "a count belongs to the queue, processor or worker")


@pytest.mark.parametrize("value", [True, -1, 1.5, math.nan, "0", Keep(), Keep(age=-1)], ids=shown)
def test_a_bad_retention_is_refused(value: object) -> None:
    assert refuse({"keep_completed": value}, "keep_completed").option.startswith("keep_completed")


def test_a_jobs_options_win_over_its_queues_defaults() -> None:
    defaults = check_queue_defaults({"retries": 5, "priority": 7, "backoff": 2, "keep_failed": 100, "lifo": None})
    assert plan_job({}, defaults).given == Given(5, (2000,), None, (100, -1))
    plan = plan_job({"retries": 0, "priority": None, "job_id": "a"}, defaults)
    assert (plan.job_id, plan.place, plan.given.retries) == ("a", "7", 0)


def test_a_jobs_own_time_replaces_its_queues_delay() -> None:
    assert plan_job({"at": AT}, {"delay": 60}).place == "0 a1893456000000"
    assert plan_job({"delay": 5}, {"at": AT}).place == "0 d5000"
    assert plan_job({"delay": 0}, {"delay": 60}).place == "0"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"job_id": "a"}, "job_id can't be a queue's default"),
        ({"unique": "a"}, "unknown option 'unique'"),
        ({"retries": -1}, "^retries must be"),
        ({"delay": 5, "lifo": True}, "lifo places"),
        ({"keep_completed": -1}, "keep_completed must be"),
    ],
)
def test_a_queues_defaults_are_checked_when_the_queue_is_made(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidOption, match=match):
        check_queue_defaults(options)


def test_run_options_are_checked_by_value_and_known_names_by_shape() -> None:
    check_run_options({"retries": 1, "backoff": Exponential(), "keep_failed": 5, "execution": "thread"})
    with pytest.raises(InvalidOption, match="retries"):
        check_run_options({"retries": True})
    check_known({"execution": "thread", "retries": 1}, ProcessorOptions)
    with pytest.raises(InvalidOption, match="unknown option 'execution'"):
        check_known({"execution": "thread"}, JobOptions)


def test_a_backoff_travels_as_waits() -> None:
    assert plan_job({"backoff": Exponential(first=2)}, {}).given.backoff == Exponential(first=2)
    assert plan_job({"backoff": 1.5}, {}).given.backoff == (1500,)


NO_NAMES: list[object] = ["", "a" * 129, "a b", "a\n", "a\x00", "é", "{a}", "a*", "a/b", None, 5, b"a", ["a"]]


@pytest.mark.parametrize("value", NO_NAMES, ids=ascii)
def test_a_bad_name_is_refused(value: object) -> None:
    for check in (check_job_id, check_queue_name, check_prefix):
        with pytest.raises(InvalidName, match="not "):
            check(value)


def test_a_bad_job_id_is_refused_among_options() -> None:
    with pytest.raises(InvalidName, match="a job id is 1 to 128 characters"):
        plan_job({"job_id": "a b"}, {})
    with pytest.raises(InvalidName):
        plan_job({"job_id": ""}, {})


@pytest.mark.parametrize("value", [".a", "_a", "-a", "a:b", "a@b", "a" * 65])
def test_queue_names_and_prefixes_are_narrower_than_job_ids(value: str) -> None:
    assert check_job_id(value) == value
    for check in (check_queue_name, check_prefix):
        with pytest.raises(InvalidName):
            check(value)


@given(st.text(max_size=140))
def test_no_name_that_passes_could_leave_its_key(name: str) -> None:
    for check in (check_job_id, check_queue_name, check_prefix):
        try:
            check(name)
        except InvalidName:
            continue
        assert name.isascii()
        assert not set(name) & set("{}*?[]\\/ \r\n\x00'\"")
