"""The one Redis of a run: on a core of its own, on 127.0.0.1, without persistence; and what it tells of its work."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import redis
from benchmarks.harness.processes import SERVER_CORE

from redqueue.embedded import PrivateServer

NO_PERSISTENCE: Final = ["--save", "", "--appendonly", "no"]


class Work(NamedTuple):
    """What the server has done since it started."""

    cpu: float  # seconds, user and system
    commands: int  # those of scripts included
    reads: int  # of client sockets: a pipeline is one
    memory: int  # bytes in use now

    def since(self, before: Work) -> Work:
        """The difference."""
        return Work(
            self.cpu - before.cpu,
            self.commands - before.commands,
            self.reads - before.reads,
            self.memory - before.memory,
        )


class Server:
    """A context manager: ``redis-server`` of PATH, else the embedded one, started and removed."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        found = shutil.which("redis-server")
        self._private = PrivateServer(port=port, arguments=NO_PERSISTENCE, binary=found)
        self.url = self._private.url

    def __enter__(self) -> Self:
        self._private.start()
        for thread in Path(f"/proc/{self._private.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {SERVER_CORE})
        self._client = redis.Redis.from_url(self.url)
        facts = self._client.info("server")
        valkey = facts.get("valkey_version")
        self.version = f"valkey {valkey}" if valkey else f"redis {facts['redis_version']}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._private.close()

    def empty(self) -> None:
        """Remove all keys, and wait until their memory is free."""
        self._client.flushall(asynchronous=False)

    def wait_until_alone(self) -> None:
        """Until no other client is connected, at most 5 s."""
        deadline = time.monotonic() + 5
        while int(self._client.info("clients")["connected_clients"]) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)

    def work(self) -> Work:
        """Cost: one round trip."""
        facts = self._client.info("everything")
        commands = sum(int(row["calls"]) for name, row in facts.items() if name.startswith("cmdstat_"))
        cpu = float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])
        return Work(cpu, commands, int(facts["total_reads_processed"]), int(facts["used_memory"]))
