"""Keep: how finished jobs are kept."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.defaults import MAX_KEPT
from redqueue.errors import InvalidOption
from redqueue.rules import Keep
from redqueue.units import LONGEST_MS, shown


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (0, (0, -1)),
        (10, (10, -1)),
        (MAX_KEPT, (MAX_KEPT, -1)),
        (timedelta(hours=1), (-1, 3_600_000)),
        (Keep(count=5), (5, -1)),
        (Keep(age=1.5), (-1, 1500)),
        (Keep(count=5, age=timedelta(days=1)), (5, 86_400_000)),
    ],
)
def test_counts_ages_and_both_are_limits(value: object, limits: tuple[int, int]) -> None:
    assert Keep.of("keep_failed", value).limits == limits


@pytest.mark.parametrize(
    "value",
    [
        *(True, False, -1, MAX_KEPT + 1, 10**5000, 1.5, math.nan, "10", None, [10]),
        *(Keep(), Keep(count=-1), Keep(count=True), Keep(age=-1), Keep(age=math.nan), Keep(age=math.inf)),
        *(Keep(count=1.5), Keep(count="5"), Keep(age="1h"), Keep(age=True)),  # type: ignore[arg-type]
        *(timedelta(seconds=-1), timedelta.max),
    ],
    ids=shown,
)
def test_what_limits_nothing_or_nonsense_is_refused_by_the_options_name(value: object) -> None:
    with pytest.raises(InvalidOption, match="keep_failed") as caught:
        Keep.of("keep_failed", value)
    assert caught.value.option.startswith("keep_failed")


def test_keeping_for_ever_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidOption, match="kept for ever fill Redis"):
        Keep.of("keep_completed", Keep())


@given(st.integers(0, MAX_KEPT), st.integers(0, LONGEST_MS))
def test_limits_are_what_the_scripts_take(count: int, ms: int) -> None:
    assert Keep.of("keep_completed", Keep(count, timedelta(milliseconds=ms))).limits == (count, ms)


def test_keeps_are_values() -> None:
    assert Keep.of("keep_completed", 5) == Keep(count=5)
    assert len({Keep(5), Keep(5), Keep(age=5)}) == 2
