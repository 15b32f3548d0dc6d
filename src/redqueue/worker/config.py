"""What a worker was told, checked once. Times are milliseconds."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from redqueue.core.lease import ListRule
from redqueue.core.lifecycle import RunRules
from redqueue.defaults import MAX_CONCURRENCY, MAX_CRASHES
from redqueue.errors import InvalidOption
from redqueue.options import (
    DEFAULT_BACKOFF,
    RunOptions,
    check_int,
    check_known,
    check_prefix,
    check_queue_name,
    check_run_options,
)
from redqueue.rules import Keep
from redqueue.seals import Seal, check_seal
from redqueue.settings import Settings, masked
from redqueue.units import shown, to_ms

SHORTEST_LEASE_MS: Final = 500


class WorkerConfig(msgspec.Struct, frozen=True):
    """A worker's options.

    Attributes:
        limits: how many jobs of a queue run at once; together at most `concurrency`.
        prefetch: jobs claimed beyond the free slots: None decides by measured run time, 0 is off.
    """

    limits: dict[str, int]
    concurrency: int
    url: str
    prefix: str
    lease_ms: int
    grace_ms: int
    unknown_grace_ms: int
    burst: bool
    prefetch: int | None
    rules: RunRules
    keep: ListRule
    max_jobs_per_child: int | None = None
    max_memory_per_child: int | None = None
    max_crashes: int = MAX_CRASHES
    ready_file: Path | None = None
    seal: Seal | None = None

    @classmethod
    def of(
        cls,
        queues: Iterable[str] | Mapping[str, int],
        url: str | None,
        *,
        concurrency: int | None,
        lease: object,
        grace: object,
        burst: bool,
        prefetch: int | None,
        unknown_grace: object,
        prefix: str,
        max_jobs_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        ready_file: str | os.PathLike[str] | None = None,
        seal: Seal | None = None,
        defaults: Mapping[str, Any],
    ) -> WorkerConfig:
        """Check a worker's arguments; what isn't given comes from the environment.

        Raises:
            InvalidOption, InvalidName: by the option's name.
            ConfigurationError: a bad environment variable.
        """
        settings = Settings.from_env()
        check_known(defaults, RunOptions)
        check_run_options(defaults)
        total = check_int(
            "concurrency", settings.concurrency if concurrency is None else concurrency, 1, MAX_CONCURRENCY
        )
        limits = _limits(queues, total)
        keep_completed = defaults.get("keep_completed", settings.keep_completed)
        keep_failed = defaults.get("keep_failed", settings.keep_failed)
        return cls(
            limits=limits,
            concurrency=sum(limits.values()) if isinstance(queues, Mapping) else total,
            url=settings.url if url is None else url,
            prefix=check_prefix(prefix),
            lease_ms=to_ms("lease", lease, at_least_ms=SHORTEST_LEASE_MS),
            grace_ms=to_ms("grace", grace),
            unknown_grace_ms=to_ms("unknown_grace", unknown_grace),
            burst=burst,
            prefetch=None if prefetch is None else check_int("prefetch", prefetch, 0, 1000),
            rules=RunRules(
                defaults.get("retries", settings.retries),
                defaults.get("backoff", DEFAULT_BACKOFF),
                timeout_ms=None if defaults.get("timeout") is None else to_ms("timeout", defaults["timeout"]),
            ),
            seal=settings.seal if seal is None else check_seal(seal),
            max_jobs_per_child=_count("max_jobs_per_child", max_jobs_per_child, 1),
            max_memory_per_child=_count("max_memory_per_child", max_memory_per_child, 1024 * 1024),
            ready_file=_ready_file(ready_file),
            keep=ListRule(
                Keep.of("keep_completed", keep_completed).limits,
                Keep.of("keep_failed", keep_failed).limits,
            ),
        )

    def __repr__(self) -> str:
        return f"<WorkerConfig of {', '.join(self.limits)} at {masked(self.url)}>"

    def with_queues(self, names: Iterable[str]) -> WorkerConfig:
        """The same for other queues, which share the slots."""
        return msgspec.structs.replace(self, limits=_limits(list(names), self.concurrency))


class SessionName(msgspec.Struct, frozen=True):
    """One start of one worker. The id is random, so containers of equal host name and pid never share a session."""

    id: str
    host: str
    pid: int

    @classmethod
    def fresh(cls) -> SessionName:
        """A new one, of this process."""
        return cls(secrets.token_hex(8), socket.gethostname()[:64], os.getpid())

    @property
    def worker(self) -> str:
        """How people call it."""
        return f"{self.host}:{self.pid}"


def _count(option: str, value: int | None, least: int) -> int | None:
    return None if value is None else check_int(option, value, least, 2**50)


def _ready_file(value: object) -> Path | None:
    """Where a file can be made."""
    if value is None:
        return None
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidOption("ready_file", f"ready_file must be the path of a file, not {shown(value)}")
    path = Path(text).absolute()
    if path.is_dir() or not path.parent.is_dir():
        why = "is a folder" if path.is_dir() else "is in no folder that there is"
        raise InvalidOption("ready_file", f"ready_file must be the path of a file, and {text!r} {why}")
    return path


def _limits(queues: Iterable[str] | Mapping[str, int], total: int) -> dict[str, int]:
    if isinstance(queues, str):
        raise InvalidOption("queues", f"queues must be a list or a mapping, not the text {queues!r}: pass [{queues!r}]")
    if isinstance(queues, Mapping):
        return {
            check_queue_name(name): check_int(f"queues[{name!r}]", limit, 1, MAX_CONCURRENCY)
            for name, limit in queues.items()
        }
    return {check_queue_name(name): total for name in queues}
