"""A worker process for the benchmarks: ``python -m benchmarks.scaling.noop_worker URL QUEUE``.

On each line of its standard input it answers with one line of JSON: "gauge" with its CPU seconds and resident bytes,
"inspect" with what it holds, too. It ends as a worker does, at SIGTERM or at the end of its input.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import logging
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

from redqueue import ServiceRegistry, Worker
from redqueue.errors import Discard

CONTAINERS = (dict, list, set, deque)
registry = ServiceRegistry()


@registry.processor("noop")
async def noop(data: dict[str, object]) -> None:
    """The least that a job can do."""


@registry.processor("hold")
async def hold(data: dict[str, object]) -> None:
    """Stay active until the worker ends."""
    await asyncio.Event().wait()


@registry.processor("fail")
async def fail(data: dict[str, object]) -> None:
    """Fail some calls deep, so that there is a traceback."""

    def dig(depth: int) -> None:
        if depth == 0:
            raise ValueError(f"job {data['n']} fails")
        dig(depth - 1)

    dig(10)


@registry.processor("discard")
async def discard(data: dict[str, object]) -> None:
    """Fail for good at the first attempt."""
    raise Discard("nobody wants it")


def resident() -> int:
    """Bytes of this process in memory; 0 where the system has no /proc."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmRSS:"))


def holdings() -> dict[str, int]:
    """How many objects of redqueue's there are, and how much is in their containers, in its modules and caches."""
    gc.collect()
    found: Counter[str] = Counter()
    for one in gc.get_objects():
        kind = type(one)
        # Some classes of C have a descriptor in its place.
        module = str(kind.__module__)
        if module.startswith("redqueue."):
            found[f"{module}.{kind.__qualname__} objects"] += 1
            for name, value in _attributes(one):
                if isinstance(value, CONTAINERS):
                    found[f"{module}.{kind.__qualname__}.{name}"] += len(value)
    _look_into_modules(found)
    return dict(found)


def _look_into_modules(found: Counter[str]) -> None:
    for module in [m for n, m in sys.modules.items() if n.startswith("redqueue.")]:
        for name, value in list(vars(module).items()):
            if isinstance(value, CONTAINERS) and not name.startswith("__"):
                found[f"{module.__name__}.{name}"] = len(value)
            elif isinstance(value, functools._lru_cache_wrapper):
                found[f"{module.__name__}.{name} cached"] = value.cache_info().currsize


def _attributes(one: object) -> Iterator[tuple[str, object]]:
    yield from list(vars(one).items()) if hasattr(one, "__dict__") else ()
    for base in type(one).__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if hasattr(one, name):
                yield name, getattr(one, name)


def answer(worker: Worker) -> None:
    """Answer questions until nobody can ask any more."""
    for line in sys.stdin:
        told: dict[str, object] = {"cpu": time.process_time(), "rss": resident()}
        if line.strip() == "inspect":
            told["holdings"] = holdings()
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    worker.request_stop()
    worker.request_stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("queue")
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--lease", type=float, default=30)
    options = parser.parse_args()
    worker = Worker(
        [options.queue], options.url, registry=registry, concurrency=options.concurrency, lease=options.lease, grace=1
    )
    logging.getLogger("redqueue").addHandler(logging.NullHandler())  # written, and not shown
    threading.Thread(target=answer, args=(worker,), daemon=True).start()
    worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
