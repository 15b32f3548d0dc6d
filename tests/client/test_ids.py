from __future__ import annotations

from redqueue.client.ids import fresh_ids, now_ms
from redqueue.options import check_job_id


def test_ids_are_valid_distinct_and_never_look_like_an_option() -> None:
    ids = fresh_ids(5000)
    assert len({check_job_id(one) for one in ids}) == 5000
    assert {len(one) for one in ids} == {16}
    assert not any(one.startswith("-") for one in ids)


def test_none_are_none() -> None:
    assert fresh_ids(0) == []


def test_the_clock_counts_milliseconds() -> None:
    assert 1_700_000_000_000 < now_ms() < 4_000_000_000_000
