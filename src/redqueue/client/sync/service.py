# Generated from client/aio/service.py by make gen; do not edit.
"""Many queues behind one object."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from copy import copy
from typing import Any, ParamSpec, Self, TypeVar, Unpack, overload

from redqueue.client.adding import job_type_of_data, new_generic_job
from redqueue.client.pools import RedisClient
from redqueue.client.sync.job import Job
from redqueue.client.sync.queue import Queue
from redqueue.client.transport import Transport, locate
from redqueue.core import generic, health
from redqueue.errors import RedisError
from redqueue.options import JobOptions, Parameters, TaskOptions
from redqueue.records import JobStatus, QueueHealth, QueueStats
from redqueue.registry import ServiceRegistry
from redqueue.seals import Seal
from redqueue.settings import Settings, seal_of
from redqueue.shapes import JobData

P = ParamSpec("P")
R = TypeVar("R")

_MOST_HANDLES = 1000


class JobQueueService:
    """Many queues behind one object; here a job type is also the name of its queue.

    Nothing is opened before the first call. Every method that adds or looks may raise RedisUnavailable, RedisRefused
    or RedisFull.

    Args:
        url: by default, and without a client, that of the settings, which are by default `Settings.from_env`.
        client: a client of redis-py's, or its pool, with decode_responses=False; it is used as it is and never closed.
        seal: signs or encrypts what is stored of jobs (`Signed`, `Encrypted`); by default that of the settings.
        registry: where `execute` looks functions up, and whose middlewares jobs pass; by default the application's.
    Raises:
        ConfigurationError: the URL or the client can't work.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: RedisClient | None = None,
        settings: Settings | None = None,
        registry: ServiceRegistry | None = None,
        seal: Seal | None = None,
    ) -> None:
        location = locate(url, client, lambda: (settings or Settings.from_env()).url)
        self._url = None if location is None else location.url
        self._client = client
        self._seal = seal_of(seal, settings)
        self._registry = registry or ServiceRegistry.get_instance()
        self._options: dict[str, Any] = {}
        self._queues: dict[str, Queue] = {}
        Transport(location, client)  # refuses now what can't work, and opens nothing

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """A service at the URL that the environment names; see `Settings.from_env`."""
        return cls(settings=Settings.from_env(environ))

    def queue(self, job_type: str) -> Queue:
        """The queue of a job type; the same handle each time for the first 1,000 names.

        Raises:
            InvalidName: no queue can have that name.
        """
        queue = self._queues.get(job_type)
        if queue is not None:
            return queue
        queue = Queue(job_type, self._url, client=self._client, seal=self._seal)
        queue._before.registry = self._registry
        if len(self._queues) < _MOST_HANDLES:  # names may come from URLs: they must not fill the memory
            self._queues[job_type] = queue
        return queue

    def with_options(self, **options: Unpack[TaskOptions]) -> Self:
        """The same service with defaults for what it adds: options for `execute`, beside the method's own arguments.

        `context`, `queue` and who asked go with execute_* only.

        Raises:
            InvalidOption: an unknown one, or a value out of bounds.
        """
        other = copy(self)
        other._options = generic.over(self._options, options)
        return other

    def add_job(self, job_type: str, data: object, **options: Unpack[JobOptions]) -> str:
        """Store one job in the queue of its type; answers its id. See `Queue.add`."""
        given: Any = generic.over_job(self._options, options)
        return (self.queue(job_type).add(job_type, data, **given)).id

    def add(self, data: JobData[R], **options: Unpack[JobOptions]) -> Job[R]:
        """Store one job in the queue of the type that its data declares. See `Queue.add`."""
        given: Any = generic.over_job(self._options, options)
        return self.queue(job_type_of_data(data)).add(data, **given)

    def execute_service_method(
        self, label: str, service: str, method: str, parameters: Parameters = (), **options: Unpack[TaskOptions]
    ) -> str:
        """Store a call of a service's method; answers the job's id. The worker's registry decides whether it may run.

        Args:
            label: what people read, at most 256 characters; never looked up.
            parameters: a list or tuple in order, or a mapping by name.
            options: see `TaskOptions`.
        Raises:
            BadInput: nothing was sent.
        Cost: one round trip.
        """
        task = generic.method_task(label, service, method, parameters, generic.over(self._options, options))
        return (self._store(task)).id

    def execute_task(
        self, label: str, function: str, parameters: Parameters = (), **options: Unpack[TaskOptions]
    ) -> str:
        """Store a call of a task by its registered name; otherwise as `execute_service_method`."""
        task = generic.function_task(label, function, parameters, generic.over(self._options, options))
        return (self._store(task)).id

    @overload
    def execute(self, method: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    @overload
    def execute(self, method: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    def execute(self, method: Any, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """Store a call of a registered bound method or task, with its arguments. Options go into `with_options`.

        Raises:
            NotRegistered: the registry doesn't name it; nothing was sent.
            BadInput: nothing was sent.
        Cost: one round trip.
        """
        name = self._registry.name_of(method)
        task = generic.named_task(name, generic.parameters_of(method, args, kwargs), self._options)
        return self._store(task, method)

    def get_job_status(self, job_type: str, job_id: str) -> JobStatus | None:
        """State, attempts, result and times of one job, or None: never added, or finished and no longer kept."""
        return self.queue(job_type).get_status(job_id)

    def get_queue_stats(self, job_type: str) -> QueueStats:
        """The queue of a job type in numbers. Cost: one round trip."""
        return self.queue(job_type).get_stats()

    def get_queue_health(self, job_type: str) -> QueueHealth:
        """Whether the queue of a job type moves; tells also that Redis can't be reached, after 5 s, and raises not.

        Raises:
            InvalidName: no queue can have that name.
        Cost: one round trip.
        """
        try:
            return health.judge(self.queue(job_type).get_stats())
        except RedisError as error:
            return health.without_stats(error)

    def close(self) -> None:
        """Give the shares of the pool back; the last one closes it. Twice is fine; a given client stays open."""
        for queue in list(self._queues.values()):
            queue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _store(self, task: generic.GenericTask, function: object = None) -> Job[Any]:
        queue = self.queue(task.queue)
        return queue._store(new_generic_job(task, queue._defaults, queue._before, function))
