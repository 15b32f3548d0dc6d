"""A JobData is checked against its annotations before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from redqueue import InvalidOption, Queue
from redqueue.shapes import SmsJobData


def sms(**changes: Any) -> SmsJobData:
    fields: dict[str, Any] = {"sub_account_id": "s", "phone_numbers": ["+4930123456"], "message": "m"}
    return SmsJobData(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"phone_numbers": "+4930123456"}, "$.phoneNumbers"),
        ({"phone_numbers": []}, "$.phoneNumbers"),
        ({"message": 5}, "$.message"),
        ({"message": ""}, "$.message"),
        ({"metadata": []}, "$.metadata"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_path(real_url: str, changes: dict[str, Any], path: str) -> None:
    with Queue("sms", real_url) as queue:
        with pytest.raises(InvalidOption, match="SmsJobData: ") as refused:
            queue.add(sms(**changes))
        assert path in str(refused.value)
        with pytest.raises(InvalidOption) as second:
            queue.add_many([sms(), sms(**changes)])
        assert second.value.__notes__ == ["in the job at index 1"]
        assert queue.get_stats().waiting == 0


def test_what_fits_travels_in_camel_case(real_url: str) -> None:
    with Queue("sms", real_url) as queue:
        job = queue.add(sms(metadata={"some_key": 1}))
        assert queue.get_data(job.id) == {
            "subAccountId": "s",
            "phoneNumbers": ["+4930123456"],
            "message": "m",
            "metadata": {"some_key": 1},
        }
