"""Frozen facts that serialise as they are, and in camelCase when asked."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import msgspec
import pytest
from pydantic import TypeAdapter

from redqueue.records import JobStatus, QueueHealth, QueueStats, State, Status, WorkerHealth

CREATED = datetime(2024, 2, 29, 13, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=1)))
STATUS = JobStatus(
    job_id="j-1",
    queue="sms",
    job_type="sms",
    label="Welcome",
    status="failed",
    state="failed",
    position=None,
    attempts=4,
    progress=0.5,
    message=None,
    result={"snake_key": 1},
    error="ValueError: no",
    traceback="Traceback ...",
    worker="host:1",
    created_at=CREATED,
    due_at=None,
    started_at=CREATED.astimezone(UTC),
    completed_at=None,
)
STATS = QueueStats(
    waiting=1,
    active=2,
    succeeded=3,
    failed=4,
    delayed=5,
    cancelled=6,
    kept_completed=7,
    kept_failed=8,
    paused=False,
    oldest_waiting_s=1.5,
    workers=9,
)
HEALTH = QueueHealth(
    healthy=False, reachable=False, workers=0, waiting=0, oldest_waiting_s=None, paused=False, problem="away"
)
WORKER = WorkerHealth(ready=True, worker="host:1", running=3, claimed_s_ago=0.5, longest_lag_s=0.01, problem=None)


def test_a_status_on_the_wire_has_camel_case_iso_times_and_no_traceback() -> None:
    assert STATUS.to_wire() == {
        "jobId": "j-1",
        "queue": "sms",
        "jobType": "sms",
        "label": "Welcome",
        "status": "failed",
        "state": "failed",
        "position": None,
        "attempts": 4,
        "progress": 0.5,
        "message": None,
        "result": {"snake_key": 1},
        "error": "ValueError: no",
        "worker": "host:1",
        "createdAt": "2024-02-29T12:00:00.123Z",
        "dueAt": None,
        "startedAt": "2024-02-29T12:00:00.123Z",
        "completedAt": None,
    }


def test_numbers_on_the_wire_have_camel_case() -> None:
    assert STATS.to_wire()["keptCompleted"] == 7
    assert STATS.to_wire()["oldestWaitingS"] == 1.5
    assert HEALTH.to_wire()["problem"] == "away"
    assert WORKER.to_wire()["claimedSAgo"] == 0.5


@pytest.mark.parametrize("record", [STATUS, STATS, HEALTH, WORKER], ids=lambda record: type(record).__name__)
def test_records_are_json_for_everybody(record: Any) -> None:
    plain = json.loads(json.dumps(dataclasses.asdict(record), default=datetime.isoformat))
    assert plain.keys() == {field.name for field in dataclasses.fields(record)}
    assert json.loads(TypeAdapter(type(record)).dump_json(record)).keys() == plain.keys()
    assert json.loads(msgspec.json.encode(record)).keys() == plain.keys()
    json.dumps(record.to_wire())


@pytest.mark.parametrize("record", [STATUS, STATS, HEALTH, WORKER], ids=lambda record: type(record).__name__)
def test_records_are_frozen(record: Any) -> None:
    for field in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field.name, None)


def test_every_final_state_is_also_a_status() -> None:
    assert set(get_args(State)) - set(get_args(Status)) == {"waiting", "delayed", "active"}
