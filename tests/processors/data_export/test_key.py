"""Where an export's file is."""

from __future__ import annotations

import pytest

from redqueue.processors.data_export import export_key
from redqueue.processors.storage import check_key
from redqueue.shapes import DataExportJobData


def key(sub_account: str = "sub_1", export_type: str = "leads", job_id: str = "j") -> str:
    return export_key(DataExportJobData(sub_account_id=sub_account, export_type=export_type, format="excel"), job_id)


def test_a_plain_key_can_be_read() -> None:
    assert key() == "exports/sub_1/leads/j.xlsx"
    assert key(job_id=".a:b~") == "exports/sub_1/leads/~2Ea~3Ab~7E.xlsx"


def test_another_queue_is_a_folder_that_no_file_has_the_name_of() -> None:
    data = DataExportJobData(sub_account_id="s", export_type="leads", format="csv")
    assert export_key(data, "j", "data-export") == "exports/s/leads/j.csv"
    assert export_key(data, "j", "bulk") == "exports/s/leads/bulk/j.csv"
    assert export_key(data, "j", "j.csv") == "exports/s/leads/j~2Ecsv/j.csv"


@pytest.mark.parametrize(
    "text",
    ["..", ".", "a/b", "../../etc", "\\\\host", "C:", ".redqueue-x", "a\0b", "\u202e", "\ud83d", "é" * 128, "🎉" * 128],
)
def test_whatever_is_in_a_name_it_stays_one_part(text: str) -> None:
    for found in (key(sub_account=text), key(export_type=text), key(job_id=text)):
        assert check_key(found) == found
        assert found.count("/") == 3


def test_no_two_names_share_a_file() -> None:
    names = ["a/b", "a%2Fb", "a~2Fb", "a", "A", "é", "%C3%A9", "x" * 127 + "1", "x" * 127 + "2", ".", "%2E", "~2E", "~"]
    cut = key(sub_account="x" * 128).split("/")[1]
    assert len({key(sub_account=name) for name in [*names, cut]} | {key(sub_account="x" * 128)}) == len(names) + 2
