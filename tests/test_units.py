"""Numbers and times become integers, or an error that names the option."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.errors import InvalidOption
from redqueue.units import LONGEST_MS, check_int, from_epoch_ms, shown, to_epoch_ms, to_ms

HUGE = 10**5000
NOT_SECONDS = [math.nan, math.inf, -math.inf, True, False, "5", b"5", None, [], Decimal(5), Fraction(5), 5j, HUGE]
OUT_OF_BOUNDS = [-1, -0.001, timedelta(seconds=-1), 1e300, 10**300, LONGEST_MS / 1000 + 0.001, timedelta.max]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0),
        (-0.0, 0),
        (5, 5000),
        (0.5, 500),
        (0.1 + 0.2, 300),
        (1.001, 1001),
        (0.0001, 1),
        (timedelta(seconds=2), 2000),
        (timedelta(microseconds=1), 1),
        (timedelta(days=1), 86_400_000),
        (LONGEST_MS / 1000, LONGEST_MS),
    ],
)
def test_seconds_and_timedeltas_become_milliseconds(value: object, ms: int) -> None:
    assert to_ms("delay", value) == ms
    assert type(to_ms("delay", value)) is int


@pytest.mark.parametrize("value", [*NOT_SECONDS, *OUT_OF_BOUNDS, Unprintable()], ids=shown)
def test_what_is_no_wait_is_refused_by_the_options_name(value: object) -> None:
    with pytest.raises(InvalidOption, match=r"^delay must be ") as caught:
        to_ms("delay", value)
    assert caught.value.option == "delay"
    assert len(str(caught.value)) < 250


def test_a_minimum_is_kept_and_named_in_seconds() -> None:
    assert to_ms("lease", 0.1, at_least_ms=100) == 100
    with pytest.raises(InvalidOption, match=r"lease must be from 0\.1 seconds to ten years, not 0\.05"):
        to_ms("lease", 0.05, at_least_ms=100)


@given(st.floats(min_value=0, max_value=LONGEST_MS / 1000) | st.integers(min_value=0, max_value=LONGEST_MS // 1000))
def test_a_wait_is_never_cut_short_nor_prolonged_by_more_than_a_millisecond(seconds: float) -> None:
    ms = to_ms("delay", seconds)
    assert seconds * 1000 - 0.001 <= ms < seconds * 1000 + 1.001
    assert 0 <= ms <= LONGEST_MS


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3650)))
def test_a_timedelta_is_the_same_as_its_seconds(value: timedelta) -> None:
    assert to_ms("delay", value) == to_ms("delay", value.total_seconds())


@given(st.integers(max_value=-1) | st.floats(max_value=0, exclude_max=True) | st.integers(min_value=LONGEST_MS))
def test_negative_and_endless_waits_are_refused(seconds: float) -> None:
    with pytest.raises(InvalidOption):
        to_ms("delay", seconds)


def test_an_aware_datetime_becomes_milliseconds_since_1970() -> None:
    assert to_epoch_ms("at", datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert to_epoch_ms("at", datetime(2024, 2, 29, 13, tzinfo=timezone(timedelta(hours=1)))) == 1_709_208_000_000
    assert to_epoch_ms("at", datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=UTC)) == 1_709_208_000_001


@pytest.mark.parametrize("value", [None, 5, 1e9, "2030-01-01T00:00:00Z", timedelta(1), datetime(2030, 1, 1).date()])
def test_what_is_no_datetime_is_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match=r"^at must be a datetime, not "):
        to_epoch_ms("at", value)


def test_a_naive_datetime_is_refused_with_the_mend() -> None:
    with pytest.raises(InvalidOption, match="has no time zone: add tzinfo="):
        to_epoch_ms("at", datetime(2030, 1, 1))


@pytest.mark.parametrize("year", [1, 1969, 2110, 9999])
def test_a_datetime_out_of_range_is_refused(year: int) -> None:
    with pytest.raises(InvalidOption, match="at must lie between 1970 and 2109"):
        to_epoch_ms("at", datetime(year, 12, 31, tzinfo=UTC))


@given(st.integers(min_value=0, max_value=2**42))
def test_whole_milliseconds_survive_the_way_there_and_back(ms: int) -> None:
    assert to_epoch_ms("at", datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)) == ms
    assert from_epoch_ms(ms).tzinfo is UTC
    assert abs((from_epoch_ms(ms) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1) - ms) < 0.001


@pytest.mark.parametrize("value", [True, False, 1.0, math.nan, math.inf, "1", None, -1, 11, HUGE, -HUGE], ids=shown)
def test_what_is_no_whole_number_within_the_bounds_is_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match=r"^retries must be a whole number from 0 to 10, not ") as caught:
        check_int("retries", value, 0, 10)
    assert caught.value.option == "retries"


def test_whole_numbers_within_the_bounds_pass() -> None:
    assert [check_int("retries", n, 0, 10) for n in (0, 10)] == [0, 10]


def test_values_are_quoted_shortly_whatever_they_are() -> None:
    assert shown("x") == "'x'"
    assert len(shown("x" * 10_000)) == 80
    assert shown(HUGE) == "a int that can't be shown"
    assert shown(Unprintable()) == "a Unprintable that can't be shown"
