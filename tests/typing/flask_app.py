"""A Flask application: handles for threads, made when the module is imported."""

from __future__ import annotations

from typing import Any, assert_type

from flask import Flask, abort, jsonify, request
from flask.typing import ResponseReturnValue
from tests.typing.jobs import SmsJobData, SmsResult, calculate, registry, resize

from redqueue import Job, JobQueueService, JobStatus, Queue, RedisUnavailable, Worker

app = Flask(__name__)
service = JobQueueService.from_env()  # opens nothing, so that gunicorn --preload may fork
thumbnails = Queue("resize", retries=1, timeout=60, keep_completed=0)


@app.post("/campaigns")
def campaign() -> ResponseReturnValue:
    body: dict[str, Any] = request.get_json()
    data = SmsJobData(sub_account_id="s", phone_numbers=body["to"], message="Hi")
    job = service.add(data, delay=5, priority=-10)
    assert_type(job, Job[SmsResult])
    assert_type(thumbnails.add(resize, {"key": "a.png"}), Job[list[str]])
    return jsonify(jobId=job.id, checkStatusAt=f"/api/jobs/sms/{job.id}/status"), 202


@app.get("/api/jobs/<job_type>/<job_id>/status")
def status(job_type: str, job_id: str) -> ResponseReturnValue:
    found = service.get_job_status(job_type, job_id)
    assert_type(found, JobStatus | None)
    return jsonify(found.to_wire()) if found else abort(404)


@app.get("/health")
def health() -> ResponseReturnValue:
    state = service.get_queue_health("sms")
    return jsonify(state.to_wire()), 200 if state.healthy else 503


def sum_now() -> float:
    job = service.execute(calculate, [1.0, 2.0])
    assert_type(job, Job[float])
    return job.result(timeout=5)


def follow(since: str | None) -> str | None:
    for event in thumbnails.events(since=since, kinds={"completed", "failed"}):
        assert_type(event.facts["attempt"], Any)
        since = event.id
    return since


def add_safely(job_id: str) -> bool:
    try:
        return thumbnails.add("resize", {"key": "b.png"}, job_id=job_id).answer == "created"
    except RedisUnavailable as error:
        return error.sent


def takes(job: Job[SmsResult], any_job: Job) -> None:
    any_job.cancel(job.id)


if __name__ == "__main__":
    with Worker({"sms": 50, "resize": 2}, registry=registry).in_thread():
        app.run()
