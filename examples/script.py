"""One file that adds jobs and runs them: `python examples/script.py`, without a Redis on the machine.

The embedded server keeps its data in a temporary folder here. A program would name a folder of its own, and leave the
server running: `embedded://data`, or `redis://...` for a Redis of yours.
"""

from __future__ import annotations

import tempfile

import msgspec

from redqueue import Discard, JobContext, Queue, ServiceRegistry, Worker, embedded

registry = ServiceRegistry()


class Thumbnail(msgspec.Struct):
    """What a job of the type "thumbnail" carries."""

    picture: str
    width: int = 200


@registry.processor("thumbnail", retries=2, backoff=0)
def make_thumbnail(data: Thumbnail, context: JobContext) -> str:
    """Pretend to shrink a picture: the first attempt at a large one fails, and no attempt helps with a text."""
    if data.picture.endswith(".txt"):
        raise Discard(f"{data.picture} is no picture")
    if data.width > 1000 and context.attempt == 1:
        raise MemoryError("too large; once more")
    return f"{data.picture}@{data.width}"


def main(url: str) -> None:
    """Add four jobs, run what is there, and look at what became of them."""
    with Queue("thumbnail", url) as queue:
        # No worker knows the data before it runs the job: the third doesn't fit and fails without being run.
        jobs = queue.add_many(
            [
                ("thumbnail", {"picture": "cat.png"}, {"job_id": "cat"}),
                ("thumbnail", {"picture": "dog.png", "width": 4000}, {"job_id": "dog"}),
                ("thumbnail", {"picture": "owl.png", "width": "wide"}, {"job_id": "owl"}),
                ("thumbnail", {"picture": "read.txt"}, {"job_id": "read", "priority": -10}),
            ]
        )
        again = queue.add("thumbnail", {"picture": "cat.png"}, job_id="cat")
        print(f"added {len(jobs)}; adding cat again: {again.answer}")

        Worker(["thumbnail"], url, registry=registry, burst=True).run()

        for job in jobs:
            status = job.status()
            assert status is not None
            print(f"{job.id:<5}{status.status:<10} attempts {status.attempts}  {status.result or status.error}")
        stats = queue.get_stats()
        print(f"succeeded {stats.succeeded}, failed {stats.failed}, waiting {stats.waiting}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            main(f"embedded://{folder}")
        finally:
            embedded.stop(folder)
