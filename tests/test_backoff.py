"""How long a failed job waits."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.backoff import Backoff, Exponential, check_backoff, to_waits, wait_ms
from redqueue.errors import InvalidOption, Seconds
from redqueue.units import shown


class Linear:
    def delay(self, attempt: int, /) -> Seconds:
        return attempt * 2


class Broken:
    def delay(self, attempt: int, /) -> Seconds:
        return math.nan if attempt == 2 else 1


def test_without_jitter_waits_double_up_to_the_cap() -> None:
    backoff = Exponential(first=1, cap=10, jitter=0)
    assert [backoff.delay(n) for n in (1, 2, 3, 4, 5, 6)] == [1, 2, 4, 8, 10, 10]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0, 1), st.integers(0, 3600))
def test_waits_lie_between_their_jittered_floor_and_the_cap(attempt: int, draw: float, jitter: float, cap: int) -> None:
    whole = min(1000 * 2 ** min(attempt - 1, 40), cap * 1000)
    waited = Exponential(first=1, cap=cap, jitter=jitter).wait_ms(attempt, draw)
    assert round(whole * (1 - jitter)) <= waited <= whole
    assert type(waited) is int


@given(st.integers(1, 64))
def test_full_jitter_draws_from_nothing_to_the_whole_wait(attempt: int) -> None:
    backoff = Exponential()
    whole = min(2 ** (attempt - 1), 600)
    assert backoff.wait_ms(attempt, 0) == whole * 1000
    assert backoff.wait_ms(attempt, math.nextafter(1, 0)) == 0
    assert all(0 <= float(backoff.delay(attempt)) <= whole for _ in range(20))  # type: ignore[arg-type]


def test_half_jitter_draws_from_the_upper_half() -> None:
    backoff = Exponential(first=10, jitter=0.5)
    assert [backoff.wait_ms(1, draw) for draw in (0, 0.5)] == [10_000, 7_500]


@pytest.mark.parametrize("field", ["first", "cap"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, True, "1", None, 10**5000, timedelta(days=-1)], ids=shown)
def test_an_exponential_with_a_bad_wait_is_refused_by_its_fields_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=rf"^backoff\.{field} must be"):
        check_backoff("backoff", Exponential(**{field: value}))


@pytest.mark.parametrize("jitter", [-0.1, 1.1, math.nan, math.inf, True, "1", None, 10**5000], ids=shown)
def test_an_exponential_with_a_bad_jitter_is_refused(jitter: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^backoff\.jitter must be from 0 to 1, not"):
        check_backoff("backoff", Exponential(jitter=jitter))


@pytest.mark.parametrize(
    "value", [-1, math.nan, math.inf, True, "5", None, [1, 2], Linear, Exponential, 10**5000], ids=shown
)
def test_what_is_no_backoff_is_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match=r"^backoff must be"):
        check_backoff("backoff", value)


@pytest.mark.parametrize(
    "value", [0, 5, 0.5, timedelta(seconds=5), Exponential(), Linear()], ids=lambda value: type(value).__name__
)
def test_numbers_timedeltas_and_objects_with_a_delay_are_backoffs(value: object) -> None:
    assert check_backoff("backoff", value) is value


def test_a_class_of_ones_own_is_asked_once_for_each_retry() -> None:
    assert isinstance(Linear(), Backoff)
    assert to_waits("backoff", Linear(), 3) == (2000, 4000, 6000)
    assert to_waits("backoff", Linear(), 0) == (0,)
    assert to_waits("backoff", Linear(), None) == tuple(range(2000, 42_000, 2000))
    assert to_waits("backoff", Linear(), 10_000) == tuple(range(2000, 202_000, 2000))


def test_numbers_and_exponentials_travel_as_they_are() -> None:
    assert to_waits("backoff", 1.5, 3) == (1500,)
    assert to_waits("backoff", timedelta(minutes=1), None) == (60_000,)
    assert to_waits("backoff", Exponential(first=2), 3) == Exponential(first=2)


def test_a_bad_answer_of_ones_own_class_names_the_attempt() -> None:
    with pytest.raises(InvalidOption, match=r"backoff\.delay\(2\) must be"):
        to_waits("backoff", Broken(), 3)
    with pytest.raises(InvalidOption, match=r"backoff\.delay\(2\) must be"):
        wait_ms(Broken(), 2, 0)


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (5, [5000, 5000, 5000]),
        (timedelta(seconds=1), [1000, 1000, 1000]),
        ((100, 200), [100, 200, 200]),
        (Linear(), [2000, 4000, 6000]),
        (Exponential(jitter=0), [1000, 2000, 4000]),
    ],
)
def test_every_kind_of_backoff_says_how_long_to_wait(backoff: Any, waits: list[int]) -> None:
    assert [wait_ms(backoff, attempt, 0.5) for attempt in (1, 2, 3)] == waits
