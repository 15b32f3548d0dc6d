"""A Flask app that adds jobs, with a worker in a thread of its own.

From the repository's root, without a Redis on the machine (pip install flask):

    REDIS_URL=embedded:// python -m examples.flask_app

    curl -X POST localhost:5000/searches -H 'content-type: application/json' -d '{"term": "bakery", "city": "Bonn"}'
    curl localhost:5000/jobs/generic-task/JOB_ID

Under gunicorn leave the thread out, and start `python -m redqueue.worker examples.services` beside it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from examples.services import Business, Search, exports, finder, registry
from flask import Flask, abort, jsonify, request
from flask.typing import ResponseReturnValue

from redqueue import BadInput, JobQueueService, RedisError, Worker

app = Flask(__name__)
jobs = JobQueueService.from_env()  # opens nothing until it is used, so a server may fork after this


@app.post("/searches")
def search() -> ResponseReturnValue:
    """Add a job for a service's method."""
    body: dict[str, Any] = request.get_json()
    user_id = body.get("user_id", "guest")
    wanted = Search(body["term"], body["city"])
    job = jobs.with_options(retries=3, user_id=user_id).execute(finder.search_businesses, wanted, user_id)
    return jsonify(jobId=job.id, statusUrl=f"/jobs/{job.queue}/{job.id}"), 202


@app.post("/sums")
def add_up() -> ResponseReturnValue:
    """Add a job for a task that every worker knows, by its name."""
    job_id = jobs.execute_task("Sum", "calculate_sum", [request.get_json()["numbers"]], delay=0.1)
    return jsonify(jobId=job_id, statusUrl=f"/jobs/generic-task/{job_id}"), 202


@app.get("/jobs/<job_type>/<job_id>")
def job_status(job_type: str, job_id: str) -> ResponseReturnValue:
    """State, attempts, result and times, in camelCase."""
    status = jobs.get_job_status(job_type, job_id)
    return jsonify(status.to_wire()) if status else abort(404, "never added, or finished and no longer kept")


@app.get("/jobs/<job_type>/<job_id>/export.csv")
def export(job_type: str, job_id: str) -> ResponseReturnValue:
    """A registered method stays a method: short work needs no job."""
    status = jobs.get_job_status(job_type, job_id)
    if status is None or status.status != "completed":
        abort(409, "not completed, or no longer kept")
    found = msgspec.convert(status.result, list[Business])
    return exports.export_to_csv(found), {"Content-Type": "text/csv"}


@app.get("/queues/<job_type>")
def stats(job_type: str) -> ResponseReturnValue:
    """One queue in numbers."""
    return jsonify(jobs.get_queue_stats(job_type).to_wire())


@app.errorhandler(BadInput)
def refused(error: BadInput) -> ResponseReturnValue:
    """A queue name, an id or an option that can't be; nothing was sent."""
    return jsonify(error=str(error)), 400


@app.errorhandler(RedisError)
def without_redis(error: RedisError) -> ResponseReturnValue:
    """Redis is away or full: the client may come again."""
    return jsonify(error=str(error)), 503, {"Retry-After": "5"}


if __name__ == "__main__":
    with Worker(registry=registry).in_thread():
        app.run()
