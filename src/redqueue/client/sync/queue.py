# Generated from client/aio/queue.py by make gen; do not edit.
"""One queue: adding jobs, looking at them, steering them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Generator, Iterable, Sequence
from datetime import datetime
from typing import Any, Concatenate, Self, TypeVar, Unpack, overload

from redqueue.client.adding import Before, new_job, new_jobs
from redqueue.client.pools import RedisClient
from redqueue.client.sync.job import Job
from redqueue.client.sync.listening import listen
from redqueue.client.sync.results import Results
from redqueue.client.sync.runner import Runner
from redqueue.client.transport import Transport, locate
from redqueue.core import add, audit, inspect, steer, sweep
from redqueue.core.add import NewJob
from redqueue.core.events import Listener
from redqueue.core.keys import Keys
from redqueue.defaults import DEFAULT_PREFIX
from redqueue.errors import Seconds
from redqueue.options import CancelAnswer, JobOptions, State, check_job_id, check_queue_defaults
from redqueue.records import Event, EventKind, JobStatus, QueueStats
from redqueue.seals import Seal
from redqueue.settings import Settings, seal_of
from redqueue.shapes import JobData

D = TypeVar("D")
R = TypeVar("R")
T = TypeVar("T")


class Queue:
    """One queue by its name: a share of the process's one pool for a URL.

    Nothing is opened before the first call, so it may be made when a module is imported, before a fork and outside of
    any event loop. Every method may raise RedisUnavailable, RedisRefused or RedisFull.

    Args:
        name: of ``[A-Za-z0-9][A-Za-z0-9_.-]{0,63}``.
        url: by default, and without a client, what `Settings.from_env` finds.
        client: a client of redis-py's, or its pool, with decode_responses=False; it is used as it is and never closed.
        prefix: what all keys begin with.
        seal: signs or encrypts what is stored of jobs (`Signed`, `Encrypted`); None takes the environment's.
        defaults: options for each job that doesn't say otherwise.
    Raises:
        InvalidName, InvalidOption: the name, the prefix or a default.
        ConfigurationError: the URL or the client can't work.
    """

    def __init__(
        self,
        name: str,
        url: str | None = None,
        *,
        client: RedisClient | None = None,
        prefix: str = DEFAULT_PREFIX,
        seal: Seal | None = None,
        **defaults: Unpack[JobOptions],
    ) -> None:
        self.name = name
        self._keys = Keys(name, prefix, seal_of(seal))
        self._defaults = check_queue_defaults(defaults)
        self._before = Before(name)
        location = locate(url, client, lambda: Settings.from_env().url)
        self._runner = Runner(Transport(location, client), self._keys)
        self._results = Results(self._runner)

    @overload
    def add(self, job_type: str, data: object = None, **options: Unpack[JobOptions]) -> Job[Any]: ...
    @overload
    def add(self, job_type: JobData[R], **options: Unpack[JobOptions]) -> Job[R]: ...
    @overload
    def add(
        self, job_type: Callable[Concatenate[D, ...], Coroutine[Any, Any, R]], data: D, **options: Unpack[JobOptions]
    ) -> Job[R]: ...
    @overload
    def add(self, job_type: Callable[Concatenate[D, ...], R], data: D, **options: Unpack[JobOptions]) -> Job[R]: ...
    def add(self, job_type: Any, data: Any = None, **options: Unpack[JobOptions]) -> Job[Any]:
        """Store one job and make it claimable, at once or when it is due.

        Stored when this returns; run at least once after that. Adding again with the same ``job_id`` is safe.

        Args:
            job_type: its name; or a JobData, which is the data too; or a registered processor.
            data: whatever msgspec encodes to JSON, at most 1 MiB encoded.
            options: see `JobOptions`; times are seconds or `timedelta`.
        Raises:
            BadInput, NotRegistered: nothing was sent.
            RedisUnavailable: when its `sent` is true, nobody knows whether it was stored; add again with the same
                ``job_id``.
            NotConfirmed: it is stored, and what `durability` asks for was not confirmed in 5 s.
        Cost: one round trip; of an `Queue`, adds of one turn of the event loop share it. A `durability` takes what
        the replica or the disk does, and one more the first time.
        """
        return self._store(new_job(job_type, data, options, self._defaults, self._before))

    def add_many(
        self,
        jobs: Iterable[tuple[str, object] | tuple[str, object, JobOptions] | JobData[Any]],
        **options: Unpack[JobOptions],
    ) -> Sequence[Job[Any]]:
        """Store many jobs, in order. All are checked before the first is sent.

        Args:
            jobs: (job type, data), (job type, data, options of its own) or a JobData.
            options: for all that don't say otherwise.
        Raises:
            BadInput: nothing was sent; a note says which job it was.
            RedisUnavailable, RedisFull: the jobs of earlier round trips are stored; the one that failed is stored whole
                or not at all.
            NotConfirmed: those of this and of earlier round trips are stored, those of later ones not.
        Cost: one round trip for 1,000 jobs or about 4 MiB.
        """
        prepared = new_jobs(jobs, options, self._defaults, self._before)
        answers = self._runner.run_steps(add.add_many(self._keys, prepared))
        pairs = zip(prepared, answers, strict=True)
        return [Job(self._results, job.id, job.job_type, stored, job.read) for job, stored in pairs]

    def job(self, job_id: str) -> Job[Any]:
        """A handle on a job by its id. Takes no round trip, so it doesn't tell whether there is such a job."""
        return Job(self._results, check_job_id(job_id))

    def get_status(self, job_id: str) -> JobStatus | None:
        """State, attempts, result and times of one job, or None: never added, or finished and no longer kept.

        Where a seal is broken, `error` says so in place of what the job's runs told; nothing is raised.

        Cost: one round trip.
        """
        return self._runner.run(inspect.get_status(self._keys, job_id))

    @overload
    def get_data(self, job_id: str) -> Any: ...
    @overload
    def get_data(self, job_id: str, type: type[T]) -> T | None: ...
    def get_data(self, job_id: str, type: Any = Any) -> Any:
        """The job's data, decoded as that type; None when the job isn't known.

        Raises:
            InvalidArguments: it doesn't fit the type. The message names the path, never the value.
            CorruptEnvelope: what is stored is not a job of redqueue's.
            BadSignature: it was not sealed for this job by a key of ours.
        Cost: one round trip.
        """
        return self._runner.run(inspect.get_data(self._keys, job_id, type))

    def get_logs(self, job_id: str, start: int = 0, count: int = 100) -> Sequence[str]:
        """Lines that the job's runs logged, the oldest first; of a long log only the last 1,000 are kept.

        Args:
            start: how many to skip.
            count: at most 1,000.
        Raises:
            BadSignature: a line was not sealed for this job by a key of ours.
        Cost: one round trip.
        """
        return self._runner.run(inspect.get_logs(self._keys, job_id, start, count))

    def get_stats(self) -> QueueStats:
        """The queue in numbers. Cost: one round trip."""
        return self._runner.run(inspect.get_stats(self._keys))

    def jobs(self, state: State, start: int = 0, count: int = 50, *, newest: bool = True) -> Sequence[JobStatus]:
        """One page of the jobs in a state. It ends after about 4 MiB of results: go on at ``start + len(page)``.

        Args:
            start: how many to skip.
            count: at most 1,000.
            newest: the last in line or to finish come first.
        Cost: one round trip.
        """
        return self._runner.run(inspect.jobs(self._keys, state, start, count, newest=newest))

    def cancel(self, job_id: str, reason: str = "") -> CancelAnswer:
        """End a job: at once when it waits ("cancelled"), by its worker when it runs ("requested").

        "finished" and "missing" say that there was nothing to end.

        Cost: one round trip.
        """
        return self._runner.run(steer.cancel(self._keys, job_id, reason))

    def retry(self, job_id: str, *, fresh: bool = True) -> bool:
        """Run a failed, cancelled or completed job again, at the end of its priority. False: it is none of these.

        Args:
            fresh: with all its retries; else the attempts so far count.
        Cost: one round trip.
        """
        return self._runner.run(steer.retry(self._keys, job_id, fresh=fresh))

    def promote(self, job_id: str) -> bool:
        """Run a delayed job now. False: it isn't delayed. Cost: one round trip."""
        return self._runner.run(steer.promote(self._keys, job_id))

    def remove(self, job_id: str) -> bool:
        """Remove a job with all that is kept of it. False: it isn't known, or it runs. Cost: one round trip."""
        return self._runner.run(steer.remove(self._keys, job_id))

    def pause(self) -> None:
        """Workers start no more jobs of this queue until `resume`; adding goes on. Cost: one round trip."""
        self._runner.run(steer.pause(self._keys))

    def resume(self) -> None:
        """End a pause. Cost: one round trip."""
        self._runner.run(steer.resume(self._keys))

    def clean(self, state: State, *, older_than: Seconds = 0, limit: int = 1000) -> int:
        """Remove jobs in a state, the oldest first, with all that is kept of them; answers how many.

        Args:
            older_than: seconds since they finished, or, in waiting and delayed, since they were added by their
                producer's clock.
            limit: how many at most.
        Raises:
            InvalidOption: nothing was sent; active jobs can't be cleaned.
        Cost: one round trip for 1,000 jobs.
        """
        return self._runner.run_steps(sweep.clean(self._keys, state, older_than=older_than, limit=limit))

    def drain(self, *, delayed: bool = False) -> int:
        """Remove all jobs that wait, and the delayed ones too when asked; answers how many.

        Jobs added meanwhile may be among them. Cost: one round trip for 1,000 jobs.
        """
        return self._runner.run_steps(sweep.drain(self._keys, delayed=delayed))

    def obliterate(self, *, force: bool = False) -> int:
        """Remove the whole queue; answers how many jobs it had. It is paused from the first round trip on.

        Args:
            force: also while jobs run; their runs go on, and their outcomes are not recorded.
        Raises:
            InvalidOption: jobs run, and force isn't set; nothing was removed.
        Cost: one round trip for 1,000 jobs.
        """
        return self._runner.run_steps(sweep.obliterate(self._keys, force=force))

    def audit(self) -> Sequence[str]:
        """What is inconsistent in the stored queue, in words; empty when it is sound. Changes nothing.

        Cost: some round trips for 1,000 jobs.
        """
        return self._runner.run_steps(audit.audit(self._keys))

    def events(self, *, since: str | datetime | None = None, kinds: Collection[EventKind] = ()) -> Generator[Event]:
        """What happens in the queue, one after the other, until the handle is closed: `break` when it is enough.

        By default from now on, and now is when the first one is asked for; who must not miss what comes before that
        passes a `since`. A lost connection is made anew, for as long as it takes, without a gap or a repetition. Of
        10,000 events or so the queue keeps the last ones; who reads more slowly gets one of kind "missed". After
        `close` it comes to its end within a second, or with the call that Redis doesn't answer.

        Args:
            since: the id of the last event that was seen; "0" for the oldest one kept; or an aware datetime.
            kinds: those that are wanted, all by default. "missed" always comes.
        Raises:
            InvalidOption: at once.
            RedisRefused, RedisFull: Redis said no.
        Cost: one connection while it waits; a round trip for up to 100 calls' events. When there are none, two every
        5 s, or in `Queue` every half a second. A client that was given with too few connections to wait with one, and
        have another for calls, looks ten times a second instead.
        """
        return listen(self._runner, Listener(self._keys, since, kinds))

    def close(self) -> None:
        """Give the share of the pool back; the last share closes it. Twice is fine; a given client stays open.

        Who waits for a result gets ResultTimeout, and who listens to events comes to their end. A later call takes a
        share again.
        """
        self._results.close()
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _store(self, job: NewJob) -> Job[Any]:
        stored = self._runner.store(job)
        return Job(self._results, job.id, job.job_type, stored, job.read)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"
