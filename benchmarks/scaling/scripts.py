"""How long each script keeps Redis busy in a queue of a million jobs.

Two figures: CPU a call, from Redis's own use of it, and the time on the clock, by its SLOWLOG, in which Redis may have
waited for a core that something else had.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeVar

from benchmarks.scaling.rig import PAYLOAD, QUEUE, Rig

from redqueue.core import lease
from redqueue.core.events import read_since, tail
from redqueue.core.keys import Keys
from redqueue.core.lease import Claimed, ListRule, Settles
from redqueue.core.script import Call, load

TIMES: Final = 10
MOST: Final = 100_000
BUDGET_MS: Final = 5.0
KEYS: Final = Keys(QUEUE, "redqueue")
SESSION: Final = "bench"
COMPLETED: Final = "c 0 - 1"
RETRIED: Final = "r 1000 - 1"
ERROR: Final = b'{"type":"ValueError","message":"no","traceback":"' + b"x" * 1000 + b'"}'

Place = Literal["waiting", "delayed"]
R = TypeVar("R")


class Stopwatch:
    """Runs every operation on one queue and keeps a row of figures for each."""

    def __init__(self, rig: Rig, place: Place) -> None:
        self.rows: list[dict[str, Any]] = []
        self._rig = rig
        self._queue = rig.queue
        self._place = place
        self._number = 0
        for name in ("enter", "leave", "pump", "renew", "expire", "recover", "peek", "tail"):
            rig.client.script_load(load(name).text)

    def run(self) -> list[dict[str, Any]]:
        """All of them, those that remove the queue last."""
        self._rig.client.config_set("slowlog-max-len", MOST)
        self._rig.client.config_set("slowlog-log-slower-than", 0)
        self._add()
        self._look()
        self._steer()
        self._work()
        self._remove()
        return self.rows

    @contextlib.contextmanager
    def _timed(self, script: str, what: str = "") -> Iterator[None]:
        """Figures of the calls of that script, which must be nearly all that happens meanwhile."""
        self._rig.client.slowlog_reset()
        before = self._rig.sample().redis_cpu
        yield
        spent = self._rig.sample().redis_cpu - before
        sha = load(script).sha.encode()
        entries = self._rig.client.slowlog_get(MOST)
        times = [entry["duration"] / 1000 for entry in entries if sha in entry["command"][:60]]
        self.rows.append(
            {
                "script": script,
                "what": what or "1 job",
                "place": self._place,
                "calls": len(times),
                "cpu_ms": 1000 * spent / len(times),
                "median_ms": statistics.median(times),
                "max_ms": max(times),
            }
        )

    def _do(self, call: Call[R]) -> R:
        return call.read(self._rig.client.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args))

    def _add(self) -> None:
        delayed = self._place == "delayed"
        with self._timed("add"):
            for n in range(100):
                self._queue.add("noop", PAYLOAD, delay=3600 + n if delayed else 0)
        with self._timed("add", "1,000 jobs"):
            for n in range(TIMES):
                self._queue.add_many([("noop", PAYLOAD)] * 1000, delay=3600 + n if delayed else 0)

    def _look(self) -> None:
        chance = random.Random(1)
        stats = self._queue.get_stats()
        starts = [chance.randrange(stats.waiting + stats.delayed - 1000) for _ in range(TIMES)]
        with self._timed("stats", "-"):
            for _ in range(100):
                self._queue.get_stats()
        with self._timed("page", "1,000 jobs"):
            pages = [self._queue.jobs(self._place, start, 1000) for start in starts]
        ids = [one.job_id for page in pages for one in page[:10]]
        with self._timed("status"):
            for job_id in ids:
                self._queue.get_status(job_id)
        with self._timed("peek", "1,000 jobs"):
            for page in pages:
                self._do(load("peek").call(len, KEYS, job_ids=[one.job_id for one in page]))

        with self._timed("tail", "500 events"):
            for _ in range(TIMES):
                self._do(tail(KEYS, read_since("0"), 500))

    def _steer(self) -> None:
        ids = [one.job_id for one in self._queue.jobs(self._place, 5000, 100)]
        with self._timed("cancel"):
            for job_id in ids:
                self._queue.cancel(job_id)
        ids = [one.job_id for one in self._queue.jobs("cancelled", 0, 50)]
        with self._timed("retry"):
            for job_id in ids:
                self._queue.retry(job_id)
        ids = [one.job_id for one in self._queue.jobs(self._place, 5000, 100)]
        with self._timed("remove"):
            for job_id in ids:
                self._queue.remove(job_id)
        if self._place == "delayed":
            ids = [one.job_id for one in self._queue.jobs("delayed", 5000, 100)]
            with self._timed("promote"):
                for job_id in ids:
                    self._queue.promote(job_id)

    def _work(self) -> None:
        self._queue.resume()
        self._do(lease.enter(KEYS, SESSION, "bench:1", "bench", 1, 30_000))
        for size in (100, 1000):
            if self._place == "delayed":
                self._queue.add_many([("noop", PAYLOAD)] * size * (TIMES + 1), delay=1)
                time.sleep(1.1)
            self._pump(f"{size:,} jobs", size, COMPLETED)
        if self._place == "delayed":
            return
        self._pump("100 jobs that failed", 100, RETRIED, ERROR)
        held = self._claim(1000)
        with self._timed("renew", "1,000 jobs"):
            for _ in range(TIMES):
                self._do(lease.renew(KEYS, SESSION, held))
        with self._timed("expire", "a page of 500"):
            cursor, _ = self._do(lease.expire(KEYS, SESSION, ["a"], "0"))
            while cursor != "0":
                cursor, _ = self._do(lease.expire(KEYS, SESSION, ["a"], cursor))
        with self._timed("recover", "100 jobs"):
            while self._do(lease.recover(KEYS, 3)).count == lease.MOST_RECOVERED:
                pass

    def _pump(self, what: str, size: int, verdict: str, outcome: bytes = b"") -> None:
        """Settle so many and claim so many, again and again."""
        held = self._claim(size)
        with self._timed("pump", what):
            for _ in range(TIMES):
                held = self._claim(size, held, verdict, outcome)
        self._claim(0, held, COMPLETED)

    def _claim(
        self, size: int, held: Sequence[Claimed] = (), verdict: str = "", outcome: bytes = b""
    ) -> Sequence[Claimed]:
        settles = Settles([*held], [verdict] * len(held), [outcome] * len(held))
        self._number += 1
        return self._do(lease.pump(KEYS, SESSION, "bench:1", "a", self._number, settles, size, (), ListRule())).claimed

    def _remove(self) -> None:
        with self._timed("sweep", "1,000 jobs"):
            self._queue.clean(self._place, limit=1000 * TIMES)
        if self._place == "waiting":
            with self._timed("obliterate", "1,000 jobs"):
                self._queue.obliterate(force=True)
